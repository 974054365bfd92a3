//! A panic or an error in a user function fails its job with operator, subtask and message; the process
//! lives on and runs the next job.

use thalweg_connectors::{Collects, Discard, Generator, Sinks, Sources};
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::sink::{Sink, SinkError};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, OutputTag, ProcessContext};

use crate::stage::{self, Settings};

const SETTINGS: Settings<'static> = &[("parallelism.default", "2")];

/// The record that is one too many for the functions here.
const POISON: u64 = 777;

fn refuse(number: u64) -> u64 {
    assert!(number != POISON, "number {number} is poison");
    number
}

/// What is known of a failed job.
struct Failure {
    task: String,
    operator: Option<String>,
    message: String,
    panicked: bool,
}

fn failure(outcome: Result<thalweg_dataflow::JobResult, JobError>) -> Failure {
    match outcome {
        Err(JobError::Failed {
            task,
            operator,
            message,
            panicked,
            ..
        }) => Failure {
            task,
            operator,
            message,
            panicked,
        },
        other => panic!("the job did not fail: {other:?}"),
    }
}

/// Runs a program with a function that panics, on shards and in simulation, then one that is well.
fn panics_in(operator: &str, program: impl Fn(&Environment)) {
    let (on_shards, token) = stage::shards(SETTINGS);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let (simulated, _) = stage::simulation(1, SimOptions::default(), SETTINGS);
    for environment in [on_shards, simulated] {
        program(&environment);
        let failed = failure(environment.execute("poisoned"));
        assert_eq!(
            failed.operator.as_deref(),
            Some(operator),
            "{}",
            failed.message
        );
        assert!(
            failed.message.contains("number 777 is poison"),
            "{}",
            failed.message
        );
        assert!(failed.panicked);
        let place = operator.trim_start_matches("exchange behind ");
        assert!(failed.task.contains(place), "{operator} in {}", failed.task);
        assert!(
            failed.task.ends_with(" (1/2)") || failed.task.ends_with(" (2/2)"),
            "{}",
            failed.task
        );
        let rows = environment.sequence(0..=9).rebalance().collect();
        environment.execute("well").unwrap();
        assert_eq!(rows.len(), 10);
    }
}

#[test]
fn while_functions_open() {
    panics_in("bad process", |environment| {
        let open = |_: &mut OpenContext| {
            refuse(POISON);
            |n: u64, _: &ProcessContext, out: &mut Collector<'_, u64>| {
                out.emit(n);
                Ok(())
            }
        };
        let stream = environment.sequence(0..=2000).rebalance();
        let bad = stream.process(open).name("bad process");
        bad.map(|n: u64| n).name("good map").discard();
    });
    panics_in("bad keyed", |environment| {
        let open = |open: &mut OpenContext<u64>| {
            let mut count = open.value_state::<u64>("count");
            refuse(POISON);
            move |n: u64, _: &ProcessContext<u64>, out: &mut Collector<'_, u64>| {
                count.update(|count| *count += 1)?;
                out.emit(n);
                Ok(())
            }
        };
        let stream = environment.sequence(0..=2000).key_by(|n| n % 5);
        let bad = stream.process(open).name("bad keyed");
        bad.map(|n: u64| n).name("good map").discard();
    });
    panics_in("bad sink", |environment| {
        let stream = environment.sequence(0..=2000).map(|n: u64| n);
        stream.name("good map").sink(Unopened).name("bad sink");
    });
}

/// A sink that panics when a subtask opens it.
#[derive(Clone)]
struct Unopened;

impl Sink<u64> for Unopened {
    type Writer = Discard;

