//! The keys of a state that is partly on disk, some key groups at a time.
//!
//! Entered by [`KeysOfState`](super::KeysOfState). Of the groups in work first the keys in memory are noted, then
//! those that runs tell of are shown one after the other, but for those that were noted; the next groups follow when
//! both are through. Invariants: what is noted of some groups and what runs tell of them misses no key and, as noted
//! keys are passed over, has none twice, whatever moves between memory and disk meanwhile (the walk over runs says
//! why); visits change only what the visited key has, so groups that come later are as they were. A key that runs tell
//! of may have nothing any more, as its time may have passed: who visits it asks. Memory is copies of the keys of some
//! groups that are in memory and of a few others; it counts as the state's. Lives on one shard's thread.

use std::collections::VecDeque;
use std::ops::Range;

use thalweg_core::KeyHash;
use thalweg_memory::Key;

use super::find::FindKeys;
use super::{FoundKey, Gathered, KeyWalk, bytes, with_keys};
use crate::error::StateError;
use crate::lsm::{DUE, Reading};
use crate::table::{GroupsCursor, Scan};

/// Keys in memory of the groups that are gone through at once, about.
const AT_ONCE: usize = 256;

/// Where the groups in work stand.
enum Step {
    /// None are.
    Between,
    /// Keys in memory are noted.
    Above(GroupsCursor),
    /// Runs are read.
    Below,
}

/// A walk over the keys of a state by key groups.
pub(super) struct ByGroups<K: Key> {
    /// The groups that come later.
    left: Range<u16>,
    groups: Range<u16>,
    step: Step,
    /// The keys of the groups in work that were in memory, by their hashes.
    above: Vec<FoundKey<K>>,
    /// Bytes of the copies of keys, and those of which the state was told.
    bytes: u64,
    told: u64,
}

impl<K: Key> ByGroups<K> {
    pub(super) fn new(groups: Range<u16>) -> ByGroups<K> {
        ByGroups {
            left: groups,
            groups: 0..0,
            step: Step::Between,
            above: Vec::new(),
            bytes: 0,
            told: 0,
        }
    }

    /// Does a slice, unless enough keys are found.
    pub(super) fn gather(
        &mut self,
        state: &dyn KeyWalk<K>,
        limit: usize,
        found: &mut VecDeque<FoundKey<K>>,
    ) -> Result<Gathered, StateError> {
        if found.len() >= DUE {
            return Ok(Gathered::Next);
        }
        with_keys(state, |keys| {
            let gathered = self.go_on(keys, limit, found)?;
            if self.told != self.bytes {
                keys.below().holds_copies(self.bytes);
                self.told = self.bytes;
            }
            Ok(match found.is_empty() {
                true => gathered,
                false => Gathered::Next,
            })
        })
    }

    fn go_on(
        &mut self,
        keys: &mut dyn FindKeys<K>,
        limit: usize,
        found: &mut VecDeque<FoundKey<K>>,
    ) -> Result<Gathered, StateError> {
        match &mut self.step {
            Step::Between if self.left.is_empty() => return Ok(Gathered::Next),
            Step::Between => self.begin(keys),
            Step::Above(cursor) => {
                match keys.above().find_in_groups(cursor, limit, &mut self.above) {
                    Ok(Scan::More) => {}
                    Ok(Scan::Done) => self.go_below(keys, found),
                    Err(StateError::ScanOvertaken) => {
                        *cursor = GroupsCursor::of(self.groups.clone());
                        self.above.clear();
                    }
                    Err(error) => return Err(error),
                }
            }
            Step::Below => match self.read(keys, limit, found)? {
                Reading::More => {}
                Reading::Waiting => return Ok(Gathered::Waiting),
                Reading::Done => {
                    let gone = std::mem::take(&mut self.above);
                    self.bytes -= gone.iter().map(bytes::<K>).sum::<u64>();
                    self.step = Step::Between;
                }
            },
        }
        Ok(Gathered::More)
    }

    /// Takes the next groups into work.
    fn begin(&mut self, keys: &mut dyn FindKeys<K>) {
        let above = keys.above();
        let (groups, entries) = (above.groups().len(), above.entries().max(1));
        let at_once = (AT_ONCE * groups / entries).clamp(1, self.left.len());
        let end = self.left.start + at_once as u16;
        self.groups = self.left.start..end;
        self.left.start = end;
        self.step = Step::Above(GroupsCursor::of(self.groups.clone()));
    }

    /// All keys in memory are noted: they come first, and runs are read from now on.
    fn go_below(&mut self, keys: &mut dyn FindKeys<K>, found: &mut VecDeque<FoundKey<K>>) {
        self.above.sort_unstable_by_key(|(hash, _)| *hash);
        self.bytes += 2 * self.above.iter().map(bytes::<K>).sum::<u64>();
        let copies = self.above.iter();
        found.extend(copies.map(|(hash, key)| (*hash, K::store(&K::lend(key)))));
        keys.below().begin(&self.groups);
        self.step = Step::Below;
    }

    /// Reads rows of runs, and finds their keys but for those that were noted.
    fn read(
        &mut self,
        keys: &mut dyn FindKeys<K>,
        rows: usize,
        found: &mut VecDeque<FoundKey<K>>,
    ) -> Result<Reading, StateError> {
        let (above, added) = (&self.above, &mut self.bytes);
        keys.below().find(rows, &mut |key| {
            let hash = K::hash(&K::lend(&key));
            if !holds::<K>(above, hash, &key) {
                let key = (hash, key);
                *added += bytes::<K>(&key);
                found.push_back(key);
            }
        })
    }

    /// A key is given out.
    pub(super) fn give_out(&mut self, key: &FoundKey<K>) {
        self.bytes -= bytes::<K>(key);
    }
}

/// Whether a key is among those that stand in the order of their hashes.
fn holds<K: Key>(keys: &[FoundKey<K>], hash: KeyHash, key: &K::Stored) -> bool {
    let first = keys.partition_point(|(other, _)| *other < hash);
    let alike = keys[first..].iter().take_while(|(other, _)| *other == hash);
    let key = K::lend(key);
    alike.into_iter().any(|(_, other)| K::same(other, &key))
}
