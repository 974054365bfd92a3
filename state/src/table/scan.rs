//! A walk over a table that can stop anywhere and go on later.
//!
//! Entered by what the engine itself iterates (final results, copies of the state), a slice per turn.
//! Invariant: over all slices of one walk every entry that was there all the time is visited exactly
//! once, key group by key group; when that cannot be kept, because entries moved between two slices, the
//! walk ends with an error instead. Lives on one shard's thread.

use std::ops::{ControlFlow, Range};

use thalweg_core::{Epoch, KeyGroup};
use thalweg_memory::{Key, Record};

use super::directory::Directory;
use super::namespace::Namespace;
use super::probe::SLOTS;
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
    since: Epoch,
    at: Option<Standing>,
}

#[derive(Clone, Debug)]
struct Standing {
    shape: u64,
    /// Spans of the directory still to visit, that of the current page included.
    spans: Range<usize>,
    bucket: usize,
    slot: usize,
}

impl ScanCursor {
    /// A walk over all entries.
    #[must_use]
    pub fn new() -> ScanCursor {
        ScanCursor {
            groups: 0..u16::MAX,
            since: Epoch(0),
            at: None,
        }
    }

    /// Only the entries that changed in `epoch` or later.
    #[must_use]
    pub fn since(mut self, epoch: Epoch) -> ScanCursor {
        self.since = epoch;
        self
    }

    /// Only the entries of `groups`.
    #[must_use]
    pub fn within(mut self, groups: Range<u16>) -> ScanCursor {
        self.groups = groups;
        self
    }

    pub(crate) fn advance<K: Key, V: Record, N: Namespace>(
        &mut self,
        directory: &Directory<K::Stored, N, V>,
        shape: u64,
        now: Epoch,
        mut budget: usize,
        mut visit: impl FnMut(ScanEntry<'_, K, V, N>) -> ControlFlow<()>,
    ) -> Result<Scan, StateError> {
        let at = self.at.get_or_insert_with(|| {
            let spans = directory.spans(self.groups.clone());
            Standing {
                shape,
                spans,
                bucket: 0,
                slot: 0,
            }
        });
        if self.since > now {
            return Ok(Scan::Done);
        }
        if at.shape != shape {
            return Err(StateError::ScanOvertaken);
        }
        while !at.spans.is_empty() {
            let (group, page, next) = directory.step(at.spans.start);
            while let Some(bucket) = page.buckets.get(at.bucket) {
                if bucket.tags.is_vacant() || at.slot == SLOTS {
                    (at.bucket, at.slot) = (at.bucket + 1, 0);
                    if spend(&mut budget) {
                        return Ok(Scan::More);
                    }
                    continue;
                }
                let slot = &bucket.slots[at.slot];
                at.slot += 1;
                let Some(entry) = slot else { continue };
                if !entry.stamp.changed_since(self.since, now) {
                    continue;
                }
                let (key, namespace) = (K::lend(&entry.key), &entry.namespace);
                let shown = ScanEntry {
                    group,
                    key,
                    namespace,
                    value: &entry.value,
                };
                if visit(shown).is_break() || spend(&mut budget) {
                    return Ok(Scan::More);
                }
            }
            (at.spans.start, at.bucket, at.slot) = (next, 0, 0);
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

/// Takes one from the budget; whether that was the last.
fn spend(budget: &mut usize) -> bool {
    *budget = budget.saturating_sub(1);
    *budget == 0
}
