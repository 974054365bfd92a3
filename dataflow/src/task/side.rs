//! Side outputs of one task: exchanges a user function reaches by tag.
//!
//! They share the task's back-pressure, marks and events with the main output. Values for
//! a tag nobody reads are dropped, as in Flink.

use std::any::Any;
use std::cell::{Cell, RefCell};

use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_memory::Mark;
use thalweg_memory::record::Record;
use thalweg_network::{Event, Overtaken};

use super::{EdgeOutput, EdgeWriter, Failure};

/// One tag's exchange, typed.
pub(crate) struct SideWriter<T: Record>(pub(crate) Box<dyn EdgeWriter<T>>);

trait AnySideWriter {
    fn as_any(&mut self) -> &mut dyn Any;
    fn output(&mut self) -> &mut dyn EdgeOutput;
}

impl<T: Record> AnySideWriter for SideWriter<T> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
    fn output(&mut self) -> &mut dyn EdgeOutput {
        self.0.as_output()
    }
}

/// All side outputs of one task, by tag.
#[derive(Default)]
pub(crate) struct SideOutputs {
    /// Whether there is any: asked once per record, so it is kept beside them.
    any: Cell<bool>,
    writers: RefCell<Vec<(u64, Box<dyn AnySideWriter>)>>,
}

impl SideOutputs {
    pub(crate) fn add<T: Record>(&self, tag: u64, writer: SideWriter<T>) {
        self.any.set(true);
        self.writers.borrow_mut().push((tag, Box::new(writer)));
    }

    /// Writes to every reader of the tag.
    pub(crate) fn write<T: Record>(&self, tag: u64, value: T, at: Timestamp) {
        for (id, writer) in self.writers.borrow_mut().iter_mut() {
            if *id == tag
                && let Some(writer) = writer.as_any().downcast_mut::<SideWriter<T>>()
            {
                writer.0.write(&value, at);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn ready(&self) -> bool {
        !self.any.get() || self.all_ready()
    }

    fn all_ready(&self) -> bool {
        let mut writers = self.writers.borrow_mut();
        writers
            .iter_mut()
            .all(|(_, writer)| writer.output().ready())
    }

    pub(crate) fn mark(&self, mark: Mark) {
        self.each(|output| output.mark(mark));
    }

    pub(crate) fn event(&self, event: Event) {
        self.each(|output| output.event(event));
    }

    /// The turn ends at `now`; answers when they have to be told of the next end at the latest.
    pub(crate) fn end_turn(&self, now: u64, idle: bool) -> Option<u64> {
        let mut next = None;
        self.each(|output| {
            let due = output.end_turn(now, idle);
            next = next.into_iter().chain(due).min();
        });
        next
    }

    pub(crate) fn finished(&self) -> bool {
        let mut writers = self.writers.borrow_mut();
        writers
            .iter_mut()
            .all(|(_, writer)| writer.output().finished())
    }

    pub(crate) fn check(&self, failure: &Failure) {
        self.each(|output| output.check(failure));
    }

    /// How many barriers may overtake what waits here and were not told of.
    pub(crate) fn barriers_in_line(&self) -> usize {
        let mut count = 0;
        self.each(|output| count += output.barriers_in_line());
        count
    }

    /// When the next of them does, monotonic ns.
    pub(crate) fn overtakes_at(&self) -> Option<u64> {
        let mut next = None;
        self.each(|output| next = next.into_iter().chain(output.overtakes_at()).min());
        next
    }

    /// Lets them overtake if their time has come; answers what they overtook.
    pub(crate) fn overtake(&self, now: u64) -> Vec<(CheckpointId, Vec<Overtaken>)> {
        let mut told = Vec::new();
        self.each(|output| told.extend(output.overtake(now)));
        told
    }

    fn each(&self, mut act: impl FnMut(&mut dyn EdgeOutput)) {
        for (_, writer) in self.writers.borrow_mut().iter_mut() {
            act(writer.output());
        }
    }
}
