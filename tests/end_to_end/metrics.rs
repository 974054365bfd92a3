//! What a job shows of itself: while it runs, at its end, and in the harness.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use thalweg_cluster::{CancelToken, LocalExecutor, MetricsReader, MetricsSnapshot};
use thalweg_connectors::{Generator, Sinks, Sources};
use thalweg_core::event_time::Timestamp;
use thalweg_core::metrics::vocabulary;
use thalweg_core::metrics::{MetricSnapshot, MetricValue};
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::executor::JobResult;
use thalweg_dataflow::function::Collector;
use thalweg_dataflow::harness::{TestHarness, TwoInputHarness};
use thalweg_dataflow::operator::{AsyncIo, KeyedProcessFunction};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::time::WatermarkStrategy;
use thalweg_dataflow::window::assigner::TumblingWindows;
use thalweg_dataflow::window::{TimeWindow, WindowAggregate};
use thalweg_dataflow::{FunctionError, OpenContext, ProcessContext};
use thalweg_state::{MapState, ValueState};

use crate::stage::{self, Settings};

const SETTINGS: Settings<'static> = &[("parallelism.default", "2"), ("thalweg.shard.pin", "false")];

/// The numbers of a metric by task, of tasks whose name contains `task`.
fn of<'m>(metrics: &'m [MetricSnapshot], name: &str, task: &str) -> Vec<&'m MetricSnapshot> {
    let named = metrics.iter().filter(|metric| metric.name == name);
    let inside = |metric: &&MetricSnapshot| {
        let label = metric.scope.label("task");
        label.is_some_and(|label| label.contains(task))
    };
    named.filter(inside).collect()
}

fn sum(metrics: &[MetricSnapshot], name: &str, task: &str) -> f64 {
    of(metrics, name, task).iter().map(|m| m.number()).sum()
}

/// A thousand numbers, counted by their last digit; odd ones are counted by the function too.
fn count_digits(environment: &Environment) -> JobResult {
    environment
        .sequence(0..=999)
        .key_by(|n| n % 10)
        .process(|open| {
            let odd = open.metrics().counter("odd");
            let sizes = open.metrics().histogram("sizes");
            let mut count = open.value_state::<u64>("count");
            move |number: u64, _context, out: &mut Collector<u64>| {
                odd.add(number % 2);
                sizes.record(number);
                count.update(|count| *count += 1)?;
                out.emit(number);
                Ok(())
            }
        })
        .name("digits")
        .discard();
    environment.execute("digits").unwrap()
}

fn check_result(result: &JobResult) {
    let metrics = &result.summary.metrics;
    assert_eq!(sum(metrics, "numRecordsIn", "sequence"), 1000.0);
    assert_eq!(sum(metrics, "numRecordsOut", "sequence"), 1000.0);
    assert_eq!(sum(metrics, "numRecordsIn", "digits"), 1000.0);
    let buffers = sum(metrics, "numBuffersOut", "sequence");
    assert!(buffers >= 2.0);
    assert_eq!(sum(metrics, "numBuffersIn", "digits"), buffers);
    let timed = sum(metrics, "inputBufferTimeNs", "digits");
    assert!(timed > 0.0 && timed <= buffers, "{timed} of {buffers}");
    assert_eq!(sum(metrics, "inputBufferTimeNs", "sequence"), 0.0);
    for task in ["sequence", "digits"] {
        let turns = of(metrics, "longestTurnMs", task);
        let busy = sum(metrics, "accumulateBusyTimeMs", task) + turns.len() as f64;
        assert!(turns.iter().all(|turn| turn.number() <= busy), "{turns:?}");
    }
    let bytes = sum(metrics, "numBytesOut", "sequence");
    assert!(bytes >= 8000.0, "{bytes}");
    assert_eq!(sum(metrics, "numBytesIn", "digits"), bytes);
    assert_eq!(result.metric("odd"), Some(500.0));
    assert_eq!(result.metric("sizes"), Some(1000.0));
    assert_eq!(result.metric("even"), None);
    let promised = of(metrics, "currentOutputWatermark", "digits");
    assert!(promised.iter().all(|told| told.number() == i64::MAX as f64));
    for metric in metrics {
        assert_eq!(metric.scope.label("job"), Some("digits"), "{metric:?}");
        assert_eq!(metric.user, vocabulary::find(&metric.name).is_none());
        if metric.user {
            assert_eq!(metric.scope.label("operator"), Some("digits"));
        }
    }
}

