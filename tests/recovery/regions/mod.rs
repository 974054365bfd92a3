//! A task fails, and only what exchanges connect with it is begun again.
//!
//! Several pipelines of one job, each into files of its own. A function counts every record that passes it: where a
//! pipeline is not begun again each passes exactly once. In the end the files of all of them hold exactly what a job
//! that never failed writes.

mod job;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use thalweg_connectors::{FileSink, Generator, TextFile};
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::stream::RuntimeMode;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};

use self::job::{Job, Line, RATE, RECORDS, check_counts, check_nothing_hidden};
use super::counting::lines;

#[test]
fn the_others_run_on_and_none_of_their_records_comes_again() {
    for unaligned in ["false", "true"] {
        let mut job = Job::new("15ms");
        job.set("execution.checkpointing.unaligned.enabled", unaligned);
        let (failing, other) = (Line::new("failing", 5_003, 4), Line::new("other", 1, 0));
        job.run(|environment| {
            failing.count(environment, &job.files("failing"));
            other.count(environment, &job.files("other"));
        })
        .unwrap();
        assert!(failing.has_failed());
        assert!(failing.passed() >= RECORDS);
        assert_eq!(other.passed(), RECORDS);
        for name in ["failing", "other"] {
            check_counts(&job.files(name));
            check_nothing_hidden(&job.files(name));
        }
    }
}

#[test]
fn before_the_first_checkpoint_a_region_begins_with_the_splits_it_had() {
    let job = Job::new("1h");
    let (failing, other) = (Line::new("failing", 5_003, 2), Line::new("other", 1, 0));
    job.run(|environment| {
        failing.count(environment, &job.files("failing"));
        other.count(environment, &job.files("other"));
    })
    .unwrap();
    assert!(failing.has_failed());
    assert!(failing.passed() > RECORDS);
    assert_eq!(other.passed(), RECORDS);
    for name in ["failing", "other"] {
        check_counts(&job.files(name));
        check_nothing_hidden(&job.files(name));
    }
}

#[test]
fn all_begin_again_where_that_is_asked_for() {
    let mut job = Job::new("1h");
    job.set("jobmanager.execution.failover-strategy", "full");
    let (failing, other) = (Line::new("failing", 5_003, 1), Line::new("other", 1, 0));
    job.run(|environment| {
        failing.count(environment, &job.files("failing"));
        other.count(environment, &job.files("other"));
    })
    .unwrap();
    assert!(failing.has_failed());
    assert!(other.passed() > RECORDS, "it began from its beginning");
    for name in ["failing", "other"] {
        check_counts(&job.files(name));
        check_nothing_hidden(&job.files(name));
    }
}

#[test]
fn all_begin_again_with_a_region_whose_sink_cannot_take_back_what_a_part_of_it_wrote() {
    let job = Job::new("1h");
    let (failing, other) = (Line::new("failing", 5_003, 1), Line::new("other", 1, 0));
    let text = job.files("text");
    job.run(|environment| {
        let line = failing.clone();
        environment
            .source(Generator::new(RECORDS, |number| number).rate(RATE))
            .map(move |number: u64| {
                line.poison.taste(number);
                number
            })
            .sink(TextFile::new(&text));
        other.count(environment, &job.files("other"));
    })
    .unwrap();
    assert!(failing.has_failed());
    assert!(other.passed() > RECORDS, "it began from its beginning");
    assert_eq!(lines(&text).len() as u64, RECORDS);
    check_counts(&job.files("other"));
}

#[test]
fn subtasks_without_an_exchange_between_them_are_regions_of_their_own() {
    let mut job = Job::new("15ms");
    job.set("parallelism.default", "4");
    let line = Line::new("forward", 12_003, 3);
    let times: Arc<Vec<AtomicU32>> = Arc::new((0..RECORDS).map(|_| AtomicU32::new(0)).collect());
    let into = job.files("forward");
    job.run(|environment| {
        let (line, times) = (line.clone(), Arc::clone(&times));
        environment
            .source(Generator::new(RECORDS, |number| number).rate(RATE))
            .map(move |number: u64| {
                line.poison.taste(number);
                times[number as usize].fetch_add(1, Ordering::AcqRel);
                number
            })
            .sink(FileSink::new(&into));
    })
    .unwrap();
    assert!(line.has_failed());
    // Each subtask has the numbers of one remainder, and the same number was poison three times.
    let poison = (line.poison.every - 1) % 4;
    for (number, times) in (0..RECORDS).zip(times.iter()) {
        let times = times.load(Ordering::Acquire);
        assert!(times >= 1);
        assert!(
            times == 1 || number % 4 == poison,
            "{number} came {times} times"
        );
    }
    let expected: BTreeMap<String, u32> = (0..RECORDS).map(|n| (n.to_string(), 1)).collect();
    assert!(lines(&into) == expected);
    check_nothing_hidden(&into);
}

