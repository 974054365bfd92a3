//! Rows gathered until there are enough to sort.
//!
//! Filled row by row by the writer, sorted and emptied when it is full. Invariant: a row is one append of
//! its bytes and one entry of fixed size; once sorted, rows ascend and no two have the same address. Lives
//! on one shard's thread.

use std::cmp::Ordering;

use thalweg_core::KeyGroup;

use super::order::Address;
use crate::snapshot::Row;

/// A value length that says there is no value.
const TOMBSTONE: u32 = u32::MAX;

/// One row of the section. What decides most comparisons lies in front.
#[derive(Clone, Copy)]
pub(crate) struct Gathered {
    /// State in the upper half, key group in the lower.
    place: u32,
    /// Where its bytes begin.
    at: u32,
    /// The first eight bytes of the key as a number, zeroes behind a shorter one.
    prefix: u64,
    key: u32,
    namespace: u32,
    value: u32,
    /// How many rows came before it.
    nth: u32,
}

/// The bytes of the rows, and the rows in the order of their coming or sorted.
#[derive(Default)]
pub(crate) struct SectionBuffer {
    bytes: Vec<u8>,
    rows: Vec<Gathered>,
}

impl SectionBuffer {
    /// Bytes taken by the rows gathered.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Gathered>()
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.rows.capacity() * size_of::<Gathered>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    /// Takes a row; the writer has seen to it that lengths and the bytes of all rows fit 32 bits.
    #[inline]
    pub(crate) fn push(&mut self, state: u16, row: &Row<'_>) {
        let at = self.bytes.len() as u32;
        self.bytes.reserve(row.bytes());
        self.bytes.extend_from_slice(row.key);
        self.bytes.extend_from_slice(row.namespace);
        self.bytes.extend_from_slice(row.value.unwrap_or_default());
        let nth = self.rows.len() as u32;
        self.rows.push(Gathered {
            place: u32::from(state) << 16 | u32::from(row.group.0),
            at,
            prefix: prefix(row.key),
            key: row.key.len() as u32,
            namespace: row.namespace.len() as u32,
            value: row.value.map_or(TOMBSTONE, |value| value.len() as u32),
            nth,
        });
    }

    /// Sorts the rows by address. Of those with one address the last put stays, or the last tombstone where
    /// there is no put.
    pub(crate) fn sort(&mut self) {
        let bytes = self.bytes.as_slice();
        self.rows.sort_unstable_by(|a, b| {
            let near = (a.place, a.prefix).cmp(&(b.place, b.prefix));
            near.then_with(|| a.compare(b, bytes))
        });
        self.rows.dedup_by(|next, kept| {
            (next.place, next.prefix) == (kept.place, kept.prefix)
                && next.address(bytes) == kept.address(bytes)
        });
    }

    /// The rows, and how to look at each.
    pub(crate) fn rows(&self) -> (&[Gathered], &[u8]) {
        (&self.rows, &self.bytes)
    }
}

impl Gathered {
    /// The order of two rows whose places and prefixes are alike.
    #[cold]
    fn compare(&self, other: &Gathered, bytes: &[u8]) -> Ordering {
        let by_address = self.address(bytes).cmp(&other.address(bytes));
        let put_first = || (self.value == TOMBSTONE).cmp(&(other.value == TOMBSTONE));
        by_address
            .then_with(put_first)
            .then_with(|| other.nth.cmp(&self.nth))
    }

    pub(crate) fn state(&self) -> u16 {
        (self.place >> 16) as u16
    }

    /// Whether two rows have the same state, group and key.
    #[inline]
    pub(crate) fn same_key(&self, other: &Gathered, bytes: &[u8]) -> bool {
        (self.place, self.prefix, self.key) == (other.place, other.prefix, other.key)
            && self.key_of(bytes) == other.key_of(bytes)
    }

    fn key_of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.at as usize..][..self.key as usize]
    }

    #[inline]
    pub(crate) fn address<'a>(&self, bytes: &'a [u8]) -> Address<'a> {
        Address::of(self.state(), &self.row(bytes))
    }

    /// The row, lent by the section's `bytes`.
    #[inline]
    pub(crate) fn row<'a>(&self, bytes: &'a [u8]) -> Row<'a> {
        let (key, rest) = bytes[self.at as usize..].split_at(self.key as usize);
        let (namespace, rest) = rest.split_at(self.namespace as usize);
        let put = self.value != TOMBSTONE;
        Row {
            group: KeyGroup(self.place as u16),
            key,
            namespace,
            value: put.then(|| &rest[..self.value as usize]),
        }
    }
}

#[inline]
fn prefix(key: &[u8]) -> u64 {
    if let Some(eight) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*eight);
    }
    let mut eight = [0; 8];
    eight[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(eight)
}