#[test]
fn a_jobs_result_has_the_metrics_of_its_tasks() {
    let (environment, _token) = stage::shards(SETTINGS);
    let result = count_digits(&environment);
    check_result(&result);
    let subtasks = of(&result.summary.metrics, "numRecordsIn", "digits");
    assert_eq!(subtasks.len(), 2);
}

#[test]
fn so_has_a_simulated_ones() {
    for seed in 0..5 {
        let (environment, _) = stage::simulation(seed, SimOptions::default(), SETTINGS);
        check_result(&count_digits(&environment));
    }
}

/// Labels are those the vocabulary says, for every metric of the engine that is shown.
fn check_labels(metrics: &[MetricSnapshot]) {
    for metric in metrics {
        let Some(definition) = vocabulary::find(&metric.name) else {
            continue;
        };
        let mut labels: Vec<_> = metric.scope.labels().iter().map(|l| l.0).collect();
        let mut expected = definition.level.labels().to_vec();
        labels.sort_unstable();
        expected.sort_unstable();
        assert_eq!(labels, expected, "{}", metric.name);
        let counter = matches!(metric.value, MetricValue::Counter(_));
        let defined = definition.kind == vocabulary::Kind::Counter;
        assert_eq!(counter, defined, "{}", metric.name);
    }
}

#[test]
fn a_running_job_shows_its_metrics_to_whoever_asks() {
    let (token, reader) = (CancelToken::new(), MetricsReader::new());
    let executor = LocalExecutor::new(token.clone()).with_metrics(reader.clone());
    let configuration = stage::configuration(SETTINGS);
    let environment = Environment::with_executor(Arc::new(executor), configuration);
    let (flowing, flows) = sync_channel(1);
    environment
        .source(Generator::new(None, |n| n))
        .key_by(|n| n % 1000)
        .count()
        .for_each(move |(key, count): (u64, u64)| {
            if (key, count) == (7, 100) {
                let _ = flowing.try_send(());
            }
        });
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let look = move || {
        flows.recv_timeout(stage::PATIENCE).unwrap();
        let first = reader.snapshot(stage::PATIENCE);
        let busy = |shown: &MetricsSnapshot| {
            let metrics = &shown.metrics;
            sum(metrics, "busyTimeMsPerSecond", "generator") > 0.0
                && sum(metrics, "accumulateBusyTimeMs", "generator") > 0.0
        };
        // The source is busy as long as the job runs: sooner or later that is a millisecond.
        let second = loop {
            let shown = reader.snapshot(stage::PATIENCE);
            if busy(&shown) || shown.metrics.is_empty() {
                break shown;
            }
            thread::yield_now();
        };
        token.cancel();
        (first, second, reader)
    };
    let looking = stage::thread(look);
    environment.execute("endless").unwrap_err();
    let (first, second, reader) = looking.join().unwrap();
    assert_eq!(first.missing, []);
    let (before, after) = (
        sum(&first.metrics, "numRecordsIn", "count"),
        sum(&second.metrics, "numRecordsIn", "count"),
    );
    assert!(before > 0.0 && after >= before, "{before} {after}");
    let state = sum(&first.metrics, "stateMemoryBytes", "count");
    assert!(state > 0.0, "a table has a size");
    let managed = (first.metrics.iter()).filter(|m| m.name == "managedMemoryUsed");
    assert!(managed.map(MetricSnapshot::number).sum::<f64>() >= state);
    assert!(
        !second.metrics.is_empty(),
        "the job was cancelled before its source was busy"
    );
    check_labels(&first.metrics);
    let over = reader.snapshot(Duration::ZERO);
    assert!(over.metrics.is_empty() && over.missing.is_empty());
}

/// Counts the numbers of a window.
#[derive(Clone)]
struct Count;

impl WindowAggregate<u64, u64> for Count {
    type Accumulator = u64;
    type Row = (u64, u64);

    fn create(&self) -> u64 {
        0
    }
    fn add(&self, count: &mut u64, _number: u64) {
        *count += 1;
    }
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    fn row(&self, key: u64, _window: TimeWindow, count: &u64) -> (u64, u64) {
        (key, *count)
    }
}

