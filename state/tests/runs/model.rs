//! Drawn rows, runs written from them, and a map that says what must come back.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use thalweg_core::KeyGroup;
use thalweg_state::run::{
    Clip, ReadAt, RunError, RunOptions, RunReader, RunSummary, RunWriter, StateHeader, StateNumber,
};
use thalweg_state::{Row, RowSink};

/// States of a drawn run.
pub(crate) const STATES: u16 = 3;
/// Key groups of a drawn run.
pub(crate) const GROUPS: u16 = 6;

/// One row, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) state: u16,
    pub(crate) group: u16,
    pub(crate) key: Vec<u8>,
    pub(crate) namespace: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// What an entry is found by.
pub(crate) type Place = (u16, u16, Vec<u8>, Vec<u8>);

impl Entry {
    pub(crate) fn of(state: StateNumber, row: Row<'_>) -> Entry {
        Entry {
            state: state.0,
            group: row.group.0,
            key: row.key.to_owned(),
            namespace: row.namespace.to_owned(),
            value: row.value.map(<[u8]>::to_owned),
        }
    }

    pub(crate) fn row(&self) -> Row<'_> {
        Row {
            group: KeyGroup(self.group),
            key: &self.key,
            namespace: &self.namespace,
            value: self.value.as_deref(),
        }
    }

    pub(crate) fn place(&self) -> Place {
        (
            self.state,
            self.group,
            self.key.clone(),
            self.namespace.clone(),
        )
    }
}

/// Keys that meet often, that are prefixes of each other, and that agree in their first eight bytes.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let short = vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..4);
    let long = vec(0..2_u8, 8..11);
    let any = vec(any::<u8>(), 0..40);
    prop_oneof![4 => short, 3 => long, 2 => any]
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let small = vec(any::<u8>(), 0..12);
    let large = vec(any::<u8>(), 200..900);
    proptest::option::weighted(0.8, prop_oneof![8 => small, 1 => large])
}

pub(crate) fn entries(most: usize) -> impl Strategy<Value = Vec<Entry>> {
    let namespace = prop_oneof![3 => Just(Vec::new()), 1 => vec(0..3_u8, 0..9)];
    let entry = (0..STATES, 0..GROUPS, key(), namespace, value());
    let entry = entry.prop_map(|(state, group, key, namespace, value)| Entry {
        state,
        group,
        key,
        namespace,
        value,
    });
    vec(entry, 0..most)
}

pub(crate) fn options() -> impl Strategy<Value = RunOptions> {
    let sections = prop_oneof![1_024..4_096_usize, Just(256 << 10)];
    let blocks = prop_oneof![64..600_usize, Just(4_096)];
    (sections, blocks, 0..14_u32).prop_map(|(section, block, bits)| {
        let options = RunOptions::default().with_section_bytes(section);
        options.with_block_bytes(block).with_filter_bits(bits)
    })
}

pub(crate) fn header(state: u16) -> StateHeader {
    StateHeader {
        name: format!("state-{state}"),
        descriptor: vec![state as u8; 3],
        full: state == 1,
    }
}

/// Writes a run, taking its bytes out after every `pieces` rows.
pub(crate) fn write(
    entries: &[Entry],
    options: RunOptions,
    pieces: usize,
) -> Result<(Vec<u8>, RunSummary), RunError> {
    let mut writer = RunWriter::new(options);
    let states: Result<Vec<StateNumber>, RunError> = (0..STATES)
        .map(|state| writer.declare(header(state)))
        .collect();
    let states = states?;
    let mut bytes = Vec::new();
    for some in entries.chunks(pieces) {
        for entry in some {
            writer
                .rows_of(states[usize::from(entry.state)])?
                .row(entry.row());
        }
        bytes.extend(writer.take_output());
    }
    let (last, summary) = writer.finish()?;
    bytes.extend(last);
    Ok((bytes, summary))
}

/// All rows of a walk.
pub(crate) fn walk<R: ReadAt>(run: &RunReader<R>, clip: Clip) -> Result<Vec<Entry>, RunError> {
    let mut walk = run.walk(clip);
    let mut rows = Vec::new();
    while let Some((state, row)) = walk.next_row()? {
        rows.push(Entry::of(state, row));
    }
    Ok(rows)
}

/// What rows of one run mean: a put before a tombstone, the later put before the earlier.
pub(crate) fn meaning(entries: &[Entry]) -> BTreeMap<Place, Option<Vec<u8>>> {
    let mut map = BTreeMap::new();
    for entry in entries {
        let held = map.entry(entry.place()).or_insert(None);
        if entry.value.is_some() {
            held.clone_from(&entry.value);
        }
    }
    map
}
