//! Whether there is room: for the records ahead, for what is read back, and in the share of the memory.
//!
//! Entered for each batch of records and at the ends of turns. Invariant: what is let in finds its place. Lives on one
//! shard's thread.

use thalweg_memory::BudgetExceeded;

use super::flush::ROUNDS;
use super::hot::HotLayer;
use super::overflow::{Overflow, PLACES};
use crate::table::WINDOW;

/// Entries for which there is room before a round has to begin: one in so many.
const SPARE: usize = 16;
/// The part of the memory that the table leaves to indexes and blocks when it grows: one in so many.
const BESIDE: u64 = 4;
/// Bytes that are there for what entries in work come to have besides their places, or there is no room.
const LITTLE: u64 = 8 << 10;

impl Overflow {
    /// Whether the entries of records have to be sought before they are applied. Cheap.
    #[inline]
    #[must_use]
    pub(crate) fn is_active<T: HotLayer>(&self, table: &T) -> bool {
        !self.runs.list.is_empty() || self.stalled || !self.has_spare(table)
    }

    /// Whether a table has room for so many more entries.
    pub(crate) fn has_room<T: HotLayer>(&self, table: &T, records: usize) -> bool {
        let held = self.memory_bytes(table);
        let limit = self.share.limit();
        if self.graves.are_too_many(limit) {
            return false;
        }
        // What entries have besides their places can only be given up with them, and takes memory that others may hold
        // for a while.
        let free = !T::HAS_HEAP || self.share.budget().left() >= self.a_little();
        let fillings = [Some(table.filling(records)), table.beside(records)];
        let mut fillings = fillings.into_iter().flatten();
        if let Some(part) = self.surplus(table) {
            // What does not find its place in the smaller array leaves first.
            return free && fillings.all(|it| it.entries + records <= part_of(it.limit, part));
        }
        let short = fillings.filter(|filling| filling.entries + records > filling.limit);
        let growth = short.map(|filling| (filling.growth_bytes, filling.room_bytes));
        let both = |one: (u64, u64), other: (u64, u64)| (one.0 + other.0, one.1 + other.1);
        let Some((growth, room)) = growth.reduce(both) else {
            return free && (held <= limit || self.is_light(table));
        };
        let grown = held + growth;
        // However much stands beside it, a small table may grow: records need places. Of one with few of them all may be
        // for those that are ahead, so that none can leave: then what stands beside it has to do with less.
        let small = growth <= limit / (2 * BESIDE);
        let few = table.filling(records).limit < 2 * PLACES;
        let fits = grown <= limit - limit / BESIDE || small || few && grown <= limit;
        fits && room <= self.share.budget().left()
    }

    /// How many of some records that have all they need may be applied, from the first on: one at least. Of what is
    /// left of the memory they take one part in `parts`, as other states grow too.
    pub(crate) fn let_in<T: HotLayer>(&mut self, table: &T, records: usize, parts: u64) -> usize {
        let held = (heap_bytes(table), table.filling(records).entries);
        let left = self.share.budget().left() / parts;
        self.growth.let_in(records, left, held)
    }

    /// Whether it is far from having none.
    #[inline]
    pub(super) fn has_spare<T: HotLayer>(&self, table: &T) -> bool {
        let filling = table.filling(WINDOW);
        let spare = (filling.limit / SPARE).max(WINDOW);
        let heap = self.share.limit() / SPARE as u64;
        let held = self.memory_bytes(table);
        let fits = held + heap <= self.share.limit() || self.is_light(table);
        self.has_room(table, spare) && fits && self.surplus(table).is_none()
    }

    /// Which part of its arrays a table keeps, as one number of another, if they are more than its share, as others
    /// have come to need what they have.
    pub(super) fn surplus<T: HotLayer>(&self, table: &T) -> Option<(u64, u64)> {
        let (limit, held) = (self.share.limit(), self.memory_bytes(table));
        if held <= limit {
            return None;
        }
        let heap = heap_bytes(table);
        // After that it may grow once again.
        let part = (limit / 2, table.memory_bytes().saturating_sub(heap));
        // What records ahead need has its places in any case.
        let few = part_of(table.filling(0).limit, part) < 4 * PLACES;
        let vain = self.fruitless > 3 * ROUNDS;
        (held - heap > limit && part.0 < part.1 && !few && !vain).then_some(part)
    }

    /// What entries in work may come to have besides.
    fn a_little(&self) -> u64 {
        LITTLE.min(self.share.limit() / SPARE as u64)
    }

    /// Whether little would be won if all entries left: the arrays stay as large as they are. There is memory for
    /// what they have besides, though others have come to need what was this table's share.
    fn is_light<T: HotLayer>(&self, table: &T) -> bool {
        let heap_bytes = heap_bytes(table);
        let little = self.share.limit() / SPARE as u64;
        heap_bytes == 0 || heap_bytes <= little && self.share.budget().left() >= little
    }

    /// Says what is too little for the records ahead: what the slot has left, or the share, of which a part is not for
    /// the table.
    pub(super) fn wants<T: HotLayer>(&self, table: &T) -> BudgetExceeded {
        let (room, held) = (table.filling(WINDOW).room_bytes, self.memory_bytes(table));
        let room = room.max(self.a_little());
        match room > self.share.budget().left() {
            true => self.share.exceeded(room, held),
            false => (self.share).exceeded(room + self.share.limit() / BESIDE, held),
        }
    }
}

fn part_of(places: usize, (part, of): (u64, u64)) -> usize {
    let part = places as u128 * u128::from(part) / u128::from(of.max(1));
    usize::try_from(part).unwrap_or(places)
}

/// Bytes of entries outside of the arrays.
pub(super) fn heap_bytes<T: HotLayer>(table: &T) -> u64 {
    let beside = table.beside(0).map_or(0, |filling| filling.heap_bytes);
    table.filling(0).heap_bytes + beside
}
