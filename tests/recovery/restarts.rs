//! A job that fails within its process is begun again in it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_dataflow::executor::{JobError, JobStatus};
use thalweg_dataflow::operator::{AsyncIo, KeyedProcessFunction};
use thalweg_dataflow::time::{FiredTimer, WatermarkStrategy};
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_state::ValueState;

use super::counting::{Poison, check, is_there_once, lines, program};
use crate::stage;

const RECORDS: u64 = 24_000;
/// Slow enough for some checkpoints.
const RATE: f64 = 40_000.0;

fn settings<'s>(
    directory: &'s str,
    parallelism: &'s str,
    segment: &'s str,
) -> Vec<(&'s str, &'s str)> {
    vec![
        ("parallelism.default", parallelism),
        ("thalweg.shard.count", "2"),
        ("thalweg.shard.pin", "false"),
        ("taskmanager.memory.segment-size", segment),
        ("execution.checkpointing.interval", "15ms"),
        ("execution.checkpointing.dir", directory),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "20"),
        ("restart-strategy.fixed-delay.delay", "1ms"),
    ]
}

#[test]
fn a_job_that_fails_again_and_again_writes_what_one_that_never_fails_writes() {
    for (parallelism, segment, every) in [
        ("1", "32kb", 7_919),
        ("2", "512b", 5_003),
        ("3", "1kb", 6_007),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (state, into) = (directory.path().join("state"), directory.path().join("out"));
        let state = state.to_str().unwrap();
        let settings = settings(state, parallelism, segment);
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let poison = Poison::new(every, 4);
        program(&environment, RECORDS, RATE, poison.clone(), &into);
        environment.execute("counting").unwrap();
        assert_eq!(
            poison.left.load(Ordering::Acquire),
            0,
            "it has failed four times"
        );
        check(RECORDS, &into);
    }
}

#[test]
fn a_job_that_fails_too_often_says_so_and_shows_only_what_was_true() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let mut settings = settings(state.to_str().unwrap(), "2", "1kb");
    settings.retain(|(key, _)| *key != "restart-strategy.fixed-delay.attempts");
    settings.push(("restart-strategy.fixed-delay.attempts", "2"));
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    program(&environment, RECORDS, RATE, Poison::new(4_001, 100), &into);
    let failed = environment.execute("counting");
    assert!(
        matches!(&failed, Err(JobError::Failed { panicked: true, message, .. }) if message.contains("poison")),
        "{failed:?}"
    );
    let expected = super::counting::expected_told(RECORDS);
    for (line, times) in lines(&into.join("told")) {
        assert_eq!(expected.get(&line), Some(&times), "{line}");
    }
}

/// Pending so many times.
async fn later(mut times: u64) {
    poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What was asked when the job failed is asked again, and nothing that was answered; sources that wait for
/// each other do so again.
#[test]
fn every_record_is_answered_once_though_the_job_fails_while_answers_are_outstanding() {
    for (how, every) in [
        (AsyncIo::ordered().capacity(7), 5_003),
        (AsyncIo::unordered().capacity(60), 6_007),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (state, into) = (directory.path().join("state"), directory.path().join("out"));
        let settings = settings(state.to_str().unwrap(), "2", "1kb");
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let poison = Poison::new(every, 3);
        let tasted = poison.clone();
        let made = |number: u64| (number, Timestamp((number / 8) as i64));
        let strategy = WatermarkStrategy::<u64>::for_monotonous_timestamps()
            .with_interval(Duration::from_millis(1))
            .with_alignment("numbers", Duration::from_millis(200))
            .with_alignment_interval(Duration::from_millis(1));
        environment
            .source_with(Generator::timed(RECORDS, made).rate(RATE), strategy)
            .map(move |number: u64| {
                tasted.taste(number);
                number
            })
            .rebalance()
            .async_io(how, |number: u64| async move {
                later(number * 7 % 11).await;
                Ok([format!("answer {number}")])
            })
            .sink(FileSink::new(&into));
        environment.execute("asking").unwrap();
        assert_eq!(poison.left.load(Ordering::Acquire), 0, "it has failed");
        let expected = (0..RECORDS).map(|number| (format!("answer {number}"), 1));
        is_there_once(&expected.collect(), &into);
    }
}

/// Sets a timer for the first record and tells when it fires.
struct Once(ValueState<u64, u64>);

impl KeyedProcessFunction<u64, u64, String> for Once {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.0.set(number)?;
        context.timers().register_event_time(Timestamp(50))
    }

    fn on_timer(
        &mut self,
        _timer: &FiredTimer,
        _context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        out.emit("fired".to_owned());
        Ok(())
    }
}

#[test]
fn a_timer_that_has_fired_does_not_come_back_though_nothing_else_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let settings = settings(state.to_str().unwrap(), "1", "1kb");
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let poison = Poison::new(9_000, 1);
    let tasted = poison.clone();
    let made = |number: u64| (number, Timestamp((number / 8) as i64));
    let strategy = WatermarkStrategy::<u64>::for_monotonous_timestamps();
    environment
        .source_with(
            Generator::timed(12_000, made).rate(20_000.0),
            strategy.with_interval(Duration::from_millis(1)),
        )
        .map(move |number: u64| {
            tasted.taste(number);
            number
        })
        .filter(|number: &u64| *number == 0)
        .key_by(|number: &u64| *number)
        .process_function(|open: &mut OpenContext<u64>| Once(open.value_state("number")))
        .sink(FileSink::new(&into));
    environment.execute("once").unwrap();
    assert_eq!(poison.left.load(Ordering::Acquire), 0, "it has failed");
    assert_eq!(lines(&into).get("fired"), Some(&1));
}

