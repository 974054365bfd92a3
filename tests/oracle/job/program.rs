//! The job: every kind of state, timers, windows, sessions, a join, broadcast state and lists of subtasks, into
//! files and tables that are committed with checkpoints, and once into a file that is not.
//!
//! Entered by the job's process on its main thread. Invariant: what they hold in the end follows from the
//! number of records, as [`model`](crate::oracle::model) works it out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::stream::{DataStream, Environment, Pipe};
use thalweg_dataflow::time::WatermarkStrategy;
use thalweg_dataflow::window::assigner::{SessionWindows, SlidingWindows, TumblingWindows};
use thalweg_dataflow::window::{WindowContext, WindowElements, WindowOpenContext};
use thalweg_dataflow::{Collector, FunctionError};

use super::crash::Crash;
use super::end::End;
use super::functions::{Gathering, Ruled, Sealed, Sums, Telling};
use super::leak::Leak;
use crate::oracle::input::{
    GAP, REACH, RULED, SIZE, SLIDE, WINDOW, disorder_ms, key_of, rule_of, seal_of, time_of,
};

/// How much is read, and how fast.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// Records of each of the two sources.
    pub(super) records: u64,
    /// How many of them a second; as fast as they are taken without.
    pub(super) rate: Option<f64>,
}

/// Where the outputs go.
pub(super) struct Ends {
    /// A directory for each that is not rows.
    pub(super) directory: PathBuf,
    /// Where those are that are rows, if any is.
    pub(super) tables: Option<Tables>,
    pub(super) crash: Option<Arc<Crash>>,
}

/// The database of those that are rows.
pub(super) struct Tables {
    pub(super) address: String,
    /// Nobody else has sinks of these names.
    pub(super) exclusive: bool,
}

impl Ends {
    /// The end of an output.
    fn of(&self, output: &str) -> Result<End, String> {
        let crash = self.crash.clone();
        match &self.tables {
            #[cfg(feature = "postgres")]
            Some(tables) if ROWS.contains(&output) => {
                let at = (tables.address.as_str(), tables.exclusive);
                Ok(End::rows(at, output, crash))
            }
            #[cfg(not(feature = "postgres"))]
            Some(Tables { address, exclusive }) => Err(format!(
                "no rows into `{address}` (exclusive: {exclusive}) without the cargo feature `postgres`"
            )),
            _ => Ok(End::files(
                FileSink::new(self.directory.join(output)),
                crash,
            )),
        }
    }
}

/// The outputs of the job, which are directories, or tables. The first two hold lines that depend on how often a record came.
pub(in crate::oracle) const OUTPUTS: [&str; 5] = ["told", "windows", "pairs", "ruled", "gathered"];
/// Those that are tables where there is a database. The others are files there too: one checkpoint commits both.
pub(in crate::oracle) const ROWS: [&str; 4] = ["told", "windows", "pairs", "gathered"];
/// The output that is not transactional.
pub(in crate::oracle) const LEAKED: &str = "leaked";

fn key(record: &Sealed) -> u64 {
    record.0
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

/// A source of sealed numbers.
fn numbers(
    environment: &Environment,
    work: &Work,
    name: &str,
) -> DataStream<Sealed, impl Pipe<Out = Sealed> + use<>> {
    let disorder = Duration::from_millis(disorder_ms());
    let strategy = WatermarkStrategy::<Sealed>::for_bounded_out_of_orderness(disorder);
    let made = |number: u64| {
        let key = key_of(number);
        let record = (key, number, seal_of(key, number));
        (record, Timestamp(time_of(number)))
    };
    let source = Generator::timed(work.records, made);
    let source = match work.rate {
        Some(rate) => source.rate(rate),
        None => source,
    };
    environment
        .source_with(source, strategy.with_interval(Duration::from_millis(1)))
        .uid(name)
}

/// A source of the rules of all rows.
fn rules(
    environment: &Environment,
    work: &Work,
) -> DataStream<(u64, u64), impl Pipe<Out = (u64, u64)> + use<>> {
    let rows = work.records.div_ceil(RULED);
    let source = Generator::new(rows, |row| (row, rule_of(row)));
    let source = match work.rate {
        Some(rate) => source.rate(rate / RULED as f64),
        None => source,
    };
    environment.source(source).uid("rules").parallelism(1)
}

/// Writes the job down.
pub(super) fn program(environment: &Environment, work: &Work, ends: &Ends) -> Result<(), String> {
    let left = numbers(environment, work, "left").share();
    let right = numbers(environment, work, "right");
    let told = (left.stream().key_by(key))
        .process_function(Telling::open)
        .uid("telling")
        .share();
    told.stream().sink(ends.of("told")?).uid("told");
    told.stream()
        .sink(Leak {
            directory: ends.directory.join(LEAKED),
        })
        .uid(LEAKED);
    let tumbling = (left.stream().key_by(key))
        .window(TumblingWindows::event_time(ms(WINDOW)))
        .count()
        .uid("tumbling")
        .map(|(key, count): (u64, u64)| format!("window {key} {count}"));
    let sliding = (left.stream().key_by(key))
        .window(SlidingWindows::event_time(ms(SIZE), ms(SLIDE)))
        .aggregate(Sums)
        .uid("sliding");
    let sessions = (left.stream().key_by(key))
        .window(SessionWindows::event_time(ms(GAP)))
        .process(|_open: &mut WindowOpenContext<u64>| session)
        .uid("sessions");
    (tumbling.union(sliding).union(sessions))
        .sink(ends.of("windows")?)
        .uid("windows");
    (left.stream().key_by(key))
        .interval_join(right.key_by(key))
        .between(-REACH, REACH)
        .apply(|left: &Sealed, right: &Sealed| format!("pair {} {} {}", left.0, left.1, right.1))
        .uid("joining")
        .sink(ends.of("pairs")?)
        .uid("pairs");
    (left.stream().key_by(key))
        .connect(rules(environment, work).broadcast_stream())
        .process(Ruled::open)
        .uid("ruling")
        .sink(ends.of("ruled")?)
        .uid("ruled");
    (left.stream().rebalance())
        .process_function(Gathering::open)
        .uid("gathering")
        .sink(ends.of("gathered")?)
        .uid("gathered");
    Ok(())
}

/// What is said of a session: its key, first and last number, and how many there are.
fn session(
    records: &WindowElements<Sealed>,
    context: &WindowContext<u64>,
    out: &mut Collector<'_, String>,
) -> Result<(), FunctionError> {
    let key = context.with_key(|key| *key);
    let numbers = || records.iter().map(|record| record.1);
    let (least, most) = (numbers().min(), numbers().max());
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
    out.emit(format!(
        "session {key} {least} {most} {}",
        numbers().count()
    ));
    Ok(())
}
