//! The versions of a changing table, by key and the time from which each is valid.
//!
//! Invariant: of each key, the version valid at the time up to which was forgotten and all newer ones
//! are there, oldest first. A deletion is a version without a value; one that is the oldest may be
//! forgotten too, after a while. Versions may be on disk: those that are read or changed were sought before, and those
//! of which some are forgotten are sought here. Lives on one shard.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    DUE, KeyedTable, LayeredTable, LayeredTimers, StateDescriptor, StateError, StateVisitor, WINDOW,
};

use crate::operator::frame::Firing;
use crate::task::BuildContext;

/// Since when, in ms; what, or none after a deletion.
pub(super) type Version<B> = (i64, Option<B>);

/// The versions of all keys of a subtask.
pub(super) struct Versions<K: Key, B: Record> {
    pub(super) table: LayeredTable<K, Vec<Version<B>>>,
    descriptor: StateDescriptor,
    /// When older versions of a key are replaced.
    pub(super) replaced: LayeredTimers<K>,
    of_replaced: StateDescriptor,
    /// How long after their times deletions are remembered, ms; none for ever.
    deletions_kept: Option<i64>,
}

impl<K: Key, B: Record> Versions<K, B> {
    /// No versions, which may overflow where the job's state may.
    pub(super) fn new(
        context: &BuildContext,
        deletions_kept: Option<i64>,
    ) -> Result<Self, StateError> {
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let (max, budget) = (info.max_parallelism, context.budget());
        let descriptor = StateDescriptor::list::<Version<B>>("thalweg.versions");
        let descriptor = descriptor.of_keys::<K, ()>();
        let of_replaced = StateDescriptor::timers("thalweg.replaced-versions").of_keys::<K, ()>();
        let overflow = context.overflows();
        let overflow = overflow.map(|make| make(&descriptor, groups.clone()));
        let table = KeyedTable::new(groups.clone(), max, budget.clone())?;
        Ok(Self {
            table: LayeredTable::new(table, overflow),
            descriptor,
            replaced: context.timers(&of_replaced),
            of_replaced,
            deletions_kept,
        })
    }

    /// Shows the versions and when they are replaced.
    pub(super) fn visit_states(
        &mut self,
        visitor: &mut dyn StateVisitor,
    ) -> Result<(), StateError> {
        visitor.visit(&self.descriptor, &mut self.table)?;
        visitor.visit(&self.of_replaced, &mut self.replaced)
    }

    /// Brings the versions of these keys near.
    pub(super) fn prefetch(&self, hashes: &[KeyHash]) {
        self.table.hot().prefetch_batch(hashes);
    }

    /// Keeps a version; it takes the place of one of the same time.
    pub(super) fn insert(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        since: Timestamp,
        value: Option<B>,
    ) -> Result<(), StateError> {
        let is_deletion = value.is_none();
        let versions = self.table.hot_mut().fold(
            hash,
            key,
            (since.0, value),
            |version| vec![version],
            |versions, version| {
                let place = versions.partition_point(|known| known.0 < version.0);
                match versions.get_mut(place) {
                    Some(known) if known.0 == version.0 => *known = version,
                    _ => versions.insert(place, version),
                }
            },
        )?;
        let Some((latest, _)) = versions.last() else {
            unreachable!("a version was just kept");
        };
        if let Some(kept) = self.deletions_kept.filter(|_| is_deletion) {
            (self.replaced).register(hash, key, &(), since.plus_ms(kept))?;
        }
        if versions.len() > 1 {
            // A version that comes out of order is replaced by the next one, which may have come
            // alone and so without a timer.
            let latest = Timestamp(*latest);
            self.replaced.register(hash, key, &(), since)?;
            self.replaced.register(hash, key, &(), latest)?;
        }
        Ok(())
    }

    /// The version valid at a time, a deletion included, if it is known.
    pub(super) fn at(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        time: Timestamp,
    ) -> Option<&Version<B>> {
        let versions = self.table.hot().get(hash, key)?;
        let newer = versions.partition_point(|version| version.0 <= time.0);
        versions.get(newer.checked_sub(1)?)
    }

