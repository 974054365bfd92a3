//! Which records in flight of a checkpoint go to which task of the job that starts from it.
//!
//! A part of dealing a checkpoint out. Records that had not left their sender are given to who would have read
//! them. At another parallelism those that go by keys are routed again by their hashes: a task gets the parts of
//! all former readers it shares key groups with, and takes what is its own; others are dealt out by their former
//! reader. Pure functions. Invariant: every record is given to exactly one task, behind those it was behind.

use std::collections::BTreeMap;
use std::ops::Range;

use thalweg_core::ids::{OperatorId, SubtaskId};
use thalweg_core::key_group::MaxParallelism;
use thalweg_dataflow::checkpoint::RestoredSection;
use thalweg_state::snapshot::{ChannelPath, InFlightSection};

use super::metadata::{CheckpointMetadata, VertexState};
use super::restore::RestoreError;
use super::tasks::VertexShape;

/// The tasks that read a channel's records, each with its key groups where not all of them are its own.
type Readers = Vec<(u32, Option<Range<u16>>)>;

/// What each task of the job reads before anything new, in order.
pub(super) type Dealt = BTreeMap<SubtaskId, Vec<RestoredSection>>;

/// Deals out the records in flight; answers too which operators they were on their way to and are no more.
///
/// # Errors
/// What does not fit the program, by name.
pub(super) fn deal_in_flight(
    metadata: &CheckpointMetadata,
    vertices: &[VertexShape],
) -> Result<(Dealt, Vec<String>), RestoreError> {
    let former: BTreeMap<OperatorId, (&VertexState, &str)> = (metadata.operators())
        .map(|(vertex, state)| (state.operator, (vertex, state.name.as_str())))
        .collect();
    let (mut dealt, mut lost) = (Dealt::new(), Vec::new());
    for (file, section) in in_order(metadata) {
        let path = &section.path;
        let (was, name) = match former.get(&path.receiver) {
            Some((vertex, name)) => (*vertex, *name),
            None => return Err(unknown(path.receiver)),
        };
        let Some(reader) = vertices.iter().find(|it| has(it, path.receiver)) else {
            let named = format!("{name} ({})", path.receiver);
            if !lost.contains(&named) {
                lost.push(named);
            }
            continue;
        };
        if reader.operators.first().map(|(id, _)| *id) != Some(path.receiver) {
            return Err(RestoreError::InFlightInside {
                vertex: reader.name.clone(),
                operator: name.to_owned(),
            });
        }
        let writer = vertices.iter().find(|it| has(it, path.sender));
        let written = former
            .get(&path.sender)
            .map(|(vertex, _)| vertex.parallelism);
        let same = was.parallelism == reader.parallelism
            && writer.map(|writer| writer.parallelism) == written;
        for (to, groups) in readers(path, was, reader, name)? {
            let task = SubtaskId::new(reader.vertex, to);
            dealt.entry(task).or_default().push(RestoredSection {
                file: file.to_owned(),
                section: section.clone(),
                groups,
                same_channel: same,
            });
        }
    }
    Ok((dealt, lost))
}

/// All sections, each channel's in the order of its records.
fn in_order(metadata: &CheckpointMetadata) -> Vec<(&str, &InFlightSection)> {
    let files = metadata.in_flight.iter();
    let sections = files.flat_map(|file| file.sections.iter().map(|it| (file.file.as_str(), it)));
    let mut sections: Vec<_> = sections.collect();
    sections.sort_by_key(|(_, section)| (section.path, section.at_sender));
    sections
}

fn has(vertex: &VertexShape, operator: OperatorId) -> bool {
    vertex.operators.iter().any(|(id, _)| *id == operator)
}

fn unknown(operator: OperatorId) -> RestoreError {
    RestoreError::InFlightUnknown { operator }
}

