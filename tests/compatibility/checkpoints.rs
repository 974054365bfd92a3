//! Metadata of checkpoints. The fixtures were made by another program, from the description of the format.

use crc32c::crc32c;
use thalweg_cluster::checkpoint::home::Ended;
use thalweg_cluster::checkpoint::home::pointer::Pointer;
use thalweg_cluster::checkpoint::metadata::model::FileFacts;
use thalweg_cluster::checkpoint::metadata::{
    CheckpointKind, CheckpointMetadata, OperatorState, PendingCommittable, SubtaskState,
    VertexState, decode, encode,
};
use thalweg_cluster::checkpoint::storage::Location;
use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::ids::{CheckpointId, JobId, OperatorId, VertexId};
use thalweg_dataflow::checkpoint::{check_file, read_section};
use thalweg_memory::{Buffer, Cursor, Entry, EntryLayout, Mark};
use thalweg_state::run::StateNumber;
use thalweg_state::snapshot::{
    ChannelPath, InFlightFile, InFlightSection, OperatorPart, Redistribution, RunHandle,
};

const METADATA_1: &[u8] = include_bytes!("fixtures/checkpoint-metadata-1.bin");
const METADATA_2: &[u8] = include_bytes!("fixtures/checkpoint-metadata-2.bin");
const METADATA_3: &[u8] = include_bytes!("fixtures/checkpoint-metadata-3.bin");
const IN_FLIGHT_1: &[u8] = include_bytes!("fixtures/records-in-flight-1.bin");
const POINTER_1: &[u8] = include_bytes!("fixtures/checkpoint-pointer-1.bin");
const POINTER_3: &[u8] = include_bytes!("fixtures/checkpoint-pointer-3.bin");

fn run(file: &str, bytes: u64, checksum: u32, rows: u64, first: u16, full: bool) -> RunHandle {
    RunHandle {
        file: file.to_owned(),
        bytes,
        checksum,
        rows,
        groups: first..first + 64,
        full,
        only: None,
    }
}

fn part(name: &str, redistribution: Redistribution, items: &[&[u8]]) -> OperatorPart {
    OperatorPart {
        name: name.to_owned(),
        redistribution,
        items: items.iter().map(|item| item.to_vec()).collect(),
    }
}

fn state(subtask: u32, runs: Vec<RunHandle>, parts: Vec<OperatorPart>) -> SubtaskState {
    SubtaskState {
        subtask,
        runs,
        parts,
    }
}

fn operator(id: u64, name: &str, subtasks: Vec<SubtaskState>) -> OperatorState {
    OperatorState {
        operator: OperatorId(id),
        name: name.to_owned(),
        subtasks,
    }
}

fn vertex(id: u32, name: &str, finished: Vec<u32>, operators: Vec<OperatorState>) -> VertexState {
    VertexState {
        vertex: VertexId(id),
        name: name.to_owned(),
        parallelism: 2,
        max_parallelism: 128,
        finished,
        operators,
    }
}

fn content() -> CheckpointMetadata {
    let splits = part("splits", Redistribution::Split, &[b"clicks.csv@4096", b""]);
    let clicks = operator(0x1111, "clicks", vec![state(0, Vec::new(), vec![splits])]);
    let rules = part("rules", Redistribution::Broadcast, &[b"r"]);
    let all = part("all", Redistribution::Union, &[b"u"]);
    let first = vec![
        run("7-0.run", 900, 0xCAFE_F00D, 12, 0, false),
        run("5-0.run", 70_000, 1, 1_500, 0, true),
    ];
    let second = vec![run("5-1.run", 65_000, 2, 1_400, 64, true)];
    let count = vec![
        state(0, first, Vec::new()),
        state(1, second, vec![rules, all]),
    ];
    let count = operator(0x2222, "count", count);
    let file = operator(0x3333, "file", Vec::new());
    CheckpointMetadata {
        job: JobId(0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF),
        job_name: "clicks per user".to_owned(),
        checkpoint: CheckpointId(7),
        kind: CheckpointKind::Checkpoint,
        started_ms: 1_790_000_000_123,
        vertices: vec![
            vertex(0, "clicks", vec![1], vec![clicks]),
            vertex(1, "count → file", Vec::new(), vec![count, file]),
        ],
        committables: vec![PendingCommittable {
            checkpoint: CheckpointId(6),
            operator: OperatorId(0x3333),
            subtask: 1,
            bytes: b"\x01.part-1.pending".to_vec(),
        }],
        in_flight: Vec::new(),
    }
}

#[test]
fn metadata_of_version_1_is_read_and_written_as_ever() {
    assert_eq!(decode(METADATA_1).unwrap(), content());
    assert_eq!(encode(&content()).unwrap(), METADATA_1);
}

