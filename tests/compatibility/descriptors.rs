//! Descriptions of states, versions 1 and 2. The fixture of version 2 was made by another program, from the description
//! of the format.
//!
//! To write the fixture of a new version: `THALWEG_WRITE_FIXTURES=1 cargo test -p thalweg-tests --test
//! compatibility`, which refuses to replace one that is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_memory::record;
use thalweg_state::{StateDescriptor, StateTtl, TtlUpdate};

/// A record with a field of each sort, and itself in it.
#[record(crate = thalweg_memory)]
struct Order {
    id: u64,
    items: Vec<(String, Amount)>,
    status: Status,
    parts: Vec<Order>,
}

#[record(crate = thalweg_memory)]
struct Amount(u32, Option<i8>);

#[record(crate = thalweg_memory)]
enum Status {
    Open,
    Sent { at: i64 },
}

fn fixture(version: u32) -> PathBuf {
    let name = format!("compatibility/fixtures/descriptors-{version}.bin");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// States of several kinds, of types the engine brings along.
fn declared() -> Vec<StateDescriptor> {
    let renewed = StateTtl::new(Duration::from_secs(9)).with_update(TtlUpdate::OnReadAndWrite);
    vec![
        StateDescriptor::value::<u64>("clicks").of_keys::<u64, ()>(),
        StateDescriptor::map::<String, (u64, bool)>("visits, кириллица")
            .of_keys::<String, ()>()
            .with_version(7)
            .with_ttl(renewed),
        StateDescriptor::aggregating::<Vec<i64>>("sums").of_keys::<(u32, bool), i64>(),
        StateDescriptor::timers("timers").of_keys::<u64, u64>(),
        StateDescriptor::broadcast::<String, f64>("rules"),
    ]
}

/// What is declared since types say what they are made of.
fn declared_with_fields() -> Vec<StateDescriptor> {
    let orders = StateDescriptor::list::<Order>("orders").of_keys::<String, ()>();
    declared().into_iter().chain([orders]).collect()
}

fn written() -> Vec<u8> {
    let mut bytes = Vec::new();
    declared_with_fields()
        .iter()
        .for_each(|it| it.encode(&mut bytes));
    bytes
}

fn stored(version: u32) -> Vec<u8> {
    let path = fixture(version);
    if std::env::var_os("THALWEG_WRITE_FIXTURES").is_some() && !path.exists() {
        std::fs::write(&path, written()).unwrap();
    }
    std::fs::read(&path).unwrap()
}

fn read(version: u32) -> Vec<StateDescriptor> {
    let bytes = stored(version);
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        found.push(StateDescriptor::decode(&mut rest).unwrap());
    }
    found
}

#[test]
fn descriptions_of_version_1_are_read_as_they_were_meant() {
    let (found, declared) = (read(1), declared());
    assert_eq!(found.len(), declared.len());
    for (found, declared) in found.iter().zip(&declared) {
        assert_eq!(found.name(), declared.name());
        assert_eq!(found.kind(), declared.kind());
        assert_eq!(found.version(), declared.version());
        assert_eq!(found.ttl(), declared.ttl());
        found.check_restore(declared).unwrap();
    }
}

#[test]
fn descriptions_of_version_2_are_read_and_written_as_ever() {
    assert!(
        written() == stored(2),
        "the format has changed: give it a new version and a new fixture"
    );
    assert_eq!(read(2), declared_with_fields());
    let orders = read(2).pop().unwrap().to_string();
    assert_eq!(
        orders,
        "list state 'orders' of compatibility::descriptors::Order (Order{id: u64, items: Vec<(String, Amount)>, \
         status: Status, parts: Vec<Order>}; Amount(u32, Option<i8>); Status[Open | Sent{at: i64}]), version 1"
    );
}
