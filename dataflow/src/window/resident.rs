//! Windows larger than their memory: what records and timers need of them is sought before it is worked on.
//!
//! Entered by the window operator for records ahead and before each firing while something is on disk, and once
//! per turn. What is kept of windows, which of them are open, what the function keeps, and timers may be on
//! disk. Invariant: a record, a timer or a window that goes on speaking is worked on only once all that
//! it touches is in memory, or nowhere. Lives on the shard of its subtask.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{DUE, LayeredTable, Overflow, Pressure, StateError, WINDOW};

use super::TimeWindow;
use super::assigner::WindowAssigner;
use super::function::{Footing, WindowLogic};
use super::merging::MergingWindows;
use super::operator::WindowOperator;
use super::panes::Panes;
use super::trigger::Trigger;
use crate::function::FunctionError;
use crate::task::{BuildContext, BuildError, OverflowCells};

/// What a window operator remembers of what it sought.
pub(super) struct OnDisk {
    shown: OverflowCells,
    /// The most windows that a record had: what one record may add.
    widest: usize,
    /// For each record ahead its windows, as one number.
    sought: Box<[u64; WINDOW]>,
    /// Whether anything is on disk in this turn.
    anything: bool,
}

impl OnDisk {
    pub(super) fn open(name: &str, context: &mut BuildContext) -> Result<Box<Self>, BuildError> {
        Ok(Box::new(Self {
            shown: OverflowCells::open(name, context, true)?,
            widest: 1,
            sought: Box::new([0; WINDOW]),
            anything: false,
        }))
    }

    /// The windows of a record are sought.
    fn note(&mut self, place: u8, windows: &[TimeWindow]) {
        self.widest = self.widest.max(windows.len());
        self.sought[usize::from(place)] = number_of(windows);
    }

    /// Looks whether the windows of a record are those that were sought: others may lie on disk unseen.
    pub(super) fn check(&self, place: u8, windows: &[TimeWindow]) -> Result<(), FunctionError> {
        if !self.anything || self.sought[usize::from(place)] == number_of(windows) {
            return Ok(());
        }
        Err(FunctionError::new(
            "the window assigner answered other windows for a record than a moment before: what it answers must \
             depend on the record and the times it is given alone, as state may be on disk under \
             state.backend.type lsm and is read ahead by that",
        ))
    }
}

/// Some windows as one number.
fn number_of(windows: &[TimeWindow]) -> u64 {
    let times = windows.iter().flat_map(|window| [window.start, window.end]);
    times.fold(windows.len() as u64, |number, at| {
        KeyHash(number).combine(KeyHash::of_u64(at.0 as u64)).0
    })
}

impl<K, T, A, G, L> WindowOperator<K, T, A, G, L>
where
    K: Key,
    T: Item,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    L: WindowLogic<K, T>,
{
    /// Whether state has to be sought now.
    #[inline(always)]
    pub(super) fn has_to_seek(&self) -> bool {
        self.on_disk.is_some() && self.is_active()
    }

    fn is_active(&self) -> bool {
        let sessions = self.sessions.as_ref();
        let sessions = sessions.is_some_and(|sessions| sessions.open.is_active());
        let function = self.panes.logic.footing().is_some_and(Footing::is_active);
        let timers = &self.panes.timers;
        let timers = timers.event.is_active() || timers.processing.is_active();
        self.panes.table.is_active() || sessions || function || timers
    }

    /// Whether there is room for what so many records or timers may add.
    pub(super) fn makes_room_for(&mut self, records: usize) -> bool {
        let widest = self.on_disk.as_ref().map_or(1, |on_disk| on_disk.widest);
        // Rounds make room for so many and no more: more would be waited for in vain.
        let windows = (records * widest).min(WINDOW);
        // All are asked: each makes room for itself.
        let panes = self.panes.table.has_room(windows);
        let sessions = self.sessions.as_mut();
        let sessions = sessions.is_none_or(|sessions| sessions.open.has_room(records));
        let function = self.panes.logic.footing();
        let function = function.is_none_or(|footing| footing.has_room(windows));
        let timers = self.panes.timers.both().map(|it| it.has_room(records));
        panes && sessions && function && timers == [true, true]
    }

    /// Seeks what a record at this place of those ahead needs; whether all of it is there.
    pub(super) fn seek_record(
        &mut self,
        place: u8,
        (hash, at): (KeyHash, Timestamp),
        item: &T::Of<'_>,
        key: &K::Of<'_>,
    ) -> bool {
        let mut windows = std::mem::take(&mut self.windows);
        windows.clear();
        let now = self.panes.now;
        let there = match self.assigner.assign(item, at, now, &mut windows) {
            Ok(()) => self.seek_windows(place, hash, key, &mut windows),
            // What is wrong with a record is told when it is applied.
            Err(_) => true,
        };
        self.windows = windows;
        there
    }

    fn seek_windows(
        &mut self,
        place: u8,
        hash: KeyHash,
        key: &K::Of<'_>,
        windows: &mut Vec<TimeWindow>,
    ) -> bool {
        if let Some(on_disk) = &mut self.on_disk {
            on_disk.note(place, windows);
        }
        let place = usize::from(place);
        if self.event_time && self.sessions.is_none() {
            windows.retain(|window| !self.is_late(*window));
        }
        let function = self.panes.logic.footing();
        let there = function.is_none_or(|footing| footing.seek(place, hash, key, windows));
        if let Some(sessions) = &mut self.sessions
            && let [window] = windows[..]
        {
            if !sessions.open.seek(place, hash, key, &()) {
                // Where the states of its windows lie is on disk too.
                return false;
            }
            windows.clear();
            sessions.states_met(hash, key, window, windows);
        }
        there & (self.panes.table).seek_each(place, hash, key, windows)
    }

    /// Seeks what is given out next: of windows that are speaking, or of timers that are due. Whether it may be
    /// given out.
    pub(super) fn seek_due(&mut self) -> bool {
        if self.panes.is_speaking() {
            return self.panes.seek_speaking();
        }
        self.makes_room_for(1) && self.panes.seek_timers(self.due, &mut self.sessions)
    }

    /// A turn begins: takes in what was read of state that is on disk.
    pub(super) fn begin_on_disk(
        &mut self,
        context: &mut TurnContext<'_>,
    ) -> Result<(), StateError> {
        if self.on_disk.is_none() {
            return Ok(());
        }
        self.panes.table.begin_turn(context)?;
        for timers in self.panes.timers.both() {
            timers.begin_turn(context)?;
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.open.begin_turn(context)?;
        }
        if let Some(footing) = self.panes.logic.footing() {
            footing.begin_turn(context)?;
        }
        let mut runs = 0;
        self.show_overflow(|overflow| runs += overflow.runs());
        if let Some(on_disk) = &mut self.on_disk {
            on_disk.anything = runs > 0;
        }
        Ok(())
    }

    /// A turn ends: asks for state that is on disk, makes room for it.
    pub(super) fn end_on_disk(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        if self.on_disk.is_none() {
            return Ok(Pressure::None);
        }
        let mut pressure = self.panes.table.end_turn(context, waiting)?;
        for timers in self.panes.timers.both() {
            pressure = pressure.max(timers.end_turn(context, waiting)?);
        }
        if let Some(sessions) = &mut self.sessions {
            pressure = pressure.max(sessions.open.end_turn(context, waiting)?);
        }
        if let Some(footing) = self.panes.logic.footing() {
            pressure = pressure.max(footing.end_turn(context, waiting)?);
        }
        if let Some(on_disk) = &self.on_disk {
            on_disk.shown.clear();
            let timers = &self.panes.timers;
            (on_disk.shown).add_bytes(timers.event.disk_bytes() + timers.processing.disk_bytes());
            self.show_overflow(|overflow| on_disk.shown.add(overflow));
        }
        Ok(pressure)
    }

    fn show_overflow(&self, mut to: impl FnMut(&Overflow)) {
        self.panes.table.overflow().map(&mut to);
        let sessions = self.sessions.as_ref();
        sessions.and_then(|sessions| sessions.open.overflow().map(&mut to));
        if let Some(footing) = self.panes.logic.footing() {
            footing.show_overflow(&mut to);
        }
    }
}

