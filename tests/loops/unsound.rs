//! Loops that are refused, fail by name, or are given up.

use std::time::Duration;

use thalweg_connectors::{Sinks, Sources};
use thalweg_core::config::RuntimeMode;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::Collector;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::harness::TwoInputHarness;
use thalweg_dataflow::operator::FEEDBACK_DROPPED;
use thalweg_dataflow::stream::Environment;

use crate::stage;

fn environment() -> Environment {
    stage::simulation(1, SimOptions::default(), &[]).0
}

/// Why a program is refused.
fn refusal(write: impl FnOnce(&Environment)) -> String {
    let environment = environment();
    write(&environment);
    match environment.plan("refused") {
        Ok(plan) => panic!("the program is valid:\n{}", plan.to_text()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_loop_whose_way_back_begins_elsewhere_is_refused() {
    let refused = refusal(|environment| {
        let others = environment.sequence(1..=3);
        let numbers = environment.sequence(1..=3).iterate();
        numbers.close_with(|numbers| (others, numbers)).discard();
    });
    assert!(refused.contains("does not come from its body"), "{refused}");
}

#[test]
fn loops_within_loops_are_refused() {
    let refused = refusal(|environment| {
        let outer = environment.sequence(1..=3).iterate();
        let left = outer.close_with(|numbers| {
            let inner = numbers.iterate();
            let left = inner.close_with(|numbers| {
                let less = numbers.filter(|number| *number > 7).share();
                (less.stream(), less.stream())
            });
            let left = left.share();
            (left.stream(), left.stream())
        });
        left.discard();
    });
    assert!(refused.contains("part of two loops"), "{refused}");
}

#[test]
fn a_keyed_loop_that_begins_with_two_inputs_is_refused() {
    let refused = refusal(|environment| {
        let others = environment.sequence(1..=3).key_by(|number| *number);
        let keyed = environment.sequence(1..=3).key_by(|number| *number);
        let left = keyed.iterate().close_with(|keyed| {
            let joined = keyed.temporal_join(others);
            let joined = joined.apply(|left: &u64, _: &u64| *left).share();
            (joined.stream(), joined.stream())
        });
        left.discard();
    });
    assert!(
        refused.contains("begin the loop before key_by"),
        "{refused}"
    );
}

/// A loop that lets everything go at once.
fn through(environment: &Environment) {
    let numbers = environment.sequence(1..=3).iterate();
    let left = numbers.close_with(|numbers| {
        let numbers = numbers.share();
        (
            numbers.stream().filter(|number| *number > 7),
            numbers.stream(),
        )
    });
    left.discard();
}

#[test]
fn jobs_with_loops_stream() {
    let environment = environment();
    environment.set_runtime_mode(RuntimeMode::Automatic);
    through(&environment);
    let plan = environment.plan("loop").unwrap();
    assert_eq!(plan.mode, "STREAMING");
    assert!(plan.to_text().contains("(back)"), "{}", plan.to_text());
    assert!(plan.to_dot().contains("dashed"), "{}", plan.to_dot());
    assert!(
        plan.to_json().contains("\"feedback\""),
        "{}",
        plan.to_json()
    );

    environment.set_runtime_mode(RuntimeMode::Batch);
    through(&environment);
    let refused = environment.plan("loop").unwrap_err().to_string();
    assert!(refused.contains("STREAMING or AUTOMATIC"), "{refused}");
}

#[test]
fn what_an_operator_keeps_until_its_input_ends_cannot_come_back() {
    let environment = environment();
    let numbers = environment.sequence(1..=3).iterate();
    let left = numbers.close_with(|numbers| {
        let sums = numbers.map_partition(|numbers: Vec<u64>| [numbers.iter().sum::<u64>()]);
        let sums = sums.share();
        (sums.stream(), sums.stream())
    });
    left.discard();
    let failed = environment.execute("loop").unwrap_err().to_string();
    assert!(failed.contains("after the loop had ended"), "{failed}");
}

/// Every record becomes two, for ever.
#[test]
fn a_loop_without_memory_fails_by_name() {
    let settings = [
        ("parallelism.default", "2"),
        ("taskmanager.memory.managed.size", "4mb"),
        ("taskmanager.memory.network.size", "4mb"),
    ];
    for environment in [
        stage::simulation(7, SimOptions::default(), &settings).0,
        stage::shards(&settings).0,
    ] {
        let numbers = environment.sequence(1..=3).iterate();
        let left = numbers.close_with(|numbers| {
            let twice = numbers.flat_map(|number: u64, out: &mut Collector<'_, u64>| {
                out.emit(number);
                out.emit(number + 1);
            });
            let twice = twice.rebalance().map(|number: u64| number).share();
            (twice.stream(), twice.stream().filter(|number| *number == 0))
        });
        left.discard();
        match environment.execute("loop") {
            Err(JobError::Failed { message, .. }) => {
                for key in [
                    "taskmanager.memory.network.size",
                    "taskmanager.memory.managed.size",
                ] {
                    assert!(message.contains(key), "{message}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_loop_that_has_waited_enough_is_given_up() {
    let mut harness = TwoInputHarness::<u64, u64, u64>::new(|numbers, others| {
        let numbers = numbers.iterate().max_wait(Duration::from_secs(5));
        numbers.close_with(|numbers| {
            let all = numbers.union(others).map(|number: u64| number + 1).share();
            (all.stream().filter(|number| number % 4 != 0), all.stream())
        })
    });
    harness.push_first(1);
    harness.push_second(6);
    assert_eq!(harness.output(), [2, 3, 4, 7, 8]);
    harness.finish_first();
    harness.push_second(9);
    assert_eq!(harness.output(), [10, 11, 12], "others may still come");
    harness.advance_processing_time(Duration::from_millis(4_999));
    harness.push_second(13);
    harness.advance_processing_time(Duration::from_millis(4_999));
    harness.push_second(18);
    assert_eq!(
        harness.output(),
        [14, 15, 16, 19, 20],
        "each record is waited for anew"
    );
    harness.advance_processing_time(Duration::from_secs(5));
    harness.push_second(21);
    assert_eq!(harness.output(), [22]);
    assert_eq!(harness.accumulator(FEEDBACK_DROPPED), 1);
    harness.finish();
    assert_eq!(harness.failure(), None);
}