/// A place that is away when a function looks for it again: it is looked for as often as restarts are left.
#[test]
fn a_job_whose_function_cannot_be_opened_again_is_begun_again() {
    for (parallelism, first, regions) in [("2", 2, true), ("1", 1, false), ("3", 3, true)] {
        let directory = tempfile::tempdir().unwrap();
        let (state, into) = (directory.path().join("state"), directory.path().join("out"));
        let mut settings = settings(state.to_str().unwrap(), parallelism, "1kb");
        if !regions {
            settings.push(("jobmanager.execution.failover-strategy", "full"));
        }
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let (poison, opened) = (Poison::new(5_003, 1), Arc::new(AtomicU32::new(0)));
        let (tasted, opens) = (poison.clone(), Arc::clone(&opened));
        let away = first..first + 3;
        environment
            .source(Generator::new(RECORDS, |number| number).rate(RATE))
            .map(move |number: u64| {
                tasted.taste(number);
                number
            })
            .key_by(|number: &u64| number % 100)
            .process(move |open: &mut OpenContext<u64>| {
                let nth = opens.fetch_add(1, Ordering::AcqRel);
                assert!(!away.contains(&nth), "the place is away");
                let mut count = open.value_state::<u64>("count");
                move |number: u64, _: &ProcessContext<u64>, out: &mut Collector<'_, String>| {
                    count.update(|count| *count += 1)?;
                    let count = count.get()?.unwrap_or_default();
                    out.emit(format!("{} {count}", number % 100));
                    Ok(())
                }
            })
            .sink(FileSink::new(&into));
        environment.execute("opening").unwrap();
        assert_eq!(poison.left.load(Ordering::Acquire), 0, "it has failed");
        let opened = opened.load(Ordering::Acquire);
        assert!(opened > first + 3, "and could not begin");
        let expected = (0..RECORDS).map(|n| (format!("{} {}", n % 100, n / 100 + 1), 1));
        is_there_once(&expected.collect(), &into);
    }
}

#[test]
fn a_job_that_waits_to_begin_again_says_so_and_can_be_cancelled() {
    for failover in ["region", "full"] {
        let directory = tempfile::tempdir().unwrap();
        let (state, into) = (directory.path().join("state"), directory.path().join("out"));
        let mut settings = settings(state.to_str().unwrap(), "2", "1kb");
        settings.retain(|(key, _)| *key != "restart-strategy.fixed-delay.delay");
        settings.extend([
            ("restart-strategy.fixed-delay.delay", "1h"),
            ("jobmanager.execution.failover-strategy", failover),
        ]);
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        program(&environment, RECORDS, RATE, Poison::new(4_001, 1), &into);
        let job = environment.execute_async("waiting").unwrap();
        while job.status() != JobStatus::Restarting {
            assert!(!job.status().is_terminal(), "{failover}: {}", job.status());
            std::thread::yield_now();
        }
        job.cancel();
        let ended = job.wait();
        assert!(
            matches!(ended, Err(JobError::Cancelled { .. })),
            "{failover}: {ended:?}"
        );
    }
}

#[test]
fn checkpoints_without_a_place_are_refused_with_the_key_to_set() {
    let directory = tempfile::tempdir().unwrap();
    let (environment, _) = stage::shards(&[("execution.checkpointing.interval", "1s")]);
    program(
        &environment,
        10,
        RATE,
        Poison::new(1_000, 0),
        directory.path(),
    );
    let refused = environment.execute("counting").unwrap_err().to_string();
    assert!(refused.contains("execution.checkpointing.dir"), "{refused}");
}

/// Longer than a user who cancels a job is made to wait.
const LONG_TURN: Duration = Duration::from_millis(1_500);

#[test]
fn a_job_begins_again_behind_a_turn_that_is_long_when_it_fails() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let mut settings = settings(state.to_str().unwrap(), "2", "1kb");
    // Regions are waited for apart.
    settings.push(("jobmanager.execution.failover-strategy", "full"));
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    // The first record is in a long turn; the next that comes to the other subtask meanwhile fails.
    let (long, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let fails = Arc::clone(&failed);
    let busy = move |number: u64| {
        if long.swap(1, Ordering::AcqRel) == 0 {
            let until = monotonic_ns() + LONG_TURN.as_nanos() as u64;
            while monotonic_ns() < until {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        } else {
            assert!(fails.swap(1, Ordering::AcqRel) > 0, "poison");
        }
        number
    };
    environment
        .source(Generator::new(2_000, |number| number).rate(20_000.0))
        .uid("numbers")
        .rebalance()
        .map(busy)
        .uid("busy")
        .sink(FileSink::new(&into))
        .uid("files");
    environment.execute("busy").unwrap();
    assert_eq!(failed.load(Ordering::Acquire), 1, "it has failed");
    let expected = (0..2_000).map(|number: u64| (number.to_string(), 1));
    is_there_once(&expected.collect(), &into);
}
