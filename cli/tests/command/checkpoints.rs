//! `checkpoint inspect` and `checkpoint verify`, on a checkpoint made as the engine makes one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thalweg_cluster::checkpoint::home::JobLayout;
use thalweg_cluster::checkpoint::home::pointer::Pointer;
use thalweg_cluster::checkpoint::metadata::model::FileFacts;
use thalweg_cluster::checkpoint::metadata::{
    CheckpointKind, CheckpointMetadata, OperatorState, SubtaskState, VertexState, encode,
};
use thalweg_cluster::checkpoint::storage::{CheckpointStorage as _, DirectoryStorage, Location};
use thalweg_core::KeyGroup;
use thalweg_core::ids::{CheckpointId, JobId, OperatorId, VertexId};
use thalweg_state::run::{RunOptions, RunWriter, StateHeader};
use thalweg_state::{OperatorPart, Redistribution, Row, RowSink as _, RunHandle, StateDescriptor};

use crate::process::{run, thalweg};

const RUN: &str = "count-0-1-3.run";

/// A run of one state with a hundred rows.
fn write_run(shared: &Path) -> RunHandle {
    let mut descriptor = Vec::new();
    StateDescriptor::value::<u64>("clicks").encode(&mut descriptor);
    let mut writer = RunWriter::new(RunOptions::default());
    let clicks = StateHeader {
        name: "clicks".to_owned(),
        descriptor,
        full: true,
    };
    let clicks = writer.declare(clicks).unwrap();
    let mut rows = writer.rows_of(clicks).unwrap();
    for number in 0..100_u16 {
        rows.row(Row {
            group: KeyGroup(number),
            key: &number.to_be_bytes(),
            namespace: b"",
            value: Some(&[7; 8]),
        });
    }
    let mut bytes = writer.take_output();
    let (rest, summary) = writer.finish().unwrap();
    bytes.extend(rest);
    fs::write(shared.join(RUN), &bytes).unwrap();
    RunHandle {
        file: RUN.to_owned(),
        bytes: summary.bytes,
        checksum: summary.checksum,
        rows: summary.rows(),
        groups: 0..128,
        full: true,
        only: None,
    }
}

/// A job's directory with checkpoint 3 in it.
fn checkpoint(home: &Path) -> PathBuf {
    let layout = JobLayout::at(Location::parse(home.to_str().unwrap()).unwrap());
    let mut storage = DirectoryStorage::new();
    storage.make_directory(&layout.shared()).unwrap();
    let splits = OperatorPart {
        name: "splits".to_owned(),
        redistribution: Redistribution::Split,
        items: vec![vec![0; 20], vec![0; 22]],
    };
    let state = SubtaskState {
        subtask: 0,
        runs: vec![write_run(layout.shared().path().unwrap())],
        parts: vec![splits],
    };
    let operator = OperatorState {
        operator: OperatorId(0xC0DE),
        name: "count clicks".to_owned(),
        subtasks: vec![state],
    };
    let metadata = CheckpointMetadata {
        job: JobId(9),
        job_name: "clicks".to_owned(),
        checkpoint: CheckpointId(3),
        kind: CheckpointKind::Checkpoint,
        started_ms: 1_790_000_000_123,
        vertices: vec![VertexState {
            vertex: VertexId(0),
            name: "clicks → count".to_owned(),
            parallelism: 1,
            max_parallelism: 128,
            finished: Vec::new(),
            operators: vec![operator],
        }],
        committables: Vec::new(),
        in_flight: Vec::new(),
    };
    let bytes = encode(&metadata).unwrap();
    let at = layout.metadata(CheckpointId(3));
    storage.write_new(&at, &bytes).unwrap();
    let facts: FileFacts = storage.examine(&at).unwrap();
    let pointer = Pointer {
        sequence: 5,
        term: 1,
        next: CheckpointId(4),
        newest: Some((CheckpointId(3), facts)),
        savepoint: None,
        ended: None,
    };
    let pointed = storage.create_exclusive(&layout.pointer(5), &pointer.encode());
    pointed.unwrap();
    at.path().unwrap().to_owned()
}

