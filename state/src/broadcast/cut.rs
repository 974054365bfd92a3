//! The cut of a broadcast map: what it is at one moment, written while it changes.
//!
//! Entered at a barrier by `freeze`, then between turns until all rows are out. The walk goes along the
//! order of the keys. What changes ahead of it is written aside first, once. The map is written in full at
//! each cut, and changes so rarely that this is mostly all there is to do. Invariant: an entry that was
//! there at `freeze` is written exactly once, as it was. Lives on one shard's thread.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use thalweg_core::{Epoch, KeyGroup};
use thalweg_memory::{Budget, Record, SavedRecord};

use super::{BYTES_OF_ENTRY, BroadcastMap};
use crate::error::StateError;
use crate::snapshot::{CutKind, Row, RowLog, RowSink, Snapshot, StateSize};
use crate::table::{Account, Scan};

/// A cut that is being written.
pub(super) struct BroadcastCut<K: Record + Ord, V: Record> {
    /// The last key that was walked over.
    last: Option<K>,
    /// Keys behind it that are written already, or came after the cut.
    decided: BTreeSet<K>,
    /// All entries, where the map was cleared since the cut.
    cleared: Option<BTreeMap<K, V>>,
    aside: RowLog,
    account: Account,
    rows: MapRows,
}

/// Makes rows of entries, in memory that is reused.
#[derive(Default)]
struct MapRows {
    key: SavedRecord,
    value: SavedRecord,
}

impl MapRows {
    /// The key is archived: it has no canonical bytes, and needs none where all is written. The entry
    /// belongs to no key group.
    fn row<K: Record, V: Record>(&mut self, key: &K, value: &V) -> Row<'_> {
        Row {
            group: KeyGroup(0),
            key: self.key.archive(key),
            namespace: &[],
            value: Some(self.value.archive(value)),
        }
    }

    fn copy<K: Record>(&mut self, key: &K) -> K {
        let bytes = self.key.archive(key).to_vec();
        match self.value.revive(&bytes) {
            Ok(copy) => copy,
            Err(error) => unreachable!("a key comes back from its own archive: {error}"),
        }
    }
}

impl<K: Record + Ord, V: Record> BroadcastCut<K, V> {
    fn new(budget: Budget) -> Self {
        BroadcastCut {
            last: None,
            decided: BTreeSet::new(),
            cleared: None,
            aside: RowLog::default(),
            account: Account::new(budget),
            rows: MapRows::default(),
        }
    }

    /// The entry of `key`, which is `value` now, is about to come, change or go.
    #[cold]
    pub(super) fn before_change(&mut self, key: &K, value: Option<&V>) {
        let passed = self.last.as_ref().is_some_and(|last| key <= last);
        if passed || self.cleared.is_some() || self.decided.contains(key) {
            return;
        }
        if let Some(value) = value {
            let row = self.rows.row(key, value);
            self.aside.push_owing(row, &mut self.account);
        }
        let key = self.rows.copy(key);
        // What does not fit is owed, and paid before anything else is granted.
        let bytes = 2 * size_of::<K>() + BYTES_OF_ENTRY + key.heap_bytes();
        let refused = self.account.follow(0, bytes).is_err();
        debug_assert!(!refused || self.account.bytes() > 0);
        self.decided.insert(key);
    }

    /// The map was cleared, of these entries with their memory. What came after the cut is decided, hence
    /// passed over.
    pub(super) fn cleared(&mut self, entries: BTreeMap<K, V>, account: &mut Account) {
        if self.cleared.is_none() {
            self.account.take_over(account);
            self.cleared = Some(entries);
        } else {
            account.release(account.bytes());
        }
    }

    /// Writes about `budget` entries of the walk; whether those were the last.
    fn walk(&mut self, entries: &BTreeMap<K, V>, budget: usize, out: &mut dyn RowSink) -> bool {
        let from = match &self.last {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let mut walked = None;
        let mut ahead = entries.range((from, Bound::Unbounded));
        for (key, value) in ahead.by_ref().take(budget) {
            if !self.decided.contains(key) {
                out.row(self.rows.row(key, value));
            }
            walked = Some(key);
        }
        let ended = ahead.next().is_none();
        if let Some(key) = walked {
            self.last = Some(self.rows.copy(key));
        }
        ended
    }
}

impl<K: Record + Ord, V: Record> Snapshot for BroadcastMap<K, V> {
    fn size(&self) -> StateSize {
        let kept_for_cut = self.cut.as_ref().map_or(0, |cut| cut.account.bytes());
        StateSize::in_memory(self.entries.len(), self.account.bytes() + kept_for_cut)
    }

    fn freeze(&mut self, _: Epoch, kind: CutKind) -> CutKind {
        let budget = self.account.budget().clone();
        self.cut = Some(Box::new(BroadcastCut::new(budget)));
        match kind {
            CutKind::Copy => CutKind::Copy,
            CutKind::Changes | CutKind::Everything => CutKind::Everything,
        }
    }

