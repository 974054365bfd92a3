//! The elements of lists, in chunks that are table entries of their own.
//!
//! Elements are counted from the first that was ever added to a list; an element's number says in which
//! chunk it lies. The first chunk also says which numbers are in the list. Invariants: a list without
//! elements has no entries; the times of elements do not fall along a list, so what has expired is its
//! beginning (where the clock was set back, it is hidden one by one). Chunks may be on disk: the first tells which
//! others there are, and a list is worked on when all of them are in memory. Lives on one shard's thread.

use std::iter::successors;
use std::ops::{ControlFlow, Range};

use thalweg_core::{Epoch, KeyHash};
use thalweg_memory::{Key, Record};

use super::super::aging::Aging;
use super::super::cells::find_in_slice;
use super::super::chunk::Chunk;
use super::super::held::Tables;
use crate::error::StateError;
use crate::lsm::{AdoptedRun, CarriedRun, LayeredTable};
use crate::migration::Migration;
use crate::snapshot::{Adopts, CutKind, Row, RowSink, Snapshot, StateSize};
use crate::table::{Namespace, Scan, ScanCursor};

/// Bytes of the elements of a full chunk, about.
const CHUNK_BYTES: usize = 4 << 10;
/// Chunks that are looked at in one step when lists are laid out anew.
const LOOK: usize = 1 << 12;

/// Elements of so many bytes in a full chunk.
pub(crate) const fn elements_of_part(bytes: usize) -> u64 {
    let fit = CHUNK_BYTES / if bytes == 0 { 1 } else { bytes };
    if fit < 16 { 16 } else { fit as u64 }
}

/// First number in the list, first number behind it (both only in the first chunk), elements.
type Elements<E> = (u64, u64, Vec<E>);

/// The lists of one state.
pub(crate) struct ListChunks<K: Key, V: Record, N: Namespace, A: Aging<V>> {
    table: LayeredTable<K, Elements<A::Kept>, Chunk<N>>,
    pub(super) aging: A,
    cleaning: ScanCursor,
}

impl<K: Key, V: Record, N: Namespace, A: Aging<V>> ListChunks<K, V, N, A> {
    /// Elements of a full chunk.
    const FULL: u64 = elements_of_part(size_of::<A::Kept>());

    pub(crate) fn new(mut table: LayeredTable<K, Elements<A::Kept>, Chunk<N>>, aging: A) -> Self {
        if A::AGES {
            let aging = aging.clone();
            table.leave_out(move || {
                let is_expired = aging.is_expired_by_now();
                // The first chunk stays while there are others: it tells which.
                move |chunk: &Elements<A::Kept>| {
                    chunk.1 <= Self::FULL && chunk.2.iter().all(&is_expired)
                }
            });
        }
        ListChunks {
            table,
            aging,
            cleaning: ScanCursor::new(),
        }
    }

    pub(crate) fn table_mut(&mut self) -> &mut LayeredTable<K, Elements<A::Kept>, Chunk<N>> {
        &mut self.table
    }

