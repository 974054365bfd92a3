//! What a window function is opened with, and what it sees when its window speaks.
//!
//! Lives on the shard of its subtask. Invariant: key and window in work are set before a function is
//! called and not otherwise.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::metrics::MetricGroup;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    KeyedBackend, KeyedTable, LayeredTable, MakeOverflow, Overflow, Pressure, StateDescriptor,
    StateError, StateVisitor,
};

use super::logic::Pane;
use super::state::{Current, ForgetWindow, WindowTable, WindowValueState};
use crate::function::OpenContext;
use crate::task::{BuildContext, BuildError, SubtaskInfo};
use crate::window::TimeWindow;

/// What a window function is opened with, before the first record.
///
/// States declared by the [`OpenContext`] it leads to are kept per key, across windows (*global*
/// state); those declared here are kept per key and window.
pub struct WindowOpenContext<K: Key> {
    open: OpenContext<K>,
    current: Rc<Current<K>>,
    tables: Vec<Rc<dyn ForgetWindow<K>>>,
    make: TableMaker,
    merging: bool,
    refused: Option<String>,
}

/// What a table of window state is made of.
struct TableMaker {
    groups: std::ops::Range<u16>,
    max: thalweg_core::key_group::MaxParallelism,
    budget: thalweg_memory::Budget,
    /// Makes what tables overflow to, where state may be on disk.
    overflow: Option<MakeOverflow>,
}

impl<K: Key> Deref for WindowOpenContext<K> {
    type Target = OpenContext<K>;

    fn deref(&self) -> &OpenContext<K> {
        &self.open
    }
}

impl<K: Key> DerefMut for WindowOpenContext<K> {
    fn deref_mut(&mut self) -> &mut OpenContext<K> {
        &mut self.open
    }
}

impl<K: Key> WindowOpenContext<K> {
    /// The memory of the slot.
    pub(crate) fn budget(&self) -> &thalweg_memory::Budget {
        &self.make.budget
    }

    /// Declares a value per key and window, which is forgotten with its window.
    ///
    /// Windows that merge have no such state: what it should become where windows meet is unknown.
    /// The job then fails at its start.
    pub fn window_value_state<V: Record>(&mut self, name: &str) -> WindowValueState<K, V> {
        if self.merging {
            self.refused.get_or_insert(format!(
                "state '{name}' is kept per window, but these windows merge: keep it per key, by \
                 .value_state()"
            ));
        }
        let TableMaker {
            groups,
            max,
            budget,
            overflow,
        } = &self.make;
        let descriptor = StateDescriptor::value::<V>(name).of_keys::<K, TimeWindow>();
        let table = match KeyedTable::new(groups.clone(), *max, budget.clone()) {
            Ok(table) => table,
            Err(error) => unreachable!("an empty table takes no memory: {error}"),
        };
        let overflow = overflow.as_ref();
        let overflow = overflow.map(|make| make(&descriptor, groups.clone()));
        let shared = Rc::new(WindowTable {
            descriptor,
            table: RefCell::new(LayeredTable::new(table, overflow)),
        });
        self.tables.push(Rc::clone(&shared) as _);
        WindowValueState::new(shared, Rc::clone(&self.current))
    }
}

/// What an opened window function stands on: its states and the key and window in work.
pub(crate) struct Footing<K: Key> {
    context: WindowContext<K>,
    tables: Vec<Rc<dyn ForgetWindow<K>>>,
    /// Holds the states that are kept per key.
    backend: KeyedBackend<K>,
}

