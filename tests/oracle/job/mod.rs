//! The job's side: a process that runs the program, and does what it is told on its input.
//!
//! `job RECORDS RATE DIRECTORY [crash=POINT:NTH] KEY=VALUE…`: reads so many records at so many a second (0 as fast as
//! they are taken), writes below the directory, and ends by itself, as if killed, when it comes to a point for the nth
//! time. A line `stop` on its input stops it with a savepoint; when its input is closed,
//! whoever started it is gone, and so is it. It says `running`, and in the end `finished`, or `stopped` with the
//! savepoint; or `ended` if the job had ended before and nothing was run.

mod functions;
mod leak;
mod program;

use std::io::{self, BufRead as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thalweg_cluster::{CancelToken, CrashPoint, LocalExecutor};
use thalweg_core::config::Configuration;
use thalweg_dataflow::executor::{JobClient, JobControl, JobError, JobStatus};
use thalweg_dataflow::stream::Environment;

pub(super) use program::{LEAKED, OUTPUTS};
use program::{Work, program};

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
    let (settings, crash) = match settings.split_first() {
        Some((first, rest)) if first.starts_with(CRASH) => (rest, Some(Crash::of(first)?)),
        _ => (settings, None),
    };
    let mut configuration = Configuration::new();
    for setting in settings {
        let (key, value) = setting
            .split_once('=')
            .ok_or(format!("{setting}: no value"))?;
        let set = configuration.set_str(key, value);
        set.map_err(|error| format!("{setting}: {error}"))?;
    }
    let executor = LocalExecutor::new(CancelToken::new());
    let executor = Arc::new(match crash {
        Some(crash) => executor.with_crash_points(move |point| crash.passes(point)),
        None => executor,
    });
    let environment = Environment::with_executor(executor, configuration);
    program(&environment, &work, Path::new(directory));
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

/// What the argument begins with that names a point.
pub(super) const CRASH: &str = "crash=";

/// Ends the process when it comes to a point for the nth time.
struct Crash {
    point: CrashPoint,
    left: AtomicU64,
}

impl Crash {
    fn of(argument: &str) -> Result<Crash, String> {
        let named = argument.strip_prefix(CRASH).and_then(|said| {
            let (name, nth) = said.split_once(':')?;
            let mut points = CrashPoint::ALL.into_iter();
            let point = points.find(|point| point.to_string() == name)?;
            Some((point, nth.parse::<u64>().ok()?))
        });
        let (point, nth) = named.ok_or(format!("{argument} is no crash=POINT:NTH"))?;
        Ok(Crash {
            point,
            left: AtomicU64::new(nth),
        })
    }

    /// Nothing is unwound, flushed or told: the process is no more.
    fn passes(&self, point: CrashPoint) {
        if point == self.point && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
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
