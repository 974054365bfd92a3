//! Rows in a block, one after another.
//!
//! Written while a section is sealed, read by whoever walks or searches it. A row says only what is not
//! as in the row before: keys of one length with values of one length cost one byte beside themselves.
//! Every block can be read without those before it.
//!
//! Invariant: reading follows what writing did or ends with a word about what is wrong; rows are lent
//! from the block, nothing is copied. Plain data, lives on any thread.

use thalweg_core::{KeyGroup, MaxParallelism};

use super::fields::{put_varint, varint};
use crate::snapshot::Row;

/// The row has a value; otherwise it is a tombstone.
const PUT: u8 = 1;
/// State and key group follow; otherwise they are those of the row before.
const PLACE: u8 = 1 << 1;
/// The key is that of the row before.
const SAME_KEY: u8 = 1 << 2;
/// The lengths of key, namespace and value are those said last.
const SAME_LENGTHS: u8 = 1 << 3;

/// The most bytes by which a row in a block is longer than its key, namespace and value.
pub(crate) const ROW_OVERHEAD: usize = 1 + 3 + 3 + 3 * 5;

/// What the next row may leave out, while a block is written.
#[derive(Default)]
pub(crate) struct RowEncoder {
    place: Option<(u16, KeyGroup)>,
    key: u32,
    namespace: u32,
    value: u32,
}

impl RowEncoder {
    /// Appends a row; `same_key`: its state, group and key are those of the row before.
    #[inline]
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, state: u16, row: &Row<'_>, same_key: bool) {
        let (key, namespace) = (row.key.len() as u32, row.namespace.len() as u32);
        let value = row.value.map_or(self.value, |value| value.len() as u32);
        let place = Some((state, row.group));
        let mut tag = if row.value.is_some() { PUT } else { 0 };
        if self.place == place {
            tag |= if same_key { SAME_KEY } else { 0 };
        } else {
            tag |= PLACE;
        }
        if (self.key, self.namespace, self.value) == (key, namespace, value) {
            tag |= SAME_LENGTHS;
        }
        out.push(tag);
        if tag & PLACE != 0 {
            put_varint(out, u32::from(state));
            put_varint(out, u32::from(row.group.0));
        }
        if tag & SAME_LENGTHS == 0 {
            if tag & SAME_KEY == 0 {
                put_varint(out, key);
            }
            put_varint(out, namespace);
            if row.value.is_some() {
                put_varint(out, value);
            }
        }
        if tag & SAME_KEY == 0 {
            out.extend_from_slice(row.key);
        }
        out.extend_from_slice(row.namespace);
        out.extend_from_slice(row.value.unwrap_or_default());
        *self = RowEncoder {
            place,
            key,
            namespace,
            value,
        };
    }
}

/// The row at which reading stands in a block; before the first one when it is new.
#[derive(Clone, Debug)]
pub(crate) struct RowCursor {
    /// Where the next row begins.
    at: usize,
    states: u32,
    placed: bool,
    put: bool,
    state: u16,
    group: u16,
    key_at: usize,
    namespace_at: usize,
    key: u32,
    namespace: u32,
    value: u32,
}

/// What is wrong with a row.
pub(crate) type BadRow = &'static str;

impl RowCursor {
    /// Before the first row of a block, in a run with so many states.
    pub(crate) fn new(states: usize) -> RowCursor {
        RowCursor {
            at: 0,
            states: states as u32,
            placed: false,
            put: false,
            state: 0,
            group: 0,
            key_at: 0,
            namespace_at: 0,
            key: 0,
            namespace: 0,
            value: 0,
        }
    }

    /// Bytes of the block that were read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The number of the row's state.
    #[inline]
    pub(crate) fn state(&self) -> u16 {
        self.state
    }

    /// The key group of the row.
    #[inline]
    pub(crate) fn group(&self) -> u16 {
        self.group
    }

    /// Whether the row has a value.
    #[inline]
    pub(crate) fn is_put(&self) -> bool {
        self.put
    }