impl<K: Key> Footing<K> {
    /// Opens a function.
    pub(crate) fn open<G>(
        name: &str,
        merging: bool,
        context: &mut BuildContext,
        open: impl FnOnce(&mut WindowOpenContext<K>) -> G,
    ) -> Result<(Self, G), BuildError> {
        let info = context.info().clone();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let make = TableMaker {
            groups: groups.clone(),
            max: info.max_parallelism,
            budget: context.budget().clone(),
            overflow: context.overflows(),
        };
        let mut backend =
            KeyedBackend::in_memory(groups, info.max_parallelism, context.budget().clone());
        if let Some(make) = context.overflows() {
            backend = backend.overflowing(make);
        }
        let current = Rc::new(Current {
            key: Rc::clone(backend.context()),
            window: Cell::new(TimeWindow::GLOBAL),
        });
        let mut opening = WindowOpenContext {
            open: OpenContext::keyed(name, context, backend),
            current: Rc::clone(&current),
            tables: Vec::new(),
            make,
            merging,
            refused: None,
        };
        let function = open(&mut opening);
        if let Some(refusal) = opening.refused {
            return Err(context.refused(name, refusal));
        }
        let finished = opening.open.finish();
        let Some(backend) = finished.map_err(|refusal| context.refused(name, refusal))? else {
            unreachable!("the backend was just given to the opening");
        };
        let metrics = context.user_metrics(name);
        let context = WindowContext {
            current,
            watermark: Timestamp::NONE,
            processing_time: Timestamp::NONE,
            info,
            metrics,
        };
        let footing = Self {
            context,
            tables: opening.tables,
            backend,
        };
        Ok((footing, function))
    }

    /// Brings a window into work.
    ///
    /// # Errors
    /// As [`Footing::enter_at`].
    pub(crate) fn enter(&mut self, pane: &Pane<'_, K>) -> Result<&WindowContext<K>, StateError> {
        let times = (pane.watermark, pane.processing_time);
        self.enter_at(pane.hash, &K::lend(pane.key), pane.window, times)?;
        Ok(&self.context)
    }

    /// Brings a window of this key into work, at this watermark and processing time. With each one some of what
    /// has expired is removed.
    ///
    /// # Errors
    /// When a removal does not fit the memory.
    pub(crate) fn enter_at(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        window: TimeWindow,
        (watermark, processing_time): (Timestamp, Timestamp),
    ) -> Result<(), StateError> {
        /// Entries of each state that are looked at.
        const CLEANED: usize = 2;
        self.backend.set_processing_time(processing_time);
        self.backend.clean_expired(CLEANED)?;
        let current = &self.context.current;
        current.key.set_current(hash, key);
        current.window.set(window);
        self.context.watermark = watermark;
        self.context.processing_time = processing_time;
        Ok(())
    }

    /// What the function sees of the window in work.
    pub(crate) fn context(&self) -> &WindowContext<K> {
        &self.context
    }

    /// Whether the function keeps state per window.
    pub(crate) fn keeps_by_window(&self) -> bool {
        !self.tables.is_empty()
    }

    /// Whether the function keeps any state that may be larger than its memory.
    pub(crate) fn keeps_any(&self) -> bool {
        self.keeps_by_window() || self.backend.may_overflow()
    }

    /// Shows the states of the function, per key and per window.
    pub(crate) fn visit_states(
        &mut self,
        visitor: &mut dyn StateVisitor,
    ) -> Result<(), StateError> {
        self.backend.visit_states(visitor)?;
        self.tables
            .iter()
            .try_for_each(|table| table.visit(visitor))
    }

    /// Forgets what was kept for the window in work.
    pub(crate) fn forget_entered(&self) {
        let window = self.context.window();
        self.context.with_hashed_key(|hash, key| {
            for table in &self.tables {
                table.forget(hash, key, window);
            }
        });
    }

    /// Forgets what was kept for a window.
    pub(crate) fn forget(&self, pane: &Pane<'_, K>) {
        for table in &self.tables {
            table.forget(pane.hash, &K::lend(pane.key), pane.window);
        }
    }
}

/// What it keeps may be larger than its memory: it is there when the function is called because it was sought
/// before, for the record or timer that leads to the call.
impl<K: Key> Footing<K> {
    /// Whether states have to be sought before the function is called.
    pub(crate) fn is_active(&self) -> bool {
        self.backend.overflows() || self.tables.iter().any(|table| table.is_active())
    }

