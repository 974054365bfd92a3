//! What is asked of a running job, as it runs, while it fails, and while it waits to begin again.
//!
//! A job without end on two shards does what a test tells its function: fail, or not return. Two pipelines: with
//! `region` one of them runs on while the other waits to begin again.

mod checkpoints;
mod figures;
mod simulated;
mod while_it_fails;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use thalweg_cluster::{CancelToken, LocalExecutor, MetricsReader};
use thalweg_connectors::{FileSink, Generator, Sinks as _};
use thalweg_core::seam::clock::monotonic_ns;
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
    /// The newest odd number that has passed.
    newest: AtomicU64,
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
            self.newest.store(number, Ordering::Release);
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

/// With `region`, what the job needs so that one of its pipelines can begin again alone: it takes checkpoints by itself,
/// though none while a test lasts. Without, its sinks could take back nothing.
fn failover(strategy: &str) -> [(&str, &str); 2] {
    [
        ("jobmanager.execution.failover-strategy", strategy),
        ("execution.checkpointing.interval", "1h"),
    ]
}

/// A job and where it keeps what.
struct Asked {
    job: JobClient,
    orders: Arc<Orders>,
    root: tempfile::TempDir,
    reader: MetricsReader,
    token: CancelToken,
    _deadline: stage::Deadline,
}

impl Asked {
    /// A job that runs, and begins again after this time.
    fn start(delay: &str, more: stage::Settings<'_>) -> Asked {
        Asked::start_into(delay, more, false)
    }

    /// The same, which writes files if `files`: those can be taken back without checkpoints too.
    fn start_into(delay: &str, more: stage::Settings<'_>, files: bool) -> Asked {
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
        two_pipelines(&environment, &orders, files.then_some(root.path()));
        let job = environment.execute_async("asked").unwrap();
        let asked = Asked {
            job,
            orders,
            root,
            reader,
            _deadline: stage::cancel_after(&token, stage::PATIENCE),
            token,
        };
        asked.until(JobStatus::Running);
        asked
    }

    fn until(&self, status: JobStatus) {
        self.wait_while(|| self.job.status() != status);
    }

    /// Waits while `waits`; the test fails when the job ends meanwhile, or hangs.
    fn wait_while(&self, mut waits: impl FnMut() -> bool) {
        let from = monotonic_ns();
        while waits() {
            let status = self.job.status();
            let hangs = monotonic_ns() - from > stage::PATIENCE.as_nanos() as u64;
            assert!(!hangs && !status.is_terminal(), "{status}");
            // A shard that is held keeps every question for later.
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// What is shown of the job as a whole, by name.
    fn figures(&self) -> BTreeMap<String, f64> {
        // A shard that is held does not answer; what is of the job is there all the same.
        let shown = self.reader.snapshot(Duration::ZERO).metrics.into_iter();
        let of_job = shown.filter(|metric| metric.scope.labels().len() == 1);
        let of_job = of_job.map(|metric| (metric.name.to_string(), metric.number()));
        of_job.collect()
    }

    /// It has failed once, and begins again as the strategy says.
    fn begins_again_by(&self, strategy: &str) {
        let shown = self.figures();
        let restarts = (shown["numRestarts"], shown["fullRestarts"]);
        let full = if strategy == "region" { 0.0 } else { 1.0 };
        assert_eq!(restarts, (1.0, full), "{strategy}");
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

fn two_pipelines(environment: &Environment, orders: &Arc<Orders>, files: Option<&Path>) {
    for (name, orders) in [("told", Arc::clone(orders)), ("other", Arc::default())] {
        let counts = environment
            .source(Generator::new(None, |number| number).rate(2_000.0))
            .uid(&format!("{name} numbers"))
            .map(move |number: u64| orders.obey(number))
            .key_by(|number: &u64| *number % 7)
            .count()
            .uid(&format!("{name} counts"));
        match files {
            Some(below) => counts
                .map(|(key, count): (u64, u64)| format!("{key} {count}"))
                .sink(FileSink::new(below.join(name))),
            None => counts.discard(),
        };
    }
}

fn exists(path: &str) -> bool {
    Path::new(path).join("_metadata").exists()
}
