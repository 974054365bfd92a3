//! The end of a chain that leads into a sink: records go to its writer, epochs are prepared.
//!
//! Invariants: what the writer prepares is collected exactly once; a checkpoint is answered only when the
//! writer has made its epoch durable, with all that it prepared before. Lives on its subtask's shard.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::panic::FusedScope;
use thalweg_memory::Mark;
use thalweg_memory::record::Item;
use thalweg_network::{Barrier, Event};
use thalweg_state::{OperatorPart, Redistribution};

use super::border::ChainEnd;
use super::{BuildContext, BuildError, ChainTurn, InputStatus, Push, Stage};
use crate::sink::{Committable, Epoch, Prepared, Sink, SinkError, SinkStatus, SinkWriter};

/// The name of what a writer remembers, within its operator.
const WRITER: &str = "writer";

/// The border of a chain that ends in a sink.
pub(crate) struct SinkBorder<I, S> {
    name: Rc<str>,
    /// Of the sink in the chain.
    place: usize,
    writer: S,
    committables: Rc<RefCell<Vec<Committable>>>,
    remembered: Rc<RefCell<Vec<(usize, OperatorPart)>>>,
    end: ChainEnd,
    written: bool,
    item: PhantomData<fn(I)>,
}

impl<I: Item, S: SinkWriter<I>> SinkBorder<I, S> {
    /// Opens the sink's writer, with what it remembered if the job is restored.
    pub(crate) fn open<T>(sink: &T, name: &str, context: &BuildContext) -> Result<Self, BuildError>
    where
        T: Sink<I, Writer = S>,
    {
        let info = context.info();
        let place = info.operators.len().saturating_sub(1);
        let restored = context
            .restored(place)
            .and_then(|(_, from)| from.items(WRITER));
        let opened = match restored {
            Some(state) => sink.restore(info, state),
            None => sink.open(info),
        };
        let mut writer = opened.map_err(|error| context.refused(name, error))?;
        writer.attach(context.async_runtime());
        Ok(Self {
            name: name.into(),
            place,
            writer,
            committables: context.counters().committables,
            remembered: context.counters().remembered,
            end: ChainEnd::new(context),
            written: false,
            item: PhantomData,
        })
    }

    /// Lets the writer work at the end of a turn, and collects what has become durable.
    fn drive(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let input = turn.input();
        match self.writer.end_turn(turn.context(), input) {
            Ok(status) => {
                self.collect();
                match status {
                    SinkStatus::Waiting => Stage::Waiting,
                    SinkStatus::Done => {
                        self.written = input == InputStatus::Ended;
                        Stage::Done
                    }
                }
            }
            Err(error) => {
                self.fail(error);
                Stage::Waiting
            }
        }
    }

    fn collect(&mut self) {
        while let Some(prepared) = self.writer.prepared() {
            match prepared.checkpoint {
                Some(checkpoint) => self.answer(checkpoint, prepared),
                None => {
                    self.committables.borrow_mut().extend(prepared.committables);
                    let parts = part_of(prepared.state).map(|part| (self.place, part));
                    self.remembered.borrow_mut().extend(parts);
                }
            }
        }
    }

    fn answer(&self, checkpoint: CheckpointId, prepared: Prepared) {
        let answers = &self.end.answers;
        if let Some(part) = part_of(prepared.state) {
            answers.add_part(checkpoint, self.place, part);
        }
        // A barrier that comes behind the end of the input takes what was written last along.
        let last = self.committables.take().into_iter();
        let committables = last
            .chain(prepared.committables)
            .map(|Committable(bytes)| bytes);
        answers.add_committables(checkpoint, self.place, committables);
        answers.close_piece(checkpoint);
    }

    fn barrier(&mut self, barrier: Barrier) {
        let scope = FusedScope::enter(&self.name);
        let outcome = self.writer.barrier(barrier.checkpoint);
        scope.leave();
        match outcome {
            Ok(Epoch::Published) => {}
            Ok(Epoch::Preparing) => self.end.answers.open_piece(barrier.checkpoint),
            Err(error) => self.fail(error),
        }
    }

    #[cold]
    fn fail(&self, error: SinkError) {
        self.end.failure.set(&self.name, error.message, error.kind);
    }
}

/// What a writer remembers, as a part of a checkpoint.
fn part_of(state: Vec<Vec<u8>>) -> Option<OperatorPart> {
    (!state.is_empty()).then(|| OperatorPart {
        name: WRITER.to_owned(),
        redistribution: Redistribution::Split,
        items: state,
    })
}

impl<I: Item, S: SinkWriter<I>> Push<I> for SinkBorder<I, S> {
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        self.end.count(1);
        let scope = FusedScope::enter(&self.name);
        let outcome = self.writer.write(item, at);
        scope.leave();
        if let Err(error) = outcome {
            self.fail(error);
        }
    }
    #[inline(always)]
    fn ready(&self) -> bool {
        self.writer.ready() && !self.end.failure.is_set() && self.end.side.ready()
    }
    fn mark(&mut self, mark: Mark) {
        self.end.mark(mark);
    }
    fn event(&mut self, event: Event) {
        if let Event::Barrier(barrier) = event {
            self.barrier(barrier);
        }
        self.end.event(&mut [], event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let written = if self.written {
            Stage::Done
        } else {
            self.drive(turn)
        };
        match self.end.end_turn(&mut [], turn) {
            Stage::Done => written,
            waiting => waiting,
        }
    }
}
