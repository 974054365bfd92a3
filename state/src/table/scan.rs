//! A walk over a table that can stop anywhere and go on later.
//!
//! Entered by what the engine itself iterates (final results, copies of the state), a slice per turn.
//! Invariant: over all slices of one walk every entry that was there all the time is visited exactly
//! once, in about the order of key groups (an entry whose home was full stands a little later), and what
//! has a namespace in no such order; when that
//! cannot be kept, because entries moved between two slices, the
//! walk ends with an error instead. Lives on one shard's thread.

use std::ops::{ControlFlow, Range};

use thalweg_core::{KeyGroup, KeyHash};
use thalweg_memory::hash::SLOTS;
use thalweg_memory::{Key, Record};

use super::buckets::{Buckets, Entry};
use super::namespace::Namespace;
use super::place::Groups;
use crate::error::StateError;

/// Whether a walk has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// There may be more: call again with the same cursor.
    More,
    /// Every entry was visited.
    Done,
}

/// An entry as a walk shows it.
pub struct ScanEntry<'a, K: Key, V: Record, N: Namespace> {
    /// The key group it belongs to.
    pub group: KeyGroup,
    /// The key, lent by the table.
    pub key: K::Of<'a>,
    /// What it is kept under besides the key.
    pub namespace: &'a N,
    /// The value.
    pub value: &'a V,
}

/// Where a walk stands. Good for one table.
#[derive(Clone, Debug)]
pub struct ScanCursor {
    groups: Range<u16>,
    pub(super) at: Option<Standing>,
}

#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) shape: u64,
    pub(super) bucket: usize,
    pub(super) slot: usize,
}

impl ScanCursor {
    /// A walk over all entries.
    #[must_use]
    pub fn new() -> ScanCursor {
        ScanCursor {
            groups: 0..u16::MAX,
            at: None,
        }
    }

    /// Only the entries of `groups`.
    #[must_use]
    pub fn within(mut self, groups: Range<u16>) -> ScanCursor {
        self.groups = groups;
        self
    }

    pub(crate) fn advance<K: Key, V: Record, N: Namespace>(
        &mut self,
        buckets: &Buckets<Entry<K::Stored, N, V>>,
        groups: &Groups,
        shape: u64,
        mut budget: usize,
        mut visit: impl FnMut(ScanEntry<'_, K, V, N>) -> ControlFlow<()>,
    ) -> Result<Scan, StateError> {
        let at = self.at.get_or_insert(Standing {
            shape,
            bucket: 0,
            slot: 0,
        });
        if at.shape != shape {
            return Err(StateError::ScanOvertaken);
        }
        while let Some(bucket) = buckets.bucket(at.bucket) {
            while at.slot < SLOTS {
                let slot = at.slot;
                at.slot += 1;
                let Some(entry) = bucket.get(slot) else {
                    continue;
                };
                let key = K::lend(&entry.key);
                let group = groups.group_of(K::hash(&key));
                if !self.groups.contains(&group.0) {
                    continue;
                }
                let namespace = &entry.namespace;
                let value = &entry.value;
                let shown = ScanEntry {
                    group,
                    key,
                    namespace,
                    value,
                };
                if visit(shown).is_break() || spend(&mut budget) {
                    return Ok(Scan::More);
                }
            }
            (at.bucket, at.slot) = (at.bucket + 1, 0);
            if spend(&mut budget) {
                return Ok(Scan::More);
            }
        }
        Ok(Scan::Done)
    }
}

impl Default for ScanCursor {
    fn default() -> Self {
        ScanCursor::new()
    }
}

/// Where a walk over the keys of some key groups stands: it begins where they do, in the middle of the table.
#[derive(Clone, Debug)]
pub struct GroupsCursor {
    groups: Range<u16>,
    /// The shape of the table, the next bucket, how many are left.
    at: Option<(u64, usize, usize)>,
}

impl GroupsCursor {
    pub(crate) fn of(groups: Range<u16>) -> GroupsCursor {
        GroupsCursor { groups, at: None }
    }

    pub(super) fn advance<K: Key, V: Record, N: Namespace>(
        &mut self,
        buckets: &Buckets<Entry<K::Stored, N, V>>,
        groups: &Groups,
        (shape, slice): (u64, usize),
        mut visit: impl FnMut(KeyHash, &K::Of<'_>, &N),
    ) -> Result<Scan, StateError> {
        let all = || {
            let (first, behind) = groups.places_of(&self.groups);
            let (start, count) = buckets.stretch_of(first, behind);
            (shape, start, count)
        };
        let (seen, mut at, mut left) = self.at.unwrap_or_else(all);
        if seen != shape {
            return Err(StateError::ScanOvertaken);
        }
        for _ in 0..slice.min(left) {
            // What has no place behind the last bucket has one in the first.
            let bucket = buckets.bucket(at % buckets.len());
            (at, left) = (at + 1, left - 1);
            let entries = (0..SLOTS).filter_map(|slot| bucket?.get(slot));
            for entry in entries.filter(|entry| entry.namespace.spread() == 0) {
                let key = K::lend(&entry.key);
                let hash = K::hash(&key);
                if self.groups.contains(&groups.group_of(hash).0) {
                    visit(hash, &key, &entry.namespace);
                }
            }
        }
        self.at = Some((shape, at, left));
        Ok(if left == 0 { Scan::Done } else { Scan::More })
    }
}

/// Takes one from the budget; whether that was the last.
pub(super) fn spend(budget: &mut usize) -> bool {
    *budget = budget.saturating_sub(1);
    *budget == 0
}
