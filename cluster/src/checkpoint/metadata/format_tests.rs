//! Metadata reads back as written; damage of any kind is noticed and named.

use proptest::prelude::*;
use thalweg_state::snapshot::{ChannelPath, InFlightFile, InFlightSection};

use super::*;

/// Something of everything.
pub(crate) fn example() -> CheckpointMetadata {
    let run = |name: &str, groups| RunHandle {
        file: name.to_owned(),
        bytes: 12_345,
        checksum: 0xDEAD_BEEF,
        rows: 678,
        groups,
        full: name.starts_with('a'),
        only: None,
    };
    let positions = OperatorPart {
        name: "positions".to_owned(),
        redistribution: Redistribution::Split,
        items: vec![b"split-1@77".to_vec(), Vec::new()],
    };
    let rules = OperatorPart {
        name: "rules".to_owned(),
        redistribution: Redistribution::Broadcast,
        items: vec![vec![0, 1, 2]],
    };
    let source = OperatorState {
        operator: OperatorId(1),
        name: "numbers".to_owned(),
        subtasks: vec![SubtaskState {
            subtask: 1,
            runs: Vec::new(),
            parts: vec![positions],
        }],
    };
    let count = OperatorState {
        operator: OperatorId(2),
        name: "count words".to_owned(),
        subtasks: vec![
            SubtaskState {
                subtask: 0,
                runs: vec![run("b-7.run", 0..64), run("a-3.run", 0..64)],
                parts: Vec::new(),
            },
            SubtaskState {
                subtask: 1,
                runs: vec![run("a-4.run", 64..128)],
                parts: vec![rules],
            },
        ],
    };
    let vertex = |id, name: &str, finished, operators| VertexState {
        vertex: VertexId(id),
        name: name.to_owned(),
        parallelism: 2,
        max_parallelism: 128,
        finished,
        operators,
    };
    CheckpointMetadata {
        job: JobId(0x0123_4567_89AB_CDEF_0011_2233_4455_6677),
        job_name: "word count".to_owned(),
        checkpoint: CheckpointId(42),
        kind: CheckpointKind::Checkpoint,
        started_ms: 1_790_000_000_123,
        vertices: vec![
            vertex(0, "numbers", vec![0], vec![source]),
            vertex(1, "count words → print", Vec::new(), vec![count]),
        ],
        committables: vec![PendingCommittable {
            checkpoint: CheckpointId(41),
            operator: OperatorId(2),
            subtask: 1,
            bytes: b"\x01out/.part-1.pending".to_vec(),
        }],
        in_flight: Vec::new(),
    }
}

/// The same with records in flight.
pub(crate) fn moving_example() -> CheckpointMetadata {
    let section = |from, at_sender, offset| InFlightSection {
        path: ChannelPath {
            receiver: OperatorId(2),
            input: 0,
            to: 1,
            sender: OperatorId(1),
            port: 0,
            from,
            keyed: true,
        },
        at_sender,
        offset,
        bytes: 100,
        checksum: 0xFEED,
    };
    let file = |name: &str, sections| InFlightFile {
        file: name.to_owned(),
        bytes: 220,
        checksum: 0xBEEF,
        sections,
    };
    CheckpointMetadata {
        in_flight: vec![
            file("v0-0.out", vec![section(0, true, 12)]),
            file(
                "v1-1.in",
                vec![section(0, false, 12), section(1, false, 112)],
            ),
        ],
        ..example()
    }
}

/// The same bytes with both checksums made to fit again.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let header = crc32c(&file[..HEADER - 4]);
    file[HEADER - 4..HEADER].copy_from_slice(&header.to_le_bytes());
    let end = file.len() - 4;
    let body = crc32c(&file[HEADER..end]);
    file[end..].copy_from_slice(&body.to_le_bytes());
    file
}