    /// Whether a newer version than one of `since` is valid at `watermark`.
    pub(super) fn is_replaced(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        since: Timestamp,
        watermark: Timestamp,
    ) -> bool {
        let valid = self.at(hash, key, watermark);
        valid.is_some_and(|version| version.0 > since.0)
    }

    /// Forgets the versions of up to `limit` replacements that the watermark has reached.
    ///
    /// # Errors
    /// None that a smaller value could have.
    pub(super) fn forget(
        &mut self,
        watermark: Timestamp,
        limit: usize,
    ) -> Result<Firing, StateError> {
        for _ in 0..limit {
            let there = self.replaced.bring(watermark);
            if !there || self.table.is_active() && !self.seek_replaced(watermark) {
                return Ok(Firing::Waiting);
            }
            let Some(timer) = self.replaced.pop_due(watermark) else {
                return Ok(Firing::Done);
            };
            let key = K::lend(&timer.key);
            let is_empty = self.table.hot_mut().update(timer.hash, &key, |versions| {
                forget_before(versions, watermark, self.deletions_kept);
                versions.is_empty()
            })?;
            if is_empty == Some(true) {
                self.table.remove_in(timer.hash, &key, &());
            }
        }
        Ok(Firing::More)
    }

    /// Seeks the versions of the replacement that is due next; if they are not there, those behind it too. Whether
    /// they may be changed.
    fn seek_replaced(&mut self, watermark: Timestamp) -> bool {
        let ahead = self.replaced.due_ahead(watermark);
        let mut first = true;
        for (place, timer) in (WINDOW..WINDOW + DUE).zip(ahead) {
            let key = K::lend(&timer.key);
            let there = self.table.seek(place, timer.hash, &key, &());
            if place == WINDOW {
                first = there && self.table.may_forget();
            }
            if first {
                break;
            }
        }
        first
    }

    /// The number of versions of a key.
    #[cfg(test)]
    pub(super) fn count(&self, hash: KeyHash, key: &K::Of<'_>) -> usize {
        self.table.hot().get(hash, key).map_or(0, Vec::len)
    }
}

/// Forgets what is not valid at `watermark` or later, and a deletion that is after it was kept for so long.
fn forget_before<B>(
    versions: &mut Vec<Version<B>>,
    watermark: Timestamp,
    deletions_kept: Option<i64>,
) {
    let reached = versions.partition_point(|version| version.0 <= watermark.0);
    let Some(valid) = reached.checked_sub(1) else {
        return;
    };
    let (since, value) = &versions[valid];
    let is_over = |kept| Timestamp(*since).plus_ms(kept) <= watermark;
    let goes_too = value.is_none() && deletions_kept.is_some_and(is_over);
    versions.drain(..valid + usize::from(goes_too));
    if versions.capacity() > 4 * versions.len().max(4) {
        versions.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(
        versions: &[(i64, Option<u8>)],
        watermark: i64,
        deletions_kept: Option<i64>,
    ) -> Vec<Version<u8>> {
        let mut versions = versions.to_vec();
        forget_before(&mut versions, Timestamp(watermark), deletions_kept);
        versions
    }

    #[test]
    fn the_valid_version_and_newer_ones_stay_and_a_deletion_as_long_as_it_is_to() {
        let versions = [(10, Some(1)), (20, None), (30, Some(3))];
        for kept in [None, Some(0), Some(5)] {
            assert_eq!(after(&versions, 9, kept), versions);
            assert_eq!(after(&versions, 10, kept), versions);
            assert_eq!(after(&versions, 19, kept), versions);
            assert_eq!(after(&versions, 30, kept), versions[2..]);
        }
        assert_eq!(after(&versions, 20, None), versions[1..]);
        assert_eq!(after(&versions, 20, Some(0)), versions[2..]);
        assert_eq!(after(&versions, 24, Some(5)), versions[1..]);
        assert_eq!(after(&versions, 25, Some(5)), versions[2..]);
        assert_eq!(after(&versions[..2], 25, Some(5)), []);
        assert_eq!(after(&versions[..2], 25, None), versions[1..2]);
    }
}
