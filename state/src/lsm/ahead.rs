//! What records and timers ahead need: asked for before it is worked on.
//!
//! Entered for each record ahead and again before it is applied. Where a key may have many entries, no more is read
//! ahead than a part of the memory holds, but always what the first needs. Invariant: what is answered to be there
//! is in memory, or nowhere. Lives on one shard's thread.

use thalweg_core::{KeyGroup, KeyHash};
use thalweg_memory::hash::SLOTS;
use thalweg_memory::{Key, Record};

use super::lookup::Known;
use super::overflow::Overflow;
use crate::table::{KeyedTable, Namespace};

/// The part of the memory that is read ahead where keys have many entries: one in so many.
const AHEAD: u64 = 4;

/// Who is worked on first of those that are ahead.
#[derive(Default)]
pub(super) struct First {
    /// It is sought next.
    comes: bool,
    pub(super) hash: Option<KeyHash>,
}

impl Overflow {
    /// What is sought next is worked on before all others.
    pub(crate) fn first_comes(&mut self) {
        self.first.comes = true;
    }

    /// Notes who is ahead at a place.
    #[inline]
    fn expect(&mut self, place: usize, hash: KeyHash) {
        self.ahead[place] = hash;
        if std::mem::take(&mut self.first.comes) {
            self.first.hash = Some(hash);
        }
    }

    /// Whether what a key has may be read now.
    fn may_ask(&self, hash: KeyHash) -> bool {
        if !self.form.unit.is_of_many() || self.first.hash == Some(hash) {
            return true;
        }
        let coming = self.lookups.coming_bytes() + self.gathers.bytes();
        !self.strained && coming <= self.share.limit() / AHEAD
    }

    /// Seeks the entry of what is ahead at a place: a record's in the window, or a timer's behind it. Whether it
    /// may be worked on, as far as this entry goes: it is in memory, or nowhere. Otherwise it is read.
    #[inline]
    pub(crate) fn seek<K: Key, V: Record, N: Namespace>(
        &mut self,
        table: &mut KeyedTable<K, V, N>,
        place: usize,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> bool {
        self.expect(place, hash);
        if let Some(slot) = table.slot_of(hash, key, namespace) {
            let slots = table.bucket_count() * SLOTS;
            self.kept.used(slot, slots);
            return true;
        }
        if self.runs.list.is_empty() {
            return true;
        }
        self.sought
            .set::<K, N>(table.group_of(hash).0, key, namespace);
        if self.graves.hold(&self.sought) {
            return true;
        }
        let may_ask = self.may_ask(hash);
        let known = (self.lookups).look(&self.sought, &self.runs, &mut self.queue, may_ask);
        known == Known::Absent
    }

    /// The same for all that a key has, where its entries come and go at once; `whole` says that they are in memory,
    /// of a state with so many slots.
    pub(crate) fn seek_key<K: Key>(
        &mut self,
        place: usize,
        (hash, group): (KeyHash, KeyGroup),
        key: &K::Of<'_>,
        (whole, slots): (bool, usize),
    ) -> bool {
        self.expect(place, hash);
        self.kept.used_key(hash, slots);
        if whole || self.runs.list.is_empty() {
            return true;
        }
        self.sought_key.group = group.0;
        self.sought_key.key.clear();
        K::encode(key, &mut self.sought_key.key);
        let may_ask = self.may_ask(hash);
        let sought = (&self.sought_key, hash);
        let (runs, graves) = (&self.runs, &self.graves);
        let known = (self.gathers).look(sought, runs, graves, &mut self.queue, may_ask);
        known == Known::Absent
    }
}
