//! `thalweg checkpoint trigger`: has a running job take a checkpoint now, beside those it takes by itself.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use thalweg::Failure;
use thalweg::control::reach;

use crate::command::output::Output;
use crate::command::print;

/// Take a checkpoint of a running job of this host now, and print its number and its path
#[derive(Debug, Args)]
pub(crate) struct Trigger {
    /// The job's id, or the beginning of it
    #[arg(value_name = "JOB")]
    job: String,
    /// Write the whole state, not only what has changed since the checkpoint before
    #[arg(long)]
    full: bool,
    /// How to print which it is
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Trigger {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        let taken = reach(&self.job)?.checkpoint(self.full)?;
        let (id, path) = (taken.id.0, taken.path);
        print(&match self.output {
            Output::Text => format!("{id} {path}\n"),
            Output::Json => format!("{}\n", json!({ "checkpoint": id, "path": path })),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
