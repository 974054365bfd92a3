//! A slow sink under a source without limit: the source goes at the sink's rate, and what is between them
//! is bounded by credits and segments.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use thalweg_cluster::{CancelToken, LocalExecutor, MetricsReader};
use thalweg_connectors::Generator;
use thalweg_core::event_time::Timestamp;
use thalweg_core::metrics::MetricSnapshot;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
use thalweg_memory::KeyValue;

use crate::stage::{self, Settings};

const RECORDS_PER_SECOND: u64 = 1000;
const SEGMENT: u64 = 4096;
const CREDITS: u64 = 2;
const SETTINGS: Settings<'static> = &[
    ("parallelism.default", "2"),
    ("taskmanager.memory.segment-size", "4kb"),
    ("taskmanager.network.memory.buffers-per-channel", "2"),
    ("taskmanager.network.memory.floating-buffers-per-gate", "0"),
];

/// The most records between source and sink: per channel the segments of its credits and the open one.
/// Two sources to two maps, 8 bytes a record; two maps to one count, 16 bytes with the hash.
const MOST_IN_FLIGHT: u64 = (CREDITS + 1) * (4 * (SEGMENT / 8) + 2 * (SEGMENT / 16));
/// What sources make beyond that: one looks at the room behind it once per burst of 64 records
/// (`SourceOutput::room`), so that a burst is a counted loop, and may find none behind its first.
const OVERDRAWN: u64 = 2 * 63;
/// A record in work in each subtask.
const IN_WORK: u64 = 5;
/// The most records that are made and not written.
const MOST_BETWEEN: u64 = MOST_IN_FLIGHT + OVERDRAWN + IN_WORK;
/// Channels: of two sources to two maps, of two maps to one count.
const CHANNELS: u64 = 6;
/// The most segments they hold: of each channel those of its credits, one that waits for credit, the open one.
const MOST_SEGMENTS: u64 = CHANNELS * (CREDITS + 2);

/// What source and sink count, seen by the test.
#[derive(Clone, Default)]
struct Counts {
    made: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    most_between: Arc<AtomicU64>,
    /// Made when half of `stop_at` was written, and when all was.
    made_at_half: Arc<AtomicU64>,
    made_at_end: Arc<AtomicU64>,
}

/// Writes nowhere, at a fixed rate by timers of its shard.
#[derive(Clone)]
struct Slow {
    counts: Counts,
    stop_at: u64,
    token: CancelToken,
}

struct SlowWriter {
    slow: Slow,
    written: u64,
    allowed: u64,
    started: Option<u64>,
}

impl Sink<KeyValue<u64, u64>> for Slow {
    type Writer = SlowWriter;

    fn name(&self) -> String {
        "slow".to_owned()
    }
    fn open(&self, _: &SubtaskInfo) -> Result<SlowWriter, SinkError> {
        Ok(SlowWriter {
            slow: self.clone(),
            written: 0,
            allowed: 0,
            started: None,
        })
    }
}

impl SinkWriter<KeyValue<u64, u64>> for SlowWriter {
    fn write(&mut self, _: (u64, u64), _: Timestamp) -> Result<(), SinkError> {
        self.written += 1;
        assert!(self.written <= self.allowed, "written without being ready");
        let counts = &self.slow.counts;
        counts.written.fetch_add(1, Ordering::Relaxed);
        let made = counts.made.load(Ordering::Relaxed);
        let between = made - self.written;
        counts.most_between.fetch_max(between, Ordering::Relaxed);
        if self.written == self.slow.stop_at / 2 {
            counts.made_at_half.store(made, Ordering::Relaxed);
        }
        if self.written == self.slow.stop_at {
            counts.made_at_end.store(made, Ordering::Relaxed);
            self.slow.token.cancel();
        }
        Ok(())
    }

    fn ready(&self) -> bool {
        self.written < self.allowed
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        _: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        const NS_PER_RECORD: u64 = 1_000_000_000 / RECORDS_PER_SECOND;
        let now = context.reactor().now();
        let started = *self.started.get_or_insert(now);
        self.allowed = (now - started) / NS_PER_RECORD;
        if !self.ready() {
            context.wake_at(started + (self.written + 1) * NS_PER_RECORD);
        }
        Ok(SinkStatus::Done)
    }
}

/// A source that makes records as fast as it may, `count` of them, before a keyed count and the sink.
fn run(environment: &Environment, count: Option<u64>, slow: Slow) -> Result<(), JobError> {
    let made = Arc::clone(&slow.counts.made);
    let make = move |number: u64| {
        made.fetch_add(1, Ordering::Relaxed);
        number
    };
    environment
        .source(Generator::new(count, make))
        .rebalance()
        .map(|number: u64| number)
        .key_by(|number| number % 100)
        .parallelism(1)
        .count()
        .sink(slow);
    environment.execute("slow").map(|_| ())
}

