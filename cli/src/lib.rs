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

/// The ends there are: sources and sinks.
///
/// The lines of the logs in a directory; with [`FileProcessing::Continuously`](connectors::FileProcessing), also
/// those that come later:
///
/// ```
/// use thalweg::connectors::{FileProcessing, TextFiles};
/// use thalweg::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("today.log"), "opened\nclosed\n")?;
///
/// let environment = thalweg::environment()?;
/// let logs = TextFiles::new(folder.path()).include("*.log").recursive();
/// let lines = environment.monitor_text(logs, FileProcessing::Once).collect();
/// environment.execute("logs")?;
/// let mut lines: Vec<String> = lines.take();
/// lines.sort();
/// assert_eq!(lines, ["closed", "opened"]);
/// # Ok(())
/// # }
/// ```
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
///
/// Readings of two sensors in windows of five seconds, with event times and watermarks from their source on:
///
/// ```
/// use std::time::Duration;
/// use thalweg::connectors::Generator;
/// use thalweg::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let environment = thalweg::environment()?;
/// let readings = Generator::new(1_000, |number| (number % 2, number as i64 * 10));
/// let disorder = Duration::from_secs(1);
/// let strategy = WatermarkStrategy::<(u64, i64)>::for_bounded_out_of_orderness(disorder)
///     .with_timestamp_assigner(|reading, _previous| Timestamp(reading.1));
/// let counts = environment
///     .source_with(readings, strategy)
///     .key_by(|reading: &(u64, i64)| reading.0)
///     .window(TumblingWindows::event_time(Duration::from_secs(5)))
///     .count()
///     .map(|(sensor, count)| (sensor, count))
///     .collect();
/// environment.execute("readings")?;
/// let mut counts: Vec<(u64, u64)> = counts.take();
/// counts.sort_unstable();
/// assert_eq!(counts, [(0, 250), (0, 250), (1, 250), (1, 250)]);
/// # Ok(())
/// # }
/// ```
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
