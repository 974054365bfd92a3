//! Thalweg: a stream engine with one thread per core. This is the library a program depends on.
//!
//! A program makes an [`environment()`], chains streams from a source to a sink, and executes it:
//!
//! ```
//! use thalweg::prelude::*;
//!
//! fn main() -> std::process::ExitCode {
//!     thalweg::report(count())
//! }
//!
//! fn count() -> Result<(), thalweg::Failure> {
//!     let environment = thalweg::environment()?;
//!     let words = environment.from_collection(["to", "be", "or", "not", "to", "be"].map(String::from));
//!     let counts = words.key_by(|word| word.clone()).count();
//!     let counts = counts.map(|(word, count)| (word, count)).collect();
//!     environment.execute("count")?;
//!     assert!(counts.take().contains(&("be".to_owned(), 2)));
//!     Ok(())
//! }
//! ```
//!
//! Started directly, it runs in its own process on all cores it is given; `thalweg run --local` starts
//! it with settings, `thalweg info` shows its plan. The rooms behind this facade are the engine's
//! crates; what of them a user needs is re-exported here, under names that do not move.
//!
//! | module | what is in it |
//! |---|---|
//! | [`prelude`] | what nearly every program names |
//! | [`mod@record`] | what may travel: records, keys, views |
//! | [`source`], [`sink`] | the contracts of both ends and what is needed to write one |
//! | [`connectors`] | the ends there are |
//! | [`mod@window`] | windows: assigners, triggers, evictors, and the functions on them |
//! | [`config`] | settings and their reference |
//! | [`time`] | event time, processing time, timers |
//! | [`harness`] | tests of a piece of a program |
//! | [`plan`] | the plan of a program as data |
//! | [`launch`] | how a process is told to run its program |
//! | [`control`] | how a running job is reached from another process |
//!
//! Everything here lives on the program's own thread; the engine's threads start in `execute` and end
//! before it returns.
#![forbid(unsafe_code)]

pub mod control;
mod environment;
mod interrupt;
pub mod launch;
mod logging;
pub mod prelude;
mod report;
mod runner;

pub use environment::environment;
pub use logging::log_to_stderr;
pub use report::{Failure, report};

pub use thalweg_connectors as connectors;
pub use thalweg_core::config;
pub use thalweg_core::error::ErrorKind;
pub use thalweg_core::event_time::{Timestamp, Watermark};
pub use thalweg_dataflow::executor::{
    JobClient, JobControl, JobError, JobResult, JobStatus, JobSummary, RequestRefused,
    VertexSummary,
};
pub use thalweg_dataflow::harness;
/// Windows: assigners, triggers, evictors, and the functions on them.
pub use thalweg_dataflow::operator;
pub use thalweg_dataflow::operator::{
    BroadcastProcessFunction, CoProcessFunction, Either, JoinContext, KeyedBroadcastProcessFunction,
};
pub use thalweg_dataflow::stream::{
    BroadcastStream, ConnectedStreams, DataStream, Environment, KeyedStream, Pipe, SharedStream,
    WindowedStream,
};
pub use thalweg_dataflow::window;
/// What may travel: the attribute, the traits it implements, and what may be borrowed on the way.
pub use thalweg_memory::record;

/// What is needed to write a source.
pub mod source {
    pub use thalweg_core::ErrorKind;
    pub use thalweg_core::event_time::{Timestamp, Watermark};
    pub use thalweg_core::shard::step::TurnContext;
    pub use thalweg_dataflow::source::*;
    pub use thalweg_dataflow::task::SubtaskInfo;
    pub use thalweg_memory::Mark;
}

/// What is needed to write a sink.
pub mod sink {
    pub use thalweg_core::ErrorKind;
    pub use thalweg_core::event_time::Timestamp;
    pub use thalweg_core::ids::CheckpointId;
    pub use thalweg_core::shard::step::TurnContext;
    pub use thalweg_dataflow::sink::*;
    pub use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
}

/// Time: timers and the clocks they go by.
pub mod time {
    pub use thalweg_core::event_time::{Timestamp, Watermark};
    pub use thalweg_dataflow::time::*;
}

/// The plan of a program as data.
pub mod plan {
    pub use thalweg_dataflow::graph::{
        EdgeDescription, JobGraph, OperatorDescription, VertexDescription,
    };
}

/// The code of the README compiles, and what it asserts holds.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