    fn is_cutting(&self) -> bool {
        self.cut.is_some()
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        let Some(mut cut) = self.cut.take() else {
            return Ok(Scan::Done);
        };
        let mut left = budget.max(1);
        while left > 0 && cut.aside.drain_one(&mut cut.account, out).is_some() {
            left -= 1;
        }
        if left > 0 {
            let cleared = cut.cleared.take();
            if cut.walk(cleared.as_ref().unwrap_or(&self.entries), left, out) {
                return Ok(Scan::Done);
            }
            cut.cleared = cleared;
        }
        self.cut = Some(cut);
        Ok(Scan::More)
    }

    fn cut_failed(&mut self) {
        self.cut = None;
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        let mut saved = SavedRecord::new();
        let key = saved.revive(row.key)?;
        match row.value {
            Some(value) => self.put(key, saved.revive(value)?)?,
            None => self.remove(&key),
        };
        Ok(())
    }

    fn forget_copies(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::super::{BroadcastState, MayWrite};
    use super::*;
    use crate::snapshot::reading::{Draws, Level, finish, lend, read};

    struct Broadcast;
    impl MayWrite for Broadcast {}

    type Model = BTreeMap<String, Vec<u64>>;

    fn bytes_of(model: &Model) -> BTreeMap<(Vec<u8>, Vec<u8>), Vec<u8>> {
        let mut saved = SavedRecord::new();
        let mut bytes = |(key, value): (&String, &Vec<u64>)| {
            let key = saved.archive(key).to_vec();
            ((key, Vec::new()), saved.archive(value).to_vec())
        };
        model.iter().map(&mut bytes).collect()
    }

    fn change(draws: &mut Draws, state: &mut BroadcastState<String, Vec<u64>>, model: &mut Model) {
        let key = format!("a key of some length, number {}", draws.below(60));
        let item = draws.below(1_000);
        match draws.below(12) {
            0 if draws.once_in(5) => {
                state.clear(&Broadcast);
                model.clear();
            }
            0..4 => assert_eq!(state.remove(&Broadcast, &key), model.remove(&key)),
            4..8 => {
                model.entry(key.clone()).or_default().push(item);
                state
                    .update(&Broadcast, key, |value| value.push(item))
                    .unwrap();
            }
            _ => {
                let before = model.insert(key.clone(), vec![item]);
                assert_eq!(state.put(&Broadcast, key, vec![item]), Ok(before));
            }
        }
    }

    fn program(seed: u64) {
        let budget = Budget::new("slot", 1 << 30);
        let mut draws = Draws(seed);
        let mut state = BroadcastState::<String, Vec<u64>>::new(budget.clone());
        let mut model = Model::new();
        for epoch in 1..60 {
            (0..draws.below(40)).for_each(|_| change(&mut draws, &mut state, &mut model));
            let asked = if draws.once_in(4) {
                CutKind::Copy
            } else {
                CutKind::Changes
            };
            let kind = state.snapshot().borrow_mut().freeze(Epoch(epoch), asked);
            let (expected, mut level) = (model.clone(), Level::new(kind));
            let given_up = draws.once_in(5);
            loop {
                (0..draws.below(5)).for_each(|_| change(&mut draws, &mut state, &mut model));
                let few = 1 + draws.below(8) as usize;
                if state.snapshot().borrow_mut().emit(few, &mut level) == Ok(Scan::Done) {
                    break;
                }
                if given_up && draws.once_in(4) {
                    state.snapshot().borrow_mut().cut_failed();
                    break;
                }
            }
            assert!(!state.snapshot().borrow().is_cutting());
            assert!(*state.entries() == model);
            if !given_up {
                assert_eq!(level.rows.len(), expected.len(), "each is written once");
                assert_eq!(read(std::slice::from_ref(&level)), bytes_of(&expected));
                let restored = BroadcastState::<String, Vec<u64>>::new(budget.clone());
                for row in &level.rows {
                    restored.snapshot().borrow_mut().restore(lend(row)).unwrap();
                }
                assert!(*restored.entries() == expected);
            }
        }
        drop(state);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_cut_is_the_map_at_its_moment() {
        (0..60).for_each(program);
    }

    #[test]
    fn damaged_rows_are_refused() {
        let mut state = BroadcastState::<String, u64>::new(Budget::new("slot", 1 << 20));
        state
            .put(&Broadcast, "some key that is long".to_owned(), 7)
            .unwrap();
        let mut level = Level::new(CutKind::Everything);
        let snapshot = state.snapshot();
        snapshot.borrow_mut().freeze(Epoch(1), CutKind::Everything);
        finish(&mut *snapshot.borrow_mut(), 10, &mut level);
        let good = lend(&level.rows[0]);
        let half = Row {
            key: &good.key[..5],
            ..good
        };
        let value = Row {
            value: Some(&[1, 2]),
            ..good
        };
        for damaged in [half, value] {
            assert!(snapshot.borrow_mut().restore(damaged).is_err());
        }
        assert_eq!(state.len(), 1);
    }
}
