//! What is asked of a running job, as it runs, while it fails, and while it waits to begin again.
//!
//! A job without end on two shards does what a test tells its function: fail, or not return. Two pipelines: with
//! `region` one of them runs on while the other waits to begin again.

mod checkpoints;
mod figures;
mod while_it_fails;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thalweg_cluster::{CancelToken, LocalExecutor, MetricsReader};
use thalweg_connectors::{Generator, Sinks as _};
use thalweg_dataflow::executor::{JobClient, JobError, JobStatus};
use thalweg_dataflow::stream::Environment;

use crate::stage;

/// What the function of the job is told.
#[derive(Default)]
struct Orders {
    /// The even numbers do not pass.
    hold: AtomicBool,
    /// The next odd number fails.
    fail: AtomicBool,
    /// Somebody does not pass.
    held: AtomicBool,
    /// The least odd number that has passed since one failed.
    least: AtomicU64,
}

impl Orders {
    fn obey(&self, number: u64) -> u64 {
        if number % 2 == 1 {
            if self.fail.load(Ordering::Acquire) {
                self.least.store(u64::MAX, Ordering::Release);
                let failed = self.fail.swap(false, Ordering::AcqRel);
                assert!(!failed, "it was told to fail");
            }
            self.least.fetch_min(number, Ordering::AcqRel);
            return number;
        }
        while self.hold.load(Ordering::Acquire) {
            self.held.store(true, Ordering::Release);
            std::thread::yield_now();
        }
        number
    }

    fn fail(&self) {
        self.fail.store(true, Ordering::Release);
    }

    /// Returns when the task with the even numbers holds its shard.
    fn hold(&self) {
        self.held.store(false, Ordering::Release);
        self.hold.store(true, Ordering::Release);
        while !self.held.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    fn let_go(&self) {
        self.hold.store(false, Ordering::Release);
    }
}

/// A job and where it keeps what.
struct Asked {
    job: JobClient,
    orders: Arc<Orders>,
    root: tempfile::TempDir,
    reader: MetricsReader,
    _deadline: stage::Deadline,
}

impl Asked {
    /// A job that runs, and begins again after this time.
    fn start(delay: &str, more: stage::Settings<'_>) -> Asked {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        let (state, savepoints) = (path("state"), path("savepoints"));
        let mut settings = vec![
            ("parallelism.default", "2"),
            ("thalweg.shard.count", "2"),
            ("thalweg.shard.pin", "false"),
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "20"),
            ("restart-strategy.fixed-delay.delay", delay),
            ("execution.checkpointing.dir", &state),
            ("execution.checkpointing.savepoint-dir", &savepoints),
        ];
        let said = |key: &str| more.iter().any(|(said, _)| *said == key);
        settings.retain(|(key, _)| !said(key));
        // An empty value leaves the setting away.
        settings.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        let (token, reader) = (CancelToken::new(), MetricsReader::new());
        let executor = LocalExecutor::new(token.clone()).with_metrics(reader.clone());
        let configuration = stage::configuration(&settings);
        let environment = Environment::with_executor(Arc::new(executor), configuration);
        let orders = Arc::<Orders>::default();
        two_pipelines(&environment, &orders);
        let job = environment.execute_async("asked").unwrap();
        let asked = Asked {
            job,
            orders,
            root,
            reader,
            _deadline: stage::cancel_after(&token, stage::PATIENCE),
        };
        asked.until(JobStatus::Running);
        asked
    }

    fn until(&self, status: JobStatus) {
        while self.job.status() != status {
            assert!(!self.job.status().is_terminal(), "{}", self.job.status());
            std::thread::yield_now();
        }
    }

    /// How many savepoints there are.
    fn savepoints(&self) -> usize {
        let savepoints = std::fs::read_dir(self.root.path().join("savepoints"));
        savepoints.map_or(0, |entries| entries.count())
    }

    fn cancel(self) {
        self.job.cancel();
        let ended = self.job.wait();
        assert!(
            matches!(ended, Err(JobError::Cancelled { .. })),
            "{ended:?}"
        );
    }
}

fn two_pipelines(environment: &Environment, orders: &Arc<Orders>) {
    for (name, orders) in [("told", Arc::clone(orders)), ("other", Arc::default())] {
        environment
            .source(Generator::new(None, |number| number).rate(2_000.0))
            .uid(&format!("{name} numbers"))
            .map(move |number: u64| orders.obey(number))
            .key_by(|number: &u64| *number % 7)
            .count()
            .uid(&format!("{name} counts"))
            .discard();
    }
}

fn exists(path: &str) -> bool {
    Path::new(path).join("_metadata").exists()
}
