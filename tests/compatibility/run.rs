//! Runs of state, versions 1 and 2.
//!
//! To write the fixture of a new version: `THALWEG_WRITE_FIXTURES=1 cargo test -p thalweg-tests --test
//! compatibility`, which refuses to replace one that is there.

use std::path::{Path, PathBuf};

use thalweg_core::KeyGroup;
use thalweg_state::run::{
    Clip, Found, RunOptions, RunReader, RunSearch, RunSummary, RunWriter, StateHeader, StateNumber,
};
use thalweg_state::{Row, RowSink};

type Entry = (u16, u16, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

fn fixture(version: u32) -> PathBuf {
    let name = format!("compatibility/fixtures/run-{version}.bin");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn headers() -> [StateHeader; 3] {
    let header = |name: &str, descriptor: &[u8], full| StateHeader {
        name: name.to_owned(),
        descriptor: descriptor.to_owned(),
        full,
    };
    [
        header("clicks", b"value of u64", true),
        header("visits, кириллица", b"", false),
        header("empty", &[0xFF], false),
    ]
}

/// Rows with keys of many lengths, several namespaces of one key, tombstones, an empty key, a value larger
/// than a block, and enough of them for several sections.
fn rows() -> Vec<Entry> {
    let mut rows = Vec::new();
    for i in 0..160_u16 {
        let value = (!i.is_multiple_of(9)).then(|| u64::from(i).to_le_bytes().to_vec());
        rows.push((
            0,
            i * 37 % 128,
            u64::from(i).to_be_bytes().to_vec(),
            Vec::new(),
            value,
        ));
    }
    for i in 0..40_u16 {
        let key = vec![b'a' + i as u8 % 5; usize::from(i) % 11];
        let namespace = i.to_be_bytes().to_vec();
        rows.push((
            1,
            i % 5,
            key,
            namespace,
            Some(vec![i as u8; usize::from(i) % 4]),
        ));
    }
    rows.push((1, 32_767, vec![], vec![], Some(vec![])));
    rows.push((1, 31_000, vec![0xFF; 300], vec![1], Some(vec![0xAB; 1_500])));
    rows
}

fn write() -> (Vec<u8>, RunSummary) {
    let options = RunOptions::default()
        .with_section_bytes(4_096)
        .with_block_bytes(256);
    let mut writer = RunWriter::new(options);
    let states = headers().map(|header| match header.name.as_str() {
        "clicks" => writer.declare(header).unwrap(),
        "empty" => writer.declare_whole_by_key(header).unwrap(),
        _ => writer.declare_known_by_key(header).unwrap(),
    });
    for (state, group, key, namespace, value) in &rows() {
        let row = Row {
            group: KeyGroup(*group),
            key,
            namespace,
            value: value.as_deref(),
        };
        writer
            .rows_of(states[usize::from(*state)])
            .unwrap()
            .row(row);
    }
    writer.finish().unwrap()
}

fn stored(version: u32) -> Vec<u8> {
    let path = fixture(version);
    if std::env::var_os("THALWEG_WRITE_FIXTURES").is_some() && !path.exists() {
        std::fs::write(&path, write().0).unwrap();
    }
    std::fs::read(&path).unwrap()
}

/// The run of a version is read as it was meant; of each state, whether filters know its keys and whether those are
/// whole.
fn is_read(version: u32, checksum: u32, by_key: [(bool, bool); 3]) {
    let bytes = stored(version);
    let run = RunReader::open(format!("run-{version}"), &bytes).unwrap();
    assert_eq!(run.states(), headers());
    assert_eq!(run.verify(), Ok(checksum));
    run.check_receipt(bytes.len() as u64, checksum).unwrap();
    let said = [0, 1, 2].map(StateNumber);
    let said = said.map(|state| (run.is_known_by_key(state), run.is_whole_by_key(state)));
    assert_eq!(said, by_key);
    let mut got = Vec::new();
    let mut walk = run.walk(Clip::all());
    while let Some((state, row)) = walk.next_row().unwrap() {
        let value = row.value.map(<[u8]>::to_owned);
        got.push((
            state.0,
            row.group.0,
            row.key.to_owned(),
            row.namespace.to_owned(),
            value,
        ));
    }
    got.sort();
    let mut expected = rows();
    expected.sort();
    assert_eq!(got, expected);
    let mut search = RunSearch::open(run).unwrap();
    for (state, group, key, namespace, value) in &expected {
        let found = search
            .find(StateNumber(*state), KeyGroup(*group), key, namespace)
            .unwrap();
        let there = value.as_deref().map_or(Found::Tombstone, Found::Put);
        assert_eq!(found, there);
    }
}

#[test]
fn a_run_of_version_1_is_read() {
    is_read(1, 0xF5E5_345E, [(false, false); 3]);
}

#[test]
fn a_run_of_version_2_is_read() {
    is_read(
        2,
        0xE47C_4619,
        [(false, false), (true, false), (true, true)],
    );
}

#[test]
fn version_2_is_written_as_it_was() {
    let (bytes, summary) = write();
    assert!(
        bytes == stored(2),
        "the format has changed: give it a new version and a new fixture"
    );
    assert_eq!(summary.groups, 0..32_768);
}
