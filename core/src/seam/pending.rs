//! The table of operations in flight, the same for all drivers.
//!
//! Entered by the drivers. Invariant: an operation's outcome is stored once and taken once; a cancelled
//! one is forgotten and its late outcome dropped; so is the outcome of a task that has gone. What was opened is known
//! with whose it is until it is closed, so that it can be when its task has gone. Lives on the shard's thread.

use hashbrown::HashMap;

use crate::seam::reactor::{FileId, LeftBehind, Op, OpId, OpResult, Outcome, SocketId};
use crate::shard::step::TaskWaker;

enum Entry {
    Flying(TaskWaker, Kind),
    Landed(TaskWaker, OpResult),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Socket,
}

/// What stays open until it is closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Handle {
    File(FileId),
    Socket(SocketId),
}

impl Handle {
    fn closed_by(op: &Op) -> Option<Handle> {
        match op {
            Op::Close { file } => Some(Handle::File(*file)),
            Op::CloseSocket { socket } => Some(Handle::Socket(*socket)),
            _ => None,
        }
    }

    fn opened_by(result: &OpResult) -> Option<Handle> {
        match result {
            Ok(Outcome::Opened { file, .. }) => Some(Handle::File(*file)),
            Ok(
                Outcome::Connected { socket }
                | Outcome::Listening {
                    listener: socket, ..
                }
                | Outcome::Accepted { socket, .. },
            ) => Some(Handle::Socket(*socket)),
            _ => None,
        }
    }
}

/// Fewer entries than this are not worth a sweep.
const SWEEP_FROM: usize = 64;

/// Operations in flight and outcomes not yet taken.
pub(crate) struct Pending {
    entries: HashMap<OpId, Entry, foldhash::fast::FixedState>,
    /// Whose is what is open.
    open: HashMap<Handle, TaskWaker, foldhash::fast::FixedState>,
    next: u64,
    flying: usize,
    landed: usize,
    /// So many entries, and those of tasks that have gone are looked for.
    sweep_at: usize,
}

impl Pending {
    pub(crate) fn new() -> Pending {
        let hasher = foldhash::fast::FixedState::with_seed(0);
        Pending {
            entries: HashMap::with_hasher(hasher.clone()),
            open: HashMap::with_hasher(hasher),
            next: 0,
            flying: 0,
            landed: 0,
            sweep_at: SWEEP_FROM,
        }
    }

    /// Notes a new operation.
    pub(crate) fn begin(&mut self, op: &Op, waker: TaskWaker) -> OpId {
        if let Some(closed) = Handle::closed_by(op) {
            self.open.remove(&closed);
        }
        let kind = match op.is_socket() {
            true => Kind::Socket,
            false => Kind::File,
        };
        if self.entries.len() >= self.sweep_at {
            self.entries
                .retain(|_, entry| !matches!(entry, Entry::Landed(waker, _) if waker.is_gone()));
            self.sweep_at = SWEEP_FROM.max(2 * self.entries.len());
        }
        self.next += 1;
        let id = OpId(self.next);
        self.entries.insert(id, Entry::Flying(waker, kind));
        self.flying += 1;
        id
    }

    /// Notes the outcome and wakes the task. A cancelled operation's outcome is dropped.
    pub(crate) fn finish(&mut self, id: OpId, result: OpResult) {
        let opened = Handle::opened_by(&result);
        let waker = match self.entries.get(&id) {
            None => {
                // Nobody will ever know of what it opened.
                self.open
                    .extend(opened.map(|opened| (opened, TaskWaker::noop())));
                return;
            }
            Some(Entry::Flying(waker, _)) => waker.clone(),
            Some(Entry::Landed(..)) => unreachable!("operation {id:?} has completed twice"),
        };
        self.open
            .extend(opened.map(|opened| (opened, waker.clone())));
        self.flying -= 1;
        self.landed += 1;
        if waker.is_gone() {
            self.entries.remove(&id);
            return;
        }
        waker.wake();
        self.entries.insert(id, Entry::Landed(waker, result));
    }

    /// The outcome, once.
    pub(crate) fn take(&mut self, id: OpId) -> Option<OpResult> {
        if !matches!(self.entries.get(&id), Some(Entry::Landed(..))) {
            return None;
        }
        match self.entries.remove(&id) {
            Some(Entry::Landed(_, result)) => Some(result),
            _ => unreachable!("looked at just above"),
        }
    }

    /// Forgets an operation; true if it was in flight.
    pub(crate) fn cancel(&mut self, id: OpId) -> bool {
        let flying = matches!(self.entries.remove(&id), Some(Entry::Flying(..)));
        self.flying -= usize::from(flying);
        flying
    }

    /// Whether an operation is still in flight: neither answered nor cancelled.
    pub(crate) fn is_flying(&self, id: OpId) -> bool {
        matches!(self.entries.get(&id), Some(Entry::Flying(..)))
    }

