//! Where a test plays: an environment with settings, an executor, and a job that is ended when it hangs.
//!
//! Entered by every test of the suite, on its own thread. Invariant: no job of a test runs longer than
//! [`PATIENCE`]; one that would is cancelled and the test fails with its name.

mod denied;
pub(crate) mod taking;

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thalweg_cluster::{CancelToken, LocalExecutor, SimulatedExecutor};
use thalweg_core::config::Configuration;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::stream::Environment;

pub(crate) use self::denied::pass_where_io_uring_is_denied;

/// How long a job may take before it counts as hanging. The machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Settings as `(key, value)`.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// A configuration with these settings.
pub(crate) fn configuration(settings: Settings<'_>) -> Configuration {
    let mut configuration = Configuration::new();
    for (key, value) in settings {
        configuration
            .set_str(key, value)
            .unwrap_or_else(|error| panic!("{key}={value}: {error}"));
    }
    configuration
}

/// An environment on the shards of this process, and what ends its jobs.
pub(crate) fn shards(settings: Settings<'_>) -> (Environment, CancelToken) {
    let token = CancelToken::new();
    let executor = LocalExecutor::new(token.clone());
    let environment = Environment::with_executor(Arc::new(executor), configuration(settings));
    (environment, token)
}

/// An environment in simulation, and the executor that knows the trace.
pub(crate) fn simulation(
    seed: u64,
    options: SimOptions,
    settings: Settings<'_>,
) -> (Environment, SimulatedExecutor) {
    let executor = SimulatedExecutor::new(seed, options);
    let environment =
        Environment::with_executor(Arc::new(executor.clone()), configuration(settings));
    (environment, executor)
}

/// Cancels a job after a while, unless it is dropped before.
pub(crate) struct Deadline(#[allow(dead_code, reason = "held to be dropped")] SyncSender<()>);

/// Cancels the token after `patience`.
pub(crate) fn cancel_after(token: &CancelToken, patience: Duration) -> Deadline {
    let (alive, ended) = sync_channel(0);
    let token = token.clone();
    let wait = move || {
        if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            token.cancel();
        }
    };
    thread(wait);
    Deadline(alive)
}

/// Does this on a thread of its own.
#[allow(
    clippy::disallowed_methods,
    reason = "who tests a job is not one of its shards"
)]
pub(crate) fn thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::Builder::new().spawn(work).unwrap()
}
