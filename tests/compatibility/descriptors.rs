//! Descriptions of states, versions 1 and 2.
//!
//! To write the fixture of a new version: `THALWEG_WRITE_FIXTURES=1 cargo test -p thalweg-tests --test
//! compatibility`, which refuses to replace one that is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_state::{StateDescriptor, StateTtl, TtlUpdate};

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

fn stored(version: u32) -> Vec<u8> {
    let path = fixture(version);
    if std::env::var_os("THALWEG_WRITE_FIXTURES").is_some() && !path.exists() {
        let mut bytes = Vec::new();
        declared().iter().for_each(|it| it.encode(&mut bytes));
        std::fs::write(&path, bytes).unwrap();
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
