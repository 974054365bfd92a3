//! `thalweg list`: the jobs that run in processes of this user on this host.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg::Failure;
use thalweg::control::caller::Description;
use thalweg::control::{CallError, reached};

use super::output::Output;
use super::print;
use super::text::date;

/// List the running jobs of this user on this host
#[derive(Debug, Args)]
pub(crate) struct List {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl List {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        let mut jobs = Vec::new();
        for reached in reached()? {
            match reached.describe() {
                Ok(job) => jobs.push(job),
                // It ended while it was asked, or is stuck: the others are of interest all the same.
                Err(CallError::Silent { job, source }) => {
                    tracing::warn!(%job, error = %source, "does not answer");
                }
                Err(error) => return Err(error.into()),
            }
        }
        match self.output {
            Output::Text => print(&text(&jobs))?,
            Output::Json => print(&page(&jobs))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(jobs: &[Description]) -> String {
    if jobs.is_empty() {
        return "no job runs\n".to_owned();
    }
    let lines = jobs.iter().map(|job| {
        let (id, status, process) = (job.job, &job.status, job.process);
        let started = date(job.started_ms);
        format!(
            "{id}  {status:<10}  {started}  process {process}  {}\n",
            job.name
        )
    });
    lines.collect()
}

fn page(jobs: &[Description]) -> String {
    let jobs = jobs.iter().map(|job| {
        json!({
            "job": job.job.to_string(),
            "name": job.name,
            "status": job.status,
            "process": job.process,
            "started": job.started_ms,
        })
    });
    format!("{:#}\n", Value::from_iter(jobs))
}
