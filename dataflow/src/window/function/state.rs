//! State of a window function: per key, and per key and window.
//!
//! What is kept per window is forgotten with its window. Entered by window functions while a window
//! is in work. Invariant: a handle reads and changes only what belongs to the key and window in work.
//! Lives on the shard of its subtask.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    KeyedContext, LayeredTable, Overflow, Pressure, StateDescriptor, StateError, StateVisitor,
};

use crate::window::TimeWindow;

/// The key and window in work, shared by the handles.
pub(crate) struct Current<K: Key> {
    pub(crate) key: Rc<KeyedContext<K>>,
    pub(crate) window: Cell<TimeWindow>,
}

/// A state that is forgotten with its window.
pub(crate) trait ForgetWindow<K: Key> {
    fn forget(&self, hash: KeyHash, key: &K::Of<'_>, window: TimeWindow);

    /// Shows the state.
    fn visit(&self, visitor: &mut dyn StateVisitor) -> Result<(), StateError>;

    // What a table that may be larger than its memory asks for: see `LayeredTable`.

    fn forget_unread(&self, hash: KeyHash, key: &K::Of<'_>, window: TimeWindow);
    fn may_forget(&self) -> bool;
    fn is_active(&self) -> bool;
    fn has_room(&self, entries: usize) -> bool;
    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>, windows: &[TimeWindow]) -> bool;
    fn begin_turn(&self, context: &mut TurnContext<'_>) -> Result<(), StateError>;
    fn end_turn(
        &self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError>;
    fn show(&self, to: &mut dyn FnMut(&Overflow));
}

pub(crate) struct WindowTable<K: Key, V: Record> {
    pub(crate) descriptor: StateDescriptor,
    pub(crate) table: RefCell<LayeredTable<K, V, TimeWindow>>,
}

impl<K: Key, V: Record> ForgetWindow<K> for WindowTable<K, V> {
    fn forget(&self, hash: KeyHash, key: &K::Of<'_>, window: TimeWindow) {
        self.table.borrow_mut().remove_in(hash, key, &window);
    }

    fn visit(&self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        visitor.visit(&self.descriptor, &mut *self.table.borrow_mut())
    }

    fn forget_unread(&self, hash: KeyHash, key: &K::Of<'_>, window: TimeWindow) {
        self.table.borrow_mut().forget_in(hash, key, &window);
    }

    fn may_forget(&self) -> bool {
        self.table.borrow_mut().may_forget()
    }

    fn is_active(&self) -> bool {
        self.table.borrow().is_active()
    }

    fn has_room(&self, entries: usize) -> bool {
        self.table.borrow_mut().has_room(entries)
    }

    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>, windows: &[TimeWindow]) -> bool {
        let mut table = self.table.borrow_mut();
        table.seek_each(place, hash, key, windows)
    }

    fn begin_turn(&self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        self.table.borrow_mut().begin_turn(context)
    }

    fn end_turn(
        &self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        self.table.borrow_mut().end_turn(context, waiting)
    }

    fn show(&self, to: &mut dyn FnMut(&Overflow)) {
        self.table.borrow().overflow().map(to);
    }
}

/// A value per key and window, forgotten with its window. Declared by
/// [`WindowOpenContext::window_value_state`](super::WindowOpenContext::window_value_state).
///
/// It is what one firing of a window leaves for the next: how often it has fired, what it said.
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::trigger::CountTrigger;
/// use thalweg_dataflow::window::{WindowContext, WindowElements, WindowOpenContext};
/// use thalweg_dataflow::Collector;
///
/// let mut harness = TestHarness::<u64, String>::new(|numbers| {
///     let windows = numbers.window_all(GlobalWindows::new()).trigger(CountTrigger::new(2));
///     windows.process(|open: &mut WindowOpenContext<()>| {
///         let mut firings = open.window_value_state::<u64>("firings");
///         move |numbers: &WindowElements<u64>, _: &WindowContext<()>, out: &mut Collector<String>| {
///             firings.update(|firings| *firings += 1)?;
///             let firing = firings.get()?.unwrap_or_default();
///             out.emit(format!("{firing}: {} numbers", numbers.len()));
///             Ok(())
///         }
///     })
/// });
/// (0..4).for_each(|number| harness.push(number));
/// assert_eq!(harness.output(), ["1: 2 numbers", "2: 4 numbers"]);
/// ```
pub struct WindowValueState<K: Key, V: Record> {
    shared: Rc<WindowTable<K, V>>,
    current: Rc<Current<K>>,
}

impl<K: Key, V: Record> WindowValueState<K, V> {
    pub(crate) fn new(shared: Rc<WindowTable<K, V>>, current: Rc<Current<K>>) -> Self {
        Self { shared, current }
    }

    fn with_table<R>(
        &self,
        work: impl FnOnce(&mut LayeredTable<K, V, TimeWindow>, KeyHash, &K::Of<'_>, &TimeWindow) -> R,
    ) -> Result<R, StateError> {
        let state = || self.shared.descriptor.name().to_owned();
        let Ok(mut table) = self.shared.table.try_borrow_mut() else {
            return Err(StateError::Reentered { state: state() });
        };
        let window = self.current.window.get();
        let work = |hash, key: &K::Of<'_>| work(&mut table, hash, key, &window);
        let answer = self.current.key.with_current(work);
        answer.ok_or_else(|| StateError::NoCurrentKey { state: state() })
    }

    /// A copy of the value, if there is one.
    ///
    /// # Errors
    /// Where no window is in work, and inside a closure that works on this state.
    pub fn get(&self) -> Result<Option<V>, StateError>
    where
        V: Clone,
    {
        self.with_table(|table, hash, key, window| table.hot().get_in(hash, key, window).cloned())
    }

    /// Changes the value, starting from the default where there is none.
    ///
    /// # Errors
    /// As [`WindowValueState::get`], and when there is no memory for it.
    pub fn update<F: FnOnce(&mut V)>(&mut self, change: F) -> Result<(), StateError>
    where
        V: Default,
    {
        self.with_table(|table, hash, key, window| {
            // The closure is the item: whichever path is taken calls it once.
            let create = |change: F| {
                let mut value = V::default();
                change(&mut value);
                value
            };
            let update = |value: &mut V, change: F| change(value);
            table
                .hot_mut()
                .fold_in(hash, key, window, change, create, update)
                .map(|_| ())
        })?
    }

    /// Makes `value` the value.
    ///
    /// # Errors
    /// As [`WindowValueState::update`].
    pub fn set(&mut self, value: V) -> Result<(), StateError> {
        self.with_table(|table, hash, key, window| {
            let set = |old: &mut V, value| *old = value;
            table
                .hot_mut()
                .fold_in(hash, key, window, value, |value| value, set)
                .map(|_| ())
        })?
    }

    /// Forgets the value, if there is one.
    ///
    /// # Errors
    /// As [`WindowValueState::get`].
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.with_table(|table, hash, key, window| {
            table.remove_in(hash, key, window);
        })
    }
}