#[test]
fn windows_show_watermarks_and_what_came_too_late() {
    let mut harness = TestHarness::<u64, (u64, u64)>::new(|numbers| {
        numbers
            .key_by(|n| n % 2)
            .window(TumblingWindows::event_time(Duration::from_secs(1)))
            .aggregate(Count)
    });
    assert_eq!(harness.metric("currentInputWatermark"), None);
    harness.push_at(1, Timestamp(100));
    harness.advance_watermark(Timestamp(1_500));
    harness.push_at(3, Timestamp(200));
    assert_eq!(harness.metric("numLateRecordsDropped"), Some(1.0));
    let metrics = harness.metrics();
    let told = of(&metrics, "currentInputWatermark", "");
    assert!(!told.is_empty());
    assert!(told.iter().all(|told| told.number() == 1_500.0), "{told:?}");
}

/// What an operator of a harness shows.
fn of_operator(harness: &TestHarness<u64, u64>, name: &str, operator: &str) -> Option<f64> {
    let metrics = harness.metrics();
    let named = metrics.iter().filter(|metric| metric.name == name);
    let mut of = named.filter(|metric| metric.scope.label("operator") == Some(operator));
    let shown = of.next().map(MetricSnapshot::number);
    assert!(of.next().is_none(), "{operator} shows {name} twice");
    shown
}

/// What is shown of the states of an operator: entries, and whether they have a size, by name.
fn sizes(metrics: &[MetricSnapshot]) -> Vec<(String, f64, bool)> {
    let named = |name: &'static str| metrics.iter().filter(move |metric| metric.name == name);
    let mut sizes: Vec<_> = named("numStateEntries")
        .map(|entries| {
            let state = entries.scope.label("state").unwrap();
            let bytes = named("stateBytes").find(|bytes| bytes.scope == entries.scope);
            let bytes = bytes.unwrap().number();
            (state.to_owned(), entries.number(), bytes > 0.0)
        })
        .collect();
    sizes.sort_by(|one, other| one.0.cmp(&other.0));
    sizes
}

/// Remembers numbers by key in two ways, and asks to be called for each.
struct Remembering {
    last: ValueState<u64, u64>,
    seen: MapState<u64, u64, u64>,
}

impl Remembering {
    fn open(open: &mut OpenContext<u64>) -> Remembering {
        Remembering {
            last: open.value_state("last"),
            seen: open.map_state("seen"),
        }
    }
}

impl KeyedProcessFunction<u64, u64, u64> for Remembering {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        self.last.set(number)?;
        self.seen.put(number, number)?;
        let at = Timestamp(number as i64 + 1_000);
        context.timers().register_event_time(at)
    }
}

#[test]
fn each_state_shows_how_much_is_in_it() {
    let mut harness = TestHarness::<u64, u64>::new(|numbers| {
        let by_digit = numbers.key_by(|n| n % 10);
        by_digit.process_function(Remembering::open)
    });
    let entries = |harness: &TestHarness<u64, u64>| {
        let shown = sizes(&harness.metrics());
        let of = |name: &str| {
            shown
                .iter()
                .find(|state| state.0 == name)
                .map(|state| state.1)
        };
        ["last", "seen", "thalweg.event-time-timers"].map(of)
    };
    assert_eq!(entries(&harness), [Some(0.0); 3]);
    (0..30).for_each(|number| harness.push(number));
    let there = [Some(10.0), Some(30.0), Some(30.0)];
    assert_eq!(entries(&harness), there);
    assert!(
        sizes(&harness.metrics())
            .iter()
            .all(|(_, entries, has_size)| *entries == 0.0 || *has_size)
    );
    harness.advance_watermark(Timestamp(2_000));
    assert_eq!(
        entries(&harness),
        [Some(10.0), Some(30.0), Some(0.0)],
        "all have fired"
    );
}

#[test]
fn state_on_disk_shows_its_files_by_name() {
    let settings: Settings<'static> = &[
        ("parallelism.default", "1"),
        ("thalweg.shard.pin", "false"),
        ("state.backend.type", "lsm"),
        ("taskmanager.memory.managed.size", "2mb"),
    ];
    let (environment, _token) = stage::shards(settings);
    environment
        .sequence(0..=99_999)
        .key_by(|n| *n)
        .fold([0_u64; 8], |held, number| held[0] += number)
        .name("held")
        .discard();
    let result = environment.execute("large").unwrap();
    let metrics = &result.summary.metrics;
    check_labels(metrics);
    let all = |name: &str| sum(metrics, name, "held");
    let (rows, bytes) = (all("numStateDiskRows"), all("stateFilesBytes"));
    assert!(
        rows > 0.0 && bytes > 64.0 * rows,
        "{rows} rows, {bytes} bytes"
    );
    assert_eq!(
        bytes,
        all("stateDiskBytes"),
        "the operator has no other state"
    );
    assert!(
        rows + all("numStateEntries") >= 100_000.0,
        "every key is somewhere"
    );
    assert!(all("stateBytes") < (2 << 20) as f64);
}

