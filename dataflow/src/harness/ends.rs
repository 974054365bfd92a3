//! The ends of a program under test: what the test feeds, and what it reads.
//!
//! Feeds and outputs are shared between the test and the simulated shard, which live on one thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::Mark;
use thalweg_memory::record::{Item, Record};
use thalweg_network::Event;

use crate::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use crate::source::{Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus};
use crate::stream::{DataStream, Pipe};
use crate::task::{
    BuildContext, BuildError, ChainTurn, Head, InputStatus, Push, Stage, SubtaskInfo,
};

pub(super) enum Fed<T> {
    Record(T, Timestamp),
    Mark(Mark),
    End,
}

/// What is fed and not yet read. Locked only to hand over, on one thread.
pub(super) struct Feed<T>(Arc<Mutex<VecDeque<Fed<T>>>>);

impl<T> Feed<T> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn push(&self, fed: Fed<T>) {
        locked(&self.0).push_back(fed);
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

pub(super) fn locked<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The source of a harness: what the test feeds.
pub struct HarnessSource<T>(pub(super) Feed<T>);

impl<T> Clone for HarnessSource<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Record> Source for HarnessSource<T> {
    type Item = T;
    type Split = ();
    type Reader = HarnessReader<T>;

    fn name(&self) -> String {
        "harness".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }
    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }
    fn timestamps(&self) -> bool {
        true
    }
    fn splits(&self, _parallelism: u32) -> Result<Vec<()>, SourceError> {
        Ok(vec![()])
    }
    fn open(&self, _: Vec<()>, _: &SubtaskInfo) -> Result<HarnessReader<T>, SourceError> {
        Ok(HarnessReader(self.0.clone()))
    }
}

/// Reads what the test feeds.
pub struct HarnessReader<T>(Feed<T>);

impl<T: Record> SourceReader for HarnessReader<T> {
    type Item = T;
    type Split = ();

    fn poll<O: SourceOutput<T>>(
        &mut self,
        out: &mut O,
        _context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        while out.wanted() {
            let fed = locked(&self.0.0).pop_front();
            match fed {
                Some(Fed::Record(record, at)) => out.emit(record, at),
                Some(Fed::Mark(mark)) => out.mark(mark),
                Some(Fed::End) => return Ok(SourceStatus::Finished),
                None => return Ok(SourceStatus::Waiting),
            }
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<()> {
        vec![()]
    }
}

/// What came out of the program under test.
pub(super) struct Outlet<U>(Arc<Mutex<Seen<U>>>);

struct Seen<U> {
    records: Vec<(U, Timestamp)>,
    watermark: Timestamp,
    idle: bool,
}

impl<U> Clone for Outlet<U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<U: Record> Outlet<U> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Seen {
            records: Vec::new(),
            watermark: Timestamp::MIN,
            idle: false,
        })))
    }

    /// Ends the stream here.
    pub(super) fn end<P: Pipe<Out = U>>(&self, stream: DataStream<U, P>) {
        let watched = stream.then("watch", |pipe, _place| Watched {
            pipe,
            outlet: self.clone(),
        });
        let _ = watched.sink(self.clone());
    }

    pub(super) fn take(&self) -> Vec<(U, Timestamp)> {
        std::mem::take(&mut locked(&self.0).records)
    }

    pub(super) fn watermark(&self) -> Timestamp {
        locked(&self.0).watermark
    }

    pub(super) fn is_idle(&self) -> bool {
        locked(&self.0).idle
    }
}

impl<U: Record> Sink<U> for Outlet<U> {
    type Writer = Self;

    fn name(&self) -> String {
        "harness".to_owned()
    }
    fn open(&self, _subtask: &SubtaskInfo) -> Result<Self, SinkError> {
        Ok(self.clone())
    }
}

impl<U: Record> SinkWriter<U> for Outlet<U> {
    fn write(&mut self, item: U, at: Timestamp) -> Result<(), SinkError> {
        locked(&self.0).records.push((item, at));
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

/// Notes the marks that come out, which no sink sees.
struct Watched<P, U> {
    pipe: P,
    outlet: Outlet<U>,
}

impl<P: Clone, U> Clone for Watched<P, U> {
    fn clone(&self) -> Self {
        Self {
            pipe: self.pipe.clone(),
            outlet: self.outlet.clone(),
        }
    }
}

impl<U: Record, P: Pipe<Out = U>> Pipe for Watched<P, U> {
    type Out = U;

    fn build<N: Push<U> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let stage = Watch {
            outlet: self.outlet,
            next,
        };
        self.pipe.build(stage, context)
    }
}

struct Watch<U, N> {
    outlet: Outlet<U>,
    next: N,
}

impl<I: Item, U, N: Push<I>> Push<I> for Watch<U, N> {
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        self.next.push(item, at);
    }
    fn ready(&self) -> bool {
        self.next.ready()
    }
    fn mark(&mut self, mark: Mark) {
        {
            let mut seen = locked(&self.outlet.0);
            seen.idle = mark == Mark::Idle;
            if let Mark::Watermark(Watermark(to)) = mark {
                assert!(to >= seen.watermark, "watermarks do not go back");
                seen.watermark = to;
            }
        }
        self.next.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.next.event(event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        self.next.end_turn(turn)
    }
}
