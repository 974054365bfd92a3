//! A map's index, made of its entries when they are all there again; and made whole, where some are gone.
//!
//! Entered when a map has come back from disk, or from a copy. Merges leave out entries whose time has passed, one by
//! one: what is left keeps its order, gets numbers without gaps, and goes where a search for its user key finds it.
//! Invariant: of a map of which nothing is gone nothing changes. Lives on one shard's thread.

use thalweg_core::KeyHash;
use thalweg_memory::{Key, Record, RecordKey};

use super::entries::EntryOf;
use super::paged::MapLayer;
use crate::error::StateError;
use crate::table::Namespace;

/// The entries of one map: their numbers, ids, and the ids where a search for them begins.
#[derive(Default)]
pub(super) struct Whole {
    entries: Vec<(u64, u64, u64)>,
}

impl Whole {
    /// There is this entry, with this number.
    pub(super) fn add<UK: RecordKey>(&mut self, number: u64, id: u64, user_key: &UK) {
        self.entries.push((number, id, user_key.key_hash().0));
    }
}

impl<K: Key, UK: RecordKey, E: Record, N: Namespace> MapLayer<'_, K, UK, E, N> {
    /// Makes the index of a map of its entries. Answers from where some have moved, for what is on disk of them.
    pub(super) fn index_anew(
        &mut self,
        (hash, key): (KeyHash, &K::Of<'_>),
        namespace: N,
        mut whole: Whole,
    ) -> Result<Vec<EntryOf<N>>, StateError> {
        whole.entries.sort_unstable();
        // Where entries are gone there are numbers beyond their count.
        let numbers = whole.entries.iter().map(|(number, ..)| *number);
        self.index.clear_numbers(hash, key, &namespace, numbers);
        for entry in &mut whole.entries {
            let (was, id, _) = *entry;
            let number = self.index.push(hash, key, &namespace, id)?;
            if number != was {
                let place = EntryOf { namespace, id };
                (self.table).update_in(hash, key, &place, |entry| entry.2 = number)?;
                entry.0 = number;
            }
        }
        self.close_gaps((hash, key), namespace, whole)
    }

    /// Moves entries of which a search from where it begins would not find the way.
    fn close_gaps(
        &mut self,
        (hash, key): (KeyHash, &K::Of<'_>),
        namespace: N,
        mut whole: Whole,
    ) -> Result<Vec<EntryOf<N>>, StateError> {
        // Nearly none is anywhere else.
        whole.entries.retain(|(_, id, home)| id != home);
        let mut left = Vec::new();
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for (number, id, home) in &mut whole.entries {
                let Some(gap) = self.gap_before((hash, key), namespace, (*home, *id)) else {
                    continue;
                };
                let from = EntryOf { namespace, id: *id };
                let Some((entry, _)) = self.table.remove_told(hash, key, &from) else {
                    continue;
                };
                let to = EntryOf { namespace, id: gap };
                self.index.set(hash, key, &namespace, *number, gap)?;
                (self.table).fold_in(hash, key, &to, entry, |entry| entry, |_, _| {})?;
                left.push(from);
                (*id, moved) = (gap, true);
            }
        }
        Ok(left)
    }

    /// The first id from `home` on, before `id`, at which there is nothing.
    fn gap_before(
        &self,
        (hash, key): (KeyHash, &K::Of<'_>),
        namespace: N,
        (home, id): (u64, u64),
    ) -> Option<u64> {
        let mut at = home;
        while at != id {
            let place = EntryOf { namespace, id: at };
            if self.table.get_in(hash, key, &place).is_none() {
                return Some(at);
            }
            at = at.wrapping_add(1);
        }
        None
    }
}
