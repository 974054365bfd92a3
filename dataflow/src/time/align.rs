//! Alignment: sources of one group pause when they are ahead of its slowest.
//!
//! A group belongs to one job. Each subtask of its sources has a cell of its own, which it alone writes
//! and the others read, once per turn: no lock and no read-modify-write. The cells are laid out when the
//! job is planned, before anybody joins; a subtask that is begun again takes the cell it had. Crosses
//! threads; each [`Member`] lives on one shard.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::event_time::Timestamp;

/// How far a member has come; on a cache line of its own, because another thread writes the next.
/// [`Timestamp::MIN`] for one that is not there: nobody runs ahead before it is.
#[repr(align(128))]
struct Progress(AtomicI64);

/// The sources of a job that shall not run apart.
#[derive(Default)]
pub(crate) struct AlignmentGroup {
    /// By strategy that names the group, and subtask.
    cells: Mutex<Vec<Vec<Arc<Progress>>>>,
}

/// One strategy's subtasks in a group.
#[derive(Clone)]
pub(crate) struct AlignedPart {
    group: Arc<AlignmentGroup>,
    part: usize,
}

impl AlignmentGroup {
    /// One more strategy names this group.
    pub(crate) fn part(self: &Arc<Self>) -> AlignedPart {
        let mut cells = self.cells();
        cells.push(Vec::new());
        AlignedPart {
            group: Arc::clone(self),
            part: cells.len() - 1,
        }
    }

    fn cells(&self) -> MutexGuard<'_, Vec<Vec<Arc<Progress>>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AlignedPart {
    /// It has so many subtasks. Comes before the first one of the group joins.
    pub(crate) fn expect(&self, subtasks: u32) {
        let absent = || Arc::new(Progress(AtomicI64::new(Timestamp::MIN.0)));
        self.group.cells()[self.part] = (0..subtasks).map(|_| absent()).collect();
    }

    /// This subtask joins, on its shard, or does so again; none if it was not expected.
    pub(crate) fn join(&self, subtask: u32, max_drift_ms: i64) -> Option<Member> {
        let cells = self.group.cells();
        let own = Arc::clone(cells[self.part].get(subtask as usize)?);
        let member = Member {
            own,
            all: cells.iter().flatten().cloned().collect(),
            max_drift_ms,
            ended: false,
        };
        member.publish(Timestamp::MIN);
        Some(member)
    }
}

/// One subtask of a group.
pub(crate) struct Member {
    own: Arc<Progress>,
    all: Vec<Arc<Progress>>,
    max_drift_ms: i64,
    ended: bool,
}

impl Member {
    /// Tells the others how far this one has come: [`Timestamp::MAX`] if it holds nobody.
    pub(crate) fn publish(&self, progress: Timestamp) {
        // Nothing else is read after it: each cell stands for itself.
        self.own.0.store(progress.0, Ordering::Relaxed);
    }

    /// The event time up to which splits may run now.
    pub(crate) fn limit(&self) -> Timestamp {
        let cells = self.all.iter().map(|cell| cell.0.load(Ordering::Relaxed));
        let slowest = cells.min().unwrap_or(i64::MAX);
        Timestamp(slowest).plus_ms(self.max_drift_ms)
    }

    /// Its input has ended: it holds nobody any more.
    pub(crate) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Member {
    /// Who has gone before its end is begun again, from an earlier time: the others wait for it.
    fn drop(&mut self) {
        self.publish(match self.ended {
            true => Timestamp::MAX,
            false => Timestamp::MIN,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subtasks: u32) -> AlignedPart {
        let part = Arc::new(AlignmentGroup::default()).part();
        part.expect(subtasks);
        part
    }

    fn join(part: &AlignedPart, subtask: u32) -> Member {
        let Some(member) = part.join(subtask, 100) else {
            panic!("subtask {subtask} is one of the part");
        };
        member
    }

    #[test]
    fn the_slowest_member_sets_the_limit_once_all_have_joined() {
        let part = of(2);
        let fast = join(&part, 0);
        fast.publish(Timestamp(5_000));
        let nothing = Timestamp::MIN.plus_ms(100);
        assert_eq!(fast.limit(), nothing, "the other has not joined");
        let slow = join(&part, 1);
        assert_eq!(fast.limit(), nothing);
        slow.publish(Timestamp(4_000));
        assert_eq!(fast.limit(), Timestamp(4_100));
        slow.end();
        assert_eq!(fast.limit(), Timestamp(5_100));
        fast.publish(Timestamp::MAX);
        assert_eq!(fast.limit(), Timestamp::MAX);
    }

    #[test]
    fn one_that_is_begun_again_is_waited_for_and_counts_once() {
        let part = of(2);
        let (steady, failed) = (join(&part, 0), join(&part, 1));
        steady.publish(Timestamp(5_000));
        failed.publish(Timestamp(4_900));
        drop(failed);
        let nothing = Timestamp::MIN.plus_ms(100);
        assert_eq!(steady.limit(), nothing, "it has not come back yet");
        drop(steady);
        let first = join(&part, 0);
        first.publish(Timestamp(9_000));
        assert_eq!(first.limit(), nothing, "the other has not come back yet");
        let second = join(&part, 1);
        second.publish(Timestamp(8_000));
        assert_eq!(first.limit(), Timestamp(8_100));
    }

    #[test]
    fn strategies_of_one_name_wait_for_each_other() {
        let group = Arc::new(AlignmentGroup::default());
        let (one, other) = (group.part(), group.part());
        one.expect(1);
        other.expect(2);
        assert!(other.join(2, 100).is_none(), "there are two");
        let (fast, slow) = (join(&one, 0), join(&other, 1));
        fast.publish(Timestamp(5_000));
        slow.publish(Timestamp(1_000));
        assert!(fast.limit() < Timestamp(1_000), "one has not joined");
        join(&other, 0).end();
        assert_eq!(fast.limit(), Timestamp(1_100));
    }
}
