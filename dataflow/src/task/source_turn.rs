//! A source's turn: the reader emits into the chain while there is room and time.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::ids::CheckpointId;
use thalweg_core::metrics::Counter;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_core::shard::step::{Progress, StepError, TurnContext};
use thalweg_core::simd::on_this_cpu;
use thalweg_memory::record::{Item, Record};
use thalweg_memory::{Mark, SavedRecord};
use thalweg_network::{Barrier, Event, Outflow};
use thalweg_state::{OperatorPart, Redistribution};

use super::{
    BuildContext, BuildError, ChainTurn, Failure, Head, InputStatus, Push, Stage, TaskFailure,
};
use crate::checkpoint::{Defect, Drain, SPLITS, TaskAnswers, TaskCommand};
use crate::source::{Source, SourceOutput, SourceReader, SourceStatus};
use crate::time::TaskClock;

/// Records a reader may emit between two looks at the clock.
const BATCH_RECORDS: u32 = 1024;

/// Records it may emit between two looks at the room behind it: so many that the loop over them is worth
/// vectorising. Room is known in buffers, not in records, so what they yield too much is overdrawn, as the
/// results of one record are.
const BURST_RECORDS: u32 = 64;

/// The head of a chain that begins with a source.
pub(crate) struct SourceHead<R: SourceReader, N> {
    name: OperatorName,
    reader: R,
    next: N,
    outflow: Outflow,
    finished: bool,
    /// Nothing is read any more, though there may be more: a savepoint is about to end the job.
    stopped: bool,
    failure: Failure,
    records_in: Counter,
    no_room: Rc<Cell<bool>>,
    clock: TaskClock,
    answers: TaskAnswers,
    remembered: Rc<RefCell<Vec<(usize, OperatorPart)>>>,
    /// Checkpoints whose position is noted too late: only when that is planted.
    late: Vec<CheckpointId>,
}

/// Splits still to be read, as a part of a checkpoint.
fn positions<S: Record>(splits: &[S]) -> OperatorPart {
    let mut saved = SavedRecord::new();
    OperatorPart {
        name: SPLITS.to_owned(),
        redistribution: Redistribution::Split,
        items: splits
            .iter()
            .map(|split| saved.archive(split).to_vec())
            .collect(),
    }
}

/// What stands right behind a source.
pub(crate) trait Origin<I: Item>: Push<I> {
    /// The records that follow are of this split.
    fn begin_split(&mut self, split: u64);

    /// No record of this split follows.
    fn end_split(&mut self, split: u64);

    /// Whether records of some split are wanted; [`Push::ready`] is about the split in work.
    fn may_poll(&self) -> bool;
}

/// A chain right behind a source that has no watermark strategy: splits do not matter.
pub(crate) struct Untimed<N>(pub(crate) N);

impl<I: Item, N: Push<I>> Push<I> for Untimed<N> {
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        self.0.push(item, at);
    }
    #[inline(always)]
    fn push_each<'a>(&mut self, count: usize, make: impl FnMut(usize) -> (I::Of<'a>, Timestamp)) {
        self.0.push_each(count, make);
    }
    #[inline(always)]
    fn ready(&self) -> bool {
        self.0.ready()
    }
    fn mark(&mut self, mark: Mark) {
        self.0.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.0.event(event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        self.0.end_turn(turn)
    }
}

impl<I: Item, N: Push<I>> Origin<I> for Untimed<N> {
    fn begin_split(&mut self, _split: u64) {}
    fn end_split(&mut self, _split: u64) {}
    #[inline(always)]
    fn may_poll(&self) -> bool {
        self.0.ready()
    }
}

