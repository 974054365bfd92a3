//! Records of slices of which a window has passed.
//!
//! Entered for a record, or a partial result, that is late and not too late. Invariants: it is part of every window still
//! to come; windows that have fired and wait for late records fire once more, for its key alone, with what there was of
//! it when the record came (where that is on disk, a little later: `disk`). Lives on one shard's thread.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key};
use thalweg_state::KeyedTable;

use super::aligned::AlignedWindows;
use super::operator::{By, NOWHERE, SliceOperator};
use super::panes::Panes;
use super::voice::{Speaker, Times, Voice};
use crate::function::FunctionError;
use crate::task::Push;
use crate::window::{TimeWindow, WindowAggregate};

impl<K, T, G, V> SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    /// Takes a record of a slice of which a window has passed: it is part of the windows to come, and
    /// those that have fired and are still kept fire again.
    #[cold]
    #[inline(never)]
    pub(super) fn apply_late<N: Push<V::Out>>(
        &mut self,
        hash: KeyHash,
        key: &K::Stored,
        held: &G::Accumulator,
        slice: TimeWindow,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let ends = (self.windows.first_end(slice), self.windows.last_end(slice));
        let (Some(first), Some(last)) = ends else {
            unreachable!("a late record has a window");
        };
        // The place of the current slice may move.
        self.current.0 = NOWHERE;
        let place = self.slices.find_or_make(slice, (first, last))?;
        let aggregate = &self.aggregate;
        let merge = |table: &mut KeyedTable<K, G::Accumulator>| {
            let entry = table.open(hash, &K::lend(key), || aggregate.create())?;
            entry.change(|into| aggregate.merge(into, held)).map(|_| ())
        };
        // Also where there was nothing of it before: what a copy holds of it is taken for taken too.
        self.slices.at(place).taken = true;
        if self.lateness > 0 {
            merge(&mut self.slices.at(place).table)?;
        }
        if last.plus_ms(-1) > self.passed {
            let mut patch = match self.slices.at(place).patch.take() {
                Some(patch) => patch,
                None => self.slices.fresh_table()?,
            };
            let merged = merge(&mut patch);
            self.slices.at(place).patch = Some(patch);
            merged?;
        }
        if self.lateness > 0 {
            self.fire_again(hash, key, (first, last), next)?;
        }
        Ok(())
    }

    /// The watermark with which a window with this end can fire no more.
    pub(super) fn gone_at(&self, end: Timestamp) -> Timestamp {
        end.plus_ms(-1).plus_ms(self.lateness)
    }

    /// Whether a window with this end cannot fire any more.
    pub(super) fn is_gone(&self, end: Timestamp) -> bool {
        self.gone_at(end) <= self.watermark
    }

    /// Fires those windows of a key once more that a late record changed: all from the one that ends
    /// at `first` to the one that ends at `last` which have passed and can still fire.
    fn fire_again<N: Push<V::Out>>(
        &mut self,
        hash: KeyHash,
        key: &K::Stored,
        (first, last): (Timestamp, Timestamp),
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let mut end = first;
        while self.is_gone(end) && end < last {
            end = self.windows.next_end(end);
        }
        let ends = (end, last);
        if self.waits_for_disk(hash, key, ends) {
            return Ok(());
        }
        let anew = self.anew(ends);
        let slices = self.slices.iter();
        let slices = slices.skip_while(|slice| anew.is_before(slice.span));
        let slices = slices.take_while(|slice| anew.is_within(slice.span));
        let held = slices.filter_map(|slice| {
            let held = slice.table.get(hash, &K::lend(key))?;
            Some((slice.span, held))
        });
        let by = By(&self.aggregate, PhantomData::<fn(K, T)>);
        anew.speak(&by, key, held, (&mut self.voice, next))?;
        Ok(())
    }

    /// The windows with these ends that fire again.
    pub(super) fn anew(&self, ends: (Timestamp, Timestamp)) -> Anew {
        Anew {
            windows: self.windows,
            lateness: self.lateness,
            ends,
            passed: self.passed,
            times: (self.watermark, self.now),
        }
    }
}

/// The windows of a key that fire again.
#[derive(Clone, Copy)]
pub(super) struct Anew {
    windows: AlignedWindows,
    lateness: i64,
    /// The end of the first, and that of the last unless it has not passed.
    ends: (Timestamp, Timestamp),
    passed: Timestamp,
    times: Times,
}

impl Anew {
    /// Whether a slice lies before all of the windows.
    pub(super) fn is_before(&self, slice: TimeWindow) -> bool {
        slice.start < self.windows.window_at(self.ends.0).start
    }

    /// Whether a slice that does not lie before them is part of one.
    pub(super) fn is_within(&self, slice: TimeWindow) -> bool {
        slice.end <= self.ends.1 && slice.end.plus_ms(-1) <= self.passed
    }

    /// The same windows of which others are the first and the last one.
    pub(super) fn with_ends(self, ends: (Timestamp, Timestamp)) -> Self {
        Self { ends, ..self }
    }

    /// The ends of the windows.
    pub(super) fn each_end(self) -> impl Iterator<Item = Timestamp> {
        let (first, last) = self.ends;
        let following = move |end: &Timestamp| {
            // At the end of time there is none.
            Some(self.windows.next_end(*end)).filter(|following| following > end)
        };
        let ends = std::iter::successors(Some(first), following);
        ends.take_while(move |end| *end <= last && end.plus_ms(-1) <= self.passed)
    }

    /// The windows.
    pub(super) fn each(self) -> impl Iterator<Item = TimeWindow> {
        self.each_end().map(move |end| self.windows.window_at(end))
    }

    /// Lets them speak; answers how many they are. Given is what the slices have of the key, in time order; one slice may
    /// have several parts.
    pub(super) fn speak<'h, K, T, G, V, N>(
        &self,
        by: &By<'_, K, T, G>,
        key: &K::Stored,
        held: impl Iterator<Item = (TimeWindow, &'h G::Accumulator)>,
        (voice, next): (&mut V, &mut N),
    ) -> Result<usize, FunctionError>
    where
        K: Key,
        T: Item,
        G: WindowAggregate<K, T>,
        V: Voice<K, G::Row>,
        N: Push<V::Out>,
    {
        let mut panes = Panes::new();
        let mut held = held.peekable();
        let mut windows = 0;
        for end in self.each_end() {
            let window = self.windows.window_at(end);
            while let Some((slice, held)) = held.next_if(|(slice, _)| slice.end <= end) {
                if slice.start >= window.start {
                    panes.push(by, slice.end.0, held);
                }
            }
            panes.evict(by, window.start.0);
            let speaker = Speaker {
                aggregate: by.0,
                window,
                times: self.times,
                until: end.plus_ms(-1).plus_ms(self.lateness),
                types: PhantomData::<fn(K, T)>,
            };
            speaker.speak(voice, K::lend(key), &panes.value(by), next)?;
            windows += 1;
        }
        Ok(windows)
    }
}
