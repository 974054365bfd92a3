//! Rows gathered until there are enough to sort.
//!
//! Filled row by row by the writer, sorted and emptied when it is full. Invariant: a row is one append of
//! its bytes and one entry of fixed size; once sorted, rows ascend and no two have the same address. Lives
//! on one shard's thread.

use std::cmp::Ordering;

use thalweg_core::KeyGroup;

use super::order::Address;
use super::radix::Radix;
use crate::snapshot::Row;

/// A value length that says there is no value.
const TOMBSTONE: u32 = u32::MAX;
/// Bytes of a key's prefix.
const PREFIX: usize = size_of::<u64>();
/// Fewer rows than this are sorted by comparing them.
const FEW: usize = 64;
/// The most bits that are ordered by digits: of as many rows as a section has, few are alike in them.
const MOST_BITS: u32 = 24;

/// One row of the section. What decides most comparisons lies in front.
#[derive(Clone, Copy)]
pub(crate) struct Gathered {
    /// State in the upper half, key group in the lower.
    place: u32,
    /// Where its bytes begin.
    at: u32,
    /// Eight bytes of the key as a number, zeroes behind a shorter one: the first, or where all keys begin alike
    /// some behind these.
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
    radix: Radix,
    /// The rows on their way into their order.
    spare: Vec<Gathered>,
}

impl SectionBuffer {
    /// Bytes taken by the rows gathered.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Gathered>()
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let rows = self.rows.capacity() + self.spare.capacity();
        self.bytes.capacity() + rows * size_of::<Gathered>() + self.radix.memory_bytes()
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
        if self.rows.len() < FEW {
            sort_by_comparing(&mut self.rows, &self.bytes);
        } else {
            self.sort_by_digits();
        }
        let bytes = self.bytes.as_slice();
        self.rows.dedup_by(|next, kept| {
            (next.place, next.prefix) == (kept.place, kept.prefix)
                && next.address(bytes) == kept.address(bytes)
        });
    }

    /// Orders rows by the first bits in which some of them differ, then those alike in these by comparing them.
    fn sort_by_digits(&mut self) {
        let mut bits = LeadingBits::of(&self.rows);
        let mut from = 0;
        while bits.prefixes_are_alike && self.look_behind_prefixes(from) {
            from += PREFIX;
            bits = LeadingBits::of(&self.rows);
        }
        let numbers = self.rows.iter().map(|row| bits.number(row));
        let ordered = self.radix.order(numbers, bits.place + bits.prefix);
        self.spare.clear();
        self.spare
            .extend(ordered.clone().map(|placed| self.rows[placed.place()]));
        let (mut start, mut alike) = (0, None);
        for (at, placed) in ordered.enumerate() {
            if alike != Some(placed.number()) {
                sort_by_comparing(&mut self.spare[start..at], &self.bytes);
                (start, alike) = (at, Some(placed.number()));
            }
        }
        sort_by_comparing(&mut self.spare[start..], &self.bytes);
        std::mem::swap(&mut self.rows, &mut self.spare);
    }

    /// All keys begin alike up to their prefixes, which begin at byte `from`: the bytes behind become the prefixes.
    /// False where there are none.
    fn look_behind_prefixes(&mut self, from: usize) -> bool {
        let from = from + PREFIX;
        let mut longer = false;
        for row in &mut self.rows {
            let behind = row.key_of(&self.bytes).get(from..).unwrap_or_default();
            longer |= !behind.is_empty();
            row.prefix = prefix(behind);
        }
        longer
    }

    /// The rows, and how to look at each.
    pub(crate) fn rows(&self) -> (&[Gathered], &[u8]) {
        (&self.rows, &self.bytes)
    }
}

fn sort_by_comparing(rows: &mut [Gathered], bytes: &[u8]) {
    if rows.len() < 2 {
        return;
    }
    rows.sort_unstable_by(|a, b| {
        let near = (a.place, a.prefix).cmp(&(b.place, b.prefix));
        near.then_with(|| a.compare(b, bytes))
    });
}

