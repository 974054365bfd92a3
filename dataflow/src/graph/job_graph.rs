//! What is shipped: parallelism resolved, edges shaped, operators named and identified.

use serde::{Serialize, Serializer};
use thalweg_core::ids::{OperatorId, VertexId};
use thalweg_core::key_group::{KeyHash, MaxParallelism};

use super::logical::{Edge, EdgeRole, LogicalGraph, Operator, Shape};
use super::{EdgeId, JobVertex};
use crate::partition::EdgePattern;
use crate::source::Boundedness;
use crate::stream::RuntimeMode;

/// One operator of a vertex.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorDescription {
    /// Names its state: from the uid if it was given one, else from the structure.
    pub id: String,
    /// What it does: `map`, `filter`, …
    pub kind: String,
    /// How its user calls it.
    pub name: String,
    /// Given by the user.
    pub uid: Option<String>,
}

/// One vertex: a chain of operators.
#[derive(Clone, Debug, Serialize)]
pub struct VertexDescription {
    /// Its place in the graph.
    pub id: u32,
    /// Its operators' names, joined by arrows.
    pub name: String,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// In chain order.
    pub operators: Vec<OperatorDescription>,
    /// Whether it begins with a source.
    pub source: bool,
    /// Whether it ends in a sink.
    pub sink: bool,
    /// Whether event times stand beside its records.
    pub timestamps: bool,
    /// Whether all its subtasks have to be cut at one event time, so that no barrier may overtake on the way in.
    #[serde(skip)]
    pub one_time: bool,
}

impl VertexDescription {
    /// The identities of its operators, in chain order.
    pub fn operator_ids(&self) -> Vec<OperatorId> {
        let ids = self.operators.iter().map(|operator| operator.id.parse());
        ids.map(|id| id.unwrap_or(OperatorId(0))).collect()
    }
}

/// One edge: an exchange between two vertices.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeDescription {
    /// Its place in the graph.
    pub id: EdgeId,
    /// The producing vertex.
    pub from: u32,
    /// The consuming vertex.
    pub to: u32,
    /// Which of its inputs: 0, or 1 for the second of two.
    pub input: u32,
    /// How records choose their channel.
    pub partitioner: String,
    /// Which subtasks have a channel.
    #[serde(skip)]
    pub pattern: EdgePattern,
    /// Whether the key's hash stands beside each record.
    pub keyed: bool,
    /// The tag, for side outputs.
    pub side_output: Option<String>,
    /// What it is there for.
    #[serde(skip_serializing_if = "EdgeRole::is_onward")]
    pub role: EdgeRole,
}

/// The plan of a job.
#[derive(Clone, Debug, Serialize)]
pub struct JobGraph {
    /// The job's name.
    pub name: String,
    /// STREAMING or BATCH.
    pub mode: String,
    /// How many key groups there are.
    pub max_parallelism: u32,
    /// In topological order, but for edges that lead back in a loop.
    pub vertices: Vec<VertexDescription>,
    /// In the order they were made. Told to people and programs without those that carry no records.
    #[serde(serialize_with = "with_records")]
    pub edges: Vec<EdgeDescription>,
}

/// The edges that carry records.
fn with_records<S: Serializer>(edges: &[EdgeDescription], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(edges.iter().filter(|edge| edge.role != EdgeRole::Votes))
}

/// What the program leaves open and configuration decides.
pub(crate) struct PlanSettings {
    pub(crate) name: String,
    pub(crate) default_parallelism: u32,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) mode: RuntimeMode,
}

