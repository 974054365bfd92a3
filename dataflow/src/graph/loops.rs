//! Whether the loops of a program are sound: each closed by its own body, none inside another.

use thalweg_core::ids::VertexId;

use super::logical::{EdgeRole, LogicalGraph};

impl LogicalGraph {
    /// What is wrong with the loops of the program.
    pub(super) fn loop_problems(&self) -> Vec<String> {
        let heads = (0..self.vertices.len() as u32).map(VertexId);
        let heads: Vec<VertexId> = heads
            .filter(|id| self.vertices[id.0 as usize].iteration.is_some())
            .collect();
        let mut problems = Vec::new();
        let mut of_loop: Vec<Option<VertexId>> = vec![None; self.vertices.len()];
        for head in heads {
            let body = self.body_of(head);
            if body.is_empty() {
                problems.push(format!(
                    "what the loop at {} sends back does not come from its body: make it of the stream \
                     that the body is given",
                    self.name_of(head)
                ));
            }
            for vertex in body {
                if let Some(other) = of_loop[vertex.0 as usize].replace(head) {
                    problems.push(format!(
                        "{} is part of two loops, that at {} and that at {}: loops may follow one \
                         another, but not contain one another",
                        self.name_of(vertex),
                        self.name_of(other),
                        self.name_of(head)
                    ));
                    break;
                }
            }
        }
        problems
    }

    fn name_of(&self, vertex: VertexId) -> String {
        let operators = &self.vertices[vertex.0 as usize].operators;
        let names: Vec<&str> = operators.iter().map(|o| o.name.as_str()).collect();
        names.join(" -> ")
    }

    /// What lies on the way from a head back to it, the head first; nothing if there is no way.
    fn body_of(&self, head: VertexId) -> Vec<VertexId> {
        let behind = self.walk(vec![head], |from, to| (from, to));
        let feedback = self.edges.iter();
        let feedback = feedback.filter(|edge| edge.role == EdgeRole::Feedback && edge.to == head);
        let tails = feedback.map(|edge| edge.from).collect();
        let before = self.walk(tails, |from, to| (to, from));
        let on_the_way = |id: &VertexId| behind[id.0 as usize] && before[id.0 as usize];
        let all = (0..self.vertices.len() as u32).map(VertexId);
        all.filter(on_the_way).collect()
    }

    /// Which vertices can be reached from these, over edges that lead onward or, turned by `turn`, back.
    fn walk(
        &self,
        mut open: Vec<VertexId>,
        turn: impl Fn(VertexId, VertexId) -> (VertexId, VertexId),
    ) -> Vec<bool> {
        let mut reached = vec![false; self.vertices.len()];
        while let Some(vertex) = open.pop() {
            if std::mem::replace(&mut reached[vertex.0 as usize], true) {
                continue;
            }
            let onward = self
                .edges
                .iter()
                .filter(|edge| edge.role == EdgeRole::Onward);
            let turned = onward.map(|edge| turn(edge.from, edge.to));
            open.extend(turned.filter(|edge| edge.0 == vertex).map(|edge| edge.1));
        }
        reached
    }
}