    /// The numbers that are in a list.
    fn numbers(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<(u64, u64)> {
        let first = self
            .table
            .hot()
            .get_in(hash, key, &Chunk::first(namespace))?;
        Some((first.0, first.1))
    }

    /// Adds an element behind the others.
    #[inline]
    pub(super) fn add(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        value: V,
    ) -> Result<(), StateError> {
        let element = self.aging.keep(value);
        self.add_kept(hash, key, namespace, element)
    }

    #[inline]
    fn add_kept(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        element: A::Kept,
    ) -> Result<(), StateError> {
        let mut further = None;
        self.table.hot_mut().fold_in(
            hash,
            key,
            &Chunk::first(namespace),
            element,
            |element| (0, 1, vec![element]),
            |first, element| {
                if first.1 < Self::FULL {
                    first.2.push(element);
                    first.1 += 1;
                } else {
                    further = Some((first.1, element));
                }
            },
        )?;
        match further {
            None => Ok(()),
            Some((number, element)) => self.add_further(hash, key, namespace, number, element),
        }
    }

    /// Adds an element to a chunk that is not the first.
    #[inline(never)]
    fn add_further(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        number: u64,
        element: A::Kept,
    ) -> Result<(), StateError> {
        let chunk = Chunk::of(namespace, number / Self::FULL);
        let place = (number % Self::FULL) as usize;
        if A::AGES && place > 0 && self.table.hot().get_in(hash, key, &chunk).is_none() {
            return self.add_behind_gap(hash, key, namespace, element);
        }
        self.table.hot_mut().fold_in(
            hash,
            key,
            &chunk,
            element,
            |element| (0, 0, vec![element]),
            |chunk, element| {
                // An element whose addition was refused may still be there.
                chunk.2.truncate(place);
                chunk.2.push(element);
            },
        )?;
        let counted = |first: &mut Elements<A::Kept>| first.1 = number + 1;
        self.table
            .hot_mut()
            .update_in(hash, key, &Chunk::first(namespace), counted)?;
        Ok(())
    }

    /// Adds an element where the last chunk is gone because its time had passed, and with it that of those before,
    /// unless the clock was set back.
    #[cold]
    fn add_behind_gap(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        element: A::Kept,
    ) -> Result<(), StateError> {
        self.remove_expired(hash, key, namespace)?;
        let Some((_, to)) = self.numbers(hash, key, namespace) else {
            return self.add_kept(hash, key, namespace, element);
        };
        let number = to.next_multiple_of(Self::FULL);
        self.add_further(hash, key, namespace, number, element)
    }

    /// The elements of each chunk, in order.
    pub(super) fn parts<'a>(
        &'a self,
        hash: KeyHash,
        key: &'a K::Of<'_>,
        namespace: &'a N,
    ) -> impl Iterator<Item = &'a [A::Kept]> {
        self.stretches(hash, key, namespace).map(|(_, part)| part)
    }

    /// The elements of each chunk, in order, with how many numbers they have. They are none where an addition or a
    /// merge that was refused left fewer, or where the chunk was left out on disk because its time had passed.
    fn stretches<'a>(
        &'a self,
        hash: KeyHash,
        key: &'a K::Of<'_>,
        namespace: &'a N,
    ) -> impl Iterator<Item = (u64, &'a [A::Kept])> {
        let (from, to) = self.numbers(hash, key, namespace).unwrap_or((0, 0));
        let starts = successors(Some(from), |number| {
            Some((number / Self::FULL + 1) * Self::FULL)
        });
        starts
            .take_while(move |number| *number < to)
            .map(move |number| {
                let chunk = Chunk::of(namespace, number / Self::FULL);
                let place = (number % Self::FULL) as usize;
                let length = (to - number).min(Self::FULL - place as u64) as usize;
                let elements = self.table.hot().get_in(hash, key, &chunk);
                let part = elements.and_then(|chunk| chunk.2.get(place..place + length));
                (length as u64, part.unwrap_or_default())
            })
    }

    /// Removes the first `count` elements; answers how many there were.
    pub(super) fn remove_first(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        count: u64,
    ) -> Result<u64, StateError> {
        let Some((from, to)) = self.numbers(hash, key, namespace) else {
            return Ok(0);
        };
        let new_from = from.saturating_add(count).min(to);
        let emptied = if new_from == to {
            (to - 1) / Self::FULL + 1
        } else {
            new_from / Self::FULL
        };
        for chunk in (from / Self::FULL).max(1)..emptied {
            self.table
                .remove_in(hash, key, &Chunk::of(namespace, chunk));
        }
        if new_from == to {
            self.table.remove_in(hash, key, &Chunk::first(namespace));
        } else {
            self.table
                .hot_mut()
                .update_in(hash, key, &Chunk::first(namespace), |first| {
                    first.0 = new_from;
                    if emptied > 0 {
                        first.2 = Vec::new();
                    }
                })?;
        }
        Ok(new_from - from)
    }

    /// Removes all elements.
    pub(super) fn clear(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> Result<(), StateError> {
        self.remove_first(hash, key, namespace, u64::MAX)
            .map(|_| ())
    }

    /// Removes the elements at the beginning whose time has passed; answers how many.
    pub(super) fn remove_expired(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> Result<u64, StateError> {
        if !A::AGES {
            return Ok(0);
        }
        let mut expired = 0;
        for (length, part) in self.stretches(hash, key, namespace) {
            let gone = part.iter().take_while(|it| self.aging.is_expired(it));
            let gone = gone.count();
            // What is not there was left out because its time had passed.
            expired += if part.is_empty() { length } else { gone as u64 };
            if gone < part.len() {
                break;
            }
        }
        if expired == 0 {
            return Ok(0);
        }
        self.remove_first(hash, key, namespace, expired)
    }

    /// Makes all elements as new.
    pub(super) fn refresh(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> Result<(), StateError> {
        let Some((from, to)) = self.numbers(hash, key, namespace) else {
            return Ok(());
        };
        let aging = &self.aging;
        for number in from / Self::FULL..=(to - 1) / Self::FULL {
            let chunk = Chunk::of(namespace, number);
            self.table.hot_mut().update_in(hash, key, &chunk, |chunk| {
                let elements = chunk.2.iter_mut();
                elements.for_each(|element| aging.refresh(element));
            })?;
        }
        Ok(())
    }

    /// The number of elements.
    pub(super) fn len(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> u64 {
        let numbers = self.numbers(hash, key, namespace);
        numbers.map_or(0, |(from, to)| to - from)
    }

    /// Whether there is an element that may be shown.
    pub(in crate::keyed) fn has_shown(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> bool {
        if !A::AGES {
            return self.len(hash, key, namespace) > 0;
        }
        let mut elements = self.parts(hash, key, namespace).flatten();
        elements.any(|element| !self.aging.is_hidden(element))
    }

    /// The numbers of the chunks of a list of which there is the first.
    fn further(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Range<u64> {
        let Some((from, to)) = self.numbers(hash, key, namespace) else {
            return 0..0;
        };
        (from / Self::FULL).max(1)..to.saturating_sub(1) / Self::FULL + 1
    }

    /// Seeks the chunks of a list for what is ahead at a place; whether all of them are there, or nowhere.
    pub(in crate::keyed) fn seek(
        &mut self,
        place: usize,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> bool {
        if !(self.table).seek(place, hash, key, &Chunk::first(namespace)) {
            // Which others there are it tells.
            return false;
        }
        let mut there = true;
        for number in self.further(hash, key, namespace) {
            there &= (self.table).seek(place, hash, key, &Chunk::of(namespace, number));
        }
        there
    }

    /// Whether all chunks of a list are in memory of which the first is.
    fn is_here(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> bool {
        let here = |number| {
            let chunk = Chunk::of(namespace, number);
            self.table.hot().get_in(hash, key, &chunk).is_some()
        };
        !self.table.has_spilled() || self.further(hash, key, namespace).all(here)
    }

    /// Elements were of another size, and so many in a full chunk: lays all lists out as they are now.
    fn chunk_anew(&mut self, was: u64) -> Result<(), StateError> {
        let mut lists = Vec::new();
        let mut cursor = ScanCursor::new();
        loop {
            let scanned = self.table.hot_mut().scan(&mut cursor, LOOK, |entry| {
                if entry.namespace.number == 0 {
                    lists.push((K::store(&entry.key), entry.namespace.namespace));
                }
                ControlFlow::Continue(())
            })?;
            if scanned == Scan::Done {
                break;
            }
        }
        for (key, namespace) in lists {
            let key = K::lend(&key);
            self.list_anew(K::hash(&key), &key, &namespace, was)?;
        }
        Ok(())
    }

    fn list_anew(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        was: u64,
    ) -> Result<(), StateError> {
        let Some((from, to)) = self.numbers(hash, key, namespace) else {
            return Ok(());
        };
        let mut elements = Vec::new();
        for chunk in from / was..=to.saturating_sub(1) / was {
            let taken = (self.table).remove_in(hash, key, &Chunk::of(namespace, chunk));
            let before = from.saturating_sub(chunk * was) as usize;
            let behind = to.saturating_sub(chunk * was).min(was) as usize;
            let taken = taken.into_iter().flat_map(|taken| taken.2);
            elements.extend(taken.take(behind).skip(before));
        }
        self.table.remove_in(hash, key, &Chunk::first(namespace));
        for element in elements {
            self.add_kept(hash, key, namespace, element)?;
        }
        Ok(())
    }

    /// Moves the elements of another namespace behind those of this one, as old as they are.
    pub(super) fn merge(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        into: &N,
        from: &N,
    ) -> Result<(), StateError> {
        if into == from {
            return Ok(());
        }
        while let Some((first, end)) = self.numbers(hash, key, from) {
            let number = first / Self::FULL;
            let place = (first % Self::FULL) as usize;
            let length = (end - first).min(Self::FULL - place as u64);
            let taken =
                (self.table.hot_mut()).update_in(hash, key, &Chunk::of(from, number), |chunk| {
                    std::mem::take(&mut chunk.2)
                })?;
            let elements = taken.into_iter().flatten().skip(place);
            for element in elements.take(length as usize) {
                self.add_kept(hash, key, into, element)?;
            }
            self.remove_first(hash, key, from, length)?;
        }
        Ok(())
    }
}

impl<K: Key, V: Record, N: Namespace, A: Aging<V>> Tables for ListChunks<K, V, N, A> {
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
        let lists = find_in_slice(
            self.table.hot_mut(),
            &mut self.cleaning,
            budget,
            |chunk, _| chunk.number == 0,
        )?;
        let mut removed = 0;
        for (key, chunk) in lists {
            let key = K::lend(&key);
            let hash = K::hash(&key);
            // What is partly on disk waits until somebody needs it.
            if self.is_here(hash, &key, &chunk.namespace) {
                removed += self.remove_expired(hash, &key, &chunk.namespace)?;
            }
        }
        Ok(removed as usize)
    }
}

impl<K: Key, V: Record, N: Namespace, A: Aging<V>> Snapshot for ListChunks<K, V, N, A> {
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
        self.table.emit(budget, out)
    }

    fn cut_failed(&mut self) {
        self.table.cut_failed();
    }

    fn expect_rows(&mut self, about: u64, at_most: u64) {
        self.table.expect_rows(about, at_most);
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        self.table.restore(row)
    }

    fn restored(&mut self) -> Result<(), StateError> {
        self.table.restored()
    }

    fn restored_by(&mut self, migration: &Migration, ages: bool) -> Result<(), StateError> {
        self.table.restored_by(migration, ages)?;
        self.chunk_anew(migration.part(ages))
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