impl LogicalGraph {
    /// Makes the job graph.
    ///
    /// # Errors
    /// The mistakes of the program, each with its mend.
    pub(crate) fn into_job_graph(
        mut self,
        settings: PlanSettings,
    ) -> Result<(JobGraph, Vec<JobVertex>, RuntimeMode), String> {
        self.find_problems(&settings);
        if !self.problems.is_empty() {
            return Err(self.problems.join("; "));
        }
        let mode = self.mode(settings.mode)?;
        let numbers = self.numbering();
        let ids = self.operator_ids();
        let edges = self.describe_edges(&settings, &numbers)?;
        let timestamps = self.timestamps();
        let mut vertices = Vec::new();
        let mut templates = Vec::new();
        for (index, vertex) in self.vertices.into_iter().enumerate() {
            let Some(mut finished) = vertex.finished else {
                continue;
            };
            finished.source = vertex.source;
            finished.sides = vertex.sides;
            finished.iteration = vertex.iteration;
            let parallelism = vertex.parallelism.unwrap_or(settings.default_parallelism);
            for part in vertex.alignments {
                part.expect(parallelism);
            }
            vertices.push(VertexDescription {
                id: numbers[index],
                name: chain_name(&vertex.operators),
                parallelism,
                operators: describe_operators(&vertex.operators, &ids[index]),
                source: finished.source.is_some(),
                sink: finished.sink.is_some(),
                timestamps: timestamps[index],
                one_time: vertex.one_time,
            });
            templates.push(finished);
        }
        let graph = JobGraph {
            name: settings.name,
            mode: mode.to_string(),
            max_parallelism: settings.max_parallelism.get(),
            vertices,
            edges,
        };
        Ok((graph, templates, mode))
    }

    fn parallelism(&self, id: VertexId, settings: &PlanSettings) -> u32 {
        self.vertices[id.0 as usize]
            .parallelism
            .unwrap_or(settings.default_parallelism)
    }

    fn find_problems(&mut self, settings: &PlanSettings) {
        let mut found = Vec::new();
        for vertex in self.vertices.iter().filter(|vertex| !vertex.absorbed) {
            let name = chain_name(&vertex.operators);
            if vertex.finished.is_none() {
                found.push(format!(
                    "the stream after {name} is never read: end it with a sink, for example \
                     .discard()"
                ));
            }
            let parallelism = vertex.parallelism.unwrap_or(settings.default_parallelism);
            if parallelism == 0 || parallelism > settings.max_parallelism.get() {
                found.push(format!(
                    "{name} asks for a parallelism of {parallelism}; it must be 1 to \
                     pipeline.max-parallelism, which is {}",
                    settings.max_parallelism.get()
                ));
            }
        }
        if self.vertices.is_empty() {
            found.push("the program has no source: there is nothing to run".to_owned());
        }
        let mut uids: Vec<&str> = (self.vertices.iter())
            .flat_map(|vertex| &vertex.operators)
            .filter_map(|operator| operator.uid.as_deref())
            .collect();
        uids.sort_unstable();
        for pair in uids.windows(2).filter(|pair| pair[0] == pair[1]) {
            found.push(format!(
                "the uid {:?} is given to two operators: their state could not be told apart",
                pair[0]
            ));
        }
        found.extend(self.loop_problems());
        self.problems.extend(found);
    }

    fn mode(&self, asked: RuntimeMode) -> Result<RuntimeMode, String> {
        let unbounded = (self.vertices.iter())
            .find(|vertex| vertex.boundedness == Some(Boundedness::Unbounded));
        if let Some(head) = self.vertices.iter().find(|v| v.iteration.is_some()) {
            return match asked {
                RuntimeMode::Batch => Err(format!(
                    "execution.runtime-mode is BATCH, but {} begins a loop: use STREAMING or AUTOMATIC",
                    chain_name(&head.operators)
                )),
                _ => Ok(RuntimeMode::Streaming),
            };
        }
        match (asked, unbounded) {
            (RuntimeMode::Batch, Some(vertex)) => Err(format!(
                "execution.runtime-mode is BATCH, but {} never ends: use STREAMING or \
                 AUTOMATIC, or bound the source",
                chain_name(&vertex.operators)
            )),
            (RuntimeMode::Automatic, None) => Ok(RuntimeMode::Batch),
            (RuntimeMode::Automatic, Some(_)) => Ok(RuntimeMode::Streaming),
            (asked, _) => Ok(asked),
        }
    }

    /// The place of each finished vertex in the job graph.
    fn numbering(&self) -> Vec<u32> {
        let mut next = 0;
        (self.vertices.iter())
            .map(|vertex| {
                let number = next;
                next += u32::from(vertex.finished.is_some());
                number
            })
            .collect()
    }

