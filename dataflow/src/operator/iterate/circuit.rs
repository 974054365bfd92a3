//! The head of a loop in one subtask: what it reads next, and what it does besides.
//!
//! Entered by the head of the chain that begins the loop, which reads and applies records as ever. Three
//! inputs lead there: from outside, back from the body, and from the heads of the other subtasks.
//! Invariants: what came back is read before anything from outside, so that no more is in a loop than
//! its body takes and what it makes of that; a record that comes back after the end is never lost in
//! silence. Lives on one shard.

use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_core::shard::step::{StepError, TurnContext};
use thalweg_network::{Arrival, ChannelId, Event, InputGate, Lap, ResultPartition};

use super::rest::{Rest, Step};
use super::{FEEDBACK, FEEDBACK_DROPPED, OUTSIDE, VOTES};
use crate::function::Accumulator;
use crate::graph::EdgeId;
use crate::task::{BuildContext, BuildError, TaskFailure};

/// What a program says of a loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IterationPlan {
    /// Counts the loops of a job.
    pub(crate) number: u32,
    /// The edge on which heads tell each other of laps.
    pub(crate) votes: EdgeId,
    /// How long a record that comes back is waited for when nothing comes from outside.
    pub(crate) max_wait: Option<Duration>,
}

/// What the head sends into the body besides records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onward {
    Lap(Lap),
    LastWatermark,
}

/// The head of a loop.
pub(crate) struct Circuit {
    name: String,
    iteration: u32,
    rest: Rest,
    /// How many channels from outside have not ended.
    outside: usize,
    /// To all heads.
    votes: ResultPartition,
    max_wait_ns: Option<u64>,
    /// When the loop is given up, monotonic ns.
    deadline: u64,
    /// What a loop that was given up still has to send.
    left: &'static [Step],
    given_up: bool,
    dropped: Accumulator,
    /// The time at which the turn began, monotonic ns.
    now: u64,
}

impl Circuit {
    /// The head in the subtask that is being built over this gate.
    pub(crate) fn open(
        plan: IterationPlan,
        gate: &InputGate,
        context: &mut BuildContext,
    ) -> Result<Self, BuildError> {
        let ways = gate.channels_of(FEEDBACK).collect();
        let peers = gate.channels_of(VOTES).collect();
        let wait_ns = |wait: Duration| u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self {
            name: context.operator_name(0).to_string(),
            iteration: plan.number,
            rest: Rest::new(ways, peers),
            outside: gate.channels_of(OUTSIDE).count(),
            votes: context.take_partition(plan.votes)?,
            max_wait_ns: plan.max_wait.map(wait_ns),
            deadline: u64::MAX,
            left: &[],
            given_up: false,
            dropped: Accumulator::of(&context.counters(), FEEDBACK_DROPPED),
            now: 0,
        })
    }

    /// A turn begins: gives the loop up if it has waited enough.
    pub(crate) fn begin_turn(&mut self, context: &TurnContext<'_>) {
        self.now = context.now();
        if self.rest.is_settling() && self.now >= self.deadline {
            self.given_up = true;
            self.left = self.rest.give_up();
        }
    }

    /// A turn ends: has the task woken when it has waited enough.
    pub(crate) fn end_turn(&self, context: &mut TurnContext<'_>) {
        if self.rest.is_settling() && self.deadline != u64::MAX {
            context.wake_at(self.deadline);
        }
    }

    /// Whether nothing more is sent into the body.
    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_over() && self.left.is_empty()
    }

    /// The next buffer to read.
    ///
    /// # Errors
    /// A record that came back after the end of the loop.
    pub(crate) fn next(&mut self, gate: &mut InputGate) -> Result<Option<Arrival>, StepError> {
        while let Some(told) = gate.next_of(VOTES) {
            match told.event {
                Some(Event::Lap(lap)) => self.rest.vote(told.channel, lap),
                Some(Event::EndOfPartition) => self.rest.peer_ended(told.channel),
                Some(Event::Barrier(_)) | None => {}
            }
            gate.consumed(told.channel, told.buffer);
        }
        if !self.rest.is_over() {
            return Ok(gate.next_of(FEEDBACK).or_else(|| gate.next_of(OUTSIDE)));
        }
        while let Some(late) = gate.next() {
            let records = late.buffer.records();
            gate.consumed(late.channel, late.buffer);
            if records > 0 {
                self.came_too_late(records)?;
            }
        }
        Ok(None)
    }

    fn came_too_late(&self, records: usize) -> Result<(), StepError> {
        if self.given_up {
            self.dropped.add(records as i64);
            return Ok(());
        }
        Err(Box::new(TaskFailure {
            operator: self.name.clone(),
            message: format!(
                "{records} records came back after the loop had ended: an operator of its body emits \
                 only when its input has ended; keep what it emits out of the feedback"
            ),
            kind: ErrorKind::Invalid,
        }))
    }

    /// A buffer of so many records has been applied, and this followed it on its channel.
    pub(crate) fn finished(
        &mut self,
        (input, channel): (u32, ChannelId),
        records: usize,
        event: Option<Event>,
    ) {
        if input == FEEDBACK {
            if records > 0 {
                self.rest.stir();
                self.wait_again();
            }
            match event {
                Some(Event::Lap(lap)) if lap.iteration == self.iteration => {
                    self.rest.back(channel, lap);
                }
                Some(Event::EndOfPartition) => self.rest.way_ended(channel),
                _ => {}
            }
        } else if event == Some(Event::EndOfPartition) {
            self.outside -= 1;
            if self.outside == 0 {
                self.rest.outside_ended();
                self.wait_again();
            }
        }
    }

    fn wait_again(&mut self) {
        if let Some(wait) = self.max_wait_ns {
            self.deadline = self.now.saturating_add(wait);
        }
    }

    /// What is to be sent into the body now. Tells the other heads on the way what they are to know.
    pub(crate) fn onward(&mut self) -> Option<Onward> {
        loop {
            let step = match self.left {
                [first, rest @ ..] => {
                    self.left = rest;
                    *first
                }
                [] => self.rest.next()?,
            };
            match step {
                Step::Lap(number) => return Some(Onward::Lap(self.lap(number, false))),
                Step::LastWatermark => return Some(Onward::LastWatermark),
                Step::Vote(number, quiet) => {
                    self.votes.event(Event::Lap(self.lap(number, quiet)));
                }
                Step::End => self.votes.event(Event::EndOfPartition),
            }
        }
    }

    fn lap(&self, number: u32, quiet: bool) -> Lap {
        Lap {
            iteration: self.iteration,
            number,
            quiet,
        }
    }
}
