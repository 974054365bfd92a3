//! What a program is and how a task runs it.
//!
//! The room is entered from two sides. A user's program enters through
//! [`stream`]: its typed streams only grow a logical graph ([`graph`]) and no data
//! moves until [`Environment::execute`]. A deployer enters through [`executor`]: it
//! takes the finished [`Job`], asks each vertex for its subtasks and runs them as
//! [`task`]s on shards.
//!
//! The invariant both sides keep: an operator never blocks, never awaits and never
//! sees a driver. It is pushed records by the head of its chain, says through
//! [`Push::ready`] whether there is room behind it, and does bounded work per turn.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod executor;
pub mod function;
pub mod graph;
pub mod harness;
mod job_client;
mod job_control;
mod job_request;
pub mod operator;
pub mod partition;
pub mod sink;
pub mod source;
pub mod stream;
pub mod task;
pub mod time;
pub mod window;

pub use executor::{Executor, JobClient, JobControl, JobError, JobResult, JobStatus, JobSummary};
pub use function::{
    Accumulator, Collector, FunctionError, OpenContext, OutputTag, ProcessContext, SubtaskList,
};
pub use graph::{Job, JobGraph};
pub use operator::{
    BroadcastContext, BroadcastOpenContext, BroadcastProcessFunction, CoProcessFunction, Either,
    Iteration, JoinContext, KeyedBroadcastProcessFunction, KeyedProcessFunction, ProcessFunction,
};
pub use sink::{Sink, SinkError, SinkWriter};
pub use source::{Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus};
pub use stream::{
    BroadcastStream, ConnectedStreams, DataStream, Environment, KeyedStream, Pipe, RuntimeMode,
    SharedStream,
};
pub use task::{Head, Push};
pub use time::{
    FiredTimer, TimeDomain, TimerService, WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
};
