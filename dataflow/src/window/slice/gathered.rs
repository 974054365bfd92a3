//! A small table of partial results, made to stay in the cache.
//!
//! Rows lie one behind the other, in the order in which their keys came; an index of two bytes per place
//! finds them. So a table with few rows is given away at the cost of those few. Invariants: every row is
//! in the index once; a full table takes no new row. Lives on one shard's thread.

use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Key, Record};

/// Places of the index.
const PLACES: usize = 1 << 15;
/// Rows a table may have at most: the index stays half empty.
const MOST_ROWS: usize = PLACES / 2;
/// Bytes of rows a table may have; the second-level cache has to hold them beside all else.
const MOST_BYTES: usize = 768 << 10;
/// Bytes that accumulators may have on the heap before a table counts as full.
const MOST_HEAP: usize = 1 << 20;
/// Of a table with fewer rows than this the index is cleared place by place.
const FEW_ROWS: usize = PLACES / 16;

/// What was gathered of one key in one slice.
pub(super) struct Row<S, A> {
    pub(super) key: S,
    /// Which slice, by the number its owner gave it.
    pub(super) slice: u32,
    /// How many records.
    pub(super) records: u32,
    pub(super) held: A,
}

/// Rows with the hashes of their keys.
pub(super) struct Rows<S, A> {
    rows: Vec<Row<S, A>>,
    hashes: Vec<KeyHash>,
}

impl<S, A> Rows<S, A> {
    fn with_room_for(rows: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows),
            hashes: Vec::with_capacity(rows),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many records the rows were gathered from.
    pub(super) fn records(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.records)).sum()
    }

    pub(super) fn pop(&mut self) -> Option<(KeyHash, Row<S, A>)> {
        Some((self.hashes.pop()?, self.rows.pop()?))
    }
}

/// Partial results by key and slice.
pub(super) struct Gathered<K: Key, A> {
    /// One more than the number of the row; 0 is vacant.
    index: Box<[u16; PLACES]>,
    rows: Rows<K::Stored, A>,
    /// Rows that were given away and came back empty.
    spare: Option<Rows<K::Stored, A>>,
    heap: usize,
    limit: usize,
}

impl<K: Key, A: Record> Gathered<K, A> {
    pub(super) fn new() -> Self {
        let limit = Self::row_limit();
        let Ok(index) = vec![0; PLACES].into_boxed_slice().try_into() else {
            unreachable!("the slice is as long as the array");
        };
        Self {
            index,
            rows: Rows::with_room_for(limit),
            spare: None,
            heap: 0,
            limit,
        }
    }

    fn row_limit() -> usize {
        (MOST_BYTES / size_of::<Row<K::Stored, A>>().max(1)).clamp(16, MOST_ROWS)
    }

    /// Bytes that a table and the rows it has given away take at most.
    pub(super) fn bytes() -> u64 {
        let row = size_of::<Row<K::Stored, A>>() + size_of::<KeyHash>();
        let heap = if A::OUT_OF_LINE { MOST_HEAP } else { 0 };
        (PLACES * size_of::<u16>() + 2 * (Self::row_limit() * row + heap)) as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Whether the rows have to be given away before another key comes.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= self.limit || (A::OUT_OF_LINE && self.heap >= MOST_HEAP)
    }

    /// The row of a key and slice, made with `create` where there is none; `spread` belongs to the slice.
    #[inline(always)]
    pub(super) fn row(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        (slice, spread): (u32, u64),
        create: impl FnOnce() -> A,
    ) -> usize {
        let mut place = (hash.0 ^ spread) as usize % PLACES;
        loop {
            let number = usize::from(self.index[place]);
            let Some(at) = number.checked_sub(1) else {
                return self.insert(place, hash, K::store(key), slice, create());
            };
            if let Some(row) = self.rows.rows.get(at)
                && row.slice == slice
                && K::same(&row.key, key)
            {
                return at;
            }
            place = (place + 1) % PLACES;
        }
    }

    #[inline(never)]
    fn insert(
        &mut self,
        place: usize,
        hash: KeyHash,
        key: K::Stored,
        slice: u32,
        held: A,
    ) -> usize {
        let at = self.rows.len();
        assert!(at < MOST_ROWS, "a full table takes no new row");
        self.index[place] = at as u16 + 1;
        self.rows.rows.push(Row {
            key,
            slice,
            records: 0,
            held,
        });
        self.rows.hashes.push(hash);
        at
    }

    /// Counts one record more in a row and lets `add` take it in.
    #[inline(always)]
    pub(super) fn change(&mut self, row: usize, add: impl FnOnce(&mut A)) {
        let row = &mut self.rows.rows[row];
        row.records = row.records.saturating_add(1);
        if A::OUT_OF_LINE {
            let before = row.held.heap_bytes();
            add(&mut row.held);
            self.heap += row.held.heap_bytes().saturating_sub(before);
        } else {
            add(&mut row.held);
        }
    }

    /// Gives all rows away; the table is empty then. `spread_of` answers the spread of a slice.
    pub(super) fn take(&mut self, spread_of: impl Fn(u32) -> u64) -> Rows<K::Stored, A> {
        if self.rows.len() < FEW_ROWS {
            self.clear_places(spread_of);
        } else {
            self.index.fill(0);
        }
        debug_assert!(self.index.iter().all(|number| *number == 0));
        self.heap = 0;
        let limit = self.limit;
        let empty = self.spare.take();
        let empty = empty.unwrap_or_else(|| Rows::with_room_for(limit));
        std::mem::replace(&mut self.rows, empty)
    }

    /// Vacates the places of the rows: from each one's home, all up to the next vacant place belong to
    /// rows of this table, and all rows go.
    fn clear_places(&mut self, spread_of: impl Fn(u32) -> u64) {
        let rows = self.rows.rows.iter().zip(&self.rows.hashes);
        for (row, hash) in rows {
            let mut place = (hash.0 ^ spread_of(row.slice)) as usize % PLACES;
            while self.index[place] != 0 {
                self.index[place] = 0;
                place = (place + 1) % PLACES;
            }
        }
    }

    /// Takes back rows that were given away and are used up.
    pub(super) fn give_back(&mut self, rows: Rows<K::Stored, A>) {
        debug_assert_eq!(rows.len(), 0, "every row was sent");
        self.spare = Some(rows);
    }
}
