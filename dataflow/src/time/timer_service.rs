//! Timers for functions: a key asks to be called at a time.
//!
//! Entered by user functions through the [`TimerService`] of their context, to register and delete, and
//! by the operator that runs the function, to take out what is due. Invariants: a timer is one key and
//! one time in one domain, however often it is registered; timers come out in the order of their times.
//! Lives on one shard's thread.

use std::cell::{Cell, RefCell, RefMut};
use std::ops::ControlFlow;

use thalweg_core::KeyHash;
use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::Key;
use thalweg_state::{
    KeyedContext, LayeredTimers, Pressure, StateDescriptor, StateError, StateVisitor, Timer,
};

use crate::function::FunctionError;
use crate::task::BuildContext;

/// Which clock a timer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeDomain {
    /// The watermark.
    EventTime,
    /// The wall clock of the shard.
    ProcessingTime,
}

/// A timer that has come due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiredTimer {
    /// The time it was registered for. The clock of its domain is there or beyond.
    pub at: Timestamp,
    /// The clock it goes by.
    pub domain: TimeDomain,
}

/// The timers of one keyed function in one subtask.
pub(crate) struct TimerTable<K: Key> {
    event: RefCell<LayeredTimers<K>>,
    processing: RefCell<LayeredTimers<K>>,
    /// The input of a batch has ended: whoever fires then and asks to be called again would never come to an end.
    clock_ended: Cell<bool>,
    /// How both are described, event time first.
    descriptors: Box<[StateDescriptor; 2]>,
}

/// The state that timers of a domain are.
fn descriptor_of<K: Key>(domain: TimeDomain) -> StateDescriptor {
    let name = match domain {
        TimeDomain::EventTime => "thalweg.event-time-timers",
        TimeDomain::ProcessingTime => "thalweg.processing-time-timers",
    };
    StateDescriptor::timers(name).of_keys::<K, ()>()
}

impl<K: Key> TimerTable<K> {
    /// No timers, for the key groups of a subtask.
    pub(crate) fn new(context: &BuildContext) -> Self {
        let domains = [TimeDomain::EventTime, TimeDomain::ProcessingTime];
        let descriptors = domains.map(descriptor_of::<K>);
        let timers = descriptors.each_ref().map(|it| context.timers(it));
        let [event, processing] = timers.map(RefCell::new);
        Self {
            event,
            processing,
            clock_ended: Cell::new(false),
            descriptors: Box::new(descriptors),
        }
    }

    /// All processing-time timers are due, and no more are registered.
    pub(crate) fn clock_ends(&self) {
        self.clock_ended.set(true);
    }

    /// How many timers there are.
    pub(crate) fn len(&self) -> usize {
        self.event.borrow().len() + self.processing.borrow().len()
    }

    fn queue(&self, domain: TimeDomain) -> &RefCell<LayeredTimers<K>> {
        match domain {
            TimeDomain::EventTime => &self.event,
            TimeDomain::ProcessingTime => &self.processing,
        }
    }

    /// Shows the timers of both domains.
    pub(crate) fn visit_states(&self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        let [event, processing] = &*self.descriptors;
        visitor.visit(event, &mut *self.event.borrow_mut())?;
        visitor.visit(processing, &mut *self.processing.borrow_mut())
    }

    fn both(&self) -> [RefMut<'_, LayeredTimers<K>>; 2] {
        [self.event.borrow_mut(), self.processing.borrow_mut()]
    }

    /// A turn begins: takes in what was read of timers that are on disk.
    pub(crate) fn begin_turn(&self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        let mut both = self.both().into_iter();
        both.try_for_each(|mut timers| timers.begin_turn(context))
    }

    /// A turn ends: moves timers to the disk, and back.
    pub(crate) fn end_turn(
        &self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let mut pressure = Pressure::None;
        for mut timers in self.both() {
            pressure = pressure.max(timers.end_turn(context, waiting)?);
        }
        Ok(pressure)
    }

