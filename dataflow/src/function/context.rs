//! Everything a user function may see: its subtask, key, time, states and accumulators.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_core::metrics::MetricGroup;
use thalweg_memory::Budget;
use thalweg_memory::record::{Key, Record, RecordKey};
use thalweg_state::{
    KeyedBackend, KeyedContext, Redistribution, StateDescriptor, StateError, StateTtl,
};

use super::subtask_list::{SubtaskList, SubtaskLists};

use crate::task::{BuildContext, SubtaskInfo, TaskCounters};
use crate::time::{TaskClock, TimerService, TimerTable};

/// A count of the user's, summed over all subtasks and shown at the end of the job.
#[derive(Clone)]
pub struct Accumulator(Rc<Cell<i64>>);

impl Accumulator {
    /// The accumulator of this name in a task.
    pub(crate) fn of(counters: &TaskCounters, name: &str) -> Self {
        let mut all = counters.accumulators.borrow_mut();
        Self(Rc::clone(all.entry(name.to_owned()).or_default()))
    }

    /// Adds to the count.
    #[inline]
    pub fn add(&self, amount: i64) {
        self.0.set(self.0.get().wrapping_add(amount));
    }

    /// This subtask's count so far.
    pub fn get(&self) -> i64 {
        self.0.get()
    }
}

/// What a function is opened with: it declares its states here, before the first record.
///
/// `K` is the key of the stream, `()` where there is none: a state per key that is declared there fails the job at its
/// start, with what to do instead.
pub struct OpenContext<K: Key = ()> {
    info: SubtaskInfo,
    counters: TaskCounters,
    metrics: MetricGroup,
    /// What states are kept in, or what to do instead where there is no key.
    backend: Result<KeyedBackend<K>, &'static str>,
    budget: Budget,
    lists: Option<SubtaskLists>,
    refused: RefCell<Vec<String>>,
}

impl<K: Key> OpenContext<K> {
    /// For the function of this operator, whose states are kept in `backend`.
    pub(crate) fn keyed(operator: &str, context: &BuildContext, backend: KeyedBackend<K>) -> Self {
        Self::new(operator, context, Ok(backend))
    }

    fn new(
        operator: &str,
        context: &BuildContext,
        backend: Result<KeyedBackend<K>, &'static str>,
    ) -> Self {
        Self {
            info: context.info().clone(),
            counters: context.counters(),
            metrics: context.user_metrics(operator),
            backend,
            budget: context.budget().clone(),
            lists: None,
            refused: RefCell::default(),
        }
    }

    /// The same, for a function that may declare lists of its subtask.
    pub(crate) fn with_lists(mut self, lists: &SubtaskLists) -> Self {
        self.lists = Some(lists.clone());
        self
    }

    /// The subtask's place in its job.
    pub fn subtask(&self) -> &SubtaskInfo {
        &self.info
    }

    /// The accumulator of this name; the same name is the same accumulator.
    pub fn accumulator(&self, name: &str) -> Accumulator {
        Accumulator::of(&self.counters, name)
    }

