//! How a stream gets event times and watermarks: what a program says of it.
//!
//! A [`WatermarkStrategy`] is a template; each subtask makes its generators from it. Plain data, lives
//! on the program's thread until a subtask opens it.

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::generator::{
    BoundedDisorder, GeneratorTemplate, MadeBy, NoWatermarks, Punctuated, WatermarkGenerator,
};

/// How often a source that waits for the others of its group looks again, unless told otherwise.
const ALIGNMENT_INTERVAL: Duration = Duration::from_millis(10);

/// Where event times come from and what is promised of them.
///
/// The rules:
/// - A record keeps the event time it has, unless the strategy has an assigner.
/// - A watermark is the minimum over the splits of a source and over the inputs of an operator. The
///   strategy's watermarks replace those from before it; only the last one, [`Timestamp::MAX`] at the
///   end of the input, comes through.
/// - Watermarks go out once per `pipeline.auto-watermark-interval` (0: only those that
///   [`WatermarkGenerator::on_event`] says), or as [`WatermarkStrategy::with_interval`] says. Where event time
///   runs faster than the clock, as in a job that catches up, one goes out also when it has advanced by as much, up to a
///   hundred times per interval (of generators that [want the highest](WatermarkGenerator::WANTS_THE_HIGHEST) time). In
///   BATCH mode there is but the last one, so no record is late.
/// - With an idle timeout, a split without a record for so long holds nothing back; when all splits are
///   idle the whole input is, and its last promise stands. The first record behind that makes it count
///   again. Time in which records wait (for room behind them, for their turn, for the others of an
///   alignment group) does not count as idle.
/// - A split or input that has ended holds nothing back either, and promises nothing for the others: while
///   those that have not ended are idle, the last promise stands. [`Timestamp::MAX`] comes when all have.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::time::WatermarkStrategy;
///
/// let mut harness = TestHarness::<(u64, i64), (u64, i64)>::new(|readings| {
///     let disorder = Duration::from_millis(100);
///     readings.assign_timestamps_and_watermarks(
///         WatermarkStrategy::<(u64, i64)>::for_bounded_out_of_orderness(disorder)
///             .with_timestamp_assigner(|reading, _previous| Timestamp(reading.1)),
///     )
/// });
/// harness.push((7, 5_000));
/// harness.push((7, 4_950));
/// assert_eq!(harness.output_at()[1], ((7, 4_950), Timestamp(4_950)));
/// harness.advance_processing_time(Duration::from_millis(200));
/// assert_eq!(harness.watermark(), Timestamp(4_899));
/// ```
pub struct WatermarkStrategy<T: Item, M = BoundedDisorder, A = KeepTimestamps> {
    pub(crate) generators: M,
    pub(crate) assigner: A,
    pub(crate) idle_after: Option<Duration>,
    pub(crate) alignment: Option<Alignment>,
    pub(crate) interval: Option<Duration>,
    item: PhantomData<fn(T)>,
}

/// Which sources shall not run apart, and how far at most.
#[derive(Clone, Debug)]
pub(crate) struct Alignment {
    pub(crate) group: String,
    pub(crate) max_drift: Duration,
    pub(crate) interval: Duration,
}

impl<T: Item, M: Clone, A: Clone> Clone for WatermarkStrategy<T, M, A> {
    fn clone(&self) -> Self {
        Self {
            generators: self.generators.clone(),
            assigner: self.assigner.clone(),
            idle_after: self.idle_after,
            alignment: self.alignment.clone(),
            interval: self.interval,
            item: PhantomData,
        }
    }
}

impl<T: Item> WatermarkStrategy<T> {
    /// Each split has its records in the order of their event times: what is below the last one is
    /// complete. A record that is out of order all the same is late.
    pub fn for_monotonous_timestamps() -> WatermarkStrategy<T> {
        Self::of(BoundedDisorder::of(Duration::ZERO))
    }

    /// A record may come behind others that are later by `most` at most (in event time; a part of a
    /// millisecond counts as one).
    pub fn for_bounded_out_of_orderness(most: Duration) -> WatermarkStrategy<T> {
        Self::of(BoundedDisorder::of(most))
    }

