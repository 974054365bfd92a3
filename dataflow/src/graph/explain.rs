//! The plan as text, JSON and DOT.

use std::fmt::Write as _;

use super::{EdgeDescription, EdgeRole, JobGraph, VertexDescription};

impl JobGraph {
    /// The plan for people: one line per vertex, its inputs below it.
    pub fn to_text(&self) -> String {
        let mut text = format!("Job {} ({})\n", self.name, self.mode);
        for vertex in &self.vertices {
            let _ = writeln!(
                text,
                "  {}: {}  [parallelism {}]",
                vertex.id, vertex.name, vertex.parallelism
            );
            for edge in self
                .edges_with_records()
                .filter(|edge| edge.to == vertex.id)
            {
                let side = edge.side_output.as_deref();
                let side = side.map(|tag| format!(" (side output {tag})"));
                let back = match edge.role {
                    EdgeRole::Feedback => " (back)",
                    EdgeRole::Onward | EdgeRole::Votes => "",
                };
                let _ = writeln!(
                    text,
                    "       <- {} from {}{}{back}",
                    edge.partitioner,
                    edge.from,
                    side.unwrap_or_default()
                );
            }
        }
        text
    }

    fn edges_with_records(&self) -> impl Iterator<Item = &EdgeDescription> {
        let edges = self.edges.iter();
        edges.filter(|edge| edge.role != EdgeRole::Votes)
    }

    /// The plan for programs.
    pub fn to_json(&self) -> String {
        match serde_json::to_string_pretty(self) {
            Ok(json) => json,
            Err(error) => unreachable!("a plan is plain data: {error}"),
        }
    }

    /// The plan for Graphviz.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph job {\n  rankdir=LR;\n  node [shape=box];\n");
        for vertex in &self.vertices {
            let _ = writeln!(
                dot,
                "  v{} [label=\"{}\\np={}\"];",
                vertex.id,
                escape(&label(vertex)),
                vertex.parallelism
            );
        }
        for edge in self.edges_with_records() {
            let _ = writeln!(
                dot,
                "  v{} -> v{} [label=\"{}\"{}];",
                edge.from,
                edge.to,
                escape(&edge.partitioner),
                match edge.role {
                    EdgeRole::Feedback => ", style=dashed",
                    EdgeRole::Onward | EdgeRole::Votes => "",
                }
            );
        }
        dot.push_str("}\n");
        dot
    }
}

fn label(vertex: &VertexDescription) -> String {
    let names: Vec<&str> = vertex.operators.iter().map(|o| o.name.as_str()).collect();
    names.join(" -> ")
}

/// Names are the user's: quotes and line ends must not end the label.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
