//! One key with nine records in ten: rows are exact, gathered before the exchange or not, and what stands
//! between the subtasks stays bounded, though all of it goes to one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use thalweg_cluster::{CancelToken, LocalExecutor, MetricsReader};
use thalweg_connectors::{Collected, Collects, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_core::metrics::MetricSnapshot;
use thalweg_dataflow::stream::{DataStream, Environment, Pipe};
use thalweg_dataflow::time::WatermarkStrategy;
use thalweg_dataflow::window::assigner::{SlidingWindows, TumblingWindows};

use super::joins::gathered;
use super::script::Script;
use super::trial::{self, Trial};
use super::windows::drawn::{Rec, ms};
use super::windows::model::Row;
use super::windows::{Rows, Totals};
use crate::random_graphs::dice::Dice;
use crate::stage;

/// The key of nine records in ten.
const HOT: u64 = 7;
const OTHERS: u64 = 300;
/// How much earlier than one before it a record may be, ms.
const DISORDER: u64 = 40;
const SIZE: i64 = 100;

/// The record of a number and its time.
fn record(number: u64) -> (Rec, i64) {
    let mut dice = Dice::new(number);
    let key = match dice.below(10) {
        0 => 100 + dice.below(OTHERS),
        _ => HOT,
    };
    let at = (number / 20 + dice.below(DISORDER)) as i64;
    ((key, number), at)
}

/// The windows of a program.
#[derive(Clone, Copy, Debug)]
struct Windows {
    slide: i64,
    local: bool,
}

impl Windows {
    fn rows<P: Pipe<Out = Rec>>(self, records: DataStream<Rec, P>) -> Rows {
        let keyed = records.key_by(|record: &Rec| record.0);
        if self.slide == SIZE {
            let windows = keyed.window(TumblingWindows::event_time(ms(SIZE)));
            return match self.local {
                true => windows.aggregate(Totals).boxed(),
                false => windows
                    .without_local_aggregation()
                    .aggregate(Totals)
                    .boxed(),
            };
        }
        let windows = keyed.window(SlidingWindows::event_time(ms(SIZE), ms(self.slide)));
        match self.local {
            true => windows.aggregate(Totals).boxed(),
            false => windows
                .without_local_aggregation()
                .aggregate(Totals)
                .boxed(),
        }
    }

    fn model(self, records: impl Iterator<Item = (Rec, i64)>) -> Vec<Row> {
        let mut totals = BTreeMap::<(u64, i64), (u64, u64)>::new();
        for ((key, number), at) in records {
            let starts = at - SIZE + 1..=at;
            for start in starts.filter(|start| start.rem_euclid(self.slide) == 0) {
                let (count, sum) = totals.entry((key, start)).or_default();
                (*count, *sum) = (*count + 1, *sum + number);
            }
        }
        let row = |((key, start), (count, sum))| (key, start, start + SIZE, vec![count, sum]);
        totals.into_iter().map(row).collect()
    }
}

fn drawn(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let windows = Windows {
        slide: dice.pick(&[SIZE, SIZE, 30]),
        local: dice.chance(50),
    };
    let first = dice.below(1_000_000);
    let records: Vec<_> = (first..first + dice.below(3_000)).map(record).collect();
    let splits = 1 + dice.below(4) as u32;
    let script = Script::draw(&mut dice, &records, splits, DISORDER);
    trial.compare(windows.model(records.into_iter()), |environment| {
        let chained = dice.chance(50);
        gathered(windows.rows(environment.source(script)), chained)
    })
}

#[test]
fn rows_of_a_hot_key_are_exact_in_simulation() {
    trial::simulate(200, "rows_of_a_hot_key_are_exact_in_simulation", drawn);
}

const CREDITS: u32 = 2;
/// Segments that a channel may hold beyond its credits: who writes looks at the room behind once per burst of
/// 64 records, or of 256 totals, none of which takes 64 bytes. All numbers would fill hundreds.
const OVERDRAWN: f64 = 4.0;
/// Numbers a run on shards makes.
const NUMBERS: u64 = 60_000;
/// Managed memory that is enough for the totals of all keys in the windows that are open, and not for the
/// records.
const TOTALS: f64 = 768.0 * 1024.0;
/// More than what each subtask gathers in: some tables of a fixed size.
const GATHERED: f64 = 8.0 * 1024.0 * 1024.0;

/// What a process shows while a job runs.
#[derive(Clone, Copy, Debug)]
struct Look {
    segments: f64,
    /// Buffers that wait for credit, and those that have arrived.
    waiting: f64,
    arrived: f64,
    managed: f64,
    /// Records the sources have made, and those that have come to the windows.
    made: f64,
    came: f64,
}

fn look(reader: &MetricsReader) -> Look {
    let shown = reader.snapshot(stage::PATIENCE);
    let sum = |name: &str, of: &dyn Fn(&str) -> bool| {
        let task = |metric: &&MetricSnapshot| metric.scope.label("task").is_none_or(of);
        let named = shown.metrics.iter().filter(|metric| metric.name == name);
        named.filter(task).map(MetricSnapshot::number).sum()
    };
    let all = |name| sum(name, &|_| true);
    Look {
        segments: all("usedMemorySegments"),
        waiting: all("outputQueueLength"),
        arrived: all("inputQueueLength"),
        managed: all("managedMemoryUsed"),
        made: sum("numRecordsIn", &|task| task.starts_with("source")),
        came: sum("numRecordsIn", &|task| !task.starts_with("source")),
    }
}

/// Looks again and again until it is told to stop.
#[allow(
    clippy::disallowed_methods,
    reason = "looks from outside of the shards"
)]
fn looking(reader: MetricsReader, ended: Arc<AtomicBool>) -> thread::JoinHandle<Vec<Look>> {
    let look_on = move || {
        let mut looks = Vec::new();
        while !ended.load(Ordering::Acquire) {
            thread::park_timeout(Duration::from_millis(2));
            looks.push(look(&reader));
        }
        // Before the job has begun and when it has ended there is nothing to see.
        looks.retain(|look: &Look| look.segments > 0.0);
        looks
    };
    thread::Builder::new().spawn(look_on).unwrap()
}