    /// A record may say what is complete: `complete(&record, time)` answers the watermark that goes out
    /// right behind the record, if any.
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::time::WatermarkStrategy;
    ///
    /// let mut harness = TestHarness::<(bool, i64), (bool, i64)>::new(|events| {
    ///     events.assign_timestamps_and_watermarks(
    ///         WatermarkStrategy::<(bool, i64)>::for_punctuated(|event, at| event.0.then_some(at))
    ///             .with_timestamp_assigner(|event, _| Timestamp(event.1)),
    ///     )
    /// });
    /// harness.push((false, 5));
    /// assert_eq!(harness.watermark(), Timestamp::MIN);
    /// harness.push((true, 7));
    /// assert_eq!(harness.watermark(), Timestamp(7));
    /// ```
    pub fn for_punctuated<F>(complete: F) -> WatermarkStrategy<T, Punctuated<F>>
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>, Timestamp) -> Option<Timestamp> + Clone + Send + 'static,
    {
        WatermarkStrategy::of_generators(Punctuated(complete))
    }

    /// Watermarks as a generator of the program's own makes them; `make` is called for each split, or
    /// for each subtask. See [`WatermarkGenerator`] for an example.
    pub fn for_generator<G, F>(make: F) -> WatermarkStrategy<T, MadeBy<F>>
    where
        G: WatermarkGenerator<T>,
        F: Fn() -> G + Clone + Send + 'static,
    {
        WatermarkStrategy::of_generators(MadeBy(make))
    }

    /// Event times, but no watermark before the end of the input: nothing is ever late, and windows and
    /// timers fire at the end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::time::WatermarkStrategy;
    ///
    /// let mut harness = TestHarness::<i64, i64>::new(|times| {
    ///     times.assign_timestamps_and_watermarks(
    ///         WatermarkStrategy::<i64>::no_watermarks()
    ///             .with_timestamp_assigner(|time, _previous| Timestamp(*time)),
    ///     )
    /// });
    /// harness.push(5_000);
    /// harness.advance_processing_time(Duration::from_secs(60));
    /// assert_eq!(harness.watermark(), Timestamp::MIN);
    /// harness.finish();
    /// assert_eq!(harness.watermark(), Timestamp::MAX);
    /// ```
    pub fn no_watermarks() -> WatermarkStrategy<T, NoWatermarks> {
        WatermarkStrategy::of_generators(NoWatermarks)
    }

    fn of(generators: BoundedDisorder) -> Self {
        WatermarkStrategy::of_generators(generators)
    }
}

impl<T: Item, M: GeneratorTemplate<T>> WatermarkStrategy<T, M> {
    fn of_generators(generators: M) -> Self {
        Self {
            generators,
            assigner: KeepTimestamps,
            idle_after: None,
            alignment: None,
            interval: None,
            item: PhantomData,
        }
    }

    /// The event time of each record: `assign(&record, previous)`, where `previous` is the one it has
    /// from the source or from an earlier strategy, [`Timestamp::NONE`] if it has none.
    pub fn with_timestamp_assigner<F>(self, assign: F) -> WatermarkStrategy<T, M, AssignBy<F>>
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>, Timestamp) -> Timestamp + Clone + Send + 'static,
    {
        self.with_assigner(AssignBy(assign))
    }

    /// Ingestion time: the wall clock of the shard when it handles the record, in ms since 1970. It does
    /// not go back within a subtask.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::time::WatermarkStrategy;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|clicks| {
    ///     let strategy = WatermarkStrategy::<u64>::for_monotonous_timestamps();
    ///     clicks.assign_timestamps_and_watermarks(strategy.with_ingestion_time())
    /// });
    /// let began = harness.processing_time();
    /// harness.push(1);
    /// harness.advance_processing_time(Duration::from_secs(5));
    /// harness.push(2);
    /// assert_eq!(harness.output_at(), [(1, began), (2, began.plus_ms(5_000))]);
    /// ```
    pub fn with_ingestion_time(self) -> WatermarkStrategy<T, M, IngestionTime> {
        self.with_assigner(IngestionTime {
            latest: Timestamp::NONE,
        })
    }

    fn with_assigner<A>(self, assigner: A) -> WatermarkStrategy<T, M, A> {
        WatermarkStrategy {
            generators: self.generators,
            assigner,
            idle_after: self.idle_after,
            alignment: self.alignment,
            interval: self.interval,
            item: PhantomData,
        }
    }
}