#[test]
fn inspect_lists_operators_states_runs_and_sizes() {
    let home = tempfile::tempdir().unwrap();
    let metadata = checkpoint(home.path());
    for place in [home.path(), metadata.parent().unwrap(), &metadata] {
        let ended = run(thalweg(["checkpoint", "inspect", place.to_str().unwrap()]));
        ended.succeeded();
        let text = &ended.stdout;
        for part in [
            "checkpoint 3 of job 00000000000000000000000000000009 (clicks)",
            "started  2026-09-21T14:13:20.123Z",
            "clicks → count: parallelism 1 of at most 128",
            "count clicks (000000000000c0de)",
            "value state 'clicks' of u64, version 1: 100 keys",
            "subtask 0: 1 runs",
            "100 rows; splits: 2 items, 42b",
            "key groups 0 to 127, everything",
        ] {
            assert!(text.contains(part), "`{part}` is missing in:\n{text}");
        }
    }
    let place = home.path().to_str().unwrap();
    let json = run(thalweg([
        "checkpoint",
        "inspect",
        "--output",
        "json",
        place,
    ]));
    let page: Value = serde_json::from_str(&json.stdout).unwrap();
    let operator = &page["vertices"][0]["operators"][0];
    assert_eq!(operator["subtasks"][0]["runs"][0]["rows"], 100);
    assert!(operator["states"][0].as_str().unwrap().contains("'clicks'"));
    let part = &operator["subtasks"][0]["parts"][0];
    assert_eq!(
        (&part["bytes"], &operator["problem"]),
        (&42.into(), &Value::Null)
    );
}

#[test]
fn verify_notices_every_kind_of_damage_by_the_name_of_the_file() {
    let home = tempfile::tempdir().unwrap();
    let metadata = checkpoint(home.path());
    let place = home.path().to_str().unwrap();
    let verify = || run(thalweg(["checkpoint", "verify", place]));
    let whole = verify();
    whole.succeeded();
    assert!(
        whole.stdout.contains("checkpoint 3 is whole"),
        "{}",
        whole.stdout
    );

    let file = home.path().join("shared").join(RUN);
    let bytes = fs::read(&file).unwrap();
    let fails = |words: &str| {
        let ended = verify();
        assert_eq!(ended.code, Some(1), "{words}: {}", ended.stderr);
        let text = ended.stdout;
        assert!(
            text.contains(RUN) && text.contains(words),
            "{words}: {text}"
        );
    };
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, &damaged).unwrap();
    fails("damaged at byte");
    let inspect = ["checkpoint", "inspect", "--output", "json", place];
    let inspected = run(thalweg(inspect));
    let page: Value = serde_json::from_str(&inspected.stdout).unwrap();
    let problem = &page["vertices"][0]["operators"][0]["problem"];
    let problem = problem.as_str().unwrap_or_default();
    assert!(problem.contains("damaged at byte"), "{page:#}");
    assert_eq!(inspected.code, Some(1));
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    fails("damaged at byte");
    fs::write(&file, "something else that is no run at all").unwrap();
    fails("not a run");
    let (other, _) = RunWriter::new(RunOptions::default()).finish().unwrap();
    fs::write(&file, other).unwrap();
    fails("not the one that was written");
    fs::remove_file(&file).unwrap();
    fails("cannot open");
    let json = run(thalweg(["checkpoint", "verify", "--output", "json", place]));
    let page: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &page["whole"]), (Some(1), &Value::Bool(false)));

    let mut damaged = fs::read(&metadata).unwrap();
    damaged[40] ^= 1;
    fs::write(&metadata, damaged).unwrap();
    verify().failed_with(1, &["_metadata", "is damaged", "take an older checkpoint"]);
}

#[test]
fn a_place_without_a_checkpoint_is_named() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().to_str().unwrap();
    let ended = run(thalweg(["checkpoint", "inspect", place]));
    ended.failed_with(1, &[place, "no completed checkpoint"]);
    let ended = run(thalweg(["checkpoint", "verify", "gs://bucket/chk-1"]));
    ended.failed_with(1, &["`gs:`"]);
}
