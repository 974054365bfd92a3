//! What cannot run is refused with what, where and how to mend it: the number needed and the key.

use thalweg_connectors::{Generator, Sinks, Sources};
use thalweg_core::config::RuntimeMode;
use thalweg_core::error::ErrorKind;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::{Collector, OpenContext, ProcessContext};

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
