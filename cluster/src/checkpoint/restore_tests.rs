//! State dealt out: nothing twice, nothing lost, and refusals by name.

use proptest::prelude::*;
use thalweg_core::ids::{JobId, VertexId};

use super::*;
use crate::checkpoint::metadata::CheckpointKind;

fn run(file: String, groups: std::ops::Range<u16>, full: bool) -> RunHandle {
    RunHandle {
        file,
        bytes: 1,
        checksum: 2,
        rows: 3,
        groups,
        full,
        only: None,
    }
}

fn part(name: &str, redistribution: Redistribution, items: Vec<Vec<u8>>) -> OperatorPart {
    OperatorPart {
        name: name.to_owned(),
        redistribution,
        items,
    }
}

const GROUPS: u32 = 64;

fn shape(id: u32, parallelism: u32, operators: &[u64]) -> VertexShape {
    VertexShape {
        vertex: VertexId(id),
        name: format!("vertex {id}"),
        parallelism,
        max_parallelism: GROUPS,
        operators: (operators.iter())
            .map(|operator| (OperatorId(*operator), format!("operator {operator}")))
            .collect(),
    }
}

fn vertex(id: u32, parallelism: u32, finished: u32, operators: Vec<OperatorState>) -> VertexState {
    VertexState {
        vertex: VertexId(id),
        name: format!("vertex {id}"),
        parallelism,
        max_parallelism: GROUPS,
        finished: (0..finished).collect(),
        operators,
    }
}

fn state(id: u64, subtasks: Vec<SubtaskState>) -> OperatorState {
    OperatorState {
        operator: OperatorId(id),
        name: format!("operator {id}"),
        subtasks,
    }
}

fn metadata(vertices: Vec<VertexState>) -> CheckpointMetadata {
    CheckpointMetadata {
        job: JobId(1),
        job_name: "job".to_owned(),
        checkpoint: CheckpointId(9),
        kind: CheckpointKind::Checkpoint,
        started_ms: 0,
        vertices,
        committables: Vec::new(),
        in_flight: Vec::new(),
    }
}

/// An operator on `parallelism` subtasks, each with a chain of two runs and parts of all three ways.
fn everywhere(parallelism: u32) -> OperatorState {
    let most = MaxParallelism::new(GROUPS).unwrap();
    let subtask = |index: u32| {
        let groups = most.range(index, parallelism);
        SubtaskState {
            subtask: index,
            runs: vec![
                run(format!("new-{index}"), groups.clone(), false),
                run(format!("old-{index}"), groups, true),
            ],
            parts: vec![
                part(
                    "split",
                    Redistribution::Split,
                    vec![vec![index as u8, 0], vec![index as u8, 1]],
                ),
                part("union", Redistribution::Union, vec![vec![index as u8]]),
                part(
                    "broadcast",
                    Redistribution::Broadcast,
                    vec![vec![index as u8]],
                ),
            ],
        }
    };
    state(1, (0..parallelism).map(subtask).collect())
}

fn items<'a>(restore: &'a TaskRestore, name: &str) -> &'a [Vec<u8>] {
    let parts = restore
        .operators
        .iter()
        .flat_map(|operator| &operator.parts);
    let mut found = parts.filter(|part| part.name == name);
    found.next().map_or(&[], |part| &part.items)
}

proptest! {
    #[test]
    fn every_group_and_item_finds_exactly_its_task(was in 1..=GROUPS, is in 1..=GROUPS) {
        let metadata = metadata(vec![vertex(0, was, 0, vec![everywhere(was)])]);
        let plan = assign(&metadata, &[shape(5, is, &[1])], false).unwrap();
        prop_assert_eq!(plan.tasks.len(), is as usize);
        let most = MaxParallelism::new(GROUPS).unwrap();
        let mut split = Vec::new();
        for index in 0..is {
            let restore = &plan.tasks[&SubtaskId::new(VertexId(5), index)];
            let range = most.range(index, is);
            let runs = &restore.operators[0].runs;
            for group in 0..GROUPS as u16 {
                let with: Vec<&str> = (runs.iter())
                    .filter(|run| run.groups.contains(&group))
                    .map(|run| run.file.as_str())
                    .collect();
                if range.contains(&group) {
                    let owner = most.subtask(thalweg_core::KeyGroup(group), was);
                    prop_assert_eq!(with, [format!("new-{owner}"), format!("old-{owner}")]);
                } else {
                    prop_assert!(with.is_empty());
                }
            }
            split.extend(items(restore, "split").iter().cloned());
            let all: Vec<Vec<u8>> = (0..was).map(|index| vec![index as u8]).collect();
            prop_assert_eq!(items(restore, "union"), all);
            prop_assert_eq!(items(restore, "broadcast"), [vec![(index % was) as u8]]);
            let count = items(restore, "split").len() as u32;
            prop_assert!(count.abs_diff(2 * was / is) <= 1, "dealt evenly");
        }
        split.sort();
        let once: Vec<Vec<u8>> = (0..was).flat_map(|index| [vec![index as u8, 0], vec![index as u8, 1]]).collect();
        prop_assert_eq!(split, once);
    }

    /// A state restored, written down again as it is and restored at a third parallelism is as if restored
    /// at that parallelism at once.
    #[test]
    fn to_rescale_twice_is_to_rescale_once(was in 1..20_u32, between in 1..20_u32, is in 1..20_u32) {
        let first = metadata(vec![vertex(0, was, 0, vec![everywhere(was)])]);
        let middle = assign(&first, &[shape(0, between, &[1])], false).unwrap();
        let subtasks = middle.tasks.iter().map(|(task, restore)| SubtaskState {
            subtask: task.index,
            runs: restore.operators[0].runs.clone(),
            parts: Vec::new(),
        });
        let second = metadata(vec![vertex(0, between, 0, vec![state(1, subtasks.collect())])]);
        let runs = |metadata: &CheckpointMetadata| -> Vec<Vec<(String, u16)>> {
            let plan = assign(metadata, &[shape(0, is, &[1])], false).unwrap();
            let of = |restore: &TaskRestore| {
                let runs = restore.operators[0].runs.iter();
                let mut groups: Vec<(String, u16)> = runs
                    .flat_map(|run| run.groups.clone().map(|group| (run.file.clone(), group)))
                    .collect();
                groups.sort();
                groups
            };
            plan.tasks.values().map(of).collect()
        };
        prop_assert_eq!(runs(&first), runs(&second));
    }
}

