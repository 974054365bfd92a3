//! A keyed stream cut into windows: what is said of the windows before what is to be done with them.
//!
//! The functions on windows add their methods in their own files under [`crate::window`].

use std::time::Duration;

use thalweg_core::event_time::covering_ms;
use thalweg_memory::record::{Item, Key, Record, Wire};

use super::{DataStream, Grouping, KeyedInput, KeyedStream, Pipe};
use crate::function::OutputTag;
use crate::operator::KeyedPipe;
use crate::partition::Select;
use crate::time::LateOutput;
use crate::window::WindowAggregate;
use crate::window::assigner::WindowAssigner;
use crate::window::evictor::Evictor;
use crate::window::function::{Eviction, NoEvictor, OpenLogic, Rows, WindowLogic, With};
use crate::window::operator::{Lateness, OpenWindows};
use crate::window::pipe::WindowPipe;
use crate::window::slice::{OpenVoice, Plain, SliceOptions, Voice, aggregate_slices};
use crate::window::trigger::{PurgingTrigger, Trigger};

/// What a logic gives out of windows.
type OutOf<K, T, L> = <<L as OpenLogic<K, T>>::Logic as WindowLogic<K, T>>::Out;
/// The stream behind the window operator.
type Windowed<K, T, S, A, G, L> =
    DataStream<OutOf<K, T, L>, KeyedPipe<K, T, S, OpenWindows<T, A, G, L>>>;

/// The stream behind a window aggregate, whichever way it goes.
type Together<K, T, S, A, G, L, B, V> =
    DataStream<OutOf<K, T, L>, WindowPipe<K, T, S, A, G, L, B, V>>;

/// A keyed stream whose records are in the windows of `A`, which speak when the trigger `G` says so.
///
/// Made by [`KeyedStream::window`] and [`DataStream::window_all`]. What windows give out has the
/// window's last time as its event time.
///
/// A record is *late* when the watermark has passed it. Its windows are still there for the
/// [allowed lateness](WindowedStream::allowed_lateness), and by default speak again with it. One
/// whose windows are all gone is dropped and counted in the accumulator
/// [`LATE_RECORDS_DROPPED`](crate::time::LATE_RECORDS_DROPPED), or goes to the
/// [late output](WindowedStream::late_output).
///
/// At the end of the input all event-time windows speak, and what processing-time windows and
/// counts have not said by then remains unsaid.
#[must_use = "windows do nothing until it is said what is to be done with them"]
pub struct WindowedStream<K: Item, T: Item, S, I, A, G, E = NoEvictor> {
    keyed: KeyedStream<K, T, S, I>,
    assigner: A,
    trigger: G,
    pub(crate) evictor: E,
    lateness: Lateness<T>,
    /// Whether windows speak when their assigner's own trigger says so.
    default_trigger: bool,
    local_aggregation: bool,
}

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Cuts the stream of each key into windows.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|records| {
    ///     let keyed = records.key_by(|record: &(u64, u64)| record.0);
    ///     let windows = keyed.window(TumblingWindows::event_time(Duration::from_secs(60)));
    ///     windows.max(|record: &(u64, u64)| record.1).map(|row: (u64, u64)| row)
    /// });
    /// harness.push_at((1, 5), Timestamp(10));
    /// harness.push_at((1, 8), Timestamp(20));
    /// harness.advance_watermark(Timestamp(59_999));
    /// assert_eq!(harness.output(), [(1, 8)]);
    /// ```
    pub fn window<A: WindowAssigner<T>>(
        self,
        assigner: A,
    ) -> WindowedStream<K, T, S, I, A, A::DefaultTrigger> {
        WindowedStream {
            keyed: self,
            trigger: assigner.default_trigger(),
            assigner,
            evictor: NoEvictor,
            lateness: Lateness::none(),
            default_trigger: true,
            local_aggregation: true,
        }
    }
}

/// Reads the same key from every record.
#[derive(Clone, Copy, Debug)]
pub struct Everything;

