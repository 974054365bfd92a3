//! A chain under construction: where streams write what they add to the graph.

use std::cell::RefCell;
use std::rc::Rc;

use thalweg_core::ids::VertexId;

use crate::graph::{
    Edge, EdgeId, EdgeRole, JobVertex, LogicalGraph, Operator, Shape, SideTemplate, SinkPlan,
    SourceSplits, VertexTemplate,
};
use crate::operator::IterationPlan;
use crate::partition::EdgePattern;
use crate::source::Source;
use crate::time::AlignedPart;

/// One reserved vertex of the graph and its place in it.
pub(crate) struct Draft {
    graph: Rc<RefCell<LogicalGraph>>,
    vertex: VertexId,
}

impl Draft {
    /// Begins a chain.
    pub(crate) fn begin(graph: &Rc<RefCell<LogicalGraph>>) -> Self {
        let vertex = graph.borrow_mut().reserve();
        Self {
            graph: Rc::clone(graph),
            vertex,
        }
    }

    /// Begins a chain with a source.
    pub(crate) fn source<S: Source>(graph: &Rc<RefCell<LogicalGraph>>, source: S) -> Self {
        let draft = Self::begin(graph);
        draft.add("source", &format!("source: {}", source.name()));
        {
            let mut graph = draft.graph.borrow_mut();
            let vertex = graph.vertex(draft.vertex);
            vertex.boundedness = Some(source.boundedness());
            vertex.parallelism = source.parallelism();
            vertex.timestamps = source.timestamps();
            vertex.source = Some(Box::new(SourceSplits(source)));
        }
        draft
    }

    /// A second hold on the same graph, for what reads this chain.
    pub(crate) fn graph(&self) -> &Rc<RefCell<LogicalGraph>> {
        &self.graph
    }

    /// Adds an operator; answers its place in the chain.
    pub(crate) fn add(&self, kind: &'static str, name: &str) -> usize {
        let mut graph = self.graph.borrow_mut();
        let operators = &mut graph.vertex(self.vertex).operators;
        operators.push(Operator {
            kind,
            name: name.to_owned(),
            uid: None,
        });
        operators.len() - 1
    }

    /// From here on records have event times.
    pub(crate) fn assign_timestamps(&self) {
        let mut graph = self.graph.borrow_mut();
        graph.vertex(self.vertex).timestamps = true;
    }

    /// All subtasks of the chain have to be cut at one event time: what they have given out is told from it.
    pub(crate) fn cut_at_one_time(&self) {
        let mut graph = self.graph.borrow_mut();
        graph.vertex(self.vertex).one_time = true;
    }

    /// Makes the chain's subtasks members of the alignment group of this name.
    pub(crate) fn align(&self, group: &str) -> AlignedPart {
        let mut graph = self.graph.borrow_mut();
        let part = graph.alignments.entry(group.to_owned()).or_default().part();
        let parts = &mut graph.vertex(self.vertex).alignments;
        parts.push(part.clone());
        part
    }

    /// Whether nothing stands behind the exchange this chain begins with.
    pub(crate) fn is_bare(&self) -> bool {
        let mut graph = self.graph.borrow_mut();
        let vertex = graph.vertex(self.vertex);
        vertex.operators.is_empty() && vertex.source.is_none()
    }

    /// Changes the operator added last.
    pub(crate) fn rename(&self, name: &str) {
        self.with_last("name", |operator| name.clone_into(&mut operator.name));
    }

    /// Gives the operator added last its identity.
    pub(crate) fn identify(&self, uid: &str) {
        self.with_last("uid", |operator| operator.uid = Some(uid.to_owned()));
    }

    fn with_last(&self, what: &str, change: impl FnOnce(&mut Operator)) {
        let mut graph = self.graph.borrow_mut();
        match graph.vertex(self.vertex).operators.last_mut() {
            Some(operator) => change(operator),
            None => graph.problem(format!(
                ".{what}() stands right after an exchange: put it after an operator"
            )),
        }
    }

    /// Sets the parallelism of the whole chain. All its operators run in the same subtasks,
    /// so it may be set once and only near the beginning.
    pub(crate) fn set_parallelism(&self, parallelism: u32) {
        let mut graph = self.graph.borrow_mut();
        let vertex = graph.vertex(self.vertex);
        let chained = vertex.operators.len() > 1;
        match vertex.parallelism {
            Some(set) if set == parallelism => {}
            _ if !chained => vertex.parallelism = Some(parallelism),
            _ => {
                let name = vertex.operators.last().map(|o| o.name.clone());
                graph.problem(format!(
                    "{} is chained to the operators before it and cannot have a parallelism of \
                     its own ({parallelism}): put .rebalance() before it",
                    name.unwrap_or_default()
                ));
            }
        }
    }

