//! `thalweg savepoint`: copies the state of a running job, which goes on.

use std::process::ExitCode;

use clap::Args;
use thalweg::Failure;
use thalweg::control::{Ask, reach};

use super::{absolute, print};

/// Take a savepoint of a running job of this host, and print its path
#[derive(Debug, Args)]
pub(crate) struct Savepoint {
    /// The job's id, or the beginning of it
    #[arg(value_name = "JOB")]
    job: String,
    /// In which directory it is made; by default the one of execution.checkpointing.savepoint-dir
    #[arg(value_name = "DIRECTORY")]
    directory: Option<String>,
}

impl Savepoint {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        let directory = absolute(self.directory)?;
        let path = reach(&self.job)?.savepoint(&Ask::Savepoint { directory })?;
        print(&format!("{path}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
