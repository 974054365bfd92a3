//! Rows kept in memory until they are emitted: what was written aside, and what was removed.
//!
//! Entered when an entry is changed or removed that a cut still needs. Rows lie one behind the other in
//! chunks, so that none is ever moved, and a chunk's memory is free again as soon as its rows are read.
//! Invariant: rows come out as they went in, in that order; all memory is in the account. Lives on one
//! shard's thread.

use std::collections::VecDeque;

use thalweg_core::KeyGroup;
use thalweg_memory::BudgetExceeded;

use super::row::{Row, RowSink};
use crate::table::Account;

/// Bytes of the first chunk; each further one has twice as many, up to the last size.
const FIRST_CHUNK: usize = 1 << 10;
const LAST_CHUNK: usize = 64 << 10;
/// Bytes before each row: group, and the lengths of key, namespace and value.
const HEADER: usize = 14;
/// The length of the value of a tombstone.
const TOMBSTONE: u32 = u32::MAX;

/// Rows in memory.
#[derive(Default)]
pub(crate) struct RowLog {
    chunks: VecDeque<Vec<u8>>,
    /// The first byte of the first chunk that was not read.
    read: usize,
    bytes: usize,
}

/// Where a walk over a log stands that leaves the rows in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogCursor {
    chunk: usize,
    at: usize,
}

impl RowLog {
    /// Bytes of all chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row, if there is memory for it.
    ///
    /// # Errors
    /// When the account has no room: nothing was added.
    pub(crate) fn push(
        &mut self,
        row: Row<'_>,
        account: &mut Account,
    ) -> Result<(), BudgetExceeded> {
        let more = self.chunk_for(row);
        account.reserve(more as u64)?;
        self.add(more, row);
        Ok(())
    }

    /// Adds a row whether there is memory for it or not: what is missing is owed.
    pub(crate) fn push_owing(&mut self, row: Row<'_>, account: &mut Account) {
        let more = self.chunk_for(row);
        // A refusal is remembered by the account, and paid before anything else is granted to it.
        let refused = account.follow(0, more).is_err();
        debug_assert!(!refused || account.bytes() >= more as u64);
        self.add(more, row);
    }

    /// The size of the new chunk that a row needs; 0 where the last one has room.
    fn chunk_for(&self, row: Row<'_>) -> usize {
        let needed = HEADER + row.bytes();
        let Some(last) = self.chunks.back() else {
            return needed.max(FIRST_CHUNK);
        };
        if last.capacity() - last.len() >= needed {
            return 0;
        }
        needed.max((last.capacity() * 2).min(LAST_CHUNK))
    }

    fn add(&mut self, chunk: usize, row: Row<'_>) {
        if chunk > 0 {
            self.chunks.push_back(Vec::with_capacity(chunk));
            self.bytes += chunk;
        }
        let Some(last) = self.chunks.back_mut() else {
            unreachable!("a chunk was just made where there was none");
        };
        let value = row.value.map_or(TOMBSTONE, |value| value.len() as u32);
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&row.group.0.to_le_bytes());
        header[2..6].copy_from_slice(&(row.key.len() as u32).to_le_bytes());
        header[6..10].copy_from_slice(&(row.namespace.len() as u32).to_le_bytes());
        header[10..].copy_from_slice(&value.to_le_bytes());
        // There is room for the row: nothing is moved.
        for part in [
            &header,
            row.key,
            row.namespace,
            row.value.unwrap_or_default(),
        ] {
            last.extend_from_slice(part);
        }
    }

    /// Shows the next row and forgets it; none where all were shown.
    pub(crate) fn drain_one(
        &mut self,
        account: &mut Account,
        out: &mut dyn RowSink,
    ) -> Option<usize> {
        let chunk = self.chunks.front()?;
        let (row, next) = row_at(chunk, self.read);
        let bytes = row.bytes();
        out.row(row);
        self.read = next;
        if next == chunk.len() {
            let capacity = chunk.capacity();
            self.chunks.pop_front();
            self.forget(capacity, account);
            self.read = 0;
        }
        Some(bytes)
    }

    /// Shows the row at a cursor and moves it on; none where all were shown.
    pub(crate) fn show_one(&self, cursor: &mut LogCursor, out: &mut dyn RowSink) -> Option<usize> {
        let chunk = self.chunks.get(cursor.chunk)?;
        let (row, next) = row_at(chunk, cursor.at);
        out.row(row);
        cursor.at = next;
        if next == chunk.len() {
            *cursor = LogCursor {
                chunk: cursor.chunk + 1,
                at: 0,
            };
        }
        Some(row.bytes())
    }

    /// Puts the rows of `other` behind these.
    pub(crate) fn append(&mut self, other: &mut RowLog) {
        debug_assert!(other.read == 0, "the rows of the other were not drained");
        self.chunks.append(&mut other.chunks);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Forgets all rows.
    pub(crate) fn clear(&mut self, account: &mut Account) {
        self.chunks = VecDeque::new();
        self.read = 0;
        self.forget(self.bytes, account);
    }

    fn forget(&mut self, bytes: usize, account: &mut Account) {
        self.bytes -= bytes;
        account.release(bytes as u64);
    }
}