#[test]
fn at_the_same_parallelism_everybody_keeps_what_they_had() {
    let mut operator = everywhere(3);
    operator.subtasks.remove(1);
    let metadata = metadata(vec![vertex(0, 3, 0, vec![operator])]);
    let plan = assign(&metadata, &[shape(0, 3, &[1])], false).unwrap();
    let split = |index| items(&plan.tasks[&SubtaskId::new(VertexId(0), index)], "split").to_vec();
    assert_eq!(split(0), [vec![0, 0], vec![0, 1]]);
    assert_eq!(split(1), Vec::<Vec<u8>>::new());
    assert_eq!(split(2), [vec![2, 0], vec![2, 1]]);
}

#[test]
fn state_nobody_claims_is_refused_by_name_unless_that_is_allowed() {
    let metadata = metadata(vec![vertex(
        0,
        2,
        0,
        vec![everywhere(2), state(2, Vec::new())],
    )]);
    let program = [shape(0, 2, &[3])];
    let refused = assign(&metadata, &program, false).unwrap_err().to_string();
    assert!(
        refused.contains("operator 1 (0000000000000001)"),
        "{refused}"
    );
    assert!(
        !refused.contains("operator 2"),
        "it has no state: {refused}"
    );
    let plan = assign(&metadata, &program, true).unwrap();
    assert_eq!(plan.dropped, ["operator 1 (0000000000000001)"]);
    assert!(plan.tasks.values().all(|task| task.operators.is_empty()));
}

#[test]
fn key_groups_are_for_life() {
    let metadata = metadata(vec![vertex(0, 2, 0, vec![everywhere(2)])]);
    let mut program = shape(0, 2, &[1]);
    program.max_parallelism = 128;
    let refused = assign(&metadata, std::slice::from_ref(&program), false).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("pipeline.max-parallelism to 64"),
        "{refused}"
    );
    program.max_parallelism = GROUPS;
    program.parallelism = 65;
    let refused = assign(&metadata, &[program], false).unwrap_err();
    assert!(
        matches!(refused, RestoreError::Parallelism { most: 64, .. }),
        "{refused}"
    );
}

#[test]
fn what_had_finished_stays_finished_wherever_its_operators_went() {
    let ended = vertex(0, 2, 2, vec![state(1, Vec::new()), state(2, Vec::new())]);
    let half = vertex(1, 2, 1, vec![state(3, Vec::new())]);
    let metadata = metadata(vec![ended, half]);
    let finished = |program: &[VertexShape]| -> Vec<bool> {
        let plan = assign(&metadata, program, false).unwrap();
        plan.tasks.values().map(|task| task.finished).collect()
    };
    let program = [
        shape(0, 1, &[1]),
        shape(1, 1, &[2, 9]),
        shape(2, 1, &[3]),
        shape(3, 1, &[9]),
    ];
    assert_eq!(finished(&program), [true, true, false, false]);
    let refused = assign(&metadata, &[shape(0, 1, &[2, 3])], false)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("operator 2") && refused.contains("start a new chain"),
        "{refused}"
    );
}

#[test]
fn a_part_that_is_dealt_out_in_two_ways_is_refused() {
    let subtask = |subtask, redistribution| SubtaskState {
        subtask,
        runs: Vec::new(),
        parts: vec![part("x", redistribution, Vec::new())],
    };
    let subtasks = vec![
        subtask(0, Redistribution::Split),
        subtask(1, Redistribution::Union),
    ];
    let metadata = metadata(vec![vertex(0, 2, 0, vec![state(1, subtasks)])]);
    let refused = assign(&metadata, &[shape(0, 2, &[1])], false).unwrap_err();
    assert!(
        matches!(refused, RestoreError::Redistribution { .. }),
        "{refused}"
    );
}