#[test]
fn several_fail_at_once_and_again_as_soon_as_they_run() {
    let job = Job::new("10ms");
    // The same numbers, at about the same time.
    let one = Line::new("one", 4_001, 4);
    let two = Line::new("two", 4_001, 4);
    let other = Line::new("other", 1, 0);
    job.run(|environment| {
        for line in [&one, &two, &other] {
            line.count(environment, &job.files(line.name));
        }
    })
    .unwrap();
    assert!(one.has_failed() && two.has_failed());
    assert_eq!(other.passed(), RECORDS);
    for line in [&one, &two, &other] {
        check_counts(&job.files(line.name));
    }
}

/// A job one line of which also has a function that fails so many times when it is opened again.
fn fails_to_open(times: u32) -> (Job, Line, Line) {
    let job = Job::new("15ms");
    let (failing, other) = (Line::new("failing", 5_003, 1), Line::new("other", 1, 0));
    let (opened, left) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(times)));
    let into = job.files("failing");
    job.run(|environment| {
        let line = failing.clone();
        environment
            .source(Generator::new(RECORDS, |number| number).rate(RATE))
            .process(move |_open: &mut OpenContext| {
                let (line, opened, left) = (line.clone(), Arc::clone(&opened), Arc::clone(&left));
                let again = opened.fetch_add(1, Ordering::AcqRel) >= 2;
                let mut first = again;
                move |number: u64, _: &ProcessContext, out: &mut Collector<'_, String>| {
                    let spend = |left: u32| left.checked_sub(1);
                    let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
                    if std::mem::take(&mut first) && left.fetch_update(set, get, spend).is_ok() {
                        return Err(FunctionError::new("it fails at once"));
                    }
                    line.poison.taste(number);
                    out.emit(number.to_string());
                    Ok(())
                }
            })
            .sink(FileSink::new(&into));
        other.count(environment, &job.files("other"));
    })
    .unwrap();
    (job, failing, other)
}

#[test]
fn a_region_that_fails_in_its_first_turns_is_begun_again_alone_too() {
    let (job, failing, other) = fails_to_open(3);
    assert!(failing.has_failed());
    assert_eq!(other.passed(), RECORDS);
    let expected: BTreeMap<String, u32> = (0..RECORDS).map(|n| (n.to_string(), 1)).collect();
    assert!(lines(&job.files("failing")) == expected);
    check_nothing_hidden(&job.files("failing"));
    check_counts(&job.files("other"));
}

#[test]
fn restarts_of_regions_count_for_the_job() {
    let mut job = Job::new("15ms");
    job.set("restart-strategy.fixed-delay.attempts", "3");
    let (one, two) = (Line::new("one", 4_001, 2), Line::new("two", 5_003, 2));
    let failed = job.run(|environment| {
        one.count(environment, &job.files("one"));
        two.count(environment, &job.files("two"));
    });
    assert!(
        matches!(&failed, Err(JobError::Failed { panicked: true, message, .. }) if message.contains("poison")),
        "{failed:?}"
    );
    assert!(
        one.has_failed() && two.has_failed(),
        "the fourth was one too many"
    );
}

#[test]
fn in_a_batch_a_region_begins_from_its_beginning_and_finished_ones_stay_so() {
    for mode in ["batch", "streaming"] {
        let job = Job::new("");
        let (failing, other) = (Line::new("failing", 23_993, 3), Line::new("other", 1, 0));
        job.run(|environment| {
            let mode = match mode {
                "batch" => RuntimeMode::Batch,
                _ => RuntimeMode::Streaming,
            };
            environment.set_runtime_mode(mode);
            for line in [&failing, &other] {
                let (passing, into) = (line.clone(), job.files(line.name));
                environment
                    .source(Generator::new(RECORDS, |number| number))
                    .map(move |number: u64| {
                        passing.poison.taste(number);
                        passing.passed.fetch_add(1, Ordering::AcqRel);
                        number
                    })
                    .rebalance()
                    .map(|number: u64| number.to_string())
                    .sink(FileSink::new(&into));
            }
        })
        .unwrap();
        assert!(failing.has_failed());
        assert_eq!(other.passed(), RECORDS);
        let expected: BTreeMap<String, u32> = (0..RECORDS).map(|n| (n.to_string(), 1)).collect();
        for line in [&failing, &other] {
            assert!(
                lines(&job.files(line.name)) == expected,
                "{mode} {}",
                line.name
            );
            check_nothing_hidden(&job.files(line.name));
        }
    }
}
