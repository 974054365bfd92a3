//! The stage of a chain that hosts a reader.
//!
//! Splits are only handed to the reader when they are pushed; it is polled when the turn ends, where
//! there is a reactor and a waker. A barrier does not wait for what is still to be read: it takes the
//! splits with it, and passes. Lives on the shard of its task.

use std::collections::VecDeque;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_memory::record::Record;
use thalweg_memory::{Mark, SavedRecord};
use thalweg_network::Event;
use thalweg_state::{OperatorPart, Redistribution};

use super::SplitReader;
use crate::checkpoint::{SPLITS, TaskAnswers};
use crate::source::SourceStatus;
use crate::task::{BuildContext, ChainTurn, Emit, Failure, InputStatus, Push, Stage, Untimed};

/// A stage whose reader has so many splits takes no more.
pub(super) const MOST_UNREAD: usize = 64;

pub(super) struct ReadStage<R, N> {
    name: OperatorName,
    /// Of the operator in its chain.
    place: usize,
    answers: TaskAnswers,
    reader: R,
    next: Untimed<N>,
    failure: Failure,
    /// Splits that came.
    added: u64,
    /// The reader has something to do, if only to close its files.
    busy: bool,
    /// Marks, each behind so many splits.
    held: VecDeque<(u64, Mark)>,
}

impl<R: SplitReader, N: Push<R::Item>> ReadStage<R, N> {
    pub(super) fn new(
        name: OperatorName,
        place: usize,
        reader: R,
        next: N,
        context: &BuildContext,
    ) -> Self {
        let unread = reader.unread();
        Self {
            name,
            place,
            answers: context.answers(),
            reader,
            next: Untimed(next),
            failure: context.failure(),
            added: unread as u64,
            busy: unread > 0,
            held: VecDeque::new(),
        }
    }

    /// Lets the reader emit until it has nothing left, waits, lacks room or the turn is over.
    fn read(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        while self.busy {
            if !self.next.0.ready() || self.failure.is_set() {
                return Stage::Waiting;
            }
            let mut output = Emit::new(&mut self.next);
            let scope = OperatorScope::enter(&self.name);
            let status = self.reader.poll(&mut output, turn.context());
            scope.leave();
            drop(output);
            match status {
                Ok(SourceStatus::Finished) => self.busy = false,
                Ok(SourceStatus::More) if turn.expired() => return Stage::Unfinished,
                Ok(SourceStatus::More) => {}
                Ok(SourceStatus::Waiting) => {
                    self.release();
                    return Stage::Waiting;
                }
                Err(error) => {
                    self.failure.set(&self.name, error.message, error.kind);
                    return Stage::Waiting;
                }
            }
            self.release();
        }
        Stage::Done
    }

    /// Passes on the marks before which everything was read.
    fn release(&mut self) {
        let read = self.added - self.reader.unread() as u64;
        while let Some((behind, mark)) = self.held.front().copied()
            && behind <= read
        {
            self.held.pop_front();
            self.next.0.mark(mark);
        }
    }
}

impl<R, N> Push<R::Split> for ReadStage<R, N>
where
    R: SplitReader<Split: Record>,
    N: Push<R::Item>,
{
    fn push(&mut self, split: R::Split, _at: Timestamp) {
        self.reader.add(split);
        self.added += 1;
        self.busy = true;
    }

    fn ready(&self) -> bool {
        self.reader.unread() < MOST_UNREAD && self.next.0.ready()
    }

    fn mark(&mut self, mark: Mark) {
        self.held.push_back((self.added, mark));
        self.release();
    }

    fn event(&mut self, event: Event) {
        if let Event::Barrier(barrier) = event {
            let mut saved = SavedRecord::new();
            let splits = self.reader.snapshot();
            let items = splits.iter().map(|split| saved.archive(split).to_vec());
            let part = OperatorPart {
                name: SPLITS.to_owned(),
                redistribution: Redistribution::Split,
                items: items.collect(),
            };
            let checkpoint = barrier.checkpoint;
            self.answers.add_part(checkpoint, self.place, part);
        }
        self.next.0.event(event);
    }

    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let full = !Push::<R::Split>::ready(self);
        let read = self.read(turn);
        if read == Stage::Done && !(full && Push::<R::Split>::ready(self)) {
            return self.next.0.end_turn(turn);
        }
        // What was read in this turn may leave: nobody knows when the next comes.
        let behind = self
            .next
            .0
            .end_turn(&mut turn.with_input(InputStatus::Idle));
        // Room that was found in this turn is told by nobody else.
        let room = full && Push::<R::Split>::ready(self);
        match (read, behind) {
            _ if room => Stage::Unfinished,
            (Stage::Unfinished, _) if self.next.0.ready() => Stage::Unfinished,
            (_, Stage::Unfinished) => Stage::Unfinished,
            _ => Stage::Waiting,
        }
    }
}
