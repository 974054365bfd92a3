//! The tasks of a job as checkpoints see them: which there are, which have finished, what those left behind.
//!
//! Owned by the coordinator; made anew for every attempt. Plain data. Invariant: a task that has finished
//! stays finished for the rest of the attempt unless it begins again, and what it left behind is part of every later checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::ids::{OperatorId, SubtaskId, VertexId};
use thalweg_state::snapshot::TaskSnapshot;

/// One vertex of the job that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexShape {
    /// Its place in the graph.
    pub vertex: VertexId,
    /// Its name.
    pub name: String,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// How many key groups its keys fall into.
    pub max_parallelism: u32,
    /// Its operators in chain order: identity, and how the user calls it.
    pub operators: Vec<(OperatorId, String)>,
}

/// All tasks of one attempt.
#[derive(Clone, Debug)]
pub struct JobTasks {
    vertices: Vec<VertexShape>,
    running: BTreeSet<SubtaskId>,
    finished: BTreeMap<SubtaskId, Option<TaskSnapshot>>,
}

impl JobTasks {
    /// All tasks of these vertices, running.
    #[must_use]
    pub fn of(mut vertices: Vec<VertexShape>) -> JobTasks {
        vertices.sort_by_key(|vertex| vertex.vertex);
        let subtasks = |vertex: &VertexShape| {
            let id = vertex.vertex;
            (0..vertex.parallelism).map(move |index| SubtaskId::new(id, index))
        };
        JobTasks {
            running: vertices.iter().flat_map(subtasks).collect(),
            finished: BTreeMap::new(),
            vertices,
        }
    }

    /// The vertices by id.
    #[must_use]
    pub fn vertices(&self) -> &[VertexShape] {
        &self.vertices
    }

    /// The tasks that have not finished.
    #[must_use]
    pub fn running(&self) -> &BTreeSet<SubtaskId> {
        &self.running
    }

    /// The tasks that have finished.
    pub fn finished(&self) -> impl Iterator<Item = SubtaskId> {
        self.finished.keys().copied()
    }

    /// What a task that has finished left behind.
    #[must_use]
    pub fn left_behind(&self, task: SubtaskId) -> Option<&TaskSnapshot> {
        self.finished.get(&task).and_then(Option::as_ref)
    }

    /// A task has reached the end of its input. False if there is no such task or it had finished before.
    pub fn finish(&mut self, task: SubtaskId, last: Option<TaskSnapshot>) -> bool {
        let ran = self.running.remove(&task);
        if ran {
            self.finished.insert(task, last);
        }
        ran
    }

    /// These begin again, also those that had finished.
    pub fn revive(&mut self, tasks: &BTreeSet<SubtaskId>) {
        for task in tasks {
            if self.finished.remove(task).is_some() {
                self.running.insert(*task);
            }
        }
    }

    /// How messages call a task: the name of its vertex and its place in it, from 1.
    #[must_use]
    pub fn name(&self, task: SubtaskId) -> String {
        let vertex = self
            .vertices
            .iter()
            .find(|vertex| vertex.vertex == task.vertex);
        match vertex {
            Some(vertex) => format!(
                "{} ({}/{})",
                vertex.name,
                task.index + 1,
                vertex.parallelism
            ),
            None => task.to_string(),
        }
    }
}
