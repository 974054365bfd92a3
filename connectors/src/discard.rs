//! Sinks without an outside: one that drops its records, one that hands them to a function.
//!
//! Both live on their subtask's shard and never wait.

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
use thalweg_memory::record::Item;

/// Drops every record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl<I: Item> Sink<I> for Discard {
    type Writer = Discard;

    fn name(&self) -> String {
        "discard".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<Discard, SinkError> {
        Ok(Discard)
    }
}

impl<I: Item> SinkWriter<I> for Discard {
    #[inline(always)]
    fn write(&mut self, _item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        Ok(())
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        _input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        Ok(SinkStatus::Done)
    }
}

/// Calls a function with every record. Each subtask has its own clone of it.
#[derive(Clone, Copy, Debug)]
pub struct ForEach<F>(
    /// What is called.
    pub F,
);

impl<I, F> Sink<I> for ForEach<F>
where
    I: Item,
    F: for<'a> FnMut(I::Of<'a>) + Clone + Send + 'static,
{
    type Writer = ForEach<F>;

    fn name(&self) -> String {
        "for each".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<ForEach<F>, SinkError> {
        Ok(self.clone())
    }
}

impl<I, F> SinkWriter<I> for ForEach<F>
where
    I: Item,
    F: for<'a> FnMut(I::Of<'a>) + Clone + Send + 'static,
{
    #[inline(always)]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        (self.0)(item);
        Ok(())
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        _input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        Ok(SinkStatus::Done)
    }
}