impl<T: Item> Select<T, ()> for Everything {
    #[inline(always)]
    fn select(&self, _item: &T::Of<'_>) {}
}

impl<T: Wire, P: Pipe<Out = T>> DataStream<T, P> {
    /// All records under one key, in one subtask.
    pub(crate) fn keyed_as_one(self) -> KeyedStream<(), T, Everything, Grouping<T, P>> {
        KeyedStream::new(Grouping(self), Everything).parallelism(1)
    }

    /// Cuts the whole stream into windows, in one subtask: it is keyed by `()`, so rows that hold
    /// the key begin with that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     let windows = numbers.window_all(TumblingWindows::event_time(Duration::from_secs(1)));
    ///     windows.sum(|number: &u64| *number).map(|((), sum): ((), u64)| sum)
    /// });
    /// harness.push_at(1, Timestamp(0));
    /// harness.push_at(2, Timestamp(999));
    /// harness.finish();
    /// assert_eq!(harness.output(), [3]);
    /// ```
    pub fn window_all<A: WindowAssigner<T>>(
        self,
        assigner: A,
    ) -> WindowedStream<(), T, Everything, Grouping<T, P>, A, A::DefaultTrigger> {
        self.keyed_as_one().window(assigner)
    }
}

impl<K: Key, T: Item, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E> {
    /// Lets another trigger say when windows speak: nothing is left of the default one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    /// use thalweg_dataflow::window::trigger::{CountTrigger, EventTimeTrigger};
    ///
    /// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
    ///     let hours = records.window_all(TumblingWindows::event_time(Duration::from_secs(3_600)));
    ///     let also_early = EventTimeTrigger::new().with_early(CountTrigger::new(2));
    ///     hours.trigger(also_early).count().map(|row: ((), u64)| row)
    /// });
    /// (0..5).for_each(|at| harness.push_at(at, Timestamp(0)));
    /// assert_eq!(harness.output(), [((), 2), ((), 4)]);
    /// harness.finish();
    /// assert_eq!(harness.output(), [((), 5)]);
    /// ```
    pub fn trigger<H: Trigger<T>>(self, trigger: H) -> WindowedStream<K, T, S, I, A, H, E> {
        WindowedStream {
            keyed: self.keyed,
            assigner: self.assigner,
            trigger,
            evictor: self.evictor,
            lateness: self.lateness,
            default_trigger: false,
            local_aggregation: self.local_aggregation,
        }
    }

    /// Lets windows forget what they have said: each result holds only what came since the one
    /// before it. The same as wrapping the trigger in a [`PurgingTrigger`]; without it results
    /// accumulate.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
    ///     let windows = records.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     let windows = windows.allowed_lateness(Duration::from_millis(10)).discarding();
    ///     windows.count().map(|row: ((), u64)| row)
    /// });
    /// harness.push_at(0, Timestamp(3));
    /// harness.push_at(0, Timestamp(4));
    /// harness.advance_watermark(Timestamp(12));
    /// harness.push_at(0, Timestamp(5)); // Late: told without what was told before.
    /// assert_eq!(harness.output(), [((), 2), ((), 1)]);
    /// ```
    pub fn discarding(self) -> WindowedStream<K, T, S, I, A, PurgingTrigger<G>, E> {
        WindowedStream {
            keyed: self.keyed,
            assigner: self.assigner,
            trigger: PurgingTrigger::new(self.trigger),
            evictor: self.evictor,
            lateness: self.lateness,
            default_trigger: false,
            local_aggregation: self.local_aggregation,
        }
    }

    /// Keeps event-time windows for so long after the watermark has passed their end. Has no effect
    /// on windows of processing time.
    ///
    /// Under `state.backend.type: lsm` what is kept for late records may be on disk: the records behind a late one then
    /// wait until it has been read what its key has in every window that fires again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
    ///     let windows = records.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.allowed_lateness(Duration::from_millis(5)).count().map(|row: ((), u64)| row)
    /// });
    /// harness.push_at(1, Timestamp(3));
    /// harness.advance_watermark(Timestamp(12));
    /// harness.push_at(2, Timestamp(4)); // late: the window speaks again
    /// harness.advance_watermark(Timestamp(14));
    /// harness.push_at(3, Timestamp(5)); // too late: the window is gone
    /// assert_eq!(harness.output(), [((), 1), ((), 2)]);
    /// ```
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness.allowed = covering_ms(lateness);
        self
    }

