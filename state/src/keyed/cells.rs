//! One value per key and namespace, with or without a time to live.
//!
//! Entered by the handles of value, reducing and aggregating state. Invariant: what has expired is never
//! folded with what comes after it, unless the state may show it. Lives on one shard's thread.

use std::ops::ControlFlow;

use thalweg_core::{Epoch, KeyHash};
use thalweg_memory::{Key, Record};

use super::aging::Aging;
use super::held::Tables;
use crate::error::StateError;
use crate::lsm::{AdoptedRun, CarriedRun, LayeredTable};
use crate::snapshot::{Adopts, CutKind, Row, RowSink, Snapshot, StateSize};
use crate::table::{KeyedTable, Namespace, Scan, ScanCursor};

/// A table of values.
pub(crate) struct Cells<K: Key, V: Record, N: Namespace, A: Aging<V>> {
    table: LayeredTable<K, A::Kept, N>,
    aging: A,
    cleaning: ScanCursor,
}

impl<K: Key, V: Record, N: Namespace, A: Aging<V>> Cells<K, V, N, A> {
    pub(crate) fn new(mut table: LayeredTable<K, A::Kept, N>, aging: A) -> Self {
        if A::AGES {
            let aging = aging.clone();
            table.leave_out(move || aging.is_expired_by_now());
        }
        Cells {
            table,
            aging,
            cleaning: ScanCursor::new(),
        }
    }

    pub(crate) fn table_mut(&mut self) -> &mut LayeredTable<K, A::Kept, N> {
        &mut self.table
    }

    /// Reads the value, and removes it if its time has passed.
    #[inline]
    pub(crate) fn read<R>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        read: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R, StateError> {
        if A::AGES
            && let Some(kept) = self.table.hot().get_in(hash, key, namespace)
        {
            if self.aging.is_expired(kept) {
                let gone = self.table.remove_in(hash, key, namespace);
                let shown = gone.as_ref().filter(|kept| !self.aging.is_hidden(kept));
                return Ok(read(shown.map(A::value)));
            }
            if self.aging.refreshes_on_read() {
                let aging = &self.aging;
                self.table
                    .hot_mut()
                    .update_in(hash, key, namespace, |kept| aging.refresh(kept))?;
            }
        }
        let kept = self.table.hot().get_in(hash, key, namespace);
        Ok(read(kept.map(A::value)))
    }

    /// Makes `item` part of the value: by `insert` where there is none, by `update` where there is one.
    #[inline]
    pub(crate) fn fold<T>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        item: T,
        insert: impl FnOnce(T) -> V,
        update: impl FnOnce(&mut V, T),
    ) -> Result<(), StateError> {
        let aging = &self.aging;
        let folded = self.table.hot_mut().fold_in(
            hash,
            key,
            namespace,
            (item, insert),
            |(item, insert)| aging.keep(insert(item)),
            |kept, (item, insert)| {
                if aging.is_hidden(kept) {
                    *kept = aging.keep(insert(item));
                } else {
                    update(A::value_mut(kept), item);
                    aging.refresh(kept);
                }
            },
        );
        folded.map(|_| ())
    }

    /// Whether there is a value that may be shown.
    pub(crate) fn has_shown(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> bool {
        let kept = self.table.hot().get_in(hash, key, namespace);
        kept.is_some_and(|kept| !self.aging.is_hidden(kept))
    }

    /// Takes the value out.
    pub(crate) fn take(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<V> {
        let kept = self.table.remove_in(hash, key, namespace)?;
        if self.aging.is_hidden(&kept) {
            return None;
        }
        Some(A::into_value(kept))
    }
}

impl<K: Key, V: Record, N: Namespace, A: Aging<V>> Tables for Cells<K, V, N, A> {
    fn prefetch_batch(&self, hashes: &[KeyHash]) {
        self.table.hot().prefetch_batch(hashes);
    }

    fn entries(&self) -> usize {
        self.table.hot().len()
    }

    fn memory_bytes(&self) -> u64 {
        self.table.memory_bytes()
    }

    fn clean_expired(&mut self, budget: usize) -> Result<usize, StateError> {
        if !A::AGES {
            return Ok(0);
        }
        let aging = &self.aging;
        let expired = find_in_slice(
            self.table.hot_mut(),
            &mut self.cleaning,
            budget,
            |_, kept| aging.is_expired(kept),
        )?;
        for (key, namespace) in &expired {
            let key = K::lend(key);
            self.table.remove_in(K::hash(&key), &key, namespace);
        }
        Ok(expired.len())
    }
}

/// The rows of its cuts hold what is alive when they are written.
impl<K: Key, V: Record, N: Namespace, A: Aging<V>> Snapshot for Cells<K, V, N, A> {
    fn size(&self) -> StateSize {
        self.table.size()
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        self.table.freeze(epoch, kind)
    }

    fn begins_anew(&self) -> bool {
        self.table.begins_anew()
    }

    fn is_cutting(&self) -> bool {
        self.table.is_cutting()
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        let aging = &self.aging;
        let alive = |kept: &A::Kept| !A::AGES || !aging.is_expired(kept);
        self.table.emit_kept(budget, alive, out)
    }

    fn cut_failed(&mut self) {
        self.table.cut_failed();
    }

    fn expect_rows(&mut self, about: u64, at_most: u64) {
        self.table.expect_rows(about, at_most);
    }

    fn approach_row(&mut self, row: &Row<'_>) {
        self.table.approach_row(row);
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        self.table.restore(row)
    }

    fn cut_durable(&mut self) {
        self.table.cut_durable();
    }

    fn carried(&self) -> Vec<CarriedRun> {
        self.table.carried()
    }

    fn adopts(&self, bytes: u64) -> Adopts {
        self.table.adopts(bytes)
    }

    fn has_room_for(&self, rows: u64, bytes: u64) -> bool {
        self.table.has_room_for(rows, bytes)
    }

    fn is_coming_back(&self) -> bool {
        self.table.is_coming_back()
    }

    fn adopt(&mut self, runs: Vec<AdoptedRun>) -> Result<(), StateError> {
        self.table.adopt(runs)
    }

    fn forget_copies(&mut self) {
        self.table.forget_copies();
    }
}

/// The keys of the entries that are wanted among the next `budget`. A walk that was overtaken by growth
/// begins again, as does one that has ended.
pub(crate) fn find_in_slice<K: Key, V: Record, N: Namespace>(
    table: &mut KeyedTable<K, V, N>,
    cursor: &mut ScanCursor,
    budget: usize,
    wanted: impl Fn(&N, &V) -> bool,
) -> Result<Vec<(K::Stored, N)>, StateError> {
    let mut found = Vec::new();
    let scanned = table.scan(cursor, budget, |entry| {
        if wanted(entry.namespace, entry.value) {
            found.push((K::store(&entry.key), *entry.namespace));
        }
        ControlFlow::Continue(())
    });
    match scanned {
        Ok(Scan::More) => {}
        Ok(Scan::Done) | Err(StateError::ScanOvertaken) => *cursor = ScanCursor::new(),
        Err(error) => return Err(error),
    }
    Ok(found)
}
