//! `thalweg cancel`: stops a running job at once.

use std::process::ExitCode;

use clap::Args;
use thalweg::Failure;
use thalweg::control::reach;

/// Stop a running job of this host at once, without a savepoint
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The job's id, or the beginning of it
    #[arg(value_name = "JOB")]
    job: String,
}

impl Cancel {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        reach(&self.job)?.cancel()?;
        Ok(ExitCode::SUCCESS)
    }
}
