//! The harness of a piece with one input.

use std::time::Duration;

use thalweg_core::config::{Configuration, options};
use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::metrics::MetricSnapshot;
use thalweg_memory::Mark;
use thalweg_memory::record::Record;

use super::ends::{Fed, Feed, HarnessSource, Outlet};
use super::rig::Rig;
use crate::stream::{DataStream, Pipe, RuntimeMode, SourcePipe};

/// A piece of a program under test.
///
/// Time stands still unless the test moves it, event time and processing time alike:
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
///
/// let mut harness = TestHarness::<u64, u64>::new(|numbers| numbers.filter(|n| n % 2 == 0));
/// harness.push_at(4, Timestamp(1_000));
/// harness.advance_watermark(Timestamp(1_500));
/// assert_eq!(harness.output_at(), vec![(4, Timestamp(1_000))]);
/// assert_eq!(harness.watermark(), Timestamp(1_500));
///
/// let before = harness.processing_time();
/// harness.advance_processing_time(Duration::from_millis(30));
/// assert_eq!(harness.processing_time(), before.plus_ms(30));
///
/// harness.finish();
/// assert_eq!(harness.watermark(), Timestamp::MAX, "the end of the input promises everything");
/// ```
pub struct TestHarness<T, U> {
    rig: Rig,
    input: Feed<T>,
    output: Outlet<U>,
}

impl<T: Record, U: Record> TestHarness<T, U> {
    /// Builds the piece under test, in STREAMING mode.
    ///
    /// # Panics
    /// If the program is not valid; the message says why.
    pub fn new<P: Pipe<Out = U>>(
        build: impl FnOnce(DataStream<T, SourcePipe<HarnessSource<T>>>) -> DataStream<U, P>,
    ) -> Self {
        Self::with_mode(RuntimeMode::Streaming, build)
    }

    /// Builds the piece under test in the given mode.
    ///
    /// # Panics
    /// If the program is not valid; the message says why.
    pub fn with_mode<P: Pipe<Out = U>>(
        mode: RuntimeMode,
        build: impl FnOnce(DataStream<T, SourcePipe<HarnessSource<T>>>) -> DataStream<U, P>,
    ) -> Self {
        let mut configuration = Configuration::new();
        configuration.set(&options::RUNTIME_MODE, mode);
        Self::with_configuration(configuration, build)
    }

    /// Builds the piece under test with these settings.
    ///
    /// # Panics
    /// If the program is not valid; the message says why.
    pub fn with_configuration<P: Pipe<Out = U>>(
        configuration: Configuration,
        build: impl FnOnce(DataStream<T, SourcePipe<HarnessSource<T>>>) -> DataStream<U, P>,
    ) -> Self {
        let environment = Rig::environment(configuration);
        let (input, output) = (Feed::new(), Outlet::new());
        let source = environment.source(HarnessSource(input.clone()));
        output.end(build(source));
        Self {
            rig: Rig::deploy(&environment),
            input,
            output,
        }
    }

    /// Feeds one record without an event time and runs until nothing moves.
    pub fn push(&mut self, record: T) {
        self.push_at(record, Timestamp::NONE);
    }

    /// Feeds one record with its event time and runs until nothing moves.
    pub fn push_at(&mut self, record: T, at: Timestamp) {
        self.feed(Fed::Record(record, at));
    }

    /// Promises that no record at or before `to` follows, and runs until nothing moves.
    pub fn advance_watermark(&mut self, to: Timestamp) {
        self.feed(Fed::Mark(Mark::Watermark(Watermark(to))));
    }

    /// The input makes no promise until further notice.
    pub fn mark_idle(&mut self) {
        self.feed(Fed::Mark(Mark::Idle));
    }

    /// The input makes promises again.
    pub fn mark_active(&mut self) {
        self.feed(Fed::Mark(Mark::Active));
    }

    /// Moves the processing time on and runs what falls due on the way, in its order.
    pub fn advance_processing_time(&mut self, by: Duration) {
        self.rig.advance_processing_time(by);
    }

    /// The processing time the piece under test sees.
    pub fn processing_time(&self) -> Timestamp {
        self.rig.processing_time()
    }

    /// Ends the input and runs until everything has finished.
    pub fn finish(&mut self) {
        self.feed(Fed::End);
    }

    /// The number of a metric, over all tasks and operators under test that have it: one of the engine
    /// (`docs/reference/metrics.md`), or one a function has made. `None` if there is none, or if it
    /// shows nothing.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.rig.metric(name)
    }

    /// All metrics, with their labels.
    pub fn metrics(&self) -> Vec<MetricSnapshot> {
        self.rig.metrics()
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

    fn feed(&mut self, fed: Fed<T>) {
        self.input.push(fed);
        self.rig.wake(0);
    }
}