#[test]
fn the_example_reads_back() {
    let bytes = encode(&example()).unwrap();
    assert_eq!(decode(&bytes).unwrap(), example());
    let whole = example();
    let names: Vec<&str> = whole.files().into_keys().collect();
    assert_eq!(names, ["a-3.run", "a-4.run", "b-7.run"]);
    assert_eq!(whole.file_bytes(), 3 * 12_345);
}

#[test]
fn records_in_flight_read_back_and_are_files_like_others() {
    let bytes = encode(&moving_example()).unwrap();
    assert_eq!(decode(&bytes).unwrap(), moving_example());
    assert!(moving_example().files().contains_key("v1-1.in"));
    assert_eq!(moving_example().file_bytes(), 3 * 12_345 + 2 * 220);
    // Nothing in flight is told as before, so that older releases read it.
    assert_eq!((bytes[8], encode(&example()).unwrap()[8]), (2, 1));
    let wrong = |change: &dyn Fn(&mut InFlightFile)| {
        let mut metadata = moving_example();
        change(&mut metadata.in_flight[1]);
        decode(&encode(&metadata).unwrap()).expect_err("what cannot be")
    };
    let beyond = wrong(&|file| file.sections[1].bytes = 109);
    assert!(beyond.to_string().contains("not within v1-1.in"));
    let path = wrong(&|file| file.file = "../v1-1.in".to_owned());
    assert!(path.to_string().contains("no plain file name"));
}

/// The same with a run that counts for one state only, with records in flight or without.
fn parted_example(moving: bool) -> CheckpointMetadata {
    let mut metadata = if moving { moving_example() } else { example() };
    first_run(&mut metadata).only = Some(StateNumber(3));
    metadata
}

#[test]
fn runs_that_count_for_one_state_read_back_in_a_version_of_their_own() {
    for moving in [true, false] {
        let bytes = encode(&parted_example(moving)).unwrap();
        assert_eq!(decode(&bytes).unwrap(), parted_example(moving));
        assert_eq!(bytes[8], 3);
    }
    // A version that says no more than an older one is not what this engine writes.
    let mut whole = encode(&moving_example()).unwrap();
    let parted = encode(&parted_example(true)).unwrap();
    assert_eq!(parted.len() - whole.len(), 3 + 2, "three runs, one number");
    whole[8] = 3;
    assert!(matches!(
        decode(&sealed(whole)),
        Err(MetadataError::Malformed { .. })
    ));
    let mut empty = encode(&example()).unwrap();
    empty[8] = 2;
    let end = empty.len() - 4;
    empty.splice(end..end, [0; 4]);
    let body = (empty.len() - HEADER - 4) as u64;
    empty[12..20].copy_from_slice(&body.to_le_bytes());
    let refused = decode(&sealed(empty)).unwrap_err().to_string();
    assert!(
        refused.contains("version 2 says no more than version 1"),
        "{refused}"
    );
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = encode(&parted_example(true)).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let refused = decode(&damaged).expect_err("a flipped bit");
        let expected = match bit / 8 {
            0..8 => matches!(refused, MetadataError::Foreign),
            8..24 => matches!(refused, MetadataError::DamagedHeader { .. }),
            _ => matches!(refused, MetadataError::Damaged { .. }),
        };
        assert!(expected, "bit {bit}: {refused}");
    }
}

#[test]
fn every_truncation_and_addition_is_noticed() {
    let bytes = encode(&parted_example(true)).unwrap();
    for length in 0..bytes.len() {
        let refused = decode(&bytes[..length]).expect_err("a truncation");
        let expected = match length {
            0..24 => matches!(refused, MetadataError::NoHeader(_)),
            _ => matches!(refused, MetadataError::Length { .. }),
        };
        assert!(expected, "{length}: {refused}");
    }
    for more in 1..40 {
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + more, 0);
        assert!(matches!(decode(&longer), Err(MetadataError::Length { .. })));
    }
}