    /// Makes metrics, shown under the operator while the job runs and in its result. A name that cannot
    /// be fails the job at its start.
    ///
    /// ```
    /// use thalweg_dataflow::function::Collector;
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.process(|open| {
    ///         let odd = open.metrics().counter("odd");
    ///         move |number: u64, _context, out: &mut Collector<u64>| {
    ///             odd.add(number % 2);
    ///             out.emit(number);
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// (1..=3).for_each(|number| harness.push(number));
    /// assert_eq!(harness.metric("odd"), Some(2.0));
    /// ```
    pub fn metrics(&self) -> &MetricGroup {
        &self.metrics
    }

    /// Notes what was declared wrongly: the job will not start.
    pub(crate) fn refuse(&self, refusal: String) {
        self.refused.borrow_mut().push(refusal);
    }

    /// Ends the opening: what was declared wrongly, and the states.
    pub(crate) fn finish(self) -> Result<Option<KeyedBackend<K>>, String> {
        let refused = self.refused.into_inner().into_iter().next();
        match refused.or_else(|| self.metrics.refusal()) {
            Some(refusal) => Err(refusal),
            None => Ok(self.backend.ok()),
        }
    }

    /// Makes the handle of a state. One that is refused fails the job at its start.
    pub(super) fn declare<H>(
        &mut self,
        descriptor: StateDescriptor,
        register: impl Fn(&mut KeyedBackend<K>, StateDescriptor) -> Result<H, StateError>,
    ) -> H {
        let refusal = match &mut self.backend {
            Ok(backend) => match register(backend, descriptor.clone()) {
                Ok(handle) => return handle,
                Err(error) => error.to_string(),
            },
            Err(instead) => format!(
                "state '{}' is declared where there is no key: {instead}",
                descriptor.name()
            ),
        };
        self.refuse(refusal);
        self.handle_of_refused(descriptor, register)
    }

    /// The job will not start; the function still needs a handle to be built with: one of a state that stands by
    /// itself.
    fn handle_of_refused<H>(
        &self,
        mut descriptor: StateDescriptor,
        register: impl Fn(&mut KeyedBackend<K>, StateDescriptor) -> Result<H, StateError>,
    ) -> H {
        if descriptor.ttl().is_some() {
            descriptor = descriptor.with_ttl(StateTtl::new(Duration::MAX));
        }
        let max = self.info.max_parallelism;
        let groups = max.range(self.info.index, self.info.parallelism);
        let mut apart = KeyedBackend::in_memory(groups, max, self.budget.clone());
        match register(&mut apart, descriptor) {
            Ok(handle) => handle,
            Err(error) => unreachable!("an empty table takes no memory: {error}"),
        }
    }

    /// Declares a list that belongs to the subtask and to no key, part of checkpoints. When the parallelism changes
    /// its elements are dealt out over the new subtasks. For a few elements: the list is copied whole.
    ///
    /// Two lists of one operator cannot have the same name: the job then fails at its start, and the message gives it.
    pub fn list_of_subtask<V: Record>(&mut self, name: &str) -> SubtaskList<V> {
        self.declare_list(name, Redistribution::Split)
    }

    /// The same, but every subtask begins with the elements of all, and keeps which it wants.
    pub fn union_of_subtasks<V: Record>(&mut self, name: &str) -> SubtaskList<V> {
        self.declare_list(name, Redistribution::Union)
    }

    fn declare_list<V: Record>(&mut self, name: &str, how: Redistribution) -> SubtaskList<V> {
        let declared = match &self.lists {
            Some(lists) => lists.declare(name, how),
            None => Err(format!(
                "the list '{name}' is declared where there are none: functions of windows and joins have no lists of \
                 their subtask, process functions have"
            )),
        };
        declared.unwrap_or_else(|refusal| {
            self.refuse(refusal);
            // The job will not start; the function still needs a handle to be built with.
            SubtaskList::default()
        })
    }
}

impl OpenContext<()> {
    /// For the function of an operator without key. Who declares a state is told to do this `instead`.
    pub(crate) fn without_key(
        operator: &str,
        context: &BuildContext,
        instead: &'static str,
    ) -> Self {
        Self::new(operator, context, Err(instead))
    }
}

/// What a function sees of the record it is called for.
pub struct ProcessContext<K: Key = ()> {
    pub(crate) at: Timestamp,
    pub(crate) watermark: Timestamp,
    keyed: Option<Rc<KeyedContext<K>>>,
    timers: Option<Rc<TimerTable<K>>>,
    clock: TaskClock,
    info: SubtaskInfo,
    metrics: MetricGroup,
}

impl<K: Key> ProcessContext<K> {
    /// For the function of this operator.
    pub(crate) fn new(
        operator: &str,
        context: &BuildContext,
        keyed: Option<Rc<KeyedContext<K>>>,
    ) -> Self {
        Self {
            at: Timestamp::NONE,
            watermark: Timestamp::MIN,
            keyed,
            timers: None,
            clock: context.clock().wanted(),
            info: context.info().clone(),
            metrics: context.user_metrics(operator),
        }
    }

    /// The same, with timers.
    pub(crate) fn with_timers(mut self, timers: Rc<TimerTable<K>>) -> Self {
        self.timers = Some(timers);
        self
    }

    /// Calls with the key of the record; `None` where the stream is not keyed.
    pub fn with_key<R>(&self, read: impl FnOnce(&K::Of<'_>) -> R) -> Option<R> {
        let keyed = self.keyed.as_ref()?;
        keyed.with_current(|_hash, key| read(key))
    }

    /// The event time of the record or timer, [`Timestamp::NONE`] where none was assigned.
    pub fn timestamp(&self) -> Timestamp {
        self.at
    }

    /// The watermark: no record with this event time or an earlier one is still to come, unless it is
    /// late. [`Timestamp::MIN`] before the first, [`Timestamp::MAX`] after the last record.
    ///
    /// While timers fire it is the watermark that made them due.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The wall clock of the shard at the beginning of this turn (at most some hundred microseconds
    /// ago), in ms since 1970. Virtual in a harness and in simulation.
    pub fn processing_time(&self) -> Timestamp {
        self.clock.now()
    }

    /// The timers of the current key.
    pub fn timers(&self) -> TimerService<'_, K> {
        TimerService {
            timers: self.timers.as_deref(),
            keyed: self.keyed.as_deref(),
        }
    }

    /// The subtask's place in its job.
    pub fn subtask(&self) -> &SubtaskInfo {
        &self.info
    }

    /// Makes metrics by name, for names that only records bring. Finding one by its name takes some
    /// hundred nanoseconds: those known when the function opens are better made there, by
    /// [`OpenContext::metrics`]. One that is refused is not shown, and a warning in the log says so.
    pub fn metrics(&self) -> &MetricGroup {
        &self.metrics
    }
}

impl<K: RecordKey + Clone> ProcessContext<K> {
    /// A copy of the key of the record or timer; `None` where the stream is not keyed.
    pub fn key(&self) -> Option<K> {
        self.with_key(K::clone)
    }
}
