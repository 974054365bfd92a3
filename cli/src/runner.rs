//! What `execute` does in this process: run the job on its shards, or print its plan.
//!
//! Entered by the environment on the program's thread, which waits for the job's end or goes on beside it.
//! Invariant: plans
//! go to standard output and nothing else does; summaries go to standard error.

use std::io::{self, Write as _};

use thalweg_cluster::rest::MetricsServer;
use thalweg_cluster::{LocalExecutor, MetricsReader, beside, control_of};
use thalweg_core::config::options;
use thalweg_core::error::ErrorKind;
use thalweg_core::seam::standard_streams::{Stream, is_writable};
use thalweg_dataflow::executor::{Executor, JobClient, JobControl, JobError, JobResult};
use thalweg_dataflow::graph::Job;

use crate::control::Server;
use crate::interrupt;
use crate::launch::PlanFormat;

/// Runs the jobs of this process.
pub(crate) struct ProcessRunner {
    plan: Option<PlanFormat>,
}

impl ProcessRunner {
    /// Prints plans in this format; without one, runs jobs.
    pub(crate) fn new(plan: Option<PlanFormat>) -> Self {
        Self { plan }
    }
}

impl ProcessRunner {
    /// Answers with the plan, if that was asked for instead of a run.
    fn refuse_if_only_planned(&self, job: &Job) -> Result<(), JobError> {
        match self.plan {
            Some(format) => Err(print_plan(job, format).err().unwrap_or(JobError::PlanOnly)),
            None => Ok(()),
        }
    }
}

impl Executor for ProcessRunner {
    fn execute(&self, job: Job) -> Result<JobResult, JobError> {
        self.refuse_if_only_planned(&job)?;
        lead(&job, &control_of(&job))
    }

    fn submit(&self, job: Job) -> Result<JobClient, JobError> {
        self.refuse_if_only_planned(&job)?;
        beside(control_of(&job), move |control| lead(&job, control))
    }
}

/// Runs the job to its end, on this thread; other processes can reach it meanwhile.
fn lead(job: &Job, control: &JobControl) -> Result<JobResult, JobError> {
    let reader = MetricsReader::new();
    let metrics = serve_metrics(job, &reader)?;
    // The last that may be refused before the job is led: whoever asks here is answered by its end.
    let server = Server::start(control);
    if let Err(error) = &server {
        tracing::warn!(%error, "the job cannot be reached by `thalweg list`, `stop` and their like");
    }
    let executor = LocalExecutor::new(interrupt::token()).with_metrics(reader);
    let result = executor.run(job, control)?;
    drop((server, metrics));
    // Nobody may be reading any more; the job has run all the same.
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{}", result.summary);
    if let Some(savepoint) = &result.savepoint {
        let _ = writeln!(stderr, "  stopped with the savepoint {savepoint}");
    }
    Ok(result)
}

/// Serves the metrics of the job where its settings ask for it, until the answer is dropped.
fn serve_metrics(job: &Job, reader: &MetricsReader) -> Result<Option<MetricsServer>, JobError> {
    let asked = job.configuration.get(&options::METRICS_ADDRESS);
    // The option takes nothing that is not an address.
    let Some(address) = asked.and_then(|text| text.parse().ok()) else {
        return Ok(None);
    };
    let server = MetricsServer::start(address, reader.clone());
    let server = server
        .map_err(|error| JobError::rejected(ErrorKind::of_io(&error.source), error.to_string()))?;
    // Nobody may be reading; the port asked for may be 0, so the one taken is told.
    let _ = writeln!(
        io::stderr().lock(),
        "metrics at http://{}/metrics",
        server.address()
    );
    Ok(Some(server))
}

fn print_plan(job: &Job, format: PlanFormat) -> Result<(), JobError> {
    let mut plan = match format {
        PlanFormat::Text => job.graph.to_text(),
        PlanFormat::Json => job.graph.to_json(),
        PlanFormat::Dot => job.graph.to_dot(),
    };
    if !plan.ends_with('\n') {
        plan.push('\n');
    }
    if !is_writable(Stream::Output) {
        let message = "standard output is closed, so the plan would be lost: leave it open";
        return Err(JobError::rejected(ErrorKind::Invalid, message));
    }
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(plan.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| {
        let message = format!("the plan cannot be printed to standard output: {error}");
        JobError::rejected(ErrorKind::of_io(&error), message)
    })
}