impl<K, T, G, L> Panes<K, T, G, L>
where
    K: Key,
    T: Item,
    G: Trigger<T>,
    L: WindowLogic<K, T>,
{
    /// Seeks what is kept of the windows that are speaking; whether all of it is there.
    fn seek_speaking(&mut self) -> bool {
        let (hash, key) = self.current.lent();
        let function = self.logic.footing();
        let speaking = self.speaking.iter().map(|one| (one.state, one.window));
        let (states, windows) = speaking.unzip::<_, _, Vec<_>, Vec<_>>();
        let there = self.table.seek_each(WINDOW, hash, &key, &states);
        there & function.is_none_or(|footing| footing.seek(WINDOW, hash, &key, &windows))
    }

    /// Seeks what the timer that fires next needs; if that is not there, what those behind it need too. Whether it
    /// may fire.
    fn seek_timers(
        &mut self,
        watermark: Option<Timestamp>,
        sessions: &mut Option<MergingWindows<K>>,
    ) -> bool {
        let clock_passed = self.clock_passed();
        let (timers, function) = (&mut self.timers, self.logic.footing());
        let event = timers.event.next_due();
        let event = watermark.filter(|to| event.is_some_and(|at| at <= *to));
        let (queue, upto) = match event {
            Some(to) => (&mut timers.event, to),
            None => (&mut timers.processing, clock_passed),
        };
        if !queue.bring(upto) {
            return false;
        }
        let mut first = true;
        for (place, timer) in (WINDOW..WINDOW + DUE).zip(queue.due_ahead(upto)) {
            let (hash, key, window) = (timer.hash, K::lend(&timer.key), timer.namespace);
            let windows = &[window];
            let kept = function.is_none_or(|footing| footing.seek(place, hash, &key, windows));
            let pane = seek_pane(&mut self.table, sessions, (place, hash), &key, window);
            if place == WINDOW {
                first = kept && pane;
            }
            // Most often the first is there: its like are looked at when their turn comes.
            if first {
                break;
            }
        }
        first
    }
}

/// Seeks what is kept of a window whose timer is due; whether it is there, or nowhere.
fn seek_pane<K: Key, V: Record>(
    table: &mut LayeredTable<K, V, TimeWindow>,
    sessions: &mut Option<MergingWindows<K>>,
    (place, hash): (usize, KeyHash),
    key: &K::Of<'_>,
    window: TimeWindow,
) -> bool {
    let state = match sessions {
        None => Some(window),
        Some(sessions) => {
            if !sessions.open.seek(place, hash, key, &()) {
                return false;
            }
            sessions.state_of(hash, key, window)
        }
    };
    // One that has become another window, or is gone, has none.
    state.is_none_or(|state| table.seek(place, hash, key, &state))
}
