//! Which subtasks exchanges connect.
//!
//! Pure functions of the graph. Invariant: two subtasks are of one region exactly if a way over edges, in whichever
//! direction, leads from one to the other.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::ids::{SubtaskId, VertexId};
use thalweg_dataflow::graph::JobGraph;

/// The regions of a job.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    /// The tasks of each.
    tasks: Vec<BTreeSet<SubtaskId>>,
    of: BTreeMap<SubtaskId, usize>,
}

impl Regions {
    /// The regions of a graph, in the order of their first tasks.
    pub(crate) fn of(graph: &JobGraph) -> Regions {
        let mut neighbours: BTreeMap<SubtaskId, Vec<SubtaskId>> = BTreeMap::new();
        for vertex in &graph.vertices {
            for index in 0..vertex.parallelism {
                neighbours.insert(SubtaskId::new(VertexId(vertex.id), index), Vec::new());
            }
        }
        for edge in &graph.edges {
            let producers = graph.vertices[edge.from as usize].parallelism;
            let consumers = graph.vertices[edge.to as usize].parallelism;
            for index in 0..producers {
                let from = SubtaskId::new(VertexId(edge.from), index);
                for consumer in edge.pattern.consumers_of(index, producers, consumers) {
                    let to = SubtaskId::new(VertexId(edge.to), consumer);
                    neighbours.entry(from).or_default().push(to);
                    neighbours.entry(to).or_default().push(from);
                }
            }
        }
        let (mut tasks, mut of) = (Vec::new(), BTreeMap::new());
        for first in neighbours.keys() {
            if of.contains_key(first) {
                continue;
            }
            let (mut region, mut open) = (BTreeSet::from([*first]), vec![*first]);
            while let Some(task) = open.pop() {
                let unseen = neighbours[&task]
                    .iter()
                    .filter(|task| region.insert(**task));
                open.extend(unseen.copied());
            }
            of.extend(region.iter().map(|task| (*task, tasks.len())));
            tasks.push(region);
        }
        Regions { tasks, of }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// The region of a task.
    pub(crate) fn region_of(&self, task: SubtaskId) -> Option<usize> {
        self.of.get(&task).copied()
    }

    /// The tasks of a region.
    pub(crate) fn tasks_of(&self, region: usize) -> &BTreeSet<SubtaskId> {
        &self.tasks[region]
    }
}
