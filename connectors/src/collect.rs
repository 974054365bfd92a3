//! A sink that brings records back to the program.
//!
//! Writers live on shards and gather a turn's records without a lock; at the end of the turn they go
//! into the vector that the program's [`Collected`] shares. Invariant: records of one subtask keep
//! their order.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
use thalweg_memory::record::{Item, Record};

/// What a [`Collect`] sink has gathered. All of it is there once `execute` has returned; after a job
/// that failed, what its sinks had taken until then.
pub struct Collected<U>(Arc<Mutex<Vec<U>>>);

impl<U> Collected<U> {
    fn lock(&self) -> MutexGuard<'_, Vec<U>> {
        // A panic while the lock is held can only come from an allocation: the vector is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is there. In the order of the stream if one subtask collected; otherwise each
    /// subtask's records keep their order.
    pub fn take(&self) -> Vec<U> {
        std::mem::take(&mut *self.lock())
    }

    /// How many records are there.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl<U: Clone> Collected<U> {
    /// A copy of what is there.
    pub fn to_vec(&self) -> Vec<U> {
        self.lock().clone()
    }
}

impl<U> Clone for Collected<U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<U> fmt::Debug for Collected<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collected({} records)", self.len())
    }
}

/// Gathers what a function makes of every record.
pub struct Collect<U, F> {
    keep: F,
    into: Collected<U>,
}

impl<T: Record> Collect<T, fn(T) -> T> {
    /// Gathers the records themselves.
    pub fn records() -> (Self, Collected<T>) {
        Self::with(std::convert::identity)
    }
}

impl<U, F> Collect<U, F> {
    /// Gathers `keep(record)` for every record; the handle gives them back.
    pub fn with(keep: F) -> (Self, Collected<U>) {
        let into = Collected(Arc::default());
        let sink = Self {
            keep,
            into: into.clone(),
        };
        (sink, into)
    }
}

impl<U, F: Clone> Clone for Collect<U, F> {
    fn clone(&self) -> Self {
        Self {
            keep: self.keep.clone(),
            into: self.into.clone(),
        }
    }
}

impl<I, U, F> Sink<I> for Collect<U, F>
where
    I: Item,
    U: Send + 'static,
    F: for<'a> Fn(I::Of<'a>) -> U + Clone + Send + 'static,
{
    type Writer = CollectWriter<U, F>;

    fn name(&self) -> String {
        "collect".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<Self::Writer, SinkError> {
        Ok(CollectWriter {
            keep: self.keep.clone(),
            gathered: Vec::new(),
            into: self.into.clone(),
        })
    }
}

/// One subtask's part of a [`Collect`].
pub struct CollectWriter<U, F> {
    keep: F,
    gathered: Vec<U>,
    into: Collected<U>,
}

impl<I, U, F> SinkWriter<I> for CollectWriter<U, F>
where
    I: Item,
    U: Send + 'static,
    F: for<'a> Fn(I::Of<'a>) -> U + 'static,
{
    #[inline]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        self.gathered.push((self.keep)(item));
        Ok(())
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        _input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        if !self.gathered.is_empty() {
            self.into.lock().append(&mut self.gathered);
        }
        Ok(SinkStatus::Done)
    }
}
