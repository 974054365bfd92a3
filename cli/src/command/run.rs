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
    #[arg(short = 's', long, alias = "fromSavepoint", value_name = "PATH")]
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
    #[arg(long, value_name = "DIRECTORY")]
    checkpoint_dir: Option<String>,
    /// How often a checkpoint is taken, such as 10s
    #[arg(long, value_name = "TIME")]
    checkpoint_interval: Option<String>,
    #[command(flatten)]
    program: Program,
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
            self.program.set("thalweg.io.require-io-uring", "true");
        }
        if let Some(address) = &self.metrics_address {
            self.program.set("thalweg.metrics.address", address);
        }
        let settings = [
            ("execution.state-recovery.path", &self.from_savepoint),
            ("execution.checkpointing.dir", &self.checkpoint_dir),
            (
                "execution.checkpointing.interval",
                &self.checkpoint_interval,
            ),
        ];
        for (key, value) in settings {
            if let Some(value) = value {
                self.program.set(key, value);
            }
        }
        if self.allow_non_restored_state {
            self.program
                .set("execution.state-recovery.ignore-unclaimed-state", "true");
        }
        match self.program.launch(None)? {}
    }
}
