//! The harness for what reads two streams: each is fed and advanced on its own.

use std::sync::Arc;

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::shard::step::TaskIndex;
use thalweg_memory::Mark;
use thalweg_memory::record::Record;

use super::{Fed, Feed, HarnessSource, SOURCE, Stage};
use crate::stream::{DataStream, Pipe, RuntimeMode, SourcePipe};

/// The task of the second source.
const SECOND_SOURCE: TaskIndex = TaskIndex(1);

/// A piece of a program over two streams under test.
///
/// ```
/// use thalweg_dataflow::harness::TwoInputHarness;
///
/// let mut harness = TwoInputHarness::<u64, u64, u64>::new(|evens, odds| evens.union(odds));
/// harness.push_second(1);
/// harness.push_first(2);
/// assert_eq!(harness.output(), [1, 2]);
/// ```
pub struct TwoInputHarness<A, B, U> {
    stage: Stage<U>,
    first: Feed<A>,
    second: Feed<B>,
}

impl<A: Record, B: Record, U: Record> TwoInputHarness<A, B, U> {
    /// Builds the piece under test, in STREAMING mode.
    ///
    /// # Panics
    /// If the program is not valid; the message says why.
    pub fn new<P: Pipe<Out = U>>(
        build: impl FnOnce(
            DataStream<A, SourcePipe<HarnessSource<A>>>,
            DataStream<B, SourcePipe<HarnessSource<B>>>,
        ) -> DataStream<U, P>,
    ) -> Self {
        let (first, second) = (Feed(Arc::default()), Feed(Arc::default()));
        let stage = Stage::new(RuntimeMode::Streaming, |environment| {
            let of_first = environment.source(HarnessSource(first.clone()));
            let of_second = environment.source(HarnessSource(second.clone()));
            build(of_first, of_second)
        });
        Self {
            stage,
            first,
            second,
        }
    }

    /// Feeds one record without an event time to the first stream and runs until nothing moves.
    pub fn push_first(&mut self, record: A) {
        self.push_first_at(record, Timestamp::NONE);
    }

    /// Feeds one record without an event time to the second stream and runs until nothing moves.
    pub fn push_second(&mut self, record: B) {
        self.push_second_at(record, Timestamp::NONE);
    }

    /// Feeds one record with its event time to the first stream and runs until nothing moves.
    pub fn push_first_at(&mut self, record: A, at: Timestamp) {
        self.feed_first(Fed::Record(record, at));
    }

    /// Feeds one record with its event time to the second stream and runs until nothing moves.
    pub fn push_second_at(&mut self, record: B, at: Timestamp) {
        self.feed_second(Fed::Record(record, at));
    }

    /// Promises that no record at or before `to` follows in the first stream, and runs until
    /// nothing moves.
    pub fn advance_first(&mut self, to: Timestamp) {
        self.feed_first(Fed::Mark(Mark::Watermark(Watermark(to))));
    }

    /// Promises that no record at or before `to` follows in the second stream, and runs until
    /// nothing moves.
    pub fn advance_second(&mut self, to: Timestamp) {
        self.feed_second(Fed::Mark(Mark::Watermark(Watermark(to))));
    }

    /// Promises that no record at or before `to` follows in either stream, and runs until nothing
    /// moves.
    pub fn advance_watermark(&mut self, to: Timestamp) {
        self.advance_first(to);
        self.advance_second(to);
    }

    /// Ends the first stream and runs until nothing moves.
    pub fn finish_first(&mut self) {
        self.feed_first(Fed::End);
    }

    /// Ends the second stream and runs until nothing moves.
    pub fn finish_second(&mut self) {
        self.feed_second(Fed::End);
    }

    /// Ends both streams and runs until everything has finished.
    pub fn finish(&mut self) {
        self.finish_first();
        self.finish_second();
    }

    /// What came out since the last call.
    pub fn output(&mut self) -> Vec<U> {
        self.stage.output()
    }

    /// The message of the first failed task, if one failed.
    pub fn failure(&self) -> Option<String> {
        self.stage.failure()
    }

    fn feed_first(&mut self, fed: Fed<A>) {
        self.stage.feed(&self.first, SOURCE, fed);
    }

    fn feed_second(&mut self, fed: Fed<B>) {
        self.stage.feed(&self.second, SECOND_SOURCE, fed);
    }
}
