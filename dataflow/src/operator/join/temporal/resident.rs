//! A temporal join larger than its memory: the rows and versions that a record or a timer touches are sought before it
//! is worked on.
//!
//! Entered for records ahead, again before they are applied, and before rows are joined, while something is on disk. A
//! row in time needs the rows of its key and time, to which it is added; a late one, a version, and rows that are
//! joined need the versions of their key. Invariant: what is worked on is in memory, or nowhere. Lives
//! on one shard.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{DUE, Pressure, StateError, WINDOW};

use super::operator::Temporal;
use crate::partition::Select;

impl<K, A, B, S, R, G> Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
{
    /// Whether state has to be sought now.
    #[inline(always)]
    pub(super) fn is_active(&self) -> bool {
        let versions = self.versions.table.is_active() || self.versions.replaced.is_active();
        self.rows.is_active() || self.due.is_active() || versions
    }

    /// Seeks what a row at this place of those ahead needs; whether it is there.
    pub(super) fn seek_row(&mut self, place: u8, (hash, at): (KeyHash, Timestamp), item: &A) -> bool
    where
        S: Select<A, K>,
    {
        let (place, key) = (usize::from(place), self.keys.first.select(item));
        match at <= self.watermark {
            true => self.versions.table.seek(place, hash, &key, &()),
            false => self.rows.seek(place, hash, &key, &at),
        }
    }

    /// Seeks what is joined next: the versions of rows that are being joined, or the rows of the next timer that is due
    /// and the versions of its key; if those are not there, what the timers behind it need too. Whether it may go on.
    pub(super) fn seek_due(&mut self) -> bool {
        let versions = &mut self.versions.table;
        if let Some(joining) = &self.joining {
            let key = K::lend(&joining.key);
            return versions.seek(WINDOW, joining.hash, &key, &());
        }
        if !self.due.bring(self.watermark) {
            return false;
        }
        let mut first = true;
        for (place, timer) in (WINDOW..WINDOW + DUE).zip(self.due.due_ahead(self.watermark)) {
            let (hash, key) = (timer.hash, K::lend(&timer.key));
            let rows = self.rows.seek(place, hash, &key, &timer.at);
            let there = versions.seek(place, hash, &key, &()) && rows;
            if place == WINDOW {
                first = there && self.rows.may_forget();
            }
            // Most often the first is there: its like are looked at when their turn comes.
            if first {
                break;
            }
        }
        first
    }

    /// A turn begins: takes in what was read.
    pub(super) fn begin_on_disk(
        &mut self,
        context: &mut TurnContext<'_>,
    ) -> Result<(), StateError> {
        self.due.begin_turn(context)?;
        self.versions.replaced.begin_turn(context)?;
        self.rows.begin_turn(context)?;
        self.versions.table.begin_turn(context)
    }

    /// A turn ends: asks for what is on disk, makes room for it.
    pub(super) fn end_on_disk(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let rows = self.rows.end_turn(context, waiting)?;
        let versions = self.versions.table.end_turn(context, waiting)?;
        let due = self.due.end_turn(context, waiting)?;
        let replaced = self.versions.replaced.end_turn(context, waiting)?;
        let overflows = (self.rows.overflow()).zip(self.versions.table.overflow());
        if let Some((rows, versions)) = overflows {
            self.shown.clear();
            self.shown.add(rows);
            self.shown.add(versions);
            let timers = self.due.disk_bytes() + self.versions.replaced.disk_bytes();
            self.shown.add_bytes(timers);
        }
        Ok(rows.max(versions).max(due).max(replaced))
    }
}
