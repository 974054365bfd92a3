//! `assign_timestamps_and_watermarks`: event times and watermarks in the middle of a chain.

use thalweg_memory::record::Item;

use super::align::AlignedPart;
use super::generator::GeneratorTemplate;
use super::strategy::{TimestampAssigner, WatermarkStrategy};
use super::timed::TimedStage;
use crate::source::Source;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Head, Push, SourceHead};

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// Gives each record its event time and makes the watermarks, as the strategy says.
    ///
    /// Behind an exchange, or behind a source with several splits per subtask, records of different
    /// splits are mixed and only their mixture can be promised about: give the strategy to the source
    /// ([`crate::Environment::source_with`]) where it can be.
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
    ///             .with_idleness(Duration::from_secs(10)),
    ///     )
    /// });
    /// harness.push(100);
    /// harness.advance_processing_time(Duration::from_millis(200));
    /// assert_eq!(harness.watermark(), Timestamp(99));
    /// harness.advance_processing_time(Duration::from_secs(20));
    /// assert!(harness.is_idle());
    /// harness.push(101);
    /// assert!(!harness.is_idle());
    /// ```
    pub fn assign_timestamps_and_watermarks<M, A>(
        self,
        strategy: WatermarkStrategy<T, M, A>,
    ) -> DataStream<T, TimedPipe<P, T, M, A>>
    where
        M: GeneratorTemplate<T>,
        A: TimestampAssigner<T>,
    {
        self.draft.assign_timestamps();
        let group = strategy.alignment.as_ref();
        let group = group.map(|alignment| self.draft.align(&alignment.group));
        self.then("timestamps", |pipe, place| TimedPipe {
            pipe,
            strategy,
            group,
            place,
        })
    }
}

/// A chain that assigns timestamps at its end.
pub struct TimedPipe<P, T: Item, M, A> {
    pipe: P,
    strategy: WatermarkStrategy<T, M, A>,
    group: Option<AlignedPart>,
    place: usize,
}

impl<P: Clone, T: Item, M: Clone, A: Clone> Clone for TimedPipe<P, T, M, A> {
    fn clone(&self) -> Self {
        Self {
            pipe: self.pipe.clone(),
            strategy: self.strategy.clone(),
            group: self.group.clone(),
            place: self.place,
        }
    }
}

impl<P, T, M, A> Pipe for TimedPipe<P, T, M, A>
where
    T: Item,
    P: Pipe<Out = T>,
    M: GeneratorTemplate<T>,
    A: TimestampAssigner<T>,
{
    type Out = T;

    fn build<N: Push<T> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let name = context.fused_name(self.place);
        let next = context.telling(self.place, next);
        let stage = TimedStage::new(&name, self.strategy, self.group, next, context)?;
        self.pipe.build(stage, context)
    }
}

/// A chain that begins with a source whose splits have watermarks of their own.
pub struct TimedSourcePipe<S: Source, M, A> {
    source: S,
    strategy: WatermarkStrategy<S::Item, M, A>,
    group: Option<AlignedPart>,
}

impl<S: Source, M, A> TimedSourcePipe<S, M, A> {
    pub(crate) fn new(
        source: S,
        strategy: WatermarkStrategy<S::Item, M, A>,
        group: Option<AlignedPart>,
    ) -> Self {
        Self {
            source,
            strategy,
            group,
        }
    }
}

impl<S: Source, M: Clone, A: Clone> Clone for TimedSourcePipe<S, M, A> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            strategy: self.strategy.clone(),
            group: self.group.clone(),
        }
    }
}

impl<S, M, A> Pipe for TimedSourcePipe<S, M, A>
where
    S: Source,
    M: GeneratorTemplate<S::Item>,
    A: TimestampAssigner<S::Item>,
{
    type Out = S::Item;

    fn build<N: Push<S::Item> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let name = context.fused_name(0);
        let next = context.telling(0, next);
        let next = TimedStage::new(&name, self.strategy, self.group, next, context)?;
        Ok(Box::new(SourceHead::open(self.source, next, context)?))
    }
}
