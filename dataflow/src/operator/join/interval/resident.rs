//! An interval join larger than its memory: the slices that a record touches are sought before it is worked on.
//!
//! Entered for records ahead, again before they are applied, and before the pairs of a record go on, while something is
//! on disk. A record needs all slices of the other side that its range touches, and its own, to which it is added.
//! Invariant: a record is worked on only once all of them are in memory, or nowhere. Lives on one shard.

use std::ops::RangeInclusive;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{Pressure, StateError, WINDOW};

use super::operator::{Interval, Rest};
use super::slices::{Slice, TimeSlices};
use crate::partition::Select;

/// The parts into which the memory that is left is cut: one for each side, and one for all else that grows.
const PARTS: u64 = 3;

impl<K: Key, V: Record> TimeSlices<K, V> {
    /// Whether slices have to be sought now.
    #[inline(always)]
    fn is_active(&self) -> bool {
        self.records.is_active() || self.ends.is_active()
    }

    /// Whether there is room for what so many records may add.
    pub(super) fn has_room(&mut self, records: usize) -> bool {
        // Both are asked: each makes room for itself.
        let ends = self.ends.has_room(records);
        self.records.has_room(records) && ends
    }

    /// How many of some records may be added at once.
    pub(super) fn let_in(&mut self, records: usize) -> usize {
        self.records.let_in(records, PARTS)
    }

    /// Seeks some slices; whether all of them are there, or nowhere.
    fn seek(
        &mut self,
        place: usize,
        hash: KeyHash,
        key: &K::Of<'_>,
        slices: RangeInclusive<Slice>,
    ) -> bool {
        self.sought.clear();
        self.sought.extend(slices);
        (self.records).seek_each(place, hash, key, &self.sought)
    }

    /// Seeks the slice of a time.
    fn seek_own(&mut self, place: usize, hash: KeyHash, key: &K::Of<'_>, at: Timestamp) -> bool {
        let own = self.slice_of(at);
        self.records.seek(place, hash, key, &own)
    }

    /// Seeks the slices of some times, from one slice on.
    fn seek_times(
        &mut self,
        place: usize,
        hash: KeyHash,
        key: &K::Of<'_>,
        (first, last): (Timestamp, Timestamp),
        from: Option<Slice>,
    ) -> bool {
        let from = from.unwrap_or_else(|| self.slice_of(first));
        self.seek(place, hash, key, from..=self.slice_of(last))
    }

    /// A turn begins: takes in what was read.
    pub(super) fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        self.ends.begin_turn(context)?;
        self.records.begin_turn(context)
    }

    /// A turn ends: asks for what is on disk, makes room for it.
    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let ends = self.ends.end_turn(context, waiting)?;
        Ok(ends.max(self.records.end_turn(context, waiting)?))
    }
}

impl<K, A, B, S, R, G> Interval<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
{
    /// Whether state has to be sought now.
    #[inline(always)]
    pub(super) fn is_active(&self) -> bool {
        self.left.is_active() || self.right.is_active()
    }

    /// Seeks what a left record at this place of those ahead needs; whether all of it is there.
    pub(super) fn seek_left(
        &mut self,
        place: u8,
        (hash, at): (KeyHash, Timestamp),
        item: &A,
    ) -> bool
    where
        S: Select<A, K>,
    {
        // One that is late, or has no time, is not joined.
        if at <= self.watermark || !at.is_some() {
            return true;
        }
        let (place, key) = (usize::from(place), self.keys.first.select(item));
        let range = self.bounds.of_left(at);
        let others = self.right.seek_times(place, hash, &key, range, None);
        self.left.seek_own(place, hash, &key, at) & others
    }

    /// The same for a right record.
    pub(super) fn seek_right(
        &mut self,
        place: u8,
        (hash, at): (KeyHash, Timestamp),
        item: &B,
    ) -> bool
    where
        R: Select<B, K>,
    {
        if at <= self.watermark || !at.is_some() {
            return true;
        }
        let (place, key) = (usize::from(place), self.keys.second.select(item));
        let range = self.bounds.of_right(at);
        let others = self.left.seek_times(place, hash, &key, range, None);
        self.right.seek_own(place, hash, &key, at) & others
    }

    /// Seeks what a record whose pairs were interrupted needs to go on; whether all of it is there.
    pub(super) fn seek_rest(&mut self, rest: Rest) -> bool {
        let Some(key) = self.key.lend() else {
            unreachable!("the key stays while its record is in work");
        };
        let (hash, from) = (rest.hash, Some(rest.from.slice));
        let (left, right) = (&mut self.left, &mut self.right);
        if rest.is_left {
            let range = self.bounds.of_left(rest.at);
            let others = right.seek_times(WINDOW, hash, &key, range, from);
            left.seek_own(WINDOW, hash, &key, rest.at) & others
        } else {
            let range = self.bounds.of_right(rest.at);
            let others = left.seek_times(WINDOW, hash, &key, range, from);
            right.seek_own(WINDOW, hash, &key, rest.at) & others
        }
    }

    /// A turn ends: asks for slices that are on disk, makes room for them.
    pub(super) fn end_on_disk(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let left = self.left.end_turn(context, waiting)?;
        let right = self.right.end_turn(context, waiting)?;
        let overflows = (self.left.records.overflow()).zip(self.right.records.overflow());
        if let Some((left, right)) = overflows {
            self.shown.clear();
            self.shown.add(left);
            self.shown.add(right);
            (self.shown).add_bytes(self.left.ends.disk_bytes() + self.right.ends.disk_bytes());
        }
        Ok(left.max(right))
    }
}
