//! Windows that meet and become one: which are open per key, and where their state lies.
//!
//! Entered by the window operator for every record of a merging assigner. A window that grows keeps
//! its state where it was first put, under the *state window*, so that growing by one record moves
//! nothing. Invariants: open windows of one key neither overlap nor touch; each has a state window
//! within it, so no two share one. Lives on the shard of its subtask.

use std::ops::Range;

use thalweg_core::key_group::{KeyHash, MaxParallelism};
use thalweg_memory::Budget;
use thalweg_memory::record::Key;
use thalweg_state::{
    KeyedTable, LayeredTable, MakeOverflow, StateDescriptor, StateError, StateVisitor,
};

use super::TimeWindow;

/// An open window and the window under which its state lies.
pub(crate) type Open = (TimeWindow, TimeWindow);

/// The open windows of all keys.
pub(crate) struct MergingWindows<K: Key> {
    /// Of each key in time order.
    pub(super) open: LayeredTable<K, Vec<Open>>,
    descriptor: StateDescriptor,
}

/// What became of a window that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    /// The window it became.
    pub(crate) window: TimeWindow,
    /// Where the state of that lies.
    pub(crate) state: TimeWindow,
    /// Whether there was no such window before.
    pub(crate) new: bool,
}

impl<K: Key> MergingWindows<K> {
    /// No open windows; `overflow` makes what takes those for which there is no memory.
    pub(crate) fn new(
        groups: Range<u16>,
        max: MaxParallelism,
        budget: Budget,
        overflow: Option<&MakeOverflow>,
    ) -> Result<Self, StateError> {
        let descriptor = StateDescriptor::list::<Open>("thalweg.open-windows").of_keys::<K, ()>();
        let overflow = overflow.map(|make| make(&descriptor, groups.clone()));
        let open = LayeredTable::new(KeyedTable::new(groups, max, budget)?, overflow);
        Ok(Self { open, descriptor })
    }

    /// Shows which windows are open.
    pub(crate) fn visit_states(
        &mut self,
        visitor: &mut dyn StateVisitor,
    ) -> Result<(), StateError> {
        visitor.visit(&self.descriptor, &mut self.open)
    }

    pub(crate) fn prefetch(&self, hashes: &[KeyHash]) {
        self.open.hot().prefetch_batch(hashes);
    }

    /// Adds a window. The windows it met are put into `met`, in time order, where that made a new
    /// window of them: the state of the first of them is where the new one's lies.
    pub(crate) fn add(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        window: TimeWindow,
        met: &mut Vec<Open>,
    ) -> Result<Added, StateError> {
        met.clear();
        let mut added = Added {
            window,
            state: window,
            new: true,
        };
        let entry = self.open.hot_mut().open(hash, key, Vec::new)?;
        entry.change(|open| added = add_to(open, window, met))?;
        #[cfg(test)]
        if super::tests::planted(super::tests::Planted::PaneLost) && met.len() > 1 {
            met.pop();
        }
        Ok(added)
    }

    /// Where the state of an open window lies.
    pub(crate) fn state_of(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        window: TimeWindow,
    ) -> Option<TimeWindow> {
        let open = self.open.hot().get(hash, key)?;
        place_of(open, window).map(|place| open[place].1)
    }

    /// Adds to `states` where the state lies of the open windows that a window meets, and where its own would.
    pub(crate) fn states_met(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        window: TimeWindow,
        states: &mut Vec<TimeWindow>,
    ) {
        states.push(window);
        let open = self.open.hot().get(hash, key);
        let met = open.map_or(&[][..], |open| &open[those_met(open, window)]);
        states.extend(met.iter().map(|(_, state)| *state));
    }

    /// Closes a window.
    pub(crate) fn retire(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        window: TimeWindow,
    ) -> Result<(), StateError> {
        let left = self.open.hot_mut().update(hash, key, |open| {
            if let Some(place) = place_of(open, window) {
                open.remove(place);
            }
            open.len()
        })?;
        if left == Some(0) {
            self.open.remove_in(hash, key, &());
        }
        Ok(())
    }
}

/// Where a window is among the open ones, which are in time order and do not meet.
fn place_of(open: &[Open], window: TimeWindow) -> Option<usize> {
    let place = open.binary_search_by_key(&window.end, |(one, _)| one.end);
    place.ok().filter(|place| open[*place].0 == window)
}

/// Which of the open windows a window meets.
fn those_met(open: &[Open], window: TimeWindow) -> Range<usize> {
    let first = open.partition_point(|(one, _)| one.end < window.start);
    let meeting = open[first..].iter();
    let count = meeting
        .take_while(|(one, _)| one.intersects(window))
        .count();
    first..first + count
}

/// Adds a window to the open ones, which are in time order.
fn add_to(open: &mut Vec<Open>, window: TimeWindow, met: &mut Vec<Open>) -> Added {
    let range = those_met(open, window);
    let first = range.start;
    let Some((_, state)) = open[range.clone()].first().copied() else {
        open.insert(first, (window, window));
        return Added {
            window,
            state: window,
            new: true,
        };
    };
    let windows = open[range.clone()].iter().map(|(one, _)| *one);
    let cover = windows.fold(window, TimeWindow::cover);
    let new = open[first].0 != cover;
    if new {
        met.extend(open.splice(range, [(cover, state)]));
    }
    Added {
        window: cover,
        state,
        new,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::event_time::Timestamp;

    use super::*;

    fn window(start: i64, end: i64) -> TimeWindow {
        TimeWindow::new(Timestamp(start), Timestamp(end))
    }

    #[test]
    fn windows_that_meet_become_one_and_keep_the_first_state() -> Result<(), StateError> {
        let budget = Budget::new("slot-0", 1 << 20);
        let mut windows =
            MergingWindows::<u64>::new(0..128, MaxParallelism::default(), budget, None)?;
        let hash = u64::hash(&1);
        let mut met = Vec::new();
        for start in [20, 0, 40] {
            let one = window(start, start + 10);
            let added = windows.add(hash, &1, one, &mut met)?;
            assert_eq!((added.window, added.state, added.new), (one, one, true));
        }
        let inside = windows.add(hash, &1, window(3, 7), &mut met)?;
        assert_eq!((inside.window, inside.new), (window(0, 10), false));
        assert_eq!(met, []);
        let bridge = windows.add(hash, &1, window(10, 20), &mut met)?;
        assert_eq!(
            (bridge.window, bridge.state),
            (window(0, 30), window(0, 10))
        );
        assert_eq!(
            met,
            [
                (window(0, 10), window(0, 10)),
                (window(20, 30), window(20, 30))
            ]
        );
        assert_eq!(
            windows.state_of(hash, &1, window(0, 30)),
            Some(window(0, 10))
        );
        assert_eq!(windows.state_of(hash, &1, window(0, 10)), None);
        windows.retire(hash, &1, window(0, 30))?;
        windows.retire(hash, &1, window(40, 50))?;
        assert!(
            windows.open.hot().is_empty(),
            "a key without windows is forgotten"
        );
        Ok(())
    }
}
