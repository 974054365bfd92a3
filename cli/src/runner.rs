//! What `execute` does in this process: run the job on its shards, or print its plan.
//!
//! Entered by the environment on the program's thread, which waits for the job's end. Invariant: plans
//! go to standard output and nothing else does; summaries go to standard error.

use std::io::{self, Write as _};

use thalweg_cluster::rest::MetricsServer;
use thalweg_cluster::{LocalExecutor, MetricsReader};
use thalweg_core::config::options;
use thalweg_core::error::ErrorKind;
use thalweg_dataflow::executor::{Executor, JobError, JobResult};
use thalweg_dataflow::graph::Job;

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

impl Executor for ProcessRunner {
    fn execute(&self, job: Job) -> Result<JobResult, JobError> {
        if let Some(format) = self.plan {
            return Err(print_plan(&job, format).err().unwrap_or(JobError::PlanOnly));
        }
        let reader = MetricsReader::new();
        let _server = serve_metrics(&job, &reader)?;
        let executor = LocalExecutor::new(interrupt::token()).with_metrics(reader);
        let result = executor.execute(job)?;
        // Nobody may be reading any more; the job has run all the same.
        let _ = writeln!(io::stderr().lock(), "{}", result.summary);
        Ok(result)
    }
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
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(plan.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| {
        let message = format!("the plan cannot be printed to standard output: {error}");
        JobError::rejected(ErrorKind::of_io(&error), message)
    })
}
