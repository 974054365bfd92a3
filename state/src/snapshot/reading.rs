//! The reading rule as tests apply it, and numbers for drawn programs.
//!
//! Invariant: written for plainness from the words of the contract, not from the engine's code.

use std::collections::BTreeMap;

use thalweg_core::{KeyGroup, KeyHash};

use super::{CutKind, Row, RowSink, Snapshot};
use crate::table::Scan;

/// A row with its own bytes: group, key, namespace, value.
pub(crate) type Owned = (u16, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// The rows of one cut as they were emitted.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) full: bool,
    pub(crate) rows: Vec<Owned>,
}

impl Level {
    pub(crate) fn new(kind: CutKind) -> Level {
        let (full, rows) = (kind.is_full(), Vec::new());
        Level { full, rows }
    }
}

impl RowSink for Level {
    fn row(&mut self, row: Row<'_>) {
        let value = row.value.map(<[u8]>::to_vec);
        let (key, namespace) = (row.key.to_vec(), row.namespace.to_vec());
        self.rows.push((row.group.0, key, namespace, value));
    }
}

pub(crate) fn lend(row: &Owned) -> Row<'_> {
    Row {
        group: KeyGroup(row.0),
        key: &row.1,
        namespace: &row.2,
        value: row.3.as_deref(),
    }
}

/// The levels that count: down to the newest full one. Oldest first.
pub(crate) fn counting(chain: &[Level]) -> &[Level] {
    let full = chain.iter().rposition(|level| level.full).unwrap_or(0);
    &chain[full..]
}

/// What a chain of cuts, oldest first, says the state is.
pub(crate) fn read(chain: &[Level]) -> BTreeMap<(Vec<u8>, Vec<u8>), Vec<u8>> {
    let mut state = BTreeMap::new();
    for level in counting(chain) {
        let mut of_level: BTreeMap<_, Option<&Vec<u8>>> = BTreeMap::new();
        for (_, key, namespace, value) in &level.rows {
            let there = of_level
                .entry((key.clone(), namespace.clone()))
                .or_default();
            assert!(
                there.is_none() || value.is_none(),
                "a value is written once"
            );
            *there = value.as_ref().or(*there);
        }
        for (at, value) in of_level {
            match value {
                Some(value) => state.insert(at, value.clone()),
                None => state.remove(&at),
            };
        }
    }
    state
}

/// Takes the rows of a chain back that belong to some key groups.
pub(crate) fn take_back(
    state: &mut dyn Snapshot,
    chain: &[Level],
    groups: std::ops::Range<u16>,
    sorted: bool,
) {
    for level in counting(chain) {
        let mut rows: Vec<_> = level
            .rows
            .iter()
            .filter(|row| groups.contains(&row.0))
            .collect();
        if sorted {
            // Tombstones before values of one key: `None` is less than `Some`.
            rows.sort();
        }
        rows.into_iter()
            .for_each(|row| state.restore(lend(row)).unwrap());
    }
    state.restored().unwrap();
}

/// Writes a cut to its end.
pub(crate) fn finish(state: &mut dyn Snapshot, budget: usize, level: &mut Level) {
    while state.emit(budget, level).unwrap() == Scan::More {}
}

/// Numbers that depend on a seed alone.
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    /// A number below `below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (KeyHash::of_u64(self.0).0 >> 16) % below
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
