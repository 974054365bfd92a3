//! The job's side: a process that runs the program, and does what it is told on its input.
//!
//! `job RECORDS RATE DIRECTORY [crash=POINT:NTH] [rows=ADDRESS|exclusive-rows=ADDRESS] KEY=VALUE…`: reads so many
//! records at so many a second (0 as fast as they are taken), writes below the directory, some of it into tables of a
//! PostgreSQL database, and ends by itself, as if killed, when it comes to a point for the nth time. A line `stop` on its input stops it with a savepoint; when its input is closed,
//! whoever started it is gone, and so is it. It says `running`, and in the end `finished`, or `stopped` with the
//! savepoint; or `ended` if the job had ended before and nothing was run.

mod crash;
mod end;
mod functions;
mod leak;
mod program;

use std::io::{self, BufRead as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use thalweg_cluster::{CancelToken, LocalExecutor};
use thalweg_core::config::Configuration;
use thalweg_dataflow::executor::{JobClient, JobControl, JobError, JobStatus};
use thalweg_dataflow::stream::Environment;

use super::point::Point;
pub(super) use crash::CRASH;
use crash::Crash;
use program::{Ends, Tables, Work, program};
pub(super) use program::{LEAKED, OUTPUTS, ROWS};

/// The line that stops the job.
pub(super) const STOP: &str = "stop";
/// What the process says; some of it before a reason or a place.
pub(super) const RUNNING: &str = "running";
pub(super) const FINISHED: &str = "finished";
pub(super) const STOPPED: &str = "stopped ";
pub(super) const ENDED: &str = "ended";
pub(super) const REFUSED: &str = "refused ";

/// Says a word to whoever started this process, who waits for it on its output.
#[allow(clippy::print_stdout, reason = "this is how the two processes talk")]
fn say(word: &str) {
    println!("{word}");
}

/// Runs the job these arguments ask for.
#[must_use]
pub fn job(arguments: &[String]) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    match run(arguments) {
        Ok(said) => {
            say(&said);
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            tracing::error!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, String> {
    let [records, rate, directory, settings @ ..] = arguments else {
        return Err("job RECORDS RATE DIRECTORY KEY=VALUE…".to_owned());
    };
    let number = |text: &String| {
        let parsed = text.parse::<u64>();
        parsed.map_err(|error| format!("{text}: {error}"))
    };
    let rate = number(rate)?;
    let work = Work {
        records: number(records)?,
        rate: (rate > 0).then_some(rate as f64),
    };
    let mut ends = Ends {
        directory: PathBuf::from(directory),
        tables: None,
        crash: None,
    };
    let settings = ends.take_from(settings)?;
    let mut configuration = Configuration::new();
    for setting in settings {
        let (key, value) = setting
            .split_once('=')
            .ok_or(format!("{setting}: no value"))?;
        let set = configuration.set_str(key, value);
        set.map_err(|error| format!("{setting}: {error}"))?;
    }
    let executor = LocalExecutor::new(CancelToken::new());
    let executor = Arc::new(match ends.crash.clone() {
        Some(crash) => executor.with_crash_points(move |point| crash.passes(Point::Engine(point))),
        None => executor,
    });
    let environment = Environment::with_executor(executor, configuration);
    program(&environment, &work, &ends)?;
    let job = environment.execute_async("oracle");
    let job = job.map_err(|error| error.to_string())?;
    obey(job.control().clone()).map_err(|error| error.to_string())?;
    tell_when_it_runs(&job);
    let result = match job.wait() {
        Err(JobError::Ended { message, .. }) => {
            tracing::info!("{message}");
            return Ok(ENDED.to_owned());
        }
        result => result.map_err(|error| error.to_string())?,
    };
    tracing::info!(summary = %result.summary, "over");
    Ok(match result.savepoint {
        Some(savepoint) => format!("{STOPPED}{savepoint}"),
        None => FINISHED.to_owned(),
    })
}

/// What the arguments begin with that name a database; the second says that nobody else writes into it.
pub(super) const TABLES: &str = "rows=";
pub(super) const OWN_TABLES: &str = "exclusive-rows=";

impl Ends {
    /// Takes what concerns the ends from arguments; answers the others.
    fn take_from<'a>(&mut self, mut arguments: &'a [String]) -> Result<&'a [String], String> {
        while let Some((first, rest)) = arguments.split_first() {
            let tables = |address: &str, exclusive| Tables {
                address: address.to_owned(),
                exclusive,
            };
            if let Some(said) = first.strip_prefix(CRASH) {
                self.crash = Some(Arc::new(Crash::of(said)?));
            } else if let Some(address) = first.strip_prefix(TABLES) {
                self.tables = Some(tables(address, false));
            } else if let Some(address) = first.strip_prefix(OWN_TABLES) {
                self.tables = Some(tables(address, true));
            } else {
                break;
            }
            arguments = rest;
        }
        Ok(arguments)
    }
}

/// Waits until the tasks of the job have started, or it is over.
fn tell_when_it_runs(job: &JobClient) {
    while job.status() != JobStatus::Running {
        if job.status().is_terminal() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    say(RUNNING);
}

/// Does what comes on the input, on a thread that ends with the process.
#[allow(
    clippy::disallowed_methods,
    reason = "who listens to another process runs no task"
)]
fn obey(control: JobControl) -> io::Result<()> {
    let listen = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if line == STOP
                && let Err(refused) = control.stop(None, false)
            {
                say(&format!("{REFUSED}{refused}"));
            }
        }
        // Closed, or not to be read: nobody is there any more.
        std::process::exit(3)
    };
    std::thread::Builder::new().spawn(listen).map(|_| ())
}