    /// Lets every record cross the exchange by itself.
    ///
    /// Otherwise, where windows of event time stand at fixed places (tumbling, sliding, cumulating),
    /// have their own trigger, no evictor and no late output, an aggregate, whether or not a function is
    /// called with its row, gathers what it can before the exchange. That changes no result, but a key of
    /// which there are many records then costs the shard that owns it little. The setting `thalweg.execution.local-aggregation` does
    /// the same for a whole job.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<u64, (u64, u64)>::new(|numbers| {
    ///     let keyed = numbers.key_by(|number: &u64| number % 2);
    ///     let windows = keyed.window(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.without_local_aggregation().sum(|number: &u64| *number).map(|row: (u64, u64)| row)
    /// });
    /// (1..=4).for_each(|number| harness.push_at(number, Timestamp(5)));
    /// harness.finish();
    /// let mut sums = harness.output();
    /// sums.sort();
    /// assert_eq!(sums, [(0, 2 + 4), (1, 1 + 3)]);
    /// ```
    pub fn without_local_aggregation(mut self) -> Self {
        self.local_aggregation = false;
        self
    }
}

impl<K: Key, T: Record, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E> {
    /// Sends records that come too late for all their windows to a side output, which is read from
    /// the stream of results by [`DataStream::side_output`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::OutputTag;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|records| {
    ///     let late = OutputTag::<u64>::new("late");
    ///     let windows = records.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     let counts = windows.late_output(&late).count();
    ///     let too_late = counts.side_output(&late);
    ///     let counts = counts.map(|((), count): ((), u64)| count);
    ///     counts.union(too_late.map(|number: u64| number))
    /// });
    /// harness.push_at(1, Timestamp(3));
    /// harness.advance_watermark(Timestamp(12));
    /// harness.push_at(77, Timestamp(4));
    /// assert_eq!(harness.output(), [1, 77]);
    /// ```
    pub fn late_output(mut self, tag: &OutputTag<T>) -> Self {
        self.lateness.output = Some(LateOutput::new(tag));
        self
    }
}

impl<K: Key, T: Record + Clone, S, I, A, G> WindowedStream<K, T, S, I, A, G, NoEvictor> {
    /// Lets an evictor remove records from windows that speak. The records of windows are then kept
    /// whole, and whatever is done with them is done when they speak.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::GlobalWindows;
    /// use thalweg_dataflow::window::evictor::CountEvictor;
    /// use thalweg_dataflow::window::trigger::CountTrigger;
    ///
    /// let mut harness = TestHarness::<u64, ((), u64)>::new(|numbers| {
    ///     let windows = numbers.window_all(GlobalWindows::new()).trigger(CountTrigger::new(3));
    ///     windows.evictor(CountEvictor::new(1).after()).sum(|number: &u64| *number).map(|row: ((), u64)| row)
    /// });
    /// (1..=6).for_each(|number| harness.push(number));
    /// // The 3 was left after the first time.
    /// assert_eq!(harness.output(), [((), 1 + 2 + 3), ((), 3 + 4 + 5 + 6)]);
    /// ```
    pub fn evictor<E: Evictor<T>>(self, evictor: E) -> WindowedStream<K, T, S, I, A, G, With<E>> {
        WindowedStream {
            keyed: self.keyed,
            assigner: self.assigner,
            trigger: self.trigger,
            evictor: With(evictor),
            lateness: self.lateness,
            default_trigger: self.default_trigger,
            local_aggregation: self.local_aggregation,
        }
    }
}