    fn name(&self) -> String {
        "unopened".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<Discard, SinkError> {
        refuse(POISON);
        Ok(Discard)
    }
}

#[test]
fn in_stateless_functions() {
    panics_in("bad map", |environment| {
        let stream = environment.sequence(0..=2000).rebalance();
        stream.map(refuse).name("bad map").discard();
    });
    panics_in("bad filter", |environment| {
        let stream = environment.sequence(0..=2000).rebalance();
        let bad = stream.filter(|n| refuse(*n) < 5000).name("bad filter");
        bad.map(|n: u64| n).name("good map").discard();
    });
    panics_in("bad inspect", |environment| {
        let stream = environment
            .sequence(0..=2000)
            .map(|n: u64| n)
            .name("good map");
        let look = |n: &u64| assert!(refuse(*n) < 5000);
        stream
            .inspect(look)
            .name("bad inspect")
            .rebalance()
            .discard();
    });
    panics_in("bad flat_map", |environment| {
        let stream = environment
            .sequence(0..=2000)
            .map(|n: u64| n)
            .name("good map");
        let split = |n: u64, out: &mut Collector<u64>| out.emit(refuse(n));
        stream
            .flat_map(split)
            .name("bad flat_map")
            .map(|n: u64| n)
            .discard();
    });
    panics_in("bad process", |environment| {
        let open = |_: &mut OpenContext| {
            |n: u64, _: &ProcessContext, out: &mut Collector<'_, u64>| {
                out.emit(refuse(n));
                Ok(())
            }
        };
        let stream = environment.sequence(0..=2000).process(open);
        stream
            .name("bad process")
            .map(|n: u64| n)
            .name("good map")
            .discard();
    });
}

#[test]
fn behind_a_function_that_emits() {
    // The innermost function is the one that panicked, not the one whose record it was given.
    panics_in("bad map", |environment| {
        let split = |n: u64, out: &mut Collector<u64>| out.emit(n);
        let stream = environment.sequence(0..=2000).flat_map(split).name("good");
        stream.map(refuse).name("bad map").discard();
    });
}

#[test]
fn in_keyed_functions() {
    panics_in("bad fold", |environment| {
        let groups = environment.sequence(0..=2000).key_by(|n| n % 3);
        let fold = |sum: &mut u64, n: u64| *sum += refuse(n);
        groups.fold(0_u64, fold).name("bad fold").discard();
    });
    panics_in("bad reduce", |environment| {
        let groups = environment.sequence(0..=2000).key_by(|n| n % 3);
        let reduce = |sum: &mut u64, n: u64| *sum += refuse(n);
        groups.reduce(reduce).name("bad reduce").discard();
    });
    panics_in("bad sum", |environment| {
        let groups = environment.sequence(0..=2000).key_by(|n| n % 3);
        groups.sum(|n| refuse(*n)).name("bad sum").discard();
    });
    panics_in("bad max", |environment| {
        let groups = environment.sequence(0..=2000).key_by(|n| n % 3);
        groups.max_by(|n| refuse(*n)).name("bad max").discard();
    });
    panics_in("bad process", |environment| {
        let open = |open: &mut OpenContext<u64>| {
            let mut seen = open.value_state::<u64>("seen");
            move |n: u64, _: &ProcessContext<u64>, out: &mut Collector<'_, u64>| {
                seen.update(|seen| *seen += 1)?;
                out.emit(refuse(n));
                Ok(())
            }
        };
        let groups = environment.sequence(0..=2000).key_by(|n| n % 3);
        groups
            .process(open)
            .name("bad process")
            .map(|n: u64| n)
            .discard();
    });
}

#[test]
fn in_selectors_and_partitioners() {
    panics_in("exchange behind bad key", |environment| {
        let stream = environment
            .sequence(0..=2000)
            .map(|n: u64| n)
            .name("bad key");
        stream.key_by(|n| refuse(*n)).count().discard();
    });
    panics_in("exchange behind bad choice", |environment| {
        let stream = environment
            .sequence(0..=2000)
            .map(|n: u64| n)
            .name("bad choice");
        stream
            .partition_custom(|n, _| refuse(*n) as usize)
            .discard();
    });
}

