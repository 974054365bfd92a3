//! What cannot run is refused with what, where and how to mend it: the number needed and the key.

use thalweg_connectors::{Generator, Sinks, Sources};
use thalweg_core::config::RuntimeMode;
use thalweg_core::error::ErrorKind;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::function::Aggregation;
use thalweg_dataflow::operator::{
    BroadcastContext, BroadcastOpenContext, BroadcastProcessFunction, CoProcessFunction,
    JoinContext, ProcessFunction,
};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_memory::record::Key;

use crate::stage::{self, Settings};

fn outcome(settings: Settings<'_>, program: impl FnOnce(&Environment)) -> JobError {
    let (environment, token) = stage::shards(settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    program(&environment);
    environment.execute("refused").unwrap_err()
}

/// Expects a refusal before the start that says all of these.
fn refused(
    kind: ErrorKind,
    words: &[&str],
    settings: Settings<'_>,
    program: impl Fn(&Environment),
) {
    let error = outcome(settings, program);
    let JobError::Rejected {
        message,
        kind: told,
    } = &error
    else {
        panic!("not refused: {error:?}");
    };
    assert_eq!(*told, kind, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

#[test]
fn network_memory_too_small_names_number_and_key() {
    let settings = [
        ("parallelism.default", "8"),
        ("taskmanager.memory.network.size", "1mb"),
        ("thalweg.shard.count", "2"),
    ];
    let words = ["taskmanager.memory.network.size", "segments"];
    refused(ErrorKind::Resource, &words, &settings, |environment| {
        environment.sequence(0..=9).rebalance().discard();
    });
    // The number it names is enough.
    let error = outcome(&settings, |environment| {
        environment.sequence(0..=9).rebalance().discard();
    });
    let message = error.to_string();
    let needed = message.split("network.size to ").nth(1).unwrap();
    let needed = needed.split(' ').next().unwrap();
    let mended = [
        settings[0],
        ("taskmanager.memory.network.size", needed),
        settings[2],
    ];
    let (environment, token) = stage::shards(&mended);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    environment.sequence(0..=9).rebalance().discard();
    environment.execute("mended").unwrap();
}

#[test]
fn state_over_its_budget_names_the_key() {
    let settings = [
        ("parallelism.default", "2"),
        ("taskmanager.memory.managed.size", "1mb"),
    ];
    let aggregate = |environment: &Environment| {
        environment
            .sequence(0..=1_000_000)
            .key_by(|n| *n)
            .count()
            .discard();
    };
    let values = |environment: &Environment| {
        let open = |open: &mut OpenContext<u64>| {
            let mut text = open.value_state::<String>("text");
            move |n: u64, _: &ProcessContext<u64>, _: &mut Collector<'_, u64>| {
                text.set("x".repeat(1000 + n as usize % 7))?;
                Ok(())
            }
        };
        environment
            .sequence(0..=1_000_000)
            .key_by(|n| *n)
            .process(open)
            .discard();
    };
    let failures = [
        ("count", outcome(&settings, aggregate)),
        ("process", outcome(&settings, values)),
    ];
    for (operator, error) in failures {
        let JobError::Failed {
            message,
            panicked,
            operator: named,
            task,
            ..
        } = &error
        else {
            panic!("not failed: {error:?}");
        };
        assert!(!panicked, "{error}");
        assert!(
            message.contains("taskmanager.memory.managed.size"),
            "{message}"
        );
        let told = named.as_deref().unwrap_or(message);
        assert!(
            told.contains(operator) && task.contains(operator),
            "{error:?}"
        );
    }
}

#[test]
fn more_parallelism_than_key_groups_names_both() {
    let settings = [("pipeline.max-parallelism", "4")];
    let words = ["5", "4", "pipeline.max-parallelism", "count"];
    refused(ErrorKind::Invalid, &words, &settings, |environment| {
        let groups = environment.sequence(0..=9).key_by(|n| *n);
        groups.parallelism(5).count().discard();
    });
}

#[test]
fn more_parallelism_than_slots_names_both() {
    let settings = [("taskmanager.numberOfTaskSlots", "2")];
    let words = ["3", "2", "taskmanager.numberOfTaskSlots"];
    refused(ErrorKind::Resource, &words, &settings, |environment| {
        environment.sequence(0..=9).parallelism(3).discard();
    });
}

#[test]
fn a_batch_without_end_is_refused_with_its_source() {
    let words = ["BATCH", "ticks", "STREAMING"];
    refused(ErrorKind::Invalid, &words, &[], |environment| {
        environment.set_runtime_mode(RuntimeMode::Batch);
        environment
            .source(Generator::new(None, |n| n))
            .name("ticks")
            .discard();
    });
}

#[test]
fn a_stream_that_is_never_read_is_named() {
    refused(
        ErrorKind::Invalid,
        &["lost map", "sink"],
        &[],
        |environment| {
            let _ = environment.sequence(0..=9).map(|n: u64| n).name("lost map");
        },
    );
    refused(ErrorKind::Invalid, &["sink", "read"], &[], |environment| {
        let _ = environment.sequence(0..=9).rebalance();
    });
    refused(ErrorKind::Invalid, &["no source"], &[], |_| {});
}

#[test]
fn a_forward_between_unequal_chains_names_both() {
    let words = ["wide", "narrow", "3", "2", ".rebalance()"];
    refused(ErrorKind::Invalid, &words, &[], |environment| {
        let wide = environment.sequence(0..=9).parallelism(3).name("wide");
        wide.forward()
            .map(|n: u64| n)
            .name("narrow")
            .parallelism(2)
            .discard();
    });
}

#[test]
fn a_parallelism_in_the_middle_of_a_chain_is_refused() {
    refused(
        ErrorKind::Invalid,
        &["second", ".rebalance()"],
        &[],
        |environment| {
            let first = environment.sequence(0..=9).map(|n: u64| n);
            first
                .map(|n: u64| n)
                .name("second")
                .parallelism(5)
                .discard();
        },
    );
}

#[test]
fn two_parallelisms_of_one_union_are_refused() {
    let words = ["the same operator", "3", "4"];
    refused(ErrorKind::Invalid, &words, &[], |environment| {
        let left = environment.sequence(0..=9).rebalance().parallelism(3);
        let right = environment.sequence(0..=9).rebalance().parallelism(4);
        left.union(right).discard();
    });
}

#[test]
fn a_union_keeps_the_parallelism_of_an_exchange_before_it() {
    let (environment, _token) = stage::shards(&[("parallelism.default", "2")]);
    let left = environment.sequence(0..=9).broadcast().parallelism(3);
    let right = environment.sequence(0..=9);
    left.union(right).map(|n: u64| n).name("joined").discard();
    let plan = environment.plan("union").unwrap();
    let joined = plan
        .vertices
        .iter()
        .find(|vertex| vertex.name.contains("joined"));
    assert_eq!(joined.map(|vertex| vertex.parallelism), Some(3));
}

/// Declares one of the kinds of keyed state, whose name is the kind.
fn declare<K: Key>(open: &mut OpenContext<K>, kind: &str) {
    match kind {
        "value" => drop(open.value_state::<u64>(kind)),
        "reducing" => drop(open.reducing_state(kind, |sum: &mut u64, value| *sum += value)),
        "list" => drop(open.list_state::<u64>(kind)),
        "map" => drop(open.map_state::<u64, u64>(kind)),
        "aggregating" => {
            let sum = Aggregation::<u64, u64, u64>::new(|| 0, |sum, n| *sum += n, |sum| *sum);
            drop(open.aggregating_state(kind, sum));
        }
        other => panic!("{other} is no kind"),
    }
}

/// A function of every form that does nothing.
struct Nothing;

impl ProcessFunction<u64, u64> for Nothing {
    fn process(
        &mut self,
        _: u64,
        _: &ProcessContext,
        _: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        Ok(())
    }
}

impl CoProcessFunction<(), u64, u64, u64> for Nothing {
    fn process_first(
        &mut self,
        _: u64,
        _: &ProcessContext,
        _: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        Ok(())
    }

    fn process_second(
        &mut self,
        _: u64,
        _: &ProcessContext,
        _: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        Ok(())
    }
}

impl BroadcastProcessFunction<u64, u64, u64> for Nothing {
    fn process(
        &mut self,
        _: u64,
        _: &ProcessContext,
        _: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        _: u64,
        _: &BroadcastContext<'_>,
        _: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        Ok(())
    }
}

/// A join's function that declares a state and does nothing.
fn joining(
    kind: &'static str,
) -> impl Fn(&mut OpenContext) -> fn(&u64, &u64, &JoinContext, &mut Collector<'_, u64>) -> Done + Clone
{
    move |open| {
        declare(open, kind);
        |_, _, _, _| Ok(())
    }
}

type Done = Result<(), FunctionError>;

#[test]
fn a_state_where_there_is_no_key_is_refused_with_what_to_do_instead() {
    for kind in ["value", "reducing", "list", "map", "aggregating"] {
        let named = format!("state '{kind}' is declared where there is no key");
        let refuses = |operator: &str, instead: &str, program: &dyn Fn(&Environment)| {
            let error = outcome(&[], |environment| program(environment));
            let JobError::Failed {
                message, panicked, ..
            } = &error
            else {
                panic!("not failed: {error:?}");
            };
            assert!(!panicked, "{error}");
            for word in [&named, operator, instead] {
                assert!(message.contains(word), "{word:?} is not in: {message}");
            }
        };
        refuses("process", "key_by before process", &|environment| {
            let open = move |open: &mut OpenContext| {
                declare(open, kind);
                |_: u64, _: &ProcessContext, _: &mut Collector<'_, u64>| Ok(())
            };
            environment.sequence(0..=9).process(open).discard();
        });
        refuses("process", "key_by before process", &|environment| {
            let open = move |open: &mut OpenContext| {
                declare(open, kind);
                Nothing
            };
            environment.sequence(0..=9).process_function(open).discard();
        });
        refuses("co_process", "key_by on both streams", &|environment| {
            let other = environment.sequence(0..=9);
            let both = environment.sequence(0..=9).connect(other);
            let open = move |open: &mut OpenContext| {
                declare(open, kind);
                Nothing
            };
            both.process(open).discard();
        });
        refuses("broadcast_process", "a broadcast state", &|environment| {
            let rules = environment.sequence(0..=9).broadcast_stream();
            let both = environment.sequence(0..=9).connect(rules);
            let open = move |open: &mut BroadcastOpenContext<'_>| {
                declare(open, kind);
                Nothing
            };
            both.process(open).discard();
        });
        refuses("interval_join", "behind the join", &|environment| {
            let other = environment.sequence(0..=9).key_by(|n| *n);
            let joined = environment
                .sequence(0..=9)
                .key_by(|n| *n)
                .interval_join(other);
            joined.between(0, 1).process(joining(kind)).discard();
        });
        refuses("temporal_join", "behind the join", &|environment| {
            let other = environment.sequence(0..=9).key_by(|n| *n);
            let joined = environment
                .sequence(0..=9)
                .key_by(|n| *n)
                .temporal_join(other);
            joined.process(joining(kind)).discard();
        });
    }
}