    fn describe_edges(
        &self,
        settings: &PlanSettings,
        numbers: &[u32],
    ) -> Result<Vec<EdgeDescription>, String> {
        let describe = |(index, edge): (usize, &Edge)| {
            let from = self.parallelism(edge.from, settings);
            let to = self.parallelism(edge.to, settings);
            let (pattern, partitioner) = match edge.shape {
                Shape::ForwardOrRebalance if from == to => (EdgePattern::Forward, "forward"),
                Shape::ForwardOrRebalance => (EdgePattern::AllToAll, "rebalance"),
                Shape::Fixed(EdgePattern::Forward) if from != to => {
                    return Err(format!(
                        "{} forwards to {}, but their parallelism differs ({from} and {to}): \
                         use .rebalance() or .rescale() between them",
                        chain_name(&self.vertices[edge.from.0 as usize].operators),
                        chain_name(&self.vertices[edge.to.0 as usize].operators),
                    ));
                }
                Shape::Fixed(pattern) => (pattern, edge.partitioner),
            };
            Ok(EdgeDescription {
                id: EdgeId(index as u32),
                from: numbers[edge.from.0 as usize],
                to: numbers[edge.to.0 as usize],
                input: edge.input,
                partitioner: partitioner.to_owned(),
                pattern,
                keyed: edge.keyed,
                side_output: edge.side.map(str::to_owned),
                role: edge.role,
            })
        };
        self.edges.iter().enumerate().map(describe).collect()
    }

    /// Which vertices have event times beside their records: those whose source assigns them
    /// and all behind them. Edges lead from earlier vertices to later ones, but for those that lead back
    /// in a loop: what is assigned in a body only is assigned to what comes back again.
    fn timestamps(&self) -> Vec<bool> {
        let mut assigned: Vec<bool> = self.vertices.iter().map(|v| v.timestamps).collect();
        for index in 0..assigned.len() {
            let inherited = (self.edges.iter())
                .filter(|edge| edge.to.0 as usize == index)
                .any(|edge| assigned[edge.from.0 as usize]);
            assigned[index] |= inherited;
        }
        assigned
    }

    /// Ids of all operators: a uid's hash, or a hash of what the operator does and of what
    /// stands before it. Twins are told apart by their order.
    fn operator_ids(&self) -> Vec<Vec<OperatorId>> {
        let mut seen = std::collections::BTreeSet::new();
        let mut all: Vec<Vec<OperatorId>> = Vec::new();
        for index in 0..self.vertices.len() {
            let mut before = self.identity_of_inputs(VertexId(index as u32), &all);
            let mut ids = Vec::new();
            for operator in &self.vertices[index].operators {
                let mut hash = match &operator.uid {
                    Some(uid) => KeyHash(OperatorId::from_uid(uid).0),
                    None => before.combine(KeyHash::of_bytes(operator.kind.as_bytes())),
                };
                while operator.uid.is_none() && !seen.insert(hash.0) {
                    hash = hash.combine(KeyHash::of_u64(1));
                }
                before = hash;
                ids.push(OperatorId(hash.0));
            }
            all.push(ids);
        }
        all
    }

    fn identity_of_inputs(&self, vertex: VertexId, known: &[Vec<OperatorId>]) -> KeyHash {
        (self.edges.iter())
            .filter(|edge| edge.to == vertex)
            .filter_map(|edge| known.get(edge.from.0 as usize)?.last())
            .fold(KeyHash(0), |hash, id| hash.combine(KeyHash(id.0)))
    }
}

fn describe_operators(operators: &[Operator], ids: &[OperatorId]) -> Vec<OperatorDescription> {
    (operators.iter().zip(ids))
        .map(|(operator, id)| OperatorDescription {
            id: id.to_string(),
            kind: operator.kind.to_owned(),
            name: operator.name.clone(),
            uid: operator.uid.clone(),
        })
        .collect()
}

fn chain_name(operators: &[Operator]) -> String {
    let names: Vec<&str> = operators.iter().map(|o| o.name.as_str()).collect();
    names.join(" -> ")
}