    /// Whether room has to be asked for before timers are registered.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.event.borrow().is_active() || self.processing.borrow().is_active()
    }

    /// Whether there is room for the timers that so many records may register.
    pub(crate) fn has_room(&self, records: usize) -> bool {
        // Both are asked: each makes room for itself.
        let [event, processing] = self.both().map(|mut timers| timers.has_room(records));
        event && processing
    }

    /// Whether timers are on their way to the disk or back, so that no barrier may cut them.
    pub(crate) fn is_moving(&self) -> bool {
        self.event.borrow().is_moving() || self.processing.borrow().is_moving()
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.event.borrow().disk_bytes() + self.processing.borrow().disk_bytes()
    }

    /// Whether the first timer of a domain that is due at `upto` is in memory, or nothing is due.
    pub(crate) fn bring(&self, domain: TimeDomain, upto: Timestamp) -> bool {
        self.queue(domain).borrow_mut().bring(upto)
    }

    /// Takes out the first timer of a domain that is due at `upto`.
    #[inline]
    pub(crate) fn pop_due(&self, domain: TimeDomain, upto: Timestamp) -> Option<Timer<K>> {
        self.queue(domain).borrow_mut().pop_due(upto)
    }

    /// Shows `to` timers of a domain that are due at `upto`, from the first on, until it breaks.
    pub(crate) fn show_due(
        &self,
        domain: TimeDomain,
        upto: Timestamp,
        to: impl FnMut(&Timer<K>) -> ControlFlow<()>,
    ) {
        let mut queue = self.queue(domain).borrow_mut();
        let _stopped = queue.due_ahead(upto).try_for_each(to);
    }

    /// When the first timer of a domain is due.
    #[inline]
    pub(crate) fn next_due(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.queue(domain).borrow().next_due()
    }
}

/// Registers and deletes timers for the key whose record or timer is in work.
///
/// The rules, which are Flink's where it has some:
/// - A key has one timer per time and domain: registering it again changes nothing, deleting it once
///   deletes it, deleting one that is not there does nothing.
/// - A timer fires when the clock of its domain reaches its time: an event-time timer when the watermark
///   does, before that watermark goes on to the next operator. Timers fire in the order of their times.
/// - A timer for a time that has passed fires with the next watermark, or in the task's next turn for
///   processing time; registered by a timer of its own domain that is firing, it fires right behind it.
/// - At the end of the input the watermark is [`Timestamp::MAX`] and every event-time timer left fires,
///   also those that `on_timer` registers then: a timer that always registers another must stop when
///   [`crate::ProcessContext::watermark`] is `MAX`, or the job never ends. Processing-time timers left
///   at the end of the input do not fire, but in a batch they do, before that watermark goes on; those
///   that are registered from then on never do.
/// - What a timer emits has the timer's time if it is an event-time timer, none otherwise.
///
/// ```
/// use std::time::Duration;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::operator::KeyedProcessFunction;
/// use thalweg_dataflow::{Collector, FiredTimer, FunctionError, OpenContext, ProcessContext};
///
/// /// Tells of each user ten seconds after they were seen last.
/// struct Gone(thalweg_state::ValueState<u64, i64>);
///
/// impl KeyedProcessFunction<u64, u64, u64> for Gone {
///     fn process(
///         &mut self,
///         _user: u64,
///         context: &ProcessContext<u64>,
///         _out: &mut Collector<'_, u64>,
///     ) -> Result<(), FunctionError> {
///         if let Some(before) = self.0.get()? {
///             context.timers().delete_processing_time(thalweg_core::Timestamp(before))?;
///         }
///         let at = context.processing_time().plus_ms(10_000);
///         self.0.set(at.0)?;
///         context.timers().register_processing_time(at)
///     }
///
///     fn on_timer(
///         &mut self,
///         _timer: &FiredTimer,
///         context: &ProcessContext<u64>,
///         out: &mut Collector<'_, u64>,
///     ) -> Result<(), FunctionError> {
///         out.emit(context.key().unwrap_or_default());
///         Ok(())
///     }
/// }
///
/// let mut harness = TestHarness::<u64, u64>::new(|users| {
///     let users = users.key_by(|user: &u64| *user);
///     users.process_function(|open: &mut OpenContext<u64>| Gone(open.value_state("due")))
/// });
/// harness.push(7);
/// harness.push(8);
/// harness.advance_processing_time(Duration::from_secs(6));
/// harness.push(7);
/// harness.advance_processing_time(Duration::from_secs(6));
/// assert_eq!(harness.output(), [8]);
/// harness.advance_processing_time(Duration::from_secs(6));
/// assert_eq!(harness.output(), [7]);
/// ```
pub struct TimerService<'c, K: Key> {
    pub(crate) timers: Option<&'c TimerTable<K>>,
    pub(crate) keyed: Option<&'c KeyedContext<K>>,
}

