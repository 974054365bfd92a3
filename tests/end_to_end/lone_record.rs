//! A record does not wait for the next one: it leaves its segment when the turn ends and nothing is under
//! way, through every exchange, while its source says nothing more and never ends.

use thalweg_connectors::{Collected, Collects};
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::task::SubtaskInfo;

use crate::stage::{self, Settings};

const SETTINGS: Settings<'static> = &[("parallelism.default", "3")];

/// Emits one number and then waits for ever.
#[derive(Clone)]
struct Once;

struct OnceReader(Option<u64>);

impl Source for Once {
    type Item = u64;
    type Split = ();
    type Reader = OnceReader;

    fn name(&self) -> String {
        "once".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }
    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }
    fn splits(&self, _: u32) -> Result<Vec<()>, SourceError> {
        Ok(vec![()])
    }
    fn open(&self, _: Vec<()>, _: &SubtaskInfo) -> Result<OnceReader, SourceError> {
        Ok(OnceReader(Some(42)))
    }
}

impl SourceReader for OnceReader {
    type Item = u64;
    type Split = ();

    fn poll<O: SourceOutput<u64>>(
        &mut self,
        out: &mut O,
        _: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        if let Some(number) = self.0.take_if(|_| out.wanted()) {
            out.emit(number, Timestamp::NONE);
        }
        Ok(SourceStatus::Waiting)
    }
    fn snapshot(&self) -> Vec<()> {
        vec![()]
    }
}

/// Through round robin, a shared stream, a key and a broadcast.
fn program(
    environment: &Environment,
    mut passed: impl FnMut() + Clone + Send + 'static,
) -> Collected<(u64, u64)> {
    let shared = environment.source(Once).rebalance().share();
    let left = shared.stream().key_by(|n| *n).count();
    let right = shared.stream().key_by(|n| *n).sum(|n| *n);
    let row = |row: (u64, u64)| row;
    left.map(row)
        .union(right.map(row))
        .broadcast()
        .inspect(move |_| passed())
        .collect()
}

/// What every subtask behind the broadcast has seen.
fn expected() -> Vec<(u64, u64)> {
    let mut rows = [(42, 1), (42, 42)].repeat(3);
    rows.sort_unstable();
    rows
}

#[test]
fn a_lone_record_arrives_in_simulation() {
    for seed in 0..50 {
        let (environment, _) = stage::simulation(seed, SimOptions::default(), SETTINGS);
        let rows = program(&environment, || {});
        let error = environment.execute("lone").unwrap_err();
        // It never ends; that everything sleeps is how a simulation can tell.
        assert!(error.to_string().contains("every shard sleeps"), "{error}");
        let mut rows = rows.take();
        rows.sort_unstable();
        assert_eq!(rows, expected(), "seed {seed}");
    }
}

#[test]
fn a_lone_record_arrives_on_shards() {
    for driver in ["auto", "epoll"] {
        let settings = [SETTINGS[0], ("thalweg.io.driver", driver)];
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let seen = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let passed = move || {
            if seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 5 {
                token.cancel();
            }
        };
        let rows = program(&environment, passed);
        let error = environment.execute("lone").unwrap_err();
        assert!(matches!(error, JobError::Cancelled { .. }), "{error:?}");
        let mut rows = rows.take();
        rows.sort_unstable();
        assert_eq!(rows, expected(), "{driver}");
    }
}
