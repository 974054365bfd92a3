//! What records and timers ahead need: asked for before it is worked on.
//!
//! Entered for each record ahead and again before it is applied. Where a key may have many entries, no more is read
//! ahead than a part of the memory holds, but always what the first needs. Invariant: what is answered to be there
//! is in memory, or nowhere. Lives on one shard's thread.

use thalweg_core::{KeyGroup, KeyHash};
use thalweg_memory::hash::SLOTS;
use thalweg_memory::{Key, Record};

use super::lookup::Known;
use super::overflow::{Overflow, PLACES};
use crate::table::{KeyedTable, Namespace, entry_hash};

/// The part of the memory that is read ahead where keys have many entries: one in so many.
const AHEAD: u64 = 4;

/// Who is worked on first of those that are ahead.
#[derive(Default)]
pub(super) struct First {
    /// It is sought next.
    comes: bool,
    pub(super) hash: Option<KeyHash>,
}

/// The hashes of what is ahead: of records by their places in the window, and of timers that are due.
pub(super) struct Ahead {
    of_places: Box<[KeyHash; PLACES]>,
    /// What places have besides, whose records are of several entries. None before there is one.
    further: Vec<Vec<KeyHash>>,
}

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead {
            of_places: Box::new([KeyHash(0); PLACES]),
            further: Vec::new(),
        }
    }
}

impl Ahead {
    /// Another record is at a place.
    #[inline]
    fn put(&mut self, place: usize, hash: KeyHash) {
        self.of_places[place] = hash;
        if let Some(further) = self.further.get_mut(place) {
            further.clear();
        }
    }

    /// The record at a place needs one more entry.
    fn add(&mut self, place: usize, hash: KeyHash) {
        self.further.resize_with(PLACES, Vec::new);
        self.further[place].push(hash);
    }

    pub(super) fn hashes(&self) -> impl Iterator<Item = KeyHash> {
        let further = self.further.iter().flatten();
        self.of_places.iter().chain(further).copied()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        PLACES + self.further.iter().map(Vec::len).sum::<usize>()
    }
}

impl Overflow {
    /// What is sought next is worked on before all others.
    pub(crate) fn first_comes(&mut self) {
        self.first.comes = true;
    }

    /// Notes who is ahead at a place.
    #[inline]
    fn expect(&mut self, place: usize, hash: KeyHash) {
        self.ahead.put(place, hash);
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
        self.expect(place, self.own_hash(hash, namespace));
        self.look_for(table, hash, key, namespace)
    }

    /// The same for several entries that what is ahead needs.
    pub(crate) fn seek_each<K: Key, V: Record, N: Namespace>(
        &mut self,
        table: &mut KeyedTable<K, V, N>,
        place: usize,
        (hash, key): (KeyHash, &K::Of<'_>),
        namespaces: &[N],
    ) -> bool {
        let mut there = true;
        for (nth, namespace) in namespaces.iter().enumerate() {
            let own = self.own_hash(hash, namespace);
            match nth {
                0 => self.expect(place, own),
                _ => self.ahead.add(place, own),
            }
            there &= self.look_for(table, hash, key, namespace);
        }
        there
    }

    /// By which hash an entry is kept in memory while it is ahead.
    #[inline]
    fn own_hash<N: Namespace>(&self, hash: KeyHash, namespace: &N) -> KeyHash {
        match self.form.unit.is_of_many() {
            false => entry_hash(hash, namespace),
            true => hash,
        }
    }

    #[inline]
    fn look_for<K: Key, V: Record, N: Namespace>(
        &mut self,
        table: &mut KeyedTable<K, V, N>,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> bool {
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
