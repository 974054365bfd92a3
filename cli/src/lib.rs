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
///
/// Text files read and written; what is written appears when the job has ended well:
///
/// ```
/// use thalweg::connectors::{Displayed, TextFile};
/// use thalweg::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let (from, to) = (folder.path().join("names"), folder.path().join("lengths"));
/// std::fs::write(&from, "Ada\nGrace\n")?;
///
/// let environment = thalweg::environment()?;
/// environment.set_parallelism(1);
/// let lengths = environment.read_text(&from).map(|name: &str| name.len() as u64);
/// lengths.sink(TextFile::new(&to).format(Displayed));
/// environment.execute("lengths")?;
/// assert_eq!(std::fs::read_to_string(&to)?, "3\n5\n");
/// # Ok(())
/// # }
/// ```
///
/// Lines from one server sent on to another:
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpListener;
/// use thalweg::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (from, to) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
/// let (source, target) = (from.local_addr()?.to_string(), to.local_addr()?.to_string());
/// let sends = std::thread::spawn(move || from.accept()?.0.write_all(b"to\nbe\n"));
/// let reads = std::thread::spawn(move || {
///     let mut text = String::new();
///     to.accept()?.0.read_to_string(&mut text).map(|_| text)
/// });
///
/// let environment = thalweg::environment()?;
/// environment.set_parallelism(1);
/// environment.socket_text(source).map(|line: &str| line.to_uppercase()).write_socket(target);
/// environment.execute("louder")?;
/// sends.join().expect("the server of words")?;
/// assert_eq!(reads.join().expect("the server of lines")?, "TO\nBE\n");
/// # Ok(())
/// # }
/// ```
pub use thalweg_connectors as connectors;
pub use thalweg_core::config;
pub use thalweg_core::error::ErrorKind;
pub use thalweg_core::event_time::{Timestamp, Watermark};
pub use thalweg_dataflow::executor::{
    CheckpointType, JobClient, JobControl, JobError, JobResult, JobStatus, JobSummary,
    RequestRefused, TakenCheckpoint, VertexSummary,
};
pub use thalweg_dataflow::harness;
/// Windows: assigners, triggers, evictors, and the functions on them.
pub use thalweg_dataflow::operator;
pub use thalweg_dataflow::operator::{
    BroadcastProcessFunction, CoProcessFunction, Either, JoinContext, KeyedBroadcastProcessFunction,
};
/// A program under construction and the means to run it: [`environment()`] makes one.
///
/// Settings, and the plan as it would run:
///
/// ```
/// use thalweg::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let environment = thalweg::environment()?;
/// environment.set_parallelism(2).set_runtime_mode(RuntimeMode::Batch);
/// environment.sequence(1..=100).map(|number| number * number).discard();
/// let plan = environment.plan("squares")?;
/// assert_eq!((plan.mode.as_str(), plan.vertices[0].parallelism), ("BATCH", 2));
/// # Ok(())
/// # }
/// ```
///
/// A job that runs while its program goes on, ends by a savepoint, and goes on from it:
///
/// ```
/// use thalweg::config::options;
/// use thalweg::connectors::Generator;
/// use thalweg::prelude::*;
///
/// /// Counts numbers by their last digit, without end.
/// fn start(environment: &Environment) -> Result<JobClient, JobError> {
///     let numbers = environment.source(Generator::new(None, |number| number).rate(1_000.0));
///     numbers.key_by(|number: &u64| number % 10).count().uid("counts").discard();
///     environment.execute_async("count")
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let savepoints = folder.path().join("savepoints").display().to_string();
/// let environment = thalweg::environment()?;
/// environment.configure(|settings| {
///     settings.set(&options::SAVEPOINT_DIRECTORY, Some(savepoints));
/// });
/// let job = start(&environment)?;
/// let savepoint = job.stop_with_savepoint(None, false)?;
/// assert_eq!(job.wait()?.savepoint.as_ref(), Some(&savepoint));
///
/// environment.configure(|settings| {
///     settings.set(&options::RECOVERY_PATH, Some(savepoint));
/// });
/// let job = start(&environment)?;
/// job.cancel();
/// assert!(matches!(job.wait(), Err(JobError::Cancelled { .. })));
/// # Ok(())
/// # }
/// ```
pub use thalweg_dataflow::stream::Environment;
pub use thalweg_dataflow::stream::{
    BroadcastStream, ConnectedStreams, DataStream, KeyedStream, Pipe, SharedStream, WindowedStream,
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

/// So does that of the page on savepoints.
#[cfg(doctest)]
#[doc = include_str!("../../docs/reference/savepoints.md")]
struct SavepointsPage;