/// The same with two sections of records in flight.
fn moving_content() -> CheckpointMetadata {
    let section = |from, at_sender, within: std::ops::Range<usize>| InFlightSection {
        path: ChannelPath {
            receiver: OperatorId(0x2222),
            input: 0,
            to: 1,
            sender: OperatorId(0x1111),
            port: 0,
            from,
            keyed: true,
        },
        at_sender,
        offset: within.start as u64,
        bytes: within.len() as u64,
        checksum: crc32c(&IN_FLIGHT_1[within]),
    };
    CheckpointMetadata {
        in_flight: vec![InFlightFile {
            file: "v1-1.0.in-1-7.flight".to_owned(),
            bytes: IN_FLIGHT_1.len() as u64,
            checksum: crc32c(IN_FLIGHT_1),
            sections: vec![
                section(0, false, 12..SECOND),
                section(1, true, SECOND..IN_FLIGHT_1.len()),
            ],
        }],
        ..content()
    }
}

/// Where the second section of the fixture begins.
const SECOND: usize = 104;

#[test]
fn metadata_of_version_2_is_read_and_written_as_ever() {
    assert_eq!(decode(METADATA_2).unwrap(), moving_content());
    assert_eq!(encode(&moving_content()).unwrap(), METADATA_2);
}

/// The same with a file that counts for two states of five, at two places.
fn parted_content() -> CheckpointMetadata {
    let mut content = moving_content();
    let runs = &mut content.vertices[1].operators[0].subtasks[0].runs;
    let [rows, taken] = &mut runs[..] else {
        unreachable!("there are two");
    };
    taken.full = false;
    taken.only = Some(StateNumber(4));
    let other = RunHandle {
        rows: 7,
        only: Some(StateNumber(0)),
        ..taken.clone()
    };
    let rows = rows.clone();
    runs.splice(0..1, [rows, other]);
    content
}

#[test]
fn metadata_of_version_3_is_read_and_written_as_ever() {
    assert_eq!(decode(METADATA_3).unwrap(), parted_content());
    assert_eq!(encode(&parted_content()).unwrap(), METADATA_3);
    // With nothing in flight the list is there, and empty.
    let still = CheckpointMetadata {
        in_flight: Vec::new(),
        ..parted_content()
    };
    assert_eq!(decode(&encode(&still).unwrap()).unwrap(), still);
}

#[test]
fn records_in_flight_of_version_1_are_read_as_ever() {
    let facts = (IN_FLIGHT_1.len() as u64, crc32c(IN_FLIGHT_1));
    assert_eq!(check_file(&IN_FLIGHT_1).unwrap(), facts);
    let layout = EntryLayout {
        hash: true,
        timestamp: false,
    };
    let first = read_section(&IN_FLIGHT_1[12..SECOND]).unwrap();
    let marks = vec![
        (0, Mark::Watermark(Watermark(Timestamp(-5)))),
        (1, Mark::Idle),
    ];
    assert_eq!(first.layout, layout);
    assert_eq!(first.buffers[0].marks, marks);
    assert_eq!(first.buffers[1].marks, [(0, Mark::Active)]);
    let second = read_section(&IN_FLIGHT_1[SECOND..]).unwrap();
    for (rest, expected) in [
        (&first.buffers[0], vec![(7, 70), (8, 80)]),
        (&second.buffers[0], vec![(9, 90)]),
    ] {
        let mut unmarked = rest.clone();
        unmarked.marks.clear();
        let revived = Buffer::revive::<u64>(&unmarked, layout, |_| true).unwrap();
        let mut entries = [Entry::default(); 4];
        let found = revived.scan::<u64>(layout, &mut Cursor::default(), &mut entries);
        let read = entries[..found].iter();
        let read: Vec<(u64, u64)> = read
            .map(|entry| (entry.hash.0, revived.item::<u64>(entry)))
            .collect();
        assert_eq!(read, expected);
    }
}

#[test]
fn pointers_of_version_1_are_read_and_written_as_ever() {
    let facts = FileFacts {
        bytes: METADATA_1.len() as u64,
        checksum: crc32c(METADATA_1),
    };
    let pointer = Pointer {
        sequence: 9,
        term: 2,
        next: CheckpointId(9),
        newest: Some((CheckpointId(7), facts)),
        savepoint: None,
        ended: None,
    };
    assert_eq!(pointer.encode(), POINTER_1);
    assert_eq!(Pointer::decode(POINTER_1), Some(pointer));
}

#[test]
fn marks_of_the_end_of_a_job_are_read_and_written_as_ever() {
    let facts = FileFacts {
        bytes: METADATA_1.len() as u64,
        checksum: crc32c(METADATA_1),
    };
    let mark = Pointer {
        sequence: 10,
        term: 2,
        next: CheckpointId(9),
        newest: Some((CheckpointId(8), facts)),
        savepoint: Some(Location::parse("/savepoints/savepoint-3f2a").unwrap()),
        ended: Some(Ended::new(1_790_000_000_123, "clicks")),
    };
    assert_eq!(mark.encode(), POINTER_3);
    assert_eq!(Pointer::decode(POINTER_3), Some(mark));
}
