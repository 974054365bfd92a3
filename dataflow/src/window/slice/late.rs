//! Records of slices of which a window has passed.
//!
//! Entered for a record, or a partial result, that is late and not too late. Invariants: it is part of every window still
//! to come; windows that have fired and wait for late records fire once more, for its key alone. Lives on one shard's
//! thread.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key};
use thalweg_state::KeyedTable;

use super::operator::{By, NOWHERE, SliceOperator};
use super::panes::Panes;
use super::voice::{Speaker, Voice};
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
            self.fire_again(hash, key, first, last, next)?;
        }
        Ok(())
    }

    /// Fires those windows of a key once more that a late record changed: all from the one that ends
    /// at `first` to the one that ends at `last` which have passed and can still fire.
    fn fire_again<N: Push<V::Out>>(
        &mut self,
        hash: KeyHash,
        key: &K::Stored,
        first: Timestamp,
        last: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let by = By(&self.aggregate, PhantomData::<fn(K, T)>);
        let mut end = first;
        while self.is_gone(end) && end < last {
            end = self.windows.next_end(end);
        }
        let mut panes = Panes::new();
        let mut slices = self.slices.iter().peekable();
        while end <= last && end.plus_ms(-1) <= self.passed {
            let window = self.windows.window_at(end);
            while let Some(slice) = slices.next_if(|slice| slice.span.end <= end) {
                if slice.span.start >= window.start
                    && let Some(held) = slice.table.get(hash, &K::lend(key))
                {
                    panes.push(&by, slice.span.end.0, held);
                }
            }
            panes.evict(&by, window.start.0);
            let speaker = Speaker {
                aggregate: &self.aggregate,
                window,
                times: (self.watermark, self.now),
                until: self.gone_at(end),
                types: PhantomData::<fn(K, T)>,
            };
            speaker.speak(&mut self.voice, K::lend(key), &panes.value(&by), next)?;
            let following = self.windows.next_end(end);
            if following == end {
                // The end of time.
                break;
            }
            end = following;
        }
        Ok(())
    }
}
