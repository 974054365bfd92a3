//! Records of one stream by key and slice of event time, for lookups by range of times.
//!
//! Time is cut into slices as long as the ranges looked up are, so a lookup touches two slices, a record is found by
//! its place in one, and a slice is forgotten whole: one timer for all its records. Slices may be on disk: those that
//! are looked up or added to were sought before, and one that is forgotten is not read for that; their timers may be there
//! too. Invariant: a slice is
//! there until the watermark has reached its last record's time plus `keep_ms`. Lives on one shard.

use std::ops::ControlFlow;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    KeyedTable, LayeredTable, LayeredTimers, StateDescriptor, StateError, StateVisitor,
};

use crate::operator::frame::Firing;
use crate::task::BuildContext;

/// The number of a slice of time.
pub(super) type Slice = i64;

/// The records of one stream.
pub(super) struct TimeSlices<K: Key, V: Record> {
    pub(super) records: LayeredTable<K, Vec<(i64, V)>, Slice>,
    descriptor: StateDescriptor,
    pub(super) ends: LayeredTimers<K, Slice>,
    of_ends: StateDescriptor,
    width_ms: i64,
    keep_ms: i64,
    /// The slices that a record touches, while they are sought.
    pub(super) sought: Vec<Slice>,
}

/// A record's place among those of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slice: Slice,
    index: usize,
}

impl<K: Key, V: Record> TimeSlices<K, V> {
    /// No records of one side, which may overflow where the job's state may. Ranges of `span_ms` will be looked up; a
    /// record is needed until the watermark reaches its time plus `keep_ms`.
    pub(super) fn new(
        context: &BuildContext,
        side: &str,
        span_ms: i64,
        keep_ms: i64,
    ) -> Result<Self, StateError> {
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let (max, budget) = (info.max_parallelism, context.budget());
        let descriptor = StateDescriptor::list::<(i64, V)>(format!("thalweg.{side}-records"));
        let descriptor = descriptor.of_keys::<K, Slice>();
        let of_ends = StateDescriptor::timers(format!("thalweg.ends-of-{side}-records"));
        let of_ends = of_ends.of_keys::<K, Slice>();
        let overflow = context.overflows();
        let overflow = overflow.map(|make| make(&descriptor, groups.clone()));
        let table = KeyedTable::new(groups.clone(), max, budget.clone())?;
        Ok(Self {
            records: LayeredTable::new(table, overflow),
            descriptor,
            ends: context.timers(&of_ends),
            of_ends,
            width_ms: span_ms.max(1),
            keep_ms,
            sought: Vec::new(),
        })
    }

    /// Shows the records and the timers that forget them.
    pub(super) fn visit_states(
        &mut self,
        visitor: &mut dyn StateVisitor,
    ) -> Result<(), StateError> {
        visitor.visit(&self.descriptor, &mut self.records)?;
        visitor.visit(&self.of_ends, &mut self.ends)
    }

    /// The slice of a time.
    pub(super) fn slice_of(&self, at: Timestamp) -> Slice {
        at.0.div_euclid(self.width_ms)
    }

    /// Whether a record of this time is of use to records that the watermark still lets in.
    pub(super) fn needs(&self, at: Timestamp, watermark: Timestamp) -> bool {
        at.plus_ms(self.keep_ms) > watermark
    }

    /// When the last record of a slice is needed no more.
    fn end_of(&self, slice: Slice) -> Timestamp {
        let last = (i128::from(slice) + 1) * i128::from(self.width_ms) - 1;
        let end = last + i128::from(self.keep_ms);
        let least = i128::from(Timestamp::MIN.0);
        let end = end.clamp(least, i128::from(Timestamp::MAX.0));
        Timestamp(i64::try_from(end).unwrap_or(i64::MAX))
    }

    /// Keeps a record; answers its place.
    pub(super) fn insert(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        at: Timestamp,
        record: V,
    ) -> Result<Place, StateError> {
        let slice = self.slice_of(at);
        let kept = self.records.hot_mut().fold_in(
            hash,
            key,
            &slice,
            (at.0, record),
            |entry| vec![entry],
            |entries, entry| entries.push(entry),
        )?;
        let index = kept.len() - 1;
        if index == 0 {
            self.ends.register(hash, key, &slice, self.end_of(slice))?;
        }
        Ok(Place { slice, index })
    }

    /// The record at a place.
    pub(super) fn at(&self, hash: KeyHash, key: &K::Of<'_>, place: Place) -> Option<&V> {
        let entries = self.records.hot().get_in(hash, key, &place.slice)?;
        Some(&entries.get(place.index)?.1)
    }

    /// Visits the records of times from `first` to `last`, by slice and within one in the order in
    /// which they came, until `visit` breaks: then answers the place to go on from.
    #[inline]
    pub(super) fn visit(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        (first, last): (Timestamp, Timestamp),
        from: Option<Place>,
        mut visit: impl FnMut(Timestamp, &V) -> ControlFlow<()>,
    ) -> Option<Place> {
        let from = from.unwrap_or(Place {
            slice: self.slice_of(first),
            index: 0,
        });
        let mut skipped = from.index;
        for slice in from.slice..=self.slice_of(last) {
            let entries = self.records.hot().get_in(hash, key, &slice);
            let entries = entries.map_or(&[][..], Vec::as_slice);
            for (index, (at, record)) in entries.iter().enumerate().skip(skipped) {
                if (first.0..=last.0).contains(at) && visit(Timestamp(*at), record).is_break() {
                    let index = index + 1;
                    return Some(Place { slice, index });
                }
            }
            skipped = 0;
        }
        None
    }

    /// Forgets up to `limit` slices that are needed no more, in memory or on disk.
    pub(super) fn forget(&mut self, watermark: Timestamp, limit: usize) -> Firing {
        for _ in 0..limit {
            if !self.ends.bring(watermark) {
                return Firing::Waiting;
            }
            let Some(timer) = self.ends.pop_due(watermark) else {
                return Firing::Done;
            };
            let key = K::lend(&timer.key);
            self.records.forget_in(timer.hash, &key, &timer.namespace);
            if !self.records.may_forget() {
                return Firing::Waiting;
            }
        }
        Firing::More
    }

    /// The number of slices kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.records.hot().len(), self.ends.len());
        self.records.hot().len()
    }
}