    /// Whether there is room for what the function may add for so many windows.
    pub(crate) fn has_room(&self, windows: usize) -> bool {
        // All are asked: each makes room for itself.
        let short = self.tables.iter().filter(|table| !table.has_room(windows));
        let tables = short.count() == 0;
        self.backend.has_room(windows) && tables
    }

    /// How many of some windows of which all is there may speak at once; one at least.
    pub(crate) fn let_in(&self, windows: usize) -> usize {
        self.backend.let_in(windows)
    }

    /// Whether more may be forgotten unread: the disk keeps up with that.
    pub(crate) fn may_forget(&self) -> bool {
        // All are asked: each sees to it.
        let behind = self.tables.iter().filter(|table| !table.may_forget());
        behind.count() == 0
    }

    /// Forgets what was kept for a window, wherever it is. Asked before is [`Footing::may_forget`].
    pub(crate) fn forget_unread(&self, hash: KeyHash, key: &K::Of<'_>, window: TimeWindow) {
        for table in &self.tables {
            table.forget_unread(hash, key, window);
        }
    }

    /// Seeks what the function has of a key and some of its windows; whether all of it is there.
    pub(crate) fn seek(
        &self,
        place: usize,
        hash: KeyHash,
        key: &K::Of<'_>,
        windows: &[TimeWindow],
    ) -> bool {
        let mut there = self.backend.seek(place, hash, key);
        for table in &self.tables {
            there &= table.seek(place, hash, key, windows);
        }
        there
    }

    /// A turn begins: takes in what was read of state that is on disk.
    pub(crate) fn begin_turn(&self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        self.backend.begin_turn(context)?;
        let mut tables = self.tables.iter();
        tables.try_for_each(|table| table.begin_turn(context))
    }

    /// A turn ends: asks for state that is on disk, makes room for it.
    pub(crate) fn end_turn(
        &self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let mut pressure = self.backend.end_turn(context, waiting)?;
        for table in &self.tables {
            pressure = pressure.max(table.end_turn(context, waiting)?);
        }
        Ok(pressure)
    }

    /// Shows what stands below each state.
    pub(crate) fn show_overflow(&self, to: &mut dyn FnMut(&Overflow)) {
        self.backend.show_overflow(&mut *to);
        for table in &self.tables {
            table.show(to);
        }
    }
}

/// What a window function sees of the window it is called for.
pub struct WindowContext<K: Key> {
    current: Rc<Current<K>>,
    watermark: Timestamp,
    processing_time: Timestamp,
    info: SubtaskInfo,
    metrics: MetricGroup,
}

impl<K: Key> WindowContext<K> {
    /// The window.
    pub fn window(&self) -> TimeWindow {
        self.current.window.get()
    }

    /// Calls with the key.
    pub fn with_key<R>(&self, read: impl FnOnce(&K::Of<'_>) -> R) -> R {
        self.with_hashed_key(|_hash, key| read(key))
    }

    /// Calls with the key and its hash.
    pub(crate) fn with_hashed_key<R>(&self, read: impl FnOnce(KeyHash, &K::Of<'_>) -> R) -> R {
        match self.current.key.with_current(read) {
            Some(read) => read,
            None => unreachable!("a window function is called with a key in work"),
        }
    }

    /// The watermark. While it makes windows fire, it is the one that makes them fire.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The processing time of this turn, ms since 1970.
    pub fn processing_time(&self) -> Timestamp {
        self.processing_time
    }

    /// The subtask's place in its job.
    pub fn subtask(&self) -> &SubtaskInfo {
        &self.info
    }

    /// Makes metrics by name; see [`ProcessContext::metrics`](crate::ProcessContext::metrics).
    pub fn metrics(&self) -> &MetricGroup {
        &self.metrics
    }
}