#[test]
fn in_sources_and_sinks() {
    panics_in("bad source", |environment| {
        let source = environment
            .source(Generator::new(2000, refuse))
            .name("bad source");
        source.map(|n: u64| n).discard();
    });
    panics_in("bad sink", |environment| {
        let stream = environment.sequence(0..=2000).rebalance().map(|n: u64| n);
        stream
            .for_each(|n| assert!(refuse(n) < 5000))
            .name("bad sink");
    });
}

#[test]
fn behind_shares_and_side_outputs() {
    const TAG: OutputTag<u64> = OutputTag::new("aside");
    panics_in("bad map", |environment| {
        let shared = environment.sequence(0..=2000).share();
        shared.stream().map(refuse).name("bad map").discard();
        shared.stream().key_by(|n| *n).count().discard();
    });
    panics_in("bad map", |environment| {
        let part = |n: u64, out: &mut Collector<u64>| out.side(&TAG, n);
        let main = environment.sequence(0..=2000).flat_map(part);
        main.side_output(&TAG).map(refuse).name("bad map").discard();
        main.discard();
    });
}

/// An error a function answers, instead of a panic.
fn errors_in(operator: &str, program: impl Fn(&Environment)) {
    let (on_shards, token) = stage::shards(SETTINGS);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let (simulated, _) = stage::simulation(1, SimOptions::default(), SETTINGS);
    for environment in [on_shards, simulated] {
        program(&environment);
        let failed = failure(environment.execute("refused"));
        assert!(!failed.panicked);
        assert!(
            failed.message.contains("777 is not wanted here"),
            "{}",
            failed.message
        );
        let told = failed.operator.as_deref().unwrap_or(&failed.message);
        assert!(told.contains(operator), "{told}");
        assert!(failed.task.contains(operator), "{}", failed.task);
    }
}

fn refused(number: u64) -> Result<u64, FunctionError> {
    match number {
        POISON => Err(FunctionError::new(format!("{number} is not wanted here"))),
        _ => Ok(number),
    }
}

#[test]
fn an_error_of_a_function_fails_the_job_with_its_operator() {
    errors_in("strict", |environment| {
        let open = |_: &mut OpenContext| {
            |n: u64, _: &ProcessContext, out: &mut Collector<'_, u64>| {
                out.emit(refused(n)?);
                Ok(())
            }
        };
        let stream = environment.sequence(0..=2000).process(open).name("strict");
        stream.map(|n: u64| n).discard();
    });
    errors_in("strict", |environment| {
        let open = |_: &mut OpenContext<u64>| {
            |n: u64, _: &ProcessContext<u64>, out: &mut Collector<'_, u64>| {
                out.emit(refused(n)?);
                Ok(())
            }
        };
        let groups = environment.sequence(0..=2000).key_by(|n| n % 5);
        groups.process(open).name("strict").discard();
    });
}

#[test]
fn what_was_read_before_a_panic_is_counted() {
    // A source is behind by what is left of a burst, a task with inputs ahead by less than a step.
    const BURST: u64 = 64;
    const STEP: u64 = 16;
    let settings: Settings<'static> = &[("parallelism.default", "1")];
    let (on_shards, _) = stage::shards(settings);
    let (simulated, _) = stage::simulation(1, SimOptions::default(), settings);
    for environment in [on_shards, simulated] {
        let summary = |environment: &Environment| match environment.execute("poisoned") {
            Err(JobError::Failed { summary, .. }) => summary,
            other => panic!("the job did not fail: {other:?}"),
        };
        environment.sequence(0..=2000).map(refuse).discard();
        let read = summary(&environment).records_in;
        assert!((POISON + 1..POISON + 1 + BURST).contains(&read), "{read}");
        let stream = environment.sequence(0..=2000).rebalance();
        stream.map(refuse).discard();
        let read = summary(&environment).vertices[1].records_in;
        assert!((POISON - STEP..=POISON).contains(&read), "{read}");
    }
}