impl<T: Item, M, A> WatermarkStrategy<T, M, A> {
    /// A split without a record for `timeout` holds nothing back until its next one.
    ///
    /// What it then brings is late if the others have gone on beyond it. Without a timeout (the default)
    /// a silent split holds everything behind it for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    /// use thalweg_dataflow::time::WatermarkStrategy;
    ///
    /// let mut harness = TwoInputHarness::<i64, i64, i64>::new(|busy, quiet| {
    ///     let strategy = WatermarkStrategy::<i64>::for_monotonous_timestamps()
    ///         .with_idleness(Duration::from_secs(10))
    ///         .with_timestamp_assigner(|time, _previous| Timestamp(*time));
    ///     let busy = busy.assign_timestamps_and_watermarks(strategy.clone());
    ///     busy.union(quiet.assign_timestamps_and_watermarks(strategy))
    /// });
    /// harness.push_first(100);
    /// harness.push_second(7);
    /// harness.advance_processing_time(Duration::from_secs(5));
    /// assert_eq!(harness.watermark(), Timestamp(6));
    /// harness.push_first(200);
    /// harness.advance_processing_time(Duration::from_secs(6));
    /// assert_eq!(harness.watermark(), Timestamp(199), "the other one is idle");
    /// ```
    pub fn with_idleness(mut self, timeout: Duration) -> Self {
        self.idle_after = Some(timeout);
        self
    }

    /// Splits and sources of `group` that are ahead of the slowest one of it by more than `max_drift` of
    /// event time pause until it has come up.
    ///
    /// A group belongs to one job, and all its strategies should say the same drift. One that has no
    /// record yet holds the others, unless it becomes idle or ends: give sources that may be silent an
    /// idle timeout. So does one that has failed, until it is back at what it had come to. In the middle of
    /// a chain a strategy pauses its whole chain.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use thalweg_core::Timestamp;
    /// # use thalweg_dataflow::time::WatermarkStrategy;
    /// let aligned = WatermarkStrategy::<(u64, i64)>::for_monotonous_timestamps()
    ///     .with_timestamp_assigner(|reading, _| Timestamp(reading.1))
    ///     .with_idleness(Duration::from_secs(5))
    ///     .with_alignment("readings", Duration::from_secs(20));
    /// ```
    pub fn with_alignment(mut self, group: impl Into<String>, max_drift: Duration) -> Self {
        self.alignment = Some(Alignment {
            group: group.into(),
            max_drift,
            interval: ALIGNMENT_INTERVAL,
        });
        self
    }

    /// How often a source that waits for its alignment group looks whether it may go on, instead of
    /// every 10 ms. Says nothing without [`WatermarkStrategy::with_alignment`] before it.
    pub fn with_alignment_interval(mut self, interval: Duration) -> Self {
        if let Some(alignment) = &mut self.alignment {
            alignment.interval = interval;
        }
        self
    }

    /// How often watermarks go out, instead of every `pipeline.auto-watermark-interval`. Zero means at
    /// the end of every turn in which records came, some hundred microseconds apart under load.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::time::WatermarkStrategy;
    ///
    /// let mut harness = TestHarness::<i64, i64>::new(|times| {
    ///     times.assign_timestamps_and_watermarks(
    ///         WatermarkStrategy::<i64>::for_monotonous_timestamps()
    ///             .with_timestamp_assigner(|time, _previous| Timestamp(*time))
    ///             .with_interval(Duration::ZERO),
    ///     )
    /// });
    /// harness.push(5_000);
    /// assert_eq!(harness.watermark(), Timestamp(4_999), "nobody waited for it");
    /// ```
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }
}

/// Gives a record its event time.
pub trait TimestampAssigner<T: Item>: Clone + Send + 'static {
    /// The event time of the record; `previous` is the one it has, `now` the wall clock.
    fn assign(&mut self, item: &T::Of<'_>, previous: Timestamp, now: Timestamp) -> Timestamp;
}

/// Records keep the event times they have.
#[derive(Clone, Copy, Debug)]
pub struct KeepTimestamps;

impl<T: Item> TimestampAssigner<T> for KeepTimestamps {
    #[inline(always)]
    fn assign(&mut self, _item: &T::Of<'_>, previous: Timestamp, _now: Timestamp) -> Timestamp {
        previous
    }
}

/// A function reads event times from the records.
#[derive(Clone, Copy, Debug)]
pub struct AssignBy<F>(F);

impl<T, F> TimestampAssigner<T> for AssignBy<F>
where
    T: Item,
    F: for<'a, 'b> Fn(&'b T::Of<'a>, Timestamp) -> Timestamp + Clone + Send + 'static,
{
    #[inline(always)]
    fn assign(&mut self, item: &T::Of<'_>, previous: Timestamp, _now: Timestamp) -> Timestamp {
        (self.0)(item, previous)
    }
}

/// The event time is the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct IngestionTime {
    latest: Timestamp,
}

impl<T: Item> TimestampAssigner<T> for IngestionTime {
    #[inline(always)]
    fn assign(&mut self, _item: &T::Of<'_>, _previous: Timestamp, now: Timestamp) -> Timestamp {
        self.latest = self.latest.max(now);
        self.latest
    }
}
