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
        match self.program.launch(None)? {}
    }
}