impl<R: SourceReader, N: Origin<R::Item>> SourceHead<R, N> {
    /// Opens the reader of a subtask in front of `next`.
    pub(crate) fn open<S>(
        source: S,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Self, BuildError>
    where
        S: Source<Item = R::Item, Split = R::Split, Reader = R>,
    {
        let splits = context.take_splits::<S::Split>()?;
        let name = context.operator_name(0);
        let reader = source
            .open(splits, context.info())
            .map_err(|error| context.refused(&name, error))?;
        Ok(Self::new(name, reader, next, context))
    }

    fn new(name: OperatorName, reader: R, next: N, context: &BuildContext) -> Self {
        Self {
            name,
            reader,
            next,
            outflow: context.outflow(),
            finished: false,
            stopped: false,
            failure: context.failure(),
            records_in: context.counters().records_in,
            no_room: context.counters().no_room,
            clock: context.clock().clone(),
            answers: context.answers(),
            remembered: context.counters().remembered,
            late: Vec::new(),
        }
    }

    /// Does what the coordinator says, between two records.
    fn take_commands(&mut self) {
        while let Some(command) = self.answers.setup().and_then(|setup| setup.inbox.take()) {
            match command {
                // When the reader has ended its end is on its way, and answers by itself.
                TaskCommand::Trigger { barrier, stop } if !self.finished && !self.stopped => {
                    if stop == Some(Drain::Everything) {
                        self.next.mark(Mark::Watermark(Watermark::MAX));
                    }
                    self.cut_at(barrier);
                    self.stopped = stop.is_some();
                }
                TaskCommand::Trigger { .. } | TaskCommand::Abort(_) => {}
            }
        }
    }

    /// Notes the positions and sends the barrier behind the records before them.
    fn cut_at(&mut self, barrier: Barrier) {
        if self.answers.has_defect(Defect::LatePosition) {
            self.late.push(barrier.checkpoint);
            self.answers.open_piece(barrier.checkpoint);
            return self.next.event(Event::Barrier(barrier));
        }
        let part = positions(&self.reader.snapshot());
        self.answers.add_part(barrier.checkpoint, 0, part);
        self.next.event(Event::Barrier(barrier));
    }

    #[cold]
    fn note_late(&mut self) {
        for checkpoint in std::mem::take(&mut self.late) {
            let part = positions(&self.reader.snapshot());
            self.answers.add_part(checkpoint, 0, part);
            self.answers.close_piece(checkpoint);
        }
    }

    /// Polls the reader until it ends, waits, lacks room or the budget is used up.
    fn read(&mut self, context: &mut TurnContext<'_>) -> Result<(InputStatus, bool), StepError> {
        let mut made = false;
        self.outflow.begin_turn();
        while self.next.may_poll() {
            let mut output = Emit::of_turn(&mut self.next, &self.records_in, &self.outflow);
            let scope = OperatorScope::enter(&self.name);
            let reader = &mut self.reader;
            let status = on_this_cpu(
                #[inline(always)]
                || reader.poll(&mut output, context),
            );
            scope.leave();
            let emitted = output.emitted;
            drop(output);
            made |= emitted > 0;
            let status = status.map_err(|error| TaskFailure {
                operator: self.name.to_string(),
                message: error.message,
                kind: error.kind,
            })?;
            self.failure.check()?;
            match status {
                // Room comes first: without it a credit wakes the task, and what is half full may leave.
                SourceStatus::More if !self.next.may_poll() => break,
                SourceStatus::More if context.expired() || self.outflow.is_turns_worth() => {
                    return Ok((InputStatus::Available, true));
                }
                // The split in work is held, and the reader has turned to no other.
                SourceStatus::More if emitted == 0 && !self.next.ready() => break,
                SourceStatus::More => {}
                SourceStatus::Waiting => return Ok((InputStatus::Idle, made)),
                SourceStatus::Finished => {
                    self.finished = true;
                    let nothing = positions::<R::Split>(&[]);
                    self.remembered.borrow_mut().push((0, nothing));
                    self.next.mark(Mark::Watermark(Watermark::MAX));
                    return Ok((InputStatus::Ended, true));
                }
            }
        }
        // No credit: what is half full may leave, and a credit will wake the task.
        Ok((InputStatus::Idle, made))
    }
}

impl<R: SourceReader, N: Origin<R::Item> + 'static> Head for SourceHead<R, N> {
    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.clock.begin_turn(context);
        self.take_commands();
        let (input, made) = if self.finished {
            (InputStatus::Ended, false)
        } else if self.stopped {
            (InputStatus::Idle, false)
        } else {
            self.read(context)?
        };
        if !self.late.is_empty() {
            self.note_late();
        }
        let blocked = !self.next.ready();
        let stage = self.next.end_turn(&mut ChainTurn::new(context, input));
        self.failure.check()?;
        self.answers.write_in_flight(context);
        // A sink may have found room while its turn ended; nobody else would wake the task then.
        let room = self.next.ready();
        self.no_room.set(!room);
        let again = (made || blocked) && room && !self.finished;
        Ok(Progress {
            made: again || stage == Stage::Unfinished,
            done: input == InputStatus::Ended
                && stage == Stage::Done
                && !self.answers.writes_in_flight(),
        })
    }
}

/// The reader's view of the chain: so many records, as long as there is room. When it is dropped, be it by a
/// panic, it has counted them.
pub(crate) struct Emit<'a, I, N> {
    next: &'a mut N,
    /// Counts what is emitted, and tells when the turn has written enough.
    turn: Option<(&'a Counter, &'a Outflow)>,
    /// Counts up and wraps: a loop in which a number saturates is not vectorised.
    emitted: u32,
    item: PhantomData<fn(I)>,
}

impl<'a, I, N> Emit<'a, I, N> {
    /// Counts nothing.
    pub(crate) fn new(next: &'a mut N) -> Self {
        Self {
            next,
            turn: None,
            emitted: 0,
            item: PhantomData,
        }
    }

    fn of_turn(next: &'a mut N, counter: &'a Counter, outflow: &'a Outflow) -> Self {
        let mut emit = Self::new(next);
        emit.turn = Some((counter, outflow));
        emit
    }

    /// Whether the turn may go on.
    #[inline(always)]
    fn goes_on(&self) -> bool {
        !self
            .turn
            .is_some_and(|(_, outflow)| outflow.is_turns_worth())
    }
}

impl<I, N> Drop for Emit<'_, I, N> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some((counter, _)) = self.turn {
            counter.add(u64::from(self.emitted));
        }
    }
}

impl<I: Item, N: Origin<I>> SourceOutput<I> for Emit<'_, I, N> {
    #[inline(always)]
    fn wanted(&self) -> bool {
        self.emitted < BATCH_RECORDS && self.next.ready() && self.goes_on()
    }

    #[inline(always)]
    fn room(&self) -> u32 {
        if self.next.ready() && self.goes_on() {
            BATCH_RECORDS
                .saturating_sub(self.emitted)
                .min(BURST_RECORDS)
        } else {
            0
        }
    }

    #[inline(always)]
    fn emit(&mut self, item: I::Of<'_>, at: Timestamp) {
        self.emitted = self.emitted.wrapping_add(1);
        self.next.push(item, at);
    }

    #[inline(always)]
    fn emit_each<'a>(&mut self, count: u32, mut make: impl FnMut(u32) -> (I::Of<'a>, Timestamp)) {
        self.emitted = self.emitted.wrapping_add(count);
        self.next.push_each(
            count as usize,
            #[inline(always)]
            |number| make(number as u32),
        );
    }

    fn mark(&mut self, mark: Mark) {
        self.next.mark(mark);
    }

    fn begin_split(&mut self, split: u64) {
        self.next.begin_split(split);
    }

    fn end_split(&mut self, split: u64) {
        self.next.end_split(split);
    }
}