/// Runs the program from a source that nothing but its readers hold back.
fn run(parallelism: u32, windows: Windows) -> (Vec<Row>, Vec<Look>) {
    let (parallel, credits) = (parallelism.to_string(), CREDITS.to_string());
    let settings = [
        ("parallelism.default", parallel.as_str()),
        ("thalweg.shard.pin", "false"),
        ("taskmanager.memory.segment-size", "4kb"),
        ("taskmanager.network.memory.buffers-per-channel", &credits),
        ("taskmanager.network.memory.floating-buffers-per-gate", "0"),
    ];
    let (token, reader) = (CancelToken::new(), MetricsReader::new());
    let executor = LocalExecutor::new(token.clone()).with_metrics(reader.clone());
    let configuration = stage::configuration(&settings);
    let environment = Environment::with_executor(Arc::new(executor), configuration);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let numbers = Generator::timed(NUMBERS, |number| {
        let (record, at) = record(number);
        (record, Timestamp(at))
    });
    let strategy = WatermarkStrategy::<Rec>::for_bounded_out_of_orderness(ms(DISORDER as i64))
        .with_interval(Duration::from_micros(500));
    let rows: Collected<Row> = windows
        .rows(environment.source_with(numbers, strategy))
        .collect();
    let ended = Arc::new(AtomicBool::new(false));
    let looks = looking(reader, Arc::clone(&ended));
    environment.execute("skew").unwrap();
    ended.store(true, Ordering::Release);
    let mut rows: Vec<Row> = rows.take();
    rows.sort();
    (rows, looks.join().unwrap())
}

#[test]
fn a_hot_key_is_exact_and_nothing_grows() {
    for (parallelism, local) in [1, 2, 4].into_iter().flat_map(|p| [(p, true), (p, false)]) {
        let windows = Windows { slide: SIZE, local };
        let (rows, looks) = run(parallelism, windows);
        assert!(
            rows == windows.model((0..NUMBERS).map(record)),
            "{parallelism}, {windows:?}: other rows"
        );
        check(parallelism, local, &looks);
    }
}

/// Whether what was seen is within its bounds, and most records of the hot key became totals before the
/// exchange where they are gathered.
fn check(parallelism: u32, local: bool, looks: &[Look]) {
    let channels = f64::from(parallelism * parallelism);
    let credits = f64::from(CREDITS);
    let gathered = if local { f64::from(parallelism) } else { 0.0 };
    assert!(!looks.is_empty(), "nobody looked at a run of {NUMBERS}");
    for look in looks {
        let of = format!("{parallelism}, gathered: {local}, {look:?}");
        // Of each channel those of its credits, one that waits for credit, the open one.
        assert!(
            look.segments <= channels * (credits + 2.0 + OVERDRAWN),
            "{of}"
        );
        assert!(look.waiting <= channels * (1.0 + OVERDRAWN), "{of}");
        assert!(look.arrived <= channels * credits, "{of}");
        assert!(look.managed <= TOTALS + gathered * GATHERED, "{of}");
        if local && look.made > NUMBERS as f64 / 2.0 {
            assert!(look.came < look.made / 3.0, "{of}");
        }
    }
}
