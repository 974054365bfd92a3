//! `thalweg stop`: ends a running job by a savepoint, from which it can go on.

use std::process::ExitCode;

use clap::Args;
use thalweg::Failure;
use thalweg::control::{Ask, reach};

use super::{absolute, print};

/// Stop a running job of this host with a savepoint, and print its path
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The job's id, or the beginning of it
    #[arg(value_name = "JOB")]
    job: String,
    /// Let all windows and event-time timers fire first, as at the end of all input: for a job that is not to go on
    #[arg(short, long)]
    drain: bool,
    /// In which directory the savepoint is made; by default the one of execution.checkpointing.savepoint-dir
    #[arg(short = 'p', long, alias = "savepointPath", value_name = "DIRECTORY")]
    savepoint_path: Option<String>,
}

impl Stop {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        let (directory, drain) = (absolute(self.savepoint_path)?, self.drain);
        let path = reach(&self.job)?.savepoint(&Ask::Stop { directory, drain })?;
        print(&format!("{path}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
