//! The program as written: chains already fused, edges between them, problems found on the way.
//!
//! Streams hold this graph together and only add to it. A vertex is reserved when its chain
//! begins and finished when the chain ends; one that never ends is a mistake of the program
//! and is named when the job graph is made.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thalweg_core::ids::VertexId;

use super::{JobVertex, SideTemplate, SplitPlan};
use crate::operator::IterationPlan;
use crate::partition::EdgePattern;
use crate::source::Boundedness;
use crate::time::{AlignedPart, AlignmentGroup};

/// Names an edge of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct EdgeId(pub u32);

impl fmt::Display for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One operator of a chain.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
}

/// A chain: reserved at its beginning, finished at its end.
pub(crate) struct Vertex {
    pub(crate) operators: Vec<Operator>,
    pub(crate) parallelism: Option<u32>,
    pub(crate) boundedness: Option<Boundedness>,
    pub(crate) timestamps: bool,
    /// All its subtasks have to be cut at one event time.
    pub(crate) one_time: bool,
    pub(crate) source: Option<Box<dyn SplitPlan>>,
    pub(crate) sides: Vec<Box<dyn SideTemplate>>,
    /// The alignment groups its subtasks belong to.
    pub(crate) alignments: Vec<AlignedPart>,
    /// The loop it is the head of.
    pub(crate) iteration: Option<IterationPlan>,
    pub(crate) finished: Option<JobVertex>,
    /// Its input edges moved to another vertex (a union took them over).
    pub(crate) absorbed: bool,
}

/// The shape of an edge before parallelism is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As it is.
    Fixed(EdgePattern),
    /// Forward between equal parallelism, round robin otherwise.
    ForwardOrRebalance,
}

/// What an edge is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeRole {
    /// Records on their way to the end.
    #[default]
    Onward,
    /// Records that go back to the head of a loop. It must never stop its writer.
    Feedback,
    /// What the heads of a loop tell each other: no records.
    Votes,
}

impl EdgeRole {
    pub(crate) fn is_onward(&self) -> bool {
        *self == Self::Onward
    }
}

/// A connection between two chains.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) from: VertexId,
    pub(crate) to: VertexId,
    /// Which input of the consumer: 0, or 1 for the second of a two-input head.
    pub(crate) input: u32,
    pub(crate) partitioner: &'static str,
    pub(crate) shape: Shape,
    pub(crate) keyed: bool,
    pub(crate) role: EdgeRole,
    pub(crate) side: Option<&'static str>,
}

/// The program as written.
#[derive(Default)]
pub(crate) struct LogicalGraph {
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) problems: Vec<String>,
    /// The alignment groups of the job, by name.
    pub(crate) alignments: BTreeMap<String, Arc<AlignmentGroup>>,
}

impl LogicalGraph {
    /// Begins a chain.
    pub(crate) fn reserve(&mut self) -> VertexId {
        let id = VertexId(self.vertices.len() as u32);
        self.vertices.push(Vertex {
            operators: Vec::new(),
            parallelism: None,
            boundedness: None,
            timestamps: false,
            one_time: false,
            source: None,
            sides: Vec::new(),
            alignments: Vec::new(),
            iteration: None,
            finished: None,
            absorbed: false,
        });
        id
    }

    /// Connects two chains.
    pub(crate) fn connect(&mut self, edge: Edge) -> EdgeId {
        let id = EdgeId(self.edges.len() as u32);
        self.edges.push(edge);
        id
    }

    pub(crate) fn vertex(&mut self, id: VertexId) -> &mut Vertex {
        &mut self.vertices[id.0 as usize]
    }

    pub(crate) fn edge(&mut self, id: EdgeId) -> &mut Edge {
        &mut self.edges[id.0 as usize]
    }

    /// Notes a mistake of the program; it is told when the job is submitted.
    pub(crate) fn problem(&mut self, text: String) {
        self.problems.push(text);
    }
}
