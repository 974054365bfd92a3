//! Rows of a copy on their way back into a state: any bytes as keys, namespaces and values of each kind of state.
//!
//! What a state takes back it writes at its next cut so that another one takes it back and writes the same.

use std::time::Duration;

use thalweg_core::{Epoch, KeyGroup, MaxParallelism};
use thalweg_memory::{Budget, Str};
use thalweg_state::{
    BroadcastState, CutKind, KeyedBackend, Row, Scan, Snapshot, StateDescriptor, StateError,
    StateTtl, TimerQueue,
};

type Rows = Vec<(Vec<u8>, Vec<u8>, Option<Vec<u8>>)>;

/// Bytes off the front behind their length, which is a byte.
fn take(input: &mut &[u8]) -> Vec<u8> {
    let Some((length, rest)) = input.split_first() else {
        return Vec::new();
    };
    let (taken, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    *input = rest;
    taken.to_vec()
}

fn rows_of(mut input: &[u8]) -> Rows {
    let mut rows = Vec::new();
    while let Some((kind, rest)) = input.split_first() {
        input = rest;
        let (key, namespace) = (take(&mut input), take(&mut input));
        let value = (kind % 8 != 0).then(|| take(&mut input));
        rows.push((key, namespace, value));
    }
    rows
}

fn give(state: &mut dyn Snapshot, rows: &Rows) -> Result<(), StateError> {
    state.expect_rows(rows.len() as u64, rows.len() as u64);
    for (key, namespace, value) in rows {
        let row = Row {
            group: KeyGroup(0),
            key,
            namespace,
            value: value.as_deref(),
        };
        state.approach_row(&row);
        state.restore(row)?;
    }
    state.restored()
}

fn written(state: &mut dyn Snapshot) -> Result<Rows, StateError> {
    state.freeze(Epoch(1), CutKind::Copy);
    let mut rows = Rows::new();
    let mut keep = |row: Row<'_>| {
        let value = row.value.map(<[u8]>::to_vec);
        rows.push((row.key.to_vec(), row.namespace.to_vec(), value));
    };
    while state.emit(16, &mut keep)? == Scan::More {}
    rows.sort();
    Ok(rows)
}

/// Does something with one state, made anew: which kind, and whether it ages.
fn with_state(
    kind: u8,
    work: &mut dyn FnMut(&mut dyn Snapshot) -> Result<(), StateError>,
) -> Result<(), StateError> {
    let budget = Budget::new("slot", 8 << 20);
    let Ok(max) = MaxParallelism::new(1) else {
        unreachable!("one is enough")
    };
    match kind % 12 {
        10 => return work(&mut TimerQueue::<Str, ()>::new(0..1, max, budget)),
        11 => {
            let map = BroadcastState::<String, u64>::new(budget).snapshot();
            return work(&mut *map.borrow_mut());
        }
        _ => {}
    }
    let ages = kind % 2 == 1;
    let of = |state: StateDescriptor| match ages {
        true => state.with_ttl(StateTtl::new(Duration::from_secs(1))),
        false => state,
    };
    let mut backend = KeyedBackend::<Str>::in_memory(0..1, max, budget);
    match kind % 12 / 2 {
        0 => drop(backend.value_state_of::<String>(of(StateDescriptor::value::<String>("s")))?),
        1 => drop(backend.list_state_of::<u64, ()>(of(StateDescriptor::list::<u64>("s")))?),
        2 => drop(backend.list_state_of::<Vec<u8>, ()>(of(StateDescriptor::list::<Vec<u8>>("s")))?),
        3 => {
            let map = of(StateDescriptor::map::<String, u64>("s"));
            drop(backend.map_state_of::<String, u64, ()>(map)?);
        }
        _ => {
            let add: fn(&mut u64, u64) = |sum, value| *sum = sum.wrapping_add(value);
            let sum = of(StateDescriptor::reducing::<u64>("s"));
            drop(backend.reducing_state_of::<u64, _>(sum, add)?);
        }
    }
    backend.visit_states(&mut |_: &StateDescriptor, state: &mut dyn Snapshot| work(state))
}

/// Throws bytes at it.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    let given = rows_of(input);
    let mut first = None;
    let taken = with_state(*kind, &mut |state| {
        give(state, &given)?;
        first = Some(written(state)?);
        Ok(())
    });
    let (Ok(()), Some(first)) = (taken, first) else {
        return;
    };
    let again = with_state(*kind, &mut |state| {
        give(state, &first)?;
        assert_eq!(written(state)?, first);
        Ok(())
    });
    assert_eq!(again.err().map(|error| error.to_string()), None);
}