/// The row that begins at a place of a chunk, and where the next one begins.
fn row_at(chunk: &[u8], at: usize) -> (Row<'_>, usize) {
    let number = |from: usize| {
        let Some(bytes) = chunk[at + from..].first_chunk() else {
            unreachable!("a header is whole");
        };
        u32::from_le_bytes(*bytes)
    };
    let group = KeyGroup(u16::from_le_bytes([chunk[at], chunk[at + 1]]));
    let (key, namespace, value) = (number(2) as usize, number(6) as usize, number(10));
    let length = if value == TOMBSTONE {
        0
    } else {
        value as usize
    };
    let (key, rest) = chunk[at + HEADER..].split_at(key);
    let (namespace, rest) = rest.split_at(namespace);
    let next = chunk.len() - rest.len() + length;
    let value = (value != TOMBSTONE).then_some(&rest[..length]);
    let row = Row {
        group,
        key,
        namespace,
        value,
    };
    (row, next)
}

#[cfg(test)]
mod tests {
    use thalweg_memory::Budget;

    use super::*;

    type Owned = (u16, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

    fn rows() -> Vec<Owned> {
        let row = |n: usize| {
            let value = (!n.is_multiple_of(3)).then(|| vec![n as u8; n * n % 3_000]);
            (n as u16, vec![n as u8; n % 20], vec![7; n % 5], value)
        };
        (0..500).map(row).collect()
    }

    fn lend(row: &Owned) -> Row<'_> {
        Row {
            group: KeyGroup(row.0),
            key: &row.1,
            namespace: &row.2,
            value: row.3.as_deref(),
        }
    }

    fn own(row: Row<'_>) -> Owned {
        let value = row.value.map(<[u8]>::to_vec);
        (row.group.0, row.key.to_vec(), row.namespace.to_vec(), value)
    }

    #[test]
    fn rows_come_out_as_they_went_in_and_their_memory_with_them() {
        let budget = Budget::new("slot", 1 << 30);
        let mut account = Account::new(budget.clone());
        let (mut log, mut more) = (RowLog::default(), RowLog::default());
        let expected = rows();
        for row in &expected[..300] {
            log.push(lend(row), &mut account).unwrap();
        }
        for row in &expected[300..] {
            more.push_owing(lend(row), &mut account);
        }
        log.append(&mut more);
        assert!(more.bytes() == 0);
        assert_eq!(budget.used(), log.bytes() as u64);
        let (mut seen, mut cursor) = (Vec::new(), LogCursor::default());
        while log
            .show_one(&mut cursor, &mut |row: Row<'_>| seen.push(own(row)))
            .is_some()
        {}
        assert_eq!(seen, expected);
        seen.clear();
        let mut held = budget.used();
        while log
            .drain_one(&mut account, &mut |row: Row<'_>| seen.push(own(row)))
            .is_some()
        {
            assert!(budget.used() <= held);
            held = budget.used();
        }
        assert_eq!((seen == expected, budget.used()), (true, 0));
    }

    #[test]
    fn a_row_without_memory_is_refused_or_owed() {
        let budget = Budget::new("slot", 2_000);
        let mut account = Account::new(budget.clone());
        let mut log = RowLog::default();
        let (small, large) = (rows().remove(1), (1, vec![1; 5_000], vec![], None));
        log.push(lend(&small), &mut account).unwrap();
        assert!(log.push(lend(&large), &mut account).is_err());
        log.push_owing(lend(&large), &mut account);
        assert!(account.bytes() > 5_000 && budget.used() <= 2_000);
        assert!(
            log.push(lend(&large), &mut account).is_err(),
            "nothing before it is paid"
        );
        log.clear(&mut account);
        assert_eq!((account.bytes(), budget.used()), (0, 0));
    }
}