    /// Connects this chain to the next one.
    pub(crate) fn edge_to(
        &self,
        to: &Draft,
        partitioner: &'static str,
        shape: Shape,
        keyed: bool,
    ) -> EdgeId {
        self.graph.borrow_mut().connect(Edge {
            from: self.vertex,
            to: to.vertex,
            input: 0,
            partitioner,
            shape,
            keyed,
            role: EdgeRole::Onward,
            side: None,
        })
    }

    /// Connects a side output of this chain to the next one.
    pub(crate) fn side_edge(
        &self,
        to: &Draft,
        tag: &'static str,
        template: impl FnOnce(EdgeId) -> Box<dyn SideTemplate>,
    ) {
        let mut graph = self.graph.borrow_mut();
        let edge = graph.connect(Edge {
            from: self.vertex,
            to: to.vertex,
            input: 0,
            partitioner: "forward",
            shape: Shape::ForwardOrRebalance,
            keyed: false,
            role: EdgeRole::Onward,
            side: Some(tag),
        });
        graph.vertex(self.vertex).sides.push(template(edge));
    }

    /// Ends the chain in exchanges.
    pub(crate) fn finish(&self, template: impl VertexTemplate + 'static) {
        self.end(Box::new(template), None);
    }

    /// Ends the chain in a sink.
    pub(crate) fn finish_sink(
        &self,
        template: impl VertexTemplate + 'static,
        sink: impl SinkPlan + 'static,
    ) {
        self.end(Box::new(template), Some(Box::new(sink)));
    }

    fn end(&self, template: Box<dyn VertexTemplate>, sink: Option<Box<dyn SinkPlan>>) {
        let mut graph = self.graph.borrow_mut();
        let vertex = graph.vertex(self.vertex);
        debug_assert!(vertex.finished.is_none(), "a chain ends once");
        vertex.finished = Some(JobVertex {
            template,
            sides: Vec::new(),
            iteration: None,
            source: None,
            sink,
        });
    }

    /// A second hold on the same chain.
    pub(crate) fn same(&self) -> Self {
        Self {
            graph: Rc::clone(&self.graph),
            vertex: self.vertex,
        }
    }

    /// Makes this chain the head of a loop, whose subtasks tell each other of laps by input `votes`.
    pub(crate) fn begin_iteration(&self, votes: u32) {
        let mut graph = self.graph.borrow_mut();
        let votes = graph.connect(Edge {
            from: self.vertex,
            to: self.vertex,
            input: votes,
            partitioner: "broadcast",
            shape: Shape::Fixed(EdgePattern::AllToAll),
            keyed: false,
            role: EdgeRole::Votes,
            side: None,
        });
        let before = graph.vertices.iter().filter(|v| v.iteration.is_some());
        let number = before.count() as u32;
        graph.vertex(self.vertex).iteration = Some(IterationPlan {
            number,
            votes,
            max_wait: None,
        });
    }

    /// Changes what is said of the loop this chain is the head of.
    pub(crate) fn iteration(&self, change: impl FnOnce(&mut IterationPlan)) {
        let mut graph = self.graph.borrow_mut();
        if let Some(plan) = &mut graph.vertex(self.vertex).iteration {
            change(plan);
        }
    }

    /// Hands the input edges of this bare chain over to the head of a loop: what was written to them
    /// goes back.
    pub(crate) fn lead_back_to(self, head: &Draft, input: u32) {
        {
            let mut graph = self.graph.borrow_mut();
            let back = graph.edges.iter_mut();
            for edge in back.filter(|edge| edge.to == self.vertex) {
                edge.role = EdgeRole::Feedback;
            }
        }
        self.absorb_into(head, input);
    }

    /// Hands the input edges of this bare chain over to another, as its input number `input`;
    /// this one is no more. What was said of its parallelism holds for the other.
    pub(crate) fn absorb_into(self, other: &Draft, input: u32) {
        debug_assert!(self.is_bare());
        let mut graph = self.graph.borrow_mut();
        for edge in &mut graph.edges {
            if edge.to == self.vertex {
                edge.to = other.vertex;
                edge.input = input;
            }
        }
        if graph.vertex(self.vertex).iteration.is_some() {
            graph.problem(
                "the keyed stream of a loop is joined or connected right at its beginning: begin the loop \
                 before key_by instead"
                    .to_owned(),
            );
        }
        let bare = graph.vertex(self.vertex);
        bare.absorbed = true;
        let asked = bare.parallelism;
        let joined = graph.vertex(other.vertex);
        match (joined.parallelism, asked) {
            (Some(one), Some(another)) if one != another => graph.problem(format!(
                "exchanges with parallelisms of {one} and {another} lead to the same operator: give \
                 both the same one, or say it once, behind the operator"
            )),
            (None, asked) => joined.parallelism = asked,
            _ => {}
        }
    }
}
