//! The plan of a program: as written, as shipped, as text.

mod explain;
mod guarded;
mod job_graph;
mod logical;
mod loops;
mod template;

pub(crate) use job_graph::PlanSettings;
pub use job_graph::{EdgeDescription, JobGraph, OperatorDescription, VertexDescription};
pub(crate) use logical::{Edge, LogicalGraph, Operator, Shape};
pub use logical::{EdgeId, EdgeRole};
pub use template::{Job, JobVertex, SinkPlan, SplitPlan, SubtaskFactory, VertexTemplate};
pub(crate) use template::{SideTemplate, SinkTarget, SourceSplits};
