//! The harness of a piece with two inputs: joins, connected streams, broadcast.

use std::time::Duration;

use thalweg_core::config::Configuration;
use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::metrics::MetricSnapshot;
use thalweg_memory::Mark;
use thalweg_memory::record::Record;

use super::ends::{Fed, Feed, HarnessSource, Outlet};
use super::rig::Rig;
use crate::stream::{DataStream, Pipe, SourcePipe};

/// A stream a harness feeds.
type FedStream<T> = DataStream<T, SourcePipe<HarnessSource<T>>>;

/// A piece of a program with two inputs under test. As [`super::TestHarness`] otherwise.
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TwoInputHarness;
///
/// let mut harness = TwoInputHarness::<u64, u64, u64>::new(|left, right| left.union(right));
/// harness.push_first_at(1, Timestamp(10));
/// harness.push_second_at(2, Timestamp(20));
/// assert_eq!(harness.output(), vec![1, 2]);
///
/// harness.advance_first(Timestamp(10));
/// assert_eq!(harness.watermark(), Timestamp::MIN, "the other stream holds it");
/// harness.advance_second(Timestamp(5));
/// assert_eq!(harness.watermark(), Timestamp(5));
/// ```
pub struct TwoInputHarness<A, B, U> {
    rig: Rig,
    first: Feed<A>,
    second: Feed<B>,
    output: Outlet<U>,
}

impl<A: Record, B: Record, U: Record> TwoInputHarness<A, B, U> {
    /// Builds the piece under test, in STREAMING mode.
    ///
    /// # Panics
    /// If the program is not valid; the message says why.
    pub fn new<P: Pipe<Out = U>>(
        build: impl FnOnce(FedStream<A>, FedStream<B>) -> DataStream<U, P>,
    ) -> Self {
        Self::with_configuration(Configuration::new(), build)
    }

    /// Builds the piece under test with these settings.
    ///
    /// # Panics
    /// If the program is not valid; the message says why.
    pub fn with_configuration<P: Pipe<Out = U>>(
        configuration: Configuration,
        build: impl FnOnce(FedStream<A>, FedStream<B>) -> DataStream<U, P>,
    ) -> Self {
        let environment = Rig::environment(configuration);
        let (first, second, output) = (Feed::new(), Feed::new(), Outlet::new());
        let left = environment.source(HarnessSource(first.clone()));
        let right = environment.source(HarnessSource(second.clone()));
        output.end(build(left, right));
        Self {
            rig: Rig::deploy(&environment),
            first,
            second,
            output,
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

    /// Feeds a record with its event time to the first stream and runs until nothing moves.
    pub fn push_first_at(&mut self, record: A, at: Timestamp) {
        self.feed_first(Fed::Record(record, at));
    }

    /// Feeds a record with its event time to the second stream and runs until nothing moves.
    pub fn push_second_at(&mut self, record: B, at: Timestamp) {
        self.feed_second(Fed::Record(record, at));
    }

    /// Promises that no record at or before `to` follows on the first stream.
    pub fn advance_first(&mut self, to: Timestamp) {
        self.feed_first(Fed::Mark(Mark::Watermark(Watermark(to))));
    }

    /// Promises that no record at or before `to` follows on the second stream.
    pub fn advance_second(&mut self, to: Timestamp) {
        self.feed_second(Fed::Mark(Mark::Watermark(Watermark(to))));
    }

    /// Promises the same on both streams.
    pub fn advance_watermark(&mut self, to: Timestamp) {
        self.advance_first(to);
        self.advance_second(to);
    }

    /// The first stream makes no promise until its next watermark.
    pub fn mark_first_idle(&mut self) {
        self.feed_first(Fed::Mark(Mark::Idle));
    }

    /// The second stream makes no promise until its next watermark.
    pub fn mark_second_idle(&mut self) {
        self.feed_second(Fed::Mark(Mark::Idle));
    }

    /// Ends the first stream.
    pub fn finish_first(&mut self) {
        self.feed_first(Fed::End);
    }

    /// Ends the second stream.
    pub fn finish_second(&mut self) {
        self.feed_second(Fed::End);
    }

    /// Ends both streams and runs until everything has finished.
    pub fn finish(&mut self) {
        self.finish_first();
        self.finish_second();
    }

    /// Moves the processing time on and runs what falls due on the way, in its order.
    pub fn advance_processing_time(&mut self, by: Duration) {
        self.rig.advance_processing_time(by);
    }

    /// The processing time the piece under test sees.
    pub fn processing_time(&self) -> Timestamp {
        self.rig.processing_time()
    }

    /// All metrics, with their labels.
    pub fn metrics(&self) -> Vec<MetricSnapshot> {
        self.rig.metrics()
    }

    /// The number of a metric, as [`TestHarness::metric`](super::TestHarness::metric).
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.rig.metric(name)
    }

    /// What came out since the last call.
    pub fn output(&mut self) -> Vec<U> {
        let seen = self.output.take();
        seen.into_iter().map(|(record, _)| record).collect()
    }

    /// What came out since the last call, with event times.
    pub fn output_at(&mut self) -> Vec<(U, Timestamp)> {
        self.output.take()
    }

    /// The last watermark that came out; [`Timestamp::MIN`] before the first.
    pub fn watermark(&self) -> Timestamp {
        self.output.watermark()
    }

    /// Whether the last mark that came out says that the output makes no promise.
    pub fn is_idle(&self) -> bool {
        self.output.is_idle()
    }

    /// The accumulator of this name so far, summed over the tasks; 0 if there is none.
    pub fn accumulator(&self, name: &str) -> i64 {
        self.rig.accumulator(name)
    }

    /// The message of the first failed task, if one failed.
    pub fn failure(&self) -> Option<String> {
        self.rig.failure()
    }

    fn feed_first(&mut self, fed: Fed<A>) {
        self.first.push(fed);
        self.rig.wake(0);
    }

    fn feed_second(&mut self, fed: Fed<B>) {
        self.second.push(fed);
        self.rig.wake(1);
    }
}
