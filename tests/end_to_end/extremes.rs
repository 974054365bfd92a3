//! The largest, the smallest, the most: one record of 40 MiB, a million empty ones, ten thousand
//! channels, sixty operators, a diamond.

use std::collections::BTreeMap;

use thalweg_connectors::{Collects, Sinks, Sources};
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::Collector;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment};

use crate::stage::{self, Settings};

fn on_shards(settings: Settings<'_>, run: impl FnOnce(&Environment)) {
    let (environment, token) = stage::shards(settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    run(&environment);
}

fn everywhere(settings: Settings<'_>, run: impl Fn(&Environment)) {
    on_shards(settings, &run);
    let (environment, _) = stage::simulation(5, SimOptions::default(), settings);
    run(&environment);
}

/// Bytes that differ from place to place.
fn large(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[test]
fn one_record_of_40_mib_passes_rebalance_and_key_by() {
    const BYTES: usize = 40 << 20;
    everywhere(&[("parallelism.default", "2")], |environment| {
        let rows = environment
            .generate(3, |n| (n, large(if n == 1 { BYTES } else { 10 })))
            .rebalance()
            .map(|record: (u64, Vec<u8>)| record)
            .key_by(|record| record.0)
            .reduce(|kept, _| kept.0 = u64::MAX)
            .map(|(n, bytes)| (n, bytes.len() as u64, bytes == large(bytes.len())))
            .collect();
        environment.execute("large").unwrap();
        let mut rows = rows.take();
        rows.sort_unstable();
        assert_eq!(
            rows,
            [(0, 10, true), (1, BYTES as u64, true), (2, 10, true)]
        );
    });
}

#[test]
fn a_record_over_the_limit_names_the_setting() {
    let limit = [("taskmanager.memory.max-record-size", "1mb")];
    everywhere(&limit, |environment| {
        environment
            .generate(3, |n| (n, large(if n == 1 { 2 << 20 } else { 10 })))
            .rebalance()
            .discard();
        let error = environment.execute("too large").unwrap_err();
        let JobError::Failed {
            message, panicked, ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert!(!panicked, "{error}");
        assert!(
            message.contains("taskmanager.memory.max-record-size"),
            "{message}"
        );
    });
}

#[test]
fn one_record_becomes_a_hundred_thousand_beyond_its_credit() {
    const RECORDS: u64 = 100_000;
    let tight = [
        ("parallelism.default", "2"),
        ("taskmanager.memory.network.size", "64kb"),
        ("taskmanager.memory.segment-size", "512b"),
        ("taskmanager.network.memory.buffers-per-channel", "1"),
        ("taskmanager.network.memory.floating-buffers-per-gate", "0"),
    ];
    let burst = |n: u64, out: &mut Collector<u64>| (0..RECORDS).for_each(|i| out.emit(n + i));
    everywhere(&tight, |environment| {
        let stream = environment.sequence(0..=1).flat_map(burst).rebalance();
        let rows = stream.collect();
        environment.execute("burst").unwrap();
        assert_eq!(rows.len() as u64, 2 * RECORDS);
        assert_eq!(
            rows.take().into_iter().sum::<u64>(),
            RECORDS * (RECORDS - 1) + RECORDS
        );
    });
    // What does not fit the reserve fails by name; nothing is dropped in silence.
    let small = [&tight[..], &[("taskmanager.memory.managed.size", "1mb")]].concat();
    everywhere(&small, |environment| {
        let stream = environment.sequence(0..=1).flat_map(burst).name("burst");
        stream.rebalance().discard();
        let error = environment.execute("burst").unwrap_err();
        let JobError::Failed { message, task, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(
            message.contains("taskmanager.memory.managed.size"),
            "{message}"
        );
        assert!(task.contains("burst"), "{task}");
    });
}

#[test]
fn a_million_empty_records_arrive() {
    const RECORDS: u64 = 1_000_000;
    on_shards(&[("parallelism.default", "2")], |environment| {
        let rows = environment
            .generate(RECORDS, |_| String::new())
            .rebalance()
            .key_by_str(|text: &String| text.as_str())
            .count()
            .map(|(text, count): (&str, u64)| (text.to_owned(), count))
            .collect();
        environment.execute("empty texts").unwrap();
        let rows = rows.take();
        assert_eq!(rows.len() as u64, RECORDS);
        assert!(rows.contains(&(String::new(), RECORDS)));
    });
}

#[test]
fn a_million_units_arrive() {
    const RECORDS: u64 = 1_000_000;
    on_shards(&[("parallelism.default", "2")], |environment| {
        let rows = environment
            .generate(RECORDS, |_| ())
            .rebalance()
            .map(|()| ())
            .key_by(|()| ())
            .count()
            .map(|((), count): ((), u64)| count)
            .key_by(|_| 0_u8)
            .max(|count| *count)
            .map(|(_, most)| most)
            .collect();
        environment.execute("units").unwrap();
        assert_eq!(rows.take().into_iter().max(), Some(RECORDS));
    });
}

#[test]
fn ten_thousand_channels_work() {
    const RECORDS: u64 = 30_000;
    let settings = [
        ("parallelism.default", "100"),
        ("taskmanager.memory.segment-size", "512b"),
        ("taskmanager.network.memory.buffers-per-channel", "1"),
    ];
    everywhere(&settings, |environment| {
        let rows = environment.sequence(1..=RECORDS).rebalance().collect();
        let result = environment.execute("channels").unwrap();
        assert_eq!(result.summary.vertices.len(), 2);
        let mut rows = rows.take();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(1..=RECORDS));
    });
}

/// Sixty operators behind a sequence; every `cut`th begins a chain of its own.
fn sixty(environment: &Environment, cut: usize) -> DataStream<u64, BoxedPipe<u64>> {
    let source = environment.sequence(0..=999).boxed();
    (1..=60).fold(source, |stream, place| {
        let stream = stream.map(move |n: u64| n + place as u64).boxed();
        match place % cut {
            0 => stream.start_new_chain().boxed(),
            _ => stream,
        }
    })
}

#[test]
fn sixty_operators_work_chained_and_unchained() {
    for (cut, vertices) in [(61, 1), (7, 9), (1, 61)] {
        let settings = [
            ("parallelism.default", "2"),
            ("taskmanager.memory.segment-size", "512b"),
        ];
        everywhere(&settings, |environment| {
            let rows = sixty(environment, cut).collect();
            let result = environment.execute("sixty").unwrap();
            assert_eq!(result.summary.vertices.len(), vertices);
            let mut rows = rows.take();
            rows.sort_unstable();
            let added = 60 * 61 / 2;
            assert!(rows.into_iter().eq(added..added + 1000), "cut {cut}");
        });
    }
}

#[test]
fn a_diamond_gives_every_record_once_on_each_side() {
    const RECORDS: u64 = 20_000;
    for parallelism in 1..=8_u32 {
        let parallelism = parallelism.to_string();
        let settings = [
            ("parallelism.default", parallelism.as_str()),
            ("taskmanager.memory.segment-size", "512b"),
            ("taskmanager.network.memory.buffers-per-channel", "1"),
            ("taskmanager.network.memory.floating-buffers-per-gate", "0"),
        ];
        on_shards(&settings, |environment| {
            let shared = environment.sequence(0..=RECORDS - 1).share();
            let left = shared.stream().map(|n: u64| (n % 10, 1_u64));
            let right = shared.stream().key_by(|n| n % 10).sum(|_| 1_u64);
            let right = right.map(|(key, _): (u64, u64)| (key, 1000));
            let rows = left
                .union(right)
                .key_by(|row| row.0)
                .sum(|row| row.1)
                .map(|(key, sum): (u64, u64)| (key, sum))
                .collect();
            environment.execute("diamond").unwrap();
            let rows = rows.take();
            assert_eq!(rows.len() as u64, 2 * RECORDS);
            let mut last = BTreeMap::new();
            last.extend(rows);
            let expected = (0..10).map(|key| (key, RECORDS / 10 * 1001));
            assert!(last.into_iter().eq(expected), "parallelism {parallelism}");
        });
    }
}