#[test]
fn each_operator_has_watermarks_of_its_own() {
    let mut harness = TestHarness::<u64, u64>::new(|numbers| {
        let strategy = WatermarkStrategy::<u64>::for_punctuated(|n, at| (n % 2 == 0).then_some(at));
        let strategy = strategy.with_timestamp_assigner(|n, _| Timestamp(*n as i64));
        let counts = (numbers.key_by(|n| n % 2))
            .window(TumblingWindows::event_time(Duration::from_millis(10)))
            .count()
            .map(|(_, count): (u64, u64)| count);
        counts
            .name("plain")
            .assign_timestamps_and_watermarks(strategy)
            .name("timed")
            .map(|n: u64| n)
            .name("behind")
    });
    let (told, tells) = ("operatorInputWatermark", "operatorOutputWatermark");
    let all = |harness: &TestHarness<u64, u64>| {
        ["window count", "plain", "timed", "behind"].map(|operator| {
            let of = |name| of_operator(harness, name, operator);
            (of(told), of(tells))
        })
    };
    assert_eq!(all(&harness), [(None, None); 4]);
    harness.push_at(1, Timestamp(3));
    harness.advance_watermark(Timestamp(5));
    let five = Some(5.0);
    let before = [(five, five), (five, five), (five, None), (None, None)];
    assert_eq!(all(&harness), before);
    // The window's row, a count of 2, makes the strategy promise as much.
    harness.push_at(1, Timestamp(4));
    harness.advance_watermark(Timestamp(15));
    let (two, fifteen) = (Some(2.0), Some(15.0));
    let after = [
        (fifteen, fifteen),
        (fifteen, fifteen),
        (fifteen, two),
        (two, two),
    ];
    assert_eq!(all(&harness), after);
}

#[test]
fn a_watermark_is_told_behind_what_waits_for_it() {
    let mut harness = TestHarness::<u64, u64>::new(|numbers| {
        numbers.async_io(AsyncIo::ordered(), |number: u64| async move {
            if number > 0 {
                std::future::pending::<()>().await;
            }
            Ok([number])
        })
    });
    let all = |harness: &TestHarness<u64, u64>| {
        ["operatorInputWatermark", "operatorOutputWatermark"]
            .map(|name| of_operator(harness, name, "async_io"))
    };
    harness.push_at(0, Timestamp(1));
    harness.advance_watermark(Timestamp(2));
    assert_eq!(all(&harness), [Some(2.0), Some(2.0)]);
    harness.push_at(1, Timestamp(3));
    harness.advance_watermark(Timestamp(4));
    assert_eq!(all(&harness), [Some(4.0), Some(2.0)]);
}

#[test]
fn each_input_has_a_watermark_of_its_own() {
    let mut harness = TwoInputHarness::<u64, u64, u64>::new(|first, second| {
        (first.connect(second)).map(|n: u64| n, |n: u64| n)
    });
    harness.advance_first(Timestamp(5));
    let of_input = |harness: &TwoInputHarness<_, _, _>, input: &str| {
        let metrics = harness.metrics();
        let named = metrics
            .iter()
            .filter(|m| m.name == "currentInputNWatermark");
        let mut of = named.filter(|m| m.scope.label("input") == Some(input));
        of.rfind(|m| m.number() < 1e15).map(MetricSnapshot::number)
    };
    assert_eq!(of_input(&harness, "1"), Some(5.0));
    assert_eq!(of_input(&harness, "2"), None);
    harness.advance_second(Timestamp(9));
    assert_eq!(of_input(&harness, "2"), Some(9.0));
}

#[test]
fn a_metric_that_cannot_be_fails_the_job_at_its_start() {
    let (environment, _token) = stage::shards(SETTINGS);
    environment
        .sequence(0..=9)
        .process(|open| {
            let counter = open.metrics().counter("not a name");
            move |number: u64, _context, out: &mut Collector<u64>| {
                counter.inc();
                out.emit(number);
                Ok(())
            }
        })
        .discard();
    let error = environment.execute("refused").unwrap_err().to_string();
    assert!(
        error.contains("`not a name` is not a metric name"),
        "{error}"
    );
}