/// The first bits in which the rows of a section differ: so many of their places, then of their prefixes.
struct LeadingBits {
    place: u32,
    /// Bits of places behind these.
    place_rest: u32,
    prefix: u32,
    prefix_rest: u32,
    prefixes_are_alike: bool,
}

impl LeadingBits {
    fn of(rows: &[Gathered]) -> LeadingBits {
        let (mut places, mut prefixes) = (0, 0);
        if let Some(first) = rows.first() {
            for row in rows {
                places |= row.place ^ first.place;
                prefixes |= row.prefix ^ first.prefix;
            }
        }
        let varying = u32::BITS - places.leading_zeros();
        let place = varying.min(MOST_BITS);
        let place_rest = varying - place;
        let varying = u64::BITS - prefixes.leading_zeros();
        let prefix = varying.min(MOST_BITS - place);
        LeadingBits {
            place,
            place_rest,
            prefix,
            prefix_rest: varying - prefix,
            prefixes_are_alike: prefixes == 0,
        }
    }

    /// These bits of a row as a number: ordered as the rows are, where they are not alike.
    #[inline]
    fn number(&self, row: &Gathered) -> u32 {
        let low = |bits: u32| (1_u64 << bits) - 1;
        let place = u64::from(row.place >> self.place_rest) & low(self.place);
        let prefix = row.prefix.checked_shr(self.prefix_rest).unwrap_or(0) & low(self.prefix);
        (place << self.prefix | prefix) as u32
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
    if let Some(eight) = key.first_chunk::<PREFIX>() {
        return u64::from_be_bytes(*eight);
    }
    let mut eight = [0; PREFIX];
    eight[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(eight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Drawn = (u16, u16, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

    /// Rows whose addresses are often alike, in part or wholly, with keys of all kinds of prefixes.
    fn rows() -> impl Strategy<Value = Vec<Drawn>> {
        let key = prop_oneof![
            (0..300_u64).prop_map(|key| key.to_be_bytes().to_vec()),
            any::<u64>().prop_map(|key| key.to_be_bytes().to_vec()),
            (0..99_u32).prop_map(|key| format!("a long key {key}").into_bytes()),
            prop::collection::vec(0..3_u8, 0..12),
        ];
        let state = prop_oneof![0..3_u16, Just(40_000)];
        let namespace = prop::collection::vec(0..2_u8, 0..3);
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..4));
        let group = prop_oneof![0..4_u16, 0..32_768_u16];
        let rows = prop::collection::vec((state, group, key, namespace, value), 0..400);
        // All of a section often begin alike.
        (prop_oneof![Just(0), 0..20_usize], rows).prop_map(|(alike, mut rows)| {
            for (_, _, key, ..) in &mut rows {
                key.splice(..0, vec![b'x'; alike]);
            }
            rows
        })
    }

    proptest! {
        #[test]
        fn rows_ascend_and_of_one_address_the_last_put_stays(drawn in rows()) {
            let mut section = SectionBuffer::default();
            let mut expected = std::collections::BTreeMap::new();
            for (state, group, key, namespace, value) in &drawn {
                let row = Row { group: KeyGroup(*group), key, namespace, value: value.as_deref() };
                section.push(*state, &row);
                let address = (*state, *group, key.clone(), namespace.clone());
                let before = expected.entry(address).or_insert_with(|| value.clone());
                if value.is_some() {
                    before.clone_from(value);
                }
            }
            section.sort();
            let (rows, bytes) = section.rows();
            let own = |gathered: &Gathered| {
                let row = gathered.row(bytes);
                let value = row.value.map(<[u8]>::to_vec);
                ((gathered.state(), row.group.0, row.key.to_vec(), row.namespace.to_vec()), value)
            };
            let sorted: Vec<_> = rows.iter().map(own).collect();
            prop_assert_eq!(sorted, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
