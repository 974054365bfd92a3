//! A consumer's part in unaligned checkpoints: the state is cut before the barrier has come to the front.
//!
//! A part of the head of a consuming chain. A barrier that may overtake is heard of when it arrives at the gate. When
//! its time has come, the state is cut and the barrier goes on at once; what it overtook is copied: the rest of the
//! buffer in work, what is queued, and what still comes on channels it has not reached. Channels that are only read
//! in line are waited for before. Invariant: nothing is cut while records that were in flight at the last
//! checkpoint have not all been read again: they are part of no other copy. Lives on one shard's thread.

use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::{Cursor, Entry, Remainder};
use thalweg_network::{Barrier, ChannelId, GateRef, InWork, InputGate};

use super::input_turn::{Consume, Current, InputHead};
use super::{BuildContext, BuildError};
use crate::checkpoint::{Defect, Replay};

/// The most bytes of records that are copied for one checkpoint of a task: a barrier that is slow to come lets much
/// through, and copies are in memory until it has come.
const MOST_BYTES: u64 = 64 << 20;

/// What a head knows of barriers that overtake.
pub(super) struct Overtaking {
    /// The channels on which they wait in line.
    in_line: Vec<ChannelId>,
    /// When the task is woken for the one that waits, monotonic ns; 0 if it is not.
    alarm: u64,
}

impl Overtaking {
    /// For the channels of a gate; none where all of them are read in line.
    pub(super) fn of(gate: &InputGate) -> Option<Self> {
        let in_line: Vec<ChannelId> = gate.in_line_only().collect();
        let any = in_line.len() < gate.channels().count();
        any.then_some(Self { in_line, alarm: 0 })
    }
}

/// What was in flight to the subtask that `context` describes, if it is restored.
pub(super) fn replay_of<C: Consume>(
    gate: &GateRef,
    consume: &C,
    context: &BuildContext,
) -> Result<Option<Replay>, BuildError> {
    let answers = context.answers();
    let Some(setup) = answers.setup() else {
        return Ok(None);
    };
    let Some(restored) = setup
        .restored
        .as_ref()
        .filter(|it| !it.in_flight.is_empty())
    else {
        return Ok(None);
    };
    let inputs: Vec<u32> = gate.borrow().inputs().collect();
    let layout = |input: u32| {
        let known = inputs.contains(&input);
        known.then(|| context.input_layout(input as usize))
    };
    let groups = context.info().max_parallelism;
    let replay = Replay::open((setup, restored), groups, layout, |input, rest, keep| {
        consume.revive(input, rest, keep)
    });
    replay
        .map(Some)
        .map_err(|refusal| context.state_refused(0, refusal))
}

impl<C: Consume> InputHead<C> {
    /// Lets a barrier overtake, if there is one whose time has come.
    #[inline]
    pub(super) fn overtake(&mut self, context: &mut TurnContext<'_>) {
        if self.overtaking.is_some() {
            self.overtake_if_due(context);
        }
    }

    fn overtake_if_due(&mut self, context: &mut TurnContext<'_>) {
        let Some(barrier) = self.barrier_ahead() else {
            return;
        };
        let replays = self.current.as_ref().is_some_and(Current::is_replayed)
            || self.replay.as_ref().is_some_and(|it| !it.is_over());
        if replays && !self.answers.has_defect(Defect::CutBeforeReplayed) {
            return;
        }
        let now = context.now();
        let (Some(at), Some(overtaking)) = (barrier.overtakes_at, &mut self.overtaking) else {
            return;
        };
        if now < at {
            if std::mem::replace(&mut overtaking.alarm, at) != at {
                context.wake_at(at);
            }
            return;
        }
        let in_line = &overtaking.in_line;
        if self.alignment.have_brought(barrier.checkpoint, in_line) {
            self.cut_ahead(barrier, now);
        }
    }

    /// The newest barrier that may overtake and has not passed.
    fn barrier_ahead(&self) -> Option<Barrier> {
        let announced = self.gate.borrow().announced();
        let both = announced.into_iter().chain(self.alignment.waits_for());
        let open = both.filter(|barrier| {
            barrier.overtakes_at.is_some() && !self.alignment.has_passed(barrier.checkpoint)
        });
        open.min_by_key(|barrier| (std::cmp::Reverse(barrier.checkpoint), barrier.overtakes_at))
    }

    /// Cuts the state: the barrier goes ahead of all that was not applied.
    fn cut_ahead(&mut self, barrier: Barrier, now: u64) {
        let checkpoint = barrier.checkpoint;
        let in_work = self.rest_of_current();
        let brought = self.alignment.brought(checkpoint);
        let given_up = (self.gate.borrow_mut()).capture(checkpoint, brought, in_work);
        if let Some(given_up) = given_up {
            self.answers.give_up_in_flight(given_up);
        }
        self.answers.open_piece(checkpoint);
        // Those behind need not wait either.
        let barrier = Barrier {
            overtakes_at: Some(0),
            ..barrier
        };
        let passage = self.alignment.overtake(barrier, now);
        self.pass(passage);
    }

    /// What of the buffer in work was not applied.
    fn rest_of_current(&self) -> Option<InWork> {
        let current = self.current.as_ref().filter(|it| !it.is_replayed())?;
        let rest = rest_of(&self.consume, current, self.applied);
        Some(InWork {
            channel: current.channel,
            rest,
            event: current.event,
        })
    }

    /// Tells what a barrier overtook, once it has come on every channel, and writes more of it.
    #[inline]
    pub(super) fn tell_overtaken(&mut self, context: &mut TurnContext<'_>) {
        if self.overtaking.is_some() {
            let too_much = self.gate.borrow().captures_more_than(MOST_BYTES);
            if let Some(checkpoint) = too_much {
                self.answers.decline(
                    checkpoint,
                    format!(
                        "more than {MOST_BYTES} bytes came before its barrier had come everywhere"
                    ),
                );
                self.give_up_overtaken(checkpoint);
            }
            let overtaken = self.gate.borrow_mut().overtaken();
            if let Some((checkpoint, overtaken)) = overtaken {
                self.answers.add_in_flight(checkpoint, false, overtaken);
            }
        }
        self.answers.write_in_flight(context);
    }

    /// The checkpoint is given up: nothing is copied for it any more.
    pub(super) fn give_up_overtaken(&mut self, checkpoint: CheckpointId) {
        let given_up = self.gate.borrow_mut().give_up_capture(checkpoint);
        if let Some(given_up) = given_up {
            self.answers.give_up_in_flight(given_up);
        }
    }
}

/// What is left of a buffer behind the first `applied` entries and the marks that were taken.
fn rest_of<C: Consume>(consume: &C, current: &Current, applied: usize) -> Remainder {
    let (buffer, mut cursor) = (&current.buffer, Cursor::default());
    let mut entries = [Entry::default(); 64];
    loop {
        let left = applied - cursor.record() as usize;
        let out = left.min(entries.len());
        let found = consume.scan(current.input, buffer, &mut cursor, &mut entries[..out]);
        if found > 0 {
            continue;
        }
        let taken = cursor.marks() < current.cursor.marks();
        if !taken || buffer.take_mark(&mut cursor).is_none() {
            debug_assert_eq!(cursor.record() as usize, applied, "nothing stands between");
            return buffer.remainder(&cursor);
        }
    }
}