#[test]
fn other_files_and_other_versions_are_told_apart_from_damage() {
    assert_eq!(
        decode(b"PK\x03\x04 something else entirely"),
        Err(MetadataError::Foreign)
    );
    let mut newer = encode(&example()).unwrap();
    newer[8] = 9;
    let refused = decode(&sealed(newer)).unwrap_err();
    assert_eq!(refused, MetadataError::OtherVersion { found: 9 });
    assert!(refused.to_string().contains("format version 9"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refuse = |change: fn(&mut CheckpointMetadata), words: &str| {
        let mut metadata = example();
        change(&mut metadata);
        let refused = decode(&encode(&metadata).unwrap()).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    };
    refuse(|m| m.vertices[0].parallelism = 0, "parallelism of 0");
    refuse(|m| m.vertices[0].parallelism = 129, "parallelism of 129");
    refuse(|m| m.vertices[0].max_parallelism = 40_000, "at most 40000");
    refuse(|m| m.vertices[0].finished = vec![1, 0], "finished subtasks");
    refuse(|m| m.vertices[0].finished = vec![2], "finished subtasks");
    refuse(|m| m.vertices.swap(0, 1), "vertices are not in order");
    refuse(
        |m| m.vertices[0].operators[0].operator = OperatorId(2),
        "is there twice",
    );
    refuse(
        |m| first_run(m).file = "../../etc/passwd".to_owned(),
        "no plain file name",
    );
    refuse(|m| first_run(m).groups.start = 65, "key groups 65..64");
    refuse(|m| first_run(m).groups = 0..129, "key groups 0..129");
    refuse(
        |m| m.vertices[1].operators[0].subtasks[1].subtask = 2,
        "subtasks are not in order",
    );
    refuse(
        |m| m.vertices[1].operators[0].subtasks[1].subtask = 0,
        "subtasks are not in order",
    );
}

fn first_run(metadata: &mut CheckpointMetadata) -> &mut RunHandle {
    &mut metadata.vertices[1].operators[0].subtasks[0].runs[0]
}

#[test]
fn a_name_that_is_too_long_is_not_written() {
    let mut metadata = example();
    metadata.job_name = "x".repeat(70_000);
    let refused = encode(&metadata).unwrap_err();
    assert!(refused.to_string().contains("70000"), "{refused}");
}

fn committables() -> impl Strategy<Value = Vec<PendingCommittable>> {
    let one = (any::<u64>(), any::<u64>(), any::<u32>(), any::<Vec<u8>>());
    let one = one.prop_map(
        |(checkpoint, operator, subtask, bytes)| PendingCommittable {
            checkpoint: CheckpointId(checkpoint),
            operator: OperatorId(operator),
            subtask,
            bytes,
        },
    );
    proptest::collection::vec(one, 0..4)
}

fn subtask() -> impl Strategy<Value = SubtaskState> {
    let run = (
        "[a-z0-9][a-z0-9._-]{0,20}",
        any::<(u64, u32, u64, bool, Option<u16>)>(),
        0..=64_u16,
        64..=128_u16,
    );
    let run = run.prop_map(
        |(file, (bytes, checksum, rows, full, only), start, end)| RunHandle {
            file,
            bytes,
            checksum,
            rows,
            groups: start..end,
            full,
            only: only.map(StateNumber),
        },
    );
    let part = (".{0,8}", 0..3_usize, any::<Vec<Vec<u8>>>());
    let part = part.prop_map(|(name, kind, items)| OperatorPart {
        name,
        redistribution: [
            Redistribution::Split,
            Redistribution::Union,
            Redistribution::Broadcast,
        ][kind],
        items,
    });
    let (runs, parts) = (
        proptest::collection::vec(run, 0..4),
        proptest::collection::vec(part, 0..3),
    );
    (runs, parts).prop_map(|(runs, parts)| SubtaskState {
        subtask: 0,
        runs,
        parts,
    })
}

fn metadata() -> impl Strategy<Value = CheckpointMetadata> {
    let operators = proptest::collection::vec(proptest::collection::vec(subtask(), 0..4), 0..4);
    let head = any::<(u128, u64, bool, i64)>();
    let all = (head, ".{0,12}", operators, committables(), in_flight());
    all.prop_map(
        |(
            (job, checkpoint, savepoint, started_ms),
            job_name,
            operators,
            committables,
            in_flight,
        )| {
            let vertices = operators
                .into_iter()
                .enumerate()
                .map(|(at, subtasks)| VertexState {
                    vertex: VertexId(at as u32),
                    name: format!("vertex {at}"),
                    parallelism: 4,
                    max_parallelism: 128,
                    finished: (0..at as u32).collect(),
                    operators: vec![OperatorState {
                        operator: OperatorId(at as u64),
                        name: format!("operator {at}"),
                        subtasks: (subtasks.into_iter().enumerate())
                            .map(|(subtask, state)| SubtaskState {
                                subtask: subtask as u32,
                                ..state
                            })
                            .collect(),
                    }],
                });
            CheckpointMetadata {
                job: JobId(job),
                job_name,
                checkpoint: CheckpointId(checkpoint),
                kind: if savepoint {
                    CheckpointKind::Savepoint
                } else {
                    CheckpointKind::Checkpoint
                },
                started_ms,
                vertices: vertices.collect(),
                committables,
                in_flight,
            }
        },
    )
}

fn in_flight() -> impl Strategy<Value = Vec<InFlightFile>> {
    let path = any::<(u64, u32, u32, u64, u32, u32, bool)>();
    let section = (path, any::<(bool, u32, u32, u32)>()).prop_map(|(path, section)| {
        let (receiver, input, to, sender, port, from, keyed) = path;
        let (at_sender, offset, bytes, checksum) = section;
        InFlightSection {
            path: ChannelPath {
                receiver: OperatorId(receiver),
                input,
                to,
                sender: OperatorId(sender),
                port,
                from,
                keyed,
            },
            at_sender,
            offset: u64::from(offset),
            bytes: u64::from(bytes),
            checksum,
        }
    });
    let sections = proptest::collection::vec(section, 0..4);
    let file = ("[a-z]{1,8}", any::<u32>(), sections);
    let file = file.prop_map(|(file, checksum, sections)| InFlightFile {
        file,
        bytes: u64::MAX,
        checksum,
        sections,
    });
    proptest::collection::vec(file, 0..3)
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(metadata in metadata()) {
        let bytes = encode(&metadata).unwrap();
        prop_assert_eq!(decode(&bytes).unwrap(), metadata);
    }

    /// Damage that both checksums agree with: read as something that is written the same, or refused.
    #[test]
    fn forged_bytes_never_panic_and_have_one_meaning(
        metadata in metadata(),
        changes in proptest::collection::vec(any::<(usize, u8)>(), 1..6),
        cut in any::<Option<usize>>(),
    ) {
        let mut bytes = encode(&metadata).unwrap();
        let end = bytes.len() - 4;
        for (at, value) in changes {
            let at = HEADER + at % (end - HEADER);
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            let length = HEADER + cut % (end - HEADER);
            bytes.truncate(length + 4);
            let body = (length - HEADER) as u64;
            bytes[12..20].copy_from_slice(&body.to_le_bytes());
        }
        let bytes = sealed(bytes);
        match decode(&bytes) {
            Ok(read) => prop_assert_eq!(encode(&read).unwrap(), bytes),
            Err(refused) => {
                let expected = matches!(
                    refused,
                    MetadataError::Malformed { .. } | MetadataError::OtherHash { .. }
                );
                prop_assert!(expected, "{}", refused);
            }
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes: Vec<u8>, magic: bool) {
        if magic {
            bytes.splice(0..0, MAGIC.iter().copied());
        }
        prop_assert!(decode(&bytes).is_err());
    }
}