    /// What tasks that have gone have left. What they have open is not answered again: it is to be closed.
    pub(crate) fn left_behind(&mut self) -> LeftBehind {
        let mut left = LeftBehind::default();
        for (id, entry) in &self.entries {
            match entry {
                Entry::Flying(waker, Kind::Socket) if waker.is_gone() => left.waiting.push(*id),
                Entry::Flying(waker, Kind::File) if waker.is_gone() => left.working += 1,
                Entry::Flying(..) | Entry::Landed(..) => {}
            }
        }
        for (handle, _) in self.open.extract_if(|_, owner| owner.is_gone()) {
            match handle {
                Handle::File(file) => left.files.push(file),
                Handle::Socket(socket) => left.sockets.push(socket),
            }
        }
        // The same run, the same order.
        left.waiting.sort_unstable();
        left.files.sort_unstable();
        left.sockets.sort_unstable();
        left
    }

    /// How many operations are in flight.
    pub(crate) fn flying(&self) -> usize {
        self.flying
    }

    /// How many operations landed since the last call.
    pub(crate) fn count_landed(&mut self) -> usize {
        std::mem::take(&mut self.landed)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::seam::reactor::Outcome;
    use crate::shard::step::{RunQueue, TaskIndex};

    const SYNC: Op = Op::Sync { file: FileId(0) };

    #[test]
    fn an_outcome_is_taken_once_and_a_cancelled_one_never() {
        let queue = Rc::new(RunQueue::default());
        let waker = TaskWaker::new(TaskIndex(1), Rc::clone(&queue));
        let mut pending = Pending::new();
        let (kept, cancelled) = (
            pending.begin(&SYNC, waker.clone()),
            pending.begin(&SYNC, waker),
        );
        assert_eq!(pending.flying(), 2);
        assert!(pending.take(kept).is_none());
        assert!(pending.cancel(cancelled));
        pending.finish(cancelled, Ok(Outcome::Done));
        assert_eq!(queue.len(), 0);
        pending.finish(kept, Ok(Outcome::Done));
        assert_eq!((queue.pop(), pending.flying()), (Some(TaskIndex(1)), 0));
        assert!(matches!(pending.take(kept), Some(Ok(Outcome::Done))));
        assert!(pending.take(kept).is_none());
    }

    #[test]
    fn outcomes_of_a_task_that_has_gone_are_dropped() {
        let waker = TaskWaker::new(TaskIndex(1), Rc::new(RunQueue::default()));
        let mut pending = Pending::new();
        let landed: Vec<OpId> = (0..100)
            .map(|_| pending.begin(&SYNC, waker.clone()))
            .collect();
        for id in &landed {
            pending.finish(*id, Ok(Outcome::Done));
        }
        let late = pending.begin(&SYNC, waker.clone());
        waker.retire();
        pending.finish(late, Ok(Outcome::Done));
        assert!(pending.take(late).is_none());
        for _ in 0..200 {
            let id = pending.begin(&SYNC, TaskWaker::noop());
            pending.cancel(id);
            pending.begin(&SYNC, TaskWaker::noop());
        }
        assert!(pending.take(landed[0]).is_none(), "swept");
    }

    #[test]
    fn what_a_task_has_open_when_it_goes_is_told_once_and_nothing_of_others() {
        let queue = Rc::new(RunQueue::default());
        let (dead, alive) = (
            TaskWaker::new(TaskIndex(1), Rc::clone(&queue)),
            TaskWaker::new(TaskIndex(2), queue),
        );
        let mut pending = Pending::new();
        let opened = |file| {
            Ok(Outcome::Opened {
                file: FileId(file),
                len: 0,
            })
        };
        for (file, waker) in [(1, &dead), (2, &alive), (3, &dead)] {
            let id = pending.begin(&SYNC, waker.clone());
            pending.finish(id, opened(file));
        }
        let close = Op::Close { file: FileId(3) };
        let closing = pending.begin(&close, dead.clone());
        let (late, given_up) = (
            pending.begin(&SYNC, dead.clone()),
            pending.begin(&SYNC, alive),
        );
        pending.cancel(given_up);
        let receive = Op::Accept {
            listener: SocketId(7),
        };
        let receiving = pending.begin(&receive, dead.clone());
        dead.retire();
        let left = pending.left_behind();
        assert_eq!((left.files, left.sockets), (vec![FileId(1)], vec![]));
        assert_eq!((left.waiting, left.working), (vec![receiving], 2));
        pending.finish(closing, Ok(Outcome::Done));
        pending.finish(late, opened(4));
        pending.finish(given_up, opened(5));
        pending.cancel(receiving);
        let left = pending.left_behind();
        assert_eq!(left.files, [FileId(4), FileId(5)]);
        assert_eq!((left.waiting, left.working), (vec![], 0));
        assert_eq!(pending.left_behind(), LeftBehind::default());
    }
}
