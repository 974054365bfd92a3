//! Rows on their way back into a state, some at a time.
//!
//! Entered by who gives a state the rows of a copy. Keys lie anywhere in a table, so the places of all rows of a
//! batch are asked for before the first of them is taken back: one by one each would wait for memory. Invariant:
//! rows come out as they went in, in the same order. Lives on one shard's thread.

use std::ops::Range;

use thalweg_core::KeyGroup;
use thalweg_state::{Row, Snapshot};

/// Rows of a batch: so many that the first place has come when the last was asked for, and not so many that it
/// has been pushed out again.
const ROWS: usize = 32;
/// A batch with so many bytes is full as well: long values wait for memory themselves.
const BYTES: usize = 16 << 10;

/// A row whose bytes lie in the batch.
struct Kept {
    group: KeyGroup,
    key: Range<usize>,
    namespace: Range<usize>,
    value: Option<Range<usize>>,
}

/// Rows that are taken back together.
#[derive(Default)]
pub(super) struct RowBatch {
    rows: Vec<Kept>,
    bytes: Vec<u8>,
}

impl RowBatch {
    /// Whether no row should be added.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= ROWS || self.bytes.len() >= BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row, and has `state` ask for its place.
    pub(super) fn add(&mut self, row: Row<'_>, state: &mut dyn Snapshot) {
        state.approach_row(&row);
        let kept = Kept {
            group: row.group,
            key: self.keep(row.key),
            namespace: self.keep(row.namespace),
            value: row.value.map(|value| self.keep(value)),
        };
        self.rows.push(kept);
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Takes all rows out, in order, until `take` fails.
    ///
    /// # Errors
    /// The first of `take`.
    pub(super) fn take_all<E>(
        &mut self,
        mut take: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for kept in self.rows.drain(..) {
            take(Row {
                group: kept.group,
                key: &self.bytes[kept.key],
                namespace: &self.bytes[kept.namespace],
                value: kept.value.map(|value| &self.bytes[value]),
            })?;
        }
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use thalweg_core::MaxParallelism;
    use thalweg_memory::Budget;
    use thalweg_state::KeyedTable;

    use super::*;

    #[test]
    fn rows_come_out_as_they_went_in_and_a_batch_is_full_of_rows_or_of_bytes() {
        let budget = Budget::new("slot-0", 1 << 20);
        let max = MaxParallelism::default();
        let mut state = KeyedTable::<u64, u64>::new(0..128, max, budget).unwrap();
        let long = vec![7; BYTES];
        for (value, most) in [(&b"ab"[..], ROWS), (&long, 1)] {
            let mut batch = RowBatch::default();
            for _ in 0..2 {
                let mut given = Vec::new();
                while !batch.is_full() {
                    let number = given.len() as u8;
                    // No key of this state: asking for its place must not mind.
                    let row = (vec![number; 3], vec![number; 1], number.is_multiple_of(2));
                    batch.add(shown(&row, value), &mut state);
                    given.push(row);
                }
                assert_eq!(given.len(), most);
                let mut at = 0;
                let taken: Result<(), Infallible> = batch.take_all(|row| {
                    assert_eq!(row, shown(&given[at], value));
                    at += 1;
                    Ok(())
                });
                assert_eq!((taken, at), (Ok(()), most));
            }
        }
    }

    fn shown<'a>(row: &'a (Vec<u8>, Vec<u8>, bool), value: &'a [u8]) -> Row<'a> {
        Row {
            group: KeyGroup(u16::from(row.1[0])),
            key: &row.0,
            namespace: &row.1,
            value: row.2.then_some(value),
        }
    }
}