    /// The row, lent by the block through which the cursor went.
    #[inline]
    pub(crate) fn row<'b>(&self, block: &'b [u8]) -> Row<'b> {
        let (namespace, rest) = block[self.namespace_at..].split_at(self.namespace as usize);
        Row {
            group: KeyGroup(self.group),
            key: &block[self.key_at..][..self.key as usize],
            namespace,
            value: self.put.then(|| &rest[..self.value as usize]),
        }
    }

    /// Goes to the next row of `block`; `false` at its end.
    #[inline]
    pub(crate) fn advance(&mut self, block: &[u8]) -> Result<bool, BadRow> {
        let Some(&tag) = block.get(self.at) else {
            return Ok(false);
        };
        let mut at = self.at + 1;
        let same_key = tag & SAME_KEY != 0;
        let unknown = tag & !(PUT | PLACE | SAME_KEY | SAME_LENGTHS) != 0;
        if unknown || tag & PLACE != 0 && same_key {
            return Err("a row says what no row says");
        }
        if tag & PLACE != 0 {
            at = self.read_place(block, at)?;
        } else if !self.placed {
            return Err("the first row of a block does not say where it belongs");
        }
        self.put = tag & PUT != 0;
        if tag & SAME_LENGTHS == 0 {
            at = self.read_lengths(block, at, same_key)?;
        }
        if !same_key {
            self.key_at = at;
            at += self.key as usize;
        }
        self.namespace_at = at;
        at += self.namespace as usize;
        if self.put {
            at += self.value as usize;
        }
        if at > block.len() {
            return Err("a row is longer than its block");
        }
        self.at = at;
        Ok(true)
    }

    fn read_place(&mut self, block: &[u8], at: usize) -> Result<usize, BadRow> {
        const SHORT: BadRow = "a row ends within its place";
        let (state, at) = varint(block, at).ok_or(SHORT)?;
        let (group, at) = varint(block, at).ok_or(SHORT)?;
        if state >= self.states || group >= MaxParallelism::LIMIT {
            return Err("a row belongs where nothing can be");
        }
        (self.state, self.group) = (state as u16, group as u16);
        self.placed = true;
        Ok(at)
    }

    fn read_lengths(
        &mut self,
        block: &[u8],
        mut at: usize,
        same_key: bool,
    ) -> Result<usize, BadRow> {
        let mut next = || -> Result<u32, BadRow> {
            let (length, behind) = varint(block, at).ok_or("a row ends within its lengths")?;
            at = behind;
            Ok(length)
        };
        if !same_key {
            self.key = next()?;
        }
        self.namespace = next()?;
        if self.put {
            self.value = next()?;
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Owned = (u16, u16, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

    fn rows() -> impl Strategy<Value = Vec<Owned>> {
        let bytes = || prop_oneof![4 => vec(any::<u8>(), 0..4), 1 => vec(any::<u8>(), 120..300)];
        let value = proptest::option::of(bytes());
        let group = prop_oneof![0..3_u16, 0..32_768_u16];
        vec((0..3_u16, group, bytes(), bytes(), value), 0..20)
    }

    fn row(owned: &Owned) -> Row<'_> {
        let (_, group, key, namespace, value) = owned;
        Row {
            group: KeyGroup(*group),
            key,
            namespace,
            value: value.as_deref(),
        }
    }

    fn block(rows: &[Owned]) -> Vec<u8> {
        let (mut out, mut encoder) = (Vec::new(), RowEncoder::default());
        for (at, owned) in rows.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| &rows[at]);
            let same_key = before.is_some_and(|before| before.2 == owned.2);
            encoder.put(&mut out, owned.0, &row(owned), same_key);
        }
        out
    }

    proptest! {
        #[test]
        fn rows_come_back_in_order(rows in rows()) {
            let block = block(&rows);
            let mut cursor = RowCursor::new(3);
            for owned in &rows {
                prop_assert_eq!(cursor.advance(&block), Ok(true));
                prop_assert_eq!((cursor.state(), cursor.row(&block)), (owned.0, row(owned)));
            }
            prop_assert_eq!(cursor.advance(&block), Ok(false));
            prop_assert_eq!(cursor.position(), block.len());
        }

        #[test]
        fn any_bytes_end_in_rows_or_in_words(block in vec(any::<u8>(), 0..200)) {
            let mut cursor = RowCursor::new(3);
            let mut rows = 0;
            while cursor.advance(&block) == Ok(true) {
                prop_assert!(cursor.row(&block).bytes() <= block.len());
                rows += 1;
            }
            prop_assert!(rows <= block.len(), "each row takes a byte at least");
        }

        #[test]
        fn a_cut_block_ends_between_rows_or_in_words(rows in rows(), cut: prop::sample::Index) {
            let block = block(&rows);
            prop_assume!(!block.is_empty());
            let mut cursor = RowCursor::new(3);
            let cut = &block[..cut.index(block.len())];
            let mut whole = rows.iter();
            while cursor.advance(cut) == Ok(true) {
                let owned = whole.next();
                prop_assert_eq!(Some((cursor.state(), cursor.row(cut))), owned.map(|it| (it.0, row(it))));
            }
            prop_assert!(whole.next().is_some());
        }
    }

    #[test]
    fn rows_alike_in_shape_cost_one_byte_beside_themselves() {
        let alike = |i: u8| (0, 7, vec![i; 8], vec![], Some(vec![i; 8]));
        let rows: Vec<Owned> = (0..100).map(alike).collect();
        let place_and_lengths = 2 + 3;
        assert_eq!(block(&rows).len(), place_and_lengths + 100 * (1 + 16));
    }
}
