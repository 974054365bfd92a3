//! The contract of a chain: records are pushed, room is asked for, turns end.
//!
//! A pipe is built backwards into nested [`Push`] values, so a record runs through the
//! whole chain in one inlined call. Its head is boxed once as a [`Head`] and called once
//! per turn. All of it belongs to one subtask and never leaves its shard.

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::{Progress, StepError, TurnContext};
use thalweg_memory::Mark;
use thalweg_memory::record::Item;
use thalweg_network::Event;

/// Whether more input can be had when a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputStatus {
    /// The turn ended because its budget did: more input waits, so half-full buffers may too.
    Available,
    /// Nothing to do until something arrives: what is half full should leave.
    Idle,
    /// No record will ever be pushed again: give out what is held back and end.
    Ended,
}

/// What is left to do behind an operator when a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is held back. After [`InputStatus::Ended`] this is final.
    Done,
    /// Work is left; it needs another turn at once.
    Unfinished,
    /// Work is left; the operator has seen to it that the task is woken (credit, I/O, timer).
    Waiting,
}

/// The end of a turn, as operators see it.
pub struct ChainTurn<'a, 'c> {
    context: &'a mut TurnContext<'c>,
    input: InputStatus,
}

impl<'a, 'c> ChainTurn<'a, 'c> {
    pub(crate) fn new(context: &'a mut TurnContext<'c>, input: InputStatus) -> Self {
        Self { context, input }
    }

    /// What the operator asking can expect from the operators before it.
    pub fn input(&self) -> InputStatus {
        self.input
    }

    /// Whether the turn's time budget is used up; reads the clock.
    pub fn expired(&mut self) -> bool {
        self.context.expired()
    }

    /// The shard's side of this turn: clock, reactor, timers, waker.
    pub fn context(&mut self) -> &mut TurnContext<'c> {
        self.context
    }

    /// The same turn, as the operators behind this one shall see it.
    pub fn with_input(&mut self, input: InputStatus) -> ChainTurn<'_, 'c> {
        ChainTurn {
            context: self.context,
            input,
        }
    }
}

/// One stage of a chain, seen from the stage before it.
///
/// The order of calls is the order of the stream: a mark or event pushed after a record
/// is seen after it by everybody downstream.
pub trait Push<I: Item> {
    /// Takes one record. Must accept it even when [`Push::ready`] says no: one input
    /// record may yield many, and those are overdrawn into a reserve charged to the slot.
    fn push(&mut self, item: I::Of<'_>, at: Timestamp);

    /// Takes `count` records, in order: record *i* is what `make` answers for *i*.
    ///
    /// Like as many calls of [`Push::push`]; a stage that can do a step for several records at once
    /// does so. `make` is called for every record once and in order, but maybe for some of them
    /// before the first has been taken.
    ///
    /// Whatever `make` is made of is to be inlined, each closure by an attribute of its own: a chain is compiled for
    /// several sets of vector instructions, so none of its closures is called in one place only, and one that stays a
    /// call makes all of a record that the operators behind it want little of.
    #[inline(always)]
    fn push_each<'a>(&mut self, count: usize, mut make: impl FnMut(usize) -> (I::Of<'a>, Timestamp))
    where
        Self: Sized,
    {
        for number in 0..count {
            let (item, at) = make(number);
            self.push(item, at);
        }
    }

    /// Whether there is room for the results of one more input record. Cheap.
    fn ready(&self) -> bool;

    /// A watermark or idle mark, in order with the records.
    fn mark(&mut self, mark: Mark);

    /// A barrier: in order with the records, and it does not wait for more of them.
    fn event(&mut self, event: Event);

    /// The turn ends: flush, drive I/O, or after the last record give out final results.
    ///
    /// Called again turn after turn with [`InputStatus::Ended`] until it answers
    /// [`Stage::Done`]; then the operator is dropped.
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage;
}

/// The head of a chain: where a task's turn begins.
pub trait Head: 'static {
    /// Does a bounded piece of work.
    ///
    /// # Errors
    /// What fails the task: a source, sink or border that cannot go on.
    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError>;

    /// Counts what a turn did that a panic ended.
    fn settle(&mut self) {}
}