impl<K: Key> TimerService<'_, K> {
    /// Asks to be called when the watermark reaches `at`.
    ///
    /// # Errors
    /// When the slot's memory has no room for one more timer, when `at` is [`Timestamp::NONE`], or when
    /// the function has no `on_timer` to call.
    pub fn register_event_time(&self, at: Timestamp) -> Result<(), FunctionError> {
        self.register(TimeDomain::EventTime, at)
    }

    /// Asks to be called when the wall clock reaches `at`, in ms since 1970. In a batch what was asked for is done at the
    /// end of the input, in order of `at`, however late that is; what is asked for then is not done.
    ///
    /// # Errors
    /// As [`TimerService::register_event_time`].
    pub fn register_processing_time(&self, at: Timestamp) -> Result<(), FunctionError> {
        self.register(TimeDomain::ProcessingTime, at)
    }

    /// Deletes the key's event-time timer at `at`, if there is one.
    ///
    /// # Errors
    /// When the function has no `on_timer`, hence no timers, or the slot's memory has no room to remember that one on disk
    /// is deleted.
    pub fn delete_event_time(&self, at: Timestamp) -> Result<(), FunctionError> {
        self.delete(TimeDomain::EventTime, at)
    }

    /// Deletes the key's processing-time timer at `at`, if there is one.
    ///
    /// # Errors
    /// As [`TimerService::delete_event_time`].
    pub fn delete_processing_time(&self, at: Timestamp) -> Result<(), FunctionError> {
        self.delete(TimeDomain::ProcessingTime, at)
    }

    fn register(&self, domain: TimeDomain, at: Timestamp) -> Result<(), FunctionError> {
        if !at.is_some() {
            return Err(FunctionError::new(
                "a timer needs a time, and a record without an event time has none: assign timestamps \
                 to the stream (assign_timestamps_and_watermarks)",
            ));
        }
        let clock_ended = |timers: &TimerTable<K>| timers.clock_ended.get();
        if domain == TimeDomain::ProcessingTime && self.timers.is_some_and(clock_ended) {
            return Ok(());
        }
        self.with_key(domain, |queue, hash, key| {
            queue.register(hash, key, &(), at)
        })
    }

    fn delete(&self, domain: TimeDomain, at: Timestamp) -> Result<(), FunctionError> {
        self.with_key(domain, |queue, hash, key| queue.delete(hash, key, &(), at))
    }

    fn with_key(
        &self,
        domain: TimeDomain,
        change: impl FnOnce(&mut LayeredTimers<K>, KeyHash, &K::Of<'_>) -> Result<(), StateError>,
    ) -> Result<(), FunctionError> {
        let (Some(timers), Some(keyed)) = (self.timers, self.keyed) else {
            return Err(FunctionError::new(
                "this function has no on_timer that could be called: write it as a \
                 KeyedProcessFunction and use process_function",
            ));
        };
        let queue = timers.queue(domain);
        let changed = keyed.with_current(|hash, key| change(&mut queue.borrow_mut(), hash, key));
        match changed {
            Some(changed) => Ok(changed?),
            None => Err(FunctionError::new(
                "a timer belongs to a key, and there is none now: register timers for a record or a \
                 timer, not while the function opens or closes",
            )),
        }
    }
}
