//! The mode AUTOMATIC: a batch where every source ends, a stream where one does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use thalweg_cluster::CancelToken;
use thalweg_connectors::{Generator, Sinks, Sources};
use thalweg_core::config::RuntimeMode;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment};

use crate::stage::{self, Settings};

const RECORDS: u64 = 1000;
const KEYS: u64 = 10;
const AUTOMATIC: Settings<'static> = &[
    ("execution.runtime-mode", "AUTOMATIC"),
    ("parallelism.default", "2"),
];

type Rows = Arc<Mutex<BTreeMap<u64, Vec<u64>>>>;

/// Counts the numbers by their last digit; the rows of each in their order. With so many rows it has `enough`
/// and the job is cancelled.
fn counted(stream: DataStream<u64, BoxedPipe<u64>>, enough: usize, token: CancelToken) -> Rows {
    let rows = Rows::default();
    let seen = Arc::clone(&rows);
    let keep = move |(digit, count): (u64, u64)| {
        let mut rows = seen.lock().unwrap();
        rows.entry(digit).or_default().push(count);
        if rows.values().map(Vec::len).sum::<usize>() >= enough {
            token.cancel();
        }
    };
    stream.key_by(|n| n % KEYS).count().for_each(keep);
    rows
}

/// Two sources that end, one after the other of another kind.
fn bounded(environment: &Environment) -> DataStream<u64, BoxedPipe<u64>> {
    let numbers = environment.sequence(0..=RECORDS - 1);
    numbers
        .union(environment.from_collection(0..RECORDS))
        .boxed()
}

#[test]
fn where_all_sources_end_it_is_a_batch_of_final_results() {
    let (on_shards, token) = stage::shards(AUTOMATIC);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let (simulated, _) = stage::simulation(1, SimOptions::default(), AUTOMATIC);
    for environment in [on_shards, simulated] {
        bounded(&environment).discard();
        assert_eq!(environment.plan("bounded").unwrap().mode, "BATCH");
        let rows = counted(bounded(&environment), usize::MAX, CancelToken::new());
        environment.execute("bounded").unwrap();
        let expected = (0..KEYS).map(|digit| (digit, vec![2 * RECORDS / KEYS]));
        assert_eq!(*rows.lock().unwrap(), expected.collect());
    }
}

#[test]
fn where_one_source_does_not_end_it_is_a_stream() {
    let (environment, token) = stage::shards(AUTOMATIC);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let numbers = || {
        let endless = environment.source(Generator::new(None, |n| n));
        let endless = endless.filter(|n| *n < RECORDS);
        bounded(&environment).union(endless).boxed()
    };
    numbers().discard();
    assert_eq!(environment.plan("endless").unwrap().mode, "STREAMING");
    let rows = counted(numbers(), 3 * RECORDS as usize, token);
    // Rows that came only at the end would never come.
    let ended = environment.execute("endless");
    assert!(
        matches!(ended, Err(JobError::Cancelled { .. })),
        "{ended:?}"
    );
    let running: Vec<u64> = (1..=3 * RECORDS / KEYS).collect();
    let expected = (0..KEYS).map(|digit| (digit, running.clone()));
    assert!(
        *rows.lock().unwrap() == expected.collect(),
        "not every count, or not in order"
    );
}

#[test]
fn the_mode_of_the_program_wins_over_the_setting() {
    let (environment, _token) = stage::shards(&[("execution.runtime-mode", "STREAMING")]);
    environment.sequence(0..=9).discard();
    assert_eq!(environment.plan("as set").unwrap().mode, "STREAMING");
    environment.set_runtime_mode(RuntimeMode::Automatic);
    environment.sequence(0..=9).discard();
    assert_eq!(environment.plan("as said").unwrap().mode, "BATCH");
}