impl<K, T, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E>
where
    K: Key + Wire,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    E: Eviction<K, T>,
{
    /// Aggregates the records of each key and window; gives out a row whenever the window fires.
    ///
    /// What is kept of a window is one accumulator, except with an evictor.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    /// use thalweg_dataflow::window::{TimeWindow, WindowAggregate};
    ///
    /// /// How far apart the numbers of a window are.
    /// #[derive(Clone)]
    /// struct Range;
    ///
    /// impl WindowAggregate<(), i64> for Range {
    ///     type Accumulator = (i64, i64);
    ///     type Row = (i64, i64);
    ///     fn create(&self) -> (i64, i64) {
    ///         (i64::MAX, i64::MIN)
    ///     }
    ///     fn add(&self, (least, most): &mut (i64, i64), number: i64) {
    ///         *least = number.min(*least);
    ///         *most = number.max(*most);
    ///     }
    ///     fn merge(&self, into: &mut (i64, i64), other: &(i64, i64)) {
    ///         *into = (into.0.min(other.0), into.1.max(other.1));
    ///     }
    ///     fn row(&self, _key: (), window: TimeWindow, (least, most): &(i64, i64)) -> (i64, i64) {
    ///         (window.start.0, most - least)
    ///     }
    /// }
    ///
    /// let mut harness = TestHarness::<i64, (i64, i64)>::new(|numbers| {
    ///     let windows = numbers.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.aggregate(Range)
    /// });
    /// for (number, at) in [(5, 11), (-2, 13), (9, 29)] {
    ///     harness.push_at(number, Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [(10, 7), (20, 0)]);
    /// ```
    pub fn aggregate<B>(self, aggregate: B) -> DataStream<B::Row, impl Pipe<Out = B::Row>>
    where
        B: WindowAggregate<K, T>,
    {
        self.aggregate_as("window aggregate", aggregate)
    }

    /// The same, under the name of a shortcut.
    pub(crate) fn aggregate_as<B>(
        self,
        name: &'static str,
        aggregate: B,
    ) -> DataStream<B::Row, impl Pipe<Out = B::Row> + use<K, T, S, I, A, G, E, B>>
    where
        B: WindowAggregate<K, T>,
    {
        let rows = Rows::<_, B>::new(self.evictor.clone().gather(aggregate.clone()));
        self.put_together(name, aggregate, Plain, rows)
    }

    /// The stream behind a window aggregate: put together from slices, of whose rows `voice` speaks,
    /// where nothing but the assigner says when windows speak and what of, otherwise the work of `logic`.
    pub(crate) fn put_together<B, V, L>(
        self,
        name: &'static str,
        aggregate: B,
        voice: V,
        logic: L,
    ) -> Together<K, T, S, A, G, L, B, V>
    where
        B: WindowAggregate<K, T>,
        V: OpenVoice<K, B::Row>,
        L: OpenLogic<K, T>,
        L::Logic: WindowLogic<K, T, Out = <V::Voice as Voice<K, B::Row>>::Out>,
    {
        let aligned = self.assigner.aligned();
        if let Some(windows) = aligned.filter(|_| self.default_trigger && !E::EVICTS) {
            let options = SliceOptions {
                lateness_ms: self.lateness.allowed,
                local_aggregation: self.local_aggregation,
                late: self.lateness.output,
            };
            let stream = aggregate_slices(self.keyed, windows, options, aggregate, voice);
            return DataStream::new(WindowPipe::Slices(stream.pipe), stream.draft).name(name);
        }
        let stream = self.operate(name, logic);
        DataStream::new(WindowPipe::Whole(stream.pipe), stream.draft)
    }
}

impl<K, T, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    E: Eviction<K, T>,
{
    /// The stream behind the window operator.
    pub(crate) fn operate<L: OpenLogic<K, T>>(
        self,
        name: &'static str,
        logic: L,
    ) -> Windowed<K, T, S, A, G, L> {
        let refused = self.assigner.is_merging() && !self.trigger.can_merge();
        let open = OpenWindows {
            assigner: self.assigner,
            trigger: self.trigger,
            lateness: self.lateness,
            logic,
        };
        let stream = self.keyed.operate("window", open).name(name);
        if refused {
            stream.draft.graph().borrow_mut().problem(format!(
                "{name}: the windows merge, but their trigger cannot: use another trigger, or \
                 answer true from its can_merge() and say in its merge() what becomes of its state"
            ));
        }
        stream
    }
}
