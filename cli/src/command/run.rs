//! `thalweg run`: starts a program with settings.

use std::process::ExitCode;

use clap::Args;
use thalweg::Failure;

use super::program::Program;

/// Run a program
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// In this process, on the cores of this host (the only place there is)
    #[arg(long)]
    local: bool,
    /// Refuse to start where io_uring is not allowed, instead of falling back to epoll
    #[arg(long)]
    require_io_uring: bool,
    /// Serve the metrics of the running job at http://ADDRESS/metrics, such as 127.0.0.1:9249
    #[arg(long, value_name = "ADDRESS")]
    metrics_address: Option<String>,
    /// Go on from this savepoint or checkpoint: its directory, its `_metadata` file, or the directory of a job's
    /// checkpoints, of which the newest is taken
    #[arg(
        short = 's',
        long,
        alias = "fromSavepoint",
        value_name = "PATH",
        value_parser = named
    )]
    from_savepoint: Option<String>,
    /// Leave state of the savepoint behind that the program does not have any more
    #[arg(
        short = 'n',
        long,
        alias = "allowNonRestoredState",
        requires = "from_savepoint"
    )]
    allow_non_restored_state: bool,
    /// Keep checkpoints below this directory; one is taken when it is asked for, or at every interval
    #[arg(long, value_name = "DIRECTORY", value_parser = named)]
    checkpoint_dir: Option<String>,
    /// How often a checkpoint is taken, such as 10s
    #[arg(long, value_name = "TIME")]
    checkpoint_interval: Option<String>,
    #[command(flatten)]
    program: Program,
}

/// A place that is named: a variable of the shell that is not set names none, and the job would begin without its
/// state.
fn named(place: &str) -> Result<String, &'static str> {
    match place.trim() {
        "" | "none" => Err("it names no place: name one, or leave the option away"),
        _ => Ok(place.to_owned()),
    }
}

/// A place to run in was not named.
#[derive(Debug, thiserror::Error)]
#[error(
    "say where to run: `thalweg run --local PROGRAM` runs the whole job in one process on this host"
)]
struct NoPlace;

impl Run {
    pub(crate) fn execute(mut self) -> Result<ExitCode, Failure> {
        if !self.local {
            return Err(NoPlace.into());
        }
        if self.require_io_uring {
            let flag = "--require-io-uring";
            (self.program).set(flag, "thalweg.io.require-io-uring", "true");
        }
        if let Some(address) = &self.metrics_address {
            let flag = "--metrics-address";
            self.program.set(flag, "thalweg.metrics.address", address);
        }
        let settings = [
            (
                "--from-savepoint",
                "execution.state-recovery.path",
                &self.from_savepoint,
            ),
            (
                "--checkpoint-dir",
                "execution.checkpointing.dir",
                &self.checkpoint_dir,
            ),
            (
                "--checkpoint-interval",
                "execution.checkpointing.interval",
                &self.checkpoint_interval,
            ),
        ];
        for (flag, key, value) in settings {
            if let Some(value) = value {
                self.program.set(flag, key, value);
            }
        }
        if self.allow_non_restored_state {
            let key = "execution.state-recovery.ignore-unclaimed-state";
            self.program.set("--allow-non-restored-state", key, "true");
        }
        match self.program.launch(None)? {}
    }
}