fn readers(
    path: &ChannelPath,
    was: &VertexState,
    is: &VertexShape,
    name: &str,
) -> Result<Readers, RestoreError> {
    if path.to >= was.parallelism {
        return Err(unknown(path.receiver));
    }
    if !path.keyed {
        return Ok(vec![(path.to % is.parallelism, None)]);
    }
    if was.max_parallelism != is.max_parallelism {
        return Err(RestoreError::MaxParallelism {
            operator: name.to_owned(),
            was: was.max_parallelism,
            is: is.max_parallelism,
        });
    }
    let most = match MaxParallelism::new(was.max_parallelism) {
        Ok(most) if is.parallelism <= was.max_parallelism => most,
        _ => {
            return Err(RestoreError::Parallelism {
                vertex: is.name.clone(),
                parallelism: is.parallelism,
                most: was.max_parallelism,
            });
        }
    };
    let had = most.range(path.to, was.parallelism);
    let mut readers = Vec::new();
    for to in 0..is.parallelism {
        let own = most.range(to, is.parallelism);
        if own == had {
            readers.push((to, None));
        } else if own.start < had.end && had.start < own.end {
            readers.push((to, Some(own)));
        }
    }
    Ok(readers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::ids::{CheckpointId, JobId, VertexId};
    use thalweg_core::key_group::KeyHash;
    use thalweg_state::snapshot::InFlightFile;

    use super::*;
    use crate::checkpoint::metadata::{CheckpointKind, OperatorState};

    const READ: OperatorId = OperatorId(2);
    const WRITE: OperatorId = OperatorId(1);

    fn section(to: u32, from: u32, keyed: bool, at_sender: bool) -> InFlightSection {
        InFlightSection {
            path: ChannelPath {
                receiver: READ,
                input: 0,
                to,
                sender: WRITE,
                port: 0,
                from,
                keyed,
            },
            at_sender,
            offset: 12,
            bytes: 5,
            checksum: 0,
        }
    }

    fn metadata(parallelism: (u32, u32), sections: Vec<InFlightSection>) -> CheckpointMetadata {
        let vertex = |id: u32, operator, name: &str, parallelism| VertexState {
            vertex: VertexId(id),
            name: name.to_owned(),
            parallelism,
            max_parallelism: 128,
            finished: Vec::new(),
            operators: vec![OperatorState {
                operator,
                name: name.to_owned(),
                subtasks: Vec::new(),
            }],
        };
        CheckpointMetadata {
            job: JobId(1),
            job_name: "job".to_owned(),
            checkpoint: CheckpointId(1),
            kind: CheckpointKind::Checkpoint,
            started_ms: 0,
            vertices: vec![
                vertex(0, WRITE, "write", parallelism.0),
                vertex(1, READ, "read", parallelism.1),
            ],
            committables: Vec::new(),
            in_flight: vec![InFlightFile {
                file: "f".to_owned(),
                bytes: 100,
                checksum: 0,
                sections,
            }],
        }
    }

    fn shapes(parallelism: (u32, u32), read: &[OperatorId]) -> Vec<VertexShape> {
        let shape = |id, operators: Vec<(OperatorId, String)>, parallelism| VertexShape {
            vertex: VertexId(id),
            name: format!("vertex {id}"),
            parallelism,
            max_parallelism: 128,
            operators,
        };
        let read = read.iter().map(|id| (*id, "read".to_owned()));
        vec![
            shape(0, vec![(WRITE, "write".to_owned())], parallelism.0),
            shape(1, read.collect(), parallelism.1),
        ]
    }

    proptest! {
        /// Whatever the parallelism was and is: of every former reader's records each key goes to the one task that
        /// owns it now, and records without keys to one task.
        #[test]
        fn every_record_has_one_reader(
            was in (1..9_u32, 1..9_u32),
            is in (1..9_u32, 1..9_u32),
            keyed: bool,
            hash: u64,
        ) {
            let groups = MaxParallelism::new(128).unwrap();
            let group = groups.key_group(KeyHash(hash));
            let former = groups.subtask(group, was.1);
            let sections = (0..was.1).flat_map(|to| (0..was.0).map(move |from| section(to, from, keyed, false)));
            let metadata = metadata(was, sections.collect());
            let (dealt, lost) = deal_in_flight(&metadata, &shapes(is, &[READ])).unwrap();
            prop_assert!(lost.is_empty());
            for from in 0..was.0 {
                let takes = dealt.iter().filter(|(_, sections)| sections.iter().any(|it| {
                    let path = it.section.path;
                    let its = it.groups.as_ref().is_none_or(|groups| groups.contains(&group.0));
                    path.from == from && path.to == former && its
                }));
                let takes: Vec<u32> = takes.map(|(task, _)| task.index).collect();
                match keyed {
                    true => prop_assert_eq!(takes, [groups.subtask(group, is.1)]),
                    false => prop_assert_eq!(takes.len(), 1),
                }
            }
            for section in dealt.values().flatten() {
                prop_assert_eq!(section.same_channel, was == is);
            }
        }
    }

    #[test]
    fn what_had_left_its_sender_comes_before_what_had_not() {
        let sections = vec![
            section(0, 1, true, true),
            section(0, 0, true, true),
            section(0, 1, true, false),
        ];
        let metadata = metadata((2, 1), sections);
        let (dealt, _) = deal_in_flight(&metadata, &shapes((2, 1), &[READ])).unwrap();
        let order = dealt[&SubtaskId::new(VertexId(1), 0)].iter();
        let order: Vec<_> = order
            .map(|it| (it.section.path.from, it.section.at_sender))
            .collect();
        assert_eq!(order, [(0, true), (1, false), (1, true)]);
    }

    #[test]
    fn a_reader_that_is_gone_or_has_moved_into_a_chain_is_told_of() {
        let metadata = metadata((1, 1), vec![section(0, 0, true, false)]);
        let other = OperatorId(9);
        let (dealt, lost) = deal_in_flight(&metadata, &shapes((1, 1), &[other])).unwrap();
        assert!(dealt.is_empty());
        assert_eq!(lost, [format!("read ({READ})")]);
        let inside = deal_in_flight(&metadata, &shapes((1, 1), &[other, READ]));
        assert!(matches!(inside, Err(RestoreError::InFlightInside { .. })));
    }
}