#[test]
fn an_unlimited_source_goes_at_the_rate_of_its_sink() {
    let (environment, token) = stage::shards(SETTINGS);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let counts = Counts::default();
    let slow = Slow {
        counts: counts.clone(),
        stop_at: 2 * RECORDS_PER_SECOND,
        token,
    };
    let Err(JobError::Cancelled { summary }) = run(&environment, None, slow) else {
        panic!("the job was not cancelled by its sink");
    };
    let seconds = summary.duration.as_secs_f64();
    let written = counts.written.load(Ordering::Relaxed);
    assert!(seconds > 1.9, "{written} records in {seconds} s");
    assert!(
        written as f64 <= seconds * RECORDS_PER_SECOND as f64 + 1.0,
        "{written} records in {seconds} s"
    );
    let between = counts.most_between.load(Ordering::Relaxed);
    assert!(
        between <= MOST_BETWEEN,
        "{between} records between source and sink, {MOST_BETWEEN} fit"
    );
    // The pipe is full by then: what is made takes the place of what is written, by whole segments.
    let half = counts.made_at_half.load(Ordering::Relaxed);
    let made = counts.made_at_end.load(Ordering::Relaxed) - half;
    let jitter = 4 * (SEGMENT / 8);
    assert!(
        made <= RECORDS_PER_SECOND + jitter,
        "{made} records made while {RECORDS_PER_SECOND} were written"
    );
}

#[test]
fn what_is_in_flight_stays_bounded_for_long() {
    const RECORDS: u64 = 100_000;
    for seed in 0..3 {
        let (environment, _) = stage::simulation(seed, SimOptions::default(), SETTINGS);
        let counts = Counts::default();
        let slow = Slow {
            counts: counts.clone(),
            stop_at: u64::MAX,
            token: CancelToken::new(),
        };
        run(&environment, Some(RECORDS), slow).unwrap();
        assert_eq!(counts.written.load(Ordering::Relaxed), RECORDS);
        let between = counts.most_between.load(Ordering::Relaxed);
        assert!(
            between <= MOST_BETWEEN,
            "seed {seed}: {between} records between source and sink, {MOST_BETWEEN} fit"
        );
        assert!(
            between > 500,
            "seed {seed}: {between}: the source was held back too early"
        );
    }
}

/// What a process shows while a job runs.
#[derive(Clone, Copy, Debug)]
struct Look {
    written: u64,
    segments: f64,
    /// Buffers that wait for credit, and those that have arrived.
    waiting: f64,
    arrived: f64,
    managed: f64,
    /// Resident memory in bytes.
    resident: u64,
}

fn look(reader: &MetricsReader, counts: &Counts) -> Look {
    let shown = reader.snapshot(stage::PATIENCE);
    let sum = |name: &str| {
        let named = shown.metrics.iter().filter(|metric| metric.name == name);
        named.map(MetricSnapshot::number).sum()
    };
    Look {
        written: counts.written.load(Ordering::Relaxed),
        segments: sum("usedMemorySegments"),
        waiting: sum("outputQueueLength"),
        arrived: sum("inputQueueLength"),
        managed: sum("managedMemoryUsed"),
        resident: resident_bytes(),
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap();
    kib << 10
}

/// Set in the child process that runs nothing but the test of its memory.
const ALONE: &str = "THALWEG_TEST_ALONE";

#[test]
fn memory_stays_flat_while_a_sink_is_slow() {
    if std::env::var_os(ALONE).is_some() {
        return stays_flat();
    }
    // Resident memory is that of a whole process: this test is given one.
    let name = "end_to_end::back_pressure::memory_stays_flat_while_a_sink_is_slow";
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}\n{errors}");
    assert!(said.contains("1 passed"), "{said}");
}

fn stays_flat() {
    const RECORDS: u64 = 2 * RECORDS_PER_SECOND;
    // A source that nothing holds back makes tens of megabytes a second.
    const NOISE: u64 = 8 << 20;
    // The table of a hundred keys, which may still grow, and no overdrafts to speak of.
    const STATE: f64 = 65_536.0;
    let (token, reader) = (CancelToken::new(), MetricsReader::new());
    let executor = LocalExecutor::new(token.clone()).with_metrics(reader.clone());
    let configuration = stage::configuration(SETTINGS);
    let environment = Environment::with_executor(Arc::new(executor), configuration);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let counts = Counts::default();
    let slow = Slow {
        counts: counts.clone(),
        stop_at: RECORDS,
        token,
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "looks from outside of the shards"
    )]
    let looking = thread::Builder::new().spawn(move || {
        let mut looks = Vec::new();
        while counts.written.load(Ordering::Relaxed) < RECORDS {
            thread::park_timeout(Duration::from_millis(10));
            looks.push(look(&reader, &counts));
        }
        looks
    });
    run(&environment, None, slow).unwrap_err();
    let mut looks = looking.unwrap().join().unwrap();
    // The shards of the last ones may have ended.
    looks.retain(|look| look.segments > 0.0);
    for look in &looks {
        assert!(look.segments <= MOST_SEGMENTS as f64, "{look:?}");
        assert!(look.waiting <= CHANNELS as f64, "{look:?}");
        assert!(look.arrived <= (CHANNELS * CREDITS) as f64, "{look:?}");
        assert!(look.managed <= STATE, "{look:?}");
    }
    let late = looks.iter().filter(|look| look.written >= RECORDS / 2);
    let late: Vec<&Look> = late.collect();
    let (Some(half), Some(end)) = (late.first(), late.last()) else {
        panic!("nobody looked while the second half was written: {looks:?}");
    };
    assert!(end.resident <= half.resident + NOISE, "{half:?}\n{end:?}");
}
