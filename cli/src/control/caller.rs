//! The asking side: which jobs run in processes of this user, and what one of them answers.
//!
//! Entered by the verbs of the command. Blocking. Invariant: a job is asked only if what names it names no other.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use thalweg_core::ids::JobId;
use thalweg_dataflow::executor::TakenCheckpoint;

pub use super::message::Description;
use super::message::{Answer, Ask, read_line, write_line};
use super::run_directory;

/// How long a job may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a job did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The directory of sockets cannot be used.
    #[error("the jobs of this host cannot be looked for: {0}")]
    NoDirectory(#[source] io::Error),
    /// No job has this name.
    #[error("no job of this user on this host is called {0}: `thalweg list` names those that run")]
    Unknown(String),
    /// Several jobs have it.
    #[error("{name} names several jobs: {}; give more of the id", .jobs.join(", "))]
    Ambiguous {
        /// What was given.
        name: String,
        /// The ids.
        jobs: Vec<String>,
    },
    /// The process is gone or does not answer.
    #[error(
        "job {job} does not answer: {source}; its process may just have ended (`thalweg list`)"
    )]
    Silent {
        /// The job.
        job: JobId,
        /// What happened.
        source: io::Error,
    },
    /// The job will not.
    #[error("job {job}: {reason}")]
    Refused {
        /// The job.
        job: JobId,
        /// Why, and how to mend it.
        reason: String,
    },
}

/// A job that runs in a process of this user.
pub struct Reached {
    job: JobId,
    connection: UnixStream,
}

/// All of them, by id.
///
/// # Errors
/// When they cannot be looked for. None running is no error.
pub fn reached() -> Result<Vec<Reached>, CallError> {
    let found = run_directory::path().and_then(|directory| {
        match run_directory::check(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            checked => checked?,
        }
        run_directory::jobs(&directory)
    });
    let found = found.map_err(CallError::NoDirectory)?.into_iter();
    Ok(found
        .map(|(job, connection)| Reached { job, connection })
        .collect())
}

/// The one whose id begins so.
///
/// # Errors
/// When there is none, or more than one.
pub fn reach(name: &str) -> Result<Reached, CallError> {
    let lower = name.to_ascii_lowercase();
    let mut jobs = reached()?;
    jobs.retain(|reached| !name.is_empty() && reached.job.to_string().starts_with(&lower));
    match (jobs.pop(), jobs.is_empty()) {
        (Some(reached), true) => Ok(reached),
        (Some(last), false) => {
            jobs.push(last);
            Err(CallError::Ambiguous {
                name: name.to_owned(),
                jobs: jobs.iter().map(|it| it.job.to_string()).collect(),
            })
        }
        (None, _) => Err(CallError::Unknown(name.to_owned())),
    }
}

impl Reached {
    /// Which job it is.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// What it is and how it stands.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn describe(self) -> Result<Description, CallError> {
        let silent = |job, source| CallError::Silent { job, source };
        let patience = self.connection.set_read_timeout(Some(PATIENCE));
        patience.map_err(|error| silent(self.job, error))?;
        let job = self.job;
        match self.ask(&Ask::Describe)? {
            Answer::Description(description) => Ok(description),
            other => Err(strange(job, &other)),
        }
    }

    /// Asks for a checkpoint, of the whole state if `full`, and waits for it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn checkpoint(self, full: bool) -> Result<TakenCheckpoint, CallError> {
        let job = self.job;
        match self.ask(&Ask::Checkpoint { full })? {
            Answer::Checkpoint(taken) => Ok(taken),
            other => Err(strange(job, &other)),
        }
    }

    /// Asks for a savepoint, or for the end with one, and waits for it. Answers its path.
    ///
    /// # Errors
    /// Why there is none.
    pub fn savepoint(self, ask: &Ask) -> Result<String, CallError> {
        let job = self.job;
        match self.ask(ask)? {
            Answer::Savepoint(path) => Ok(path),
            other => Err(strange(job, &other)),
        }
    }

    /// Tells it to stop at once. Does not wait for the end.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn cancel(self) -> Result<(), CallError> {
        let job = self.job;
        match self.ask(&Ask::Cancel)? {
            Answer::Accepted => Ok(()),
            other => Err(strange(job, &other)),
        }
    }

    fn ask(self, ask: &Ask) -> Result<Answer, CallError> {
        let (job, connection) = (self.job, &self.connection);
        let silent = |source| CallError::Silent { job, source };
        let asked = write_line(connection, &ask.to_line());
        let line = asked.and_then(|()| read_line(connection)).map_err(silent)?;
        if line.is_empty() {
            return Err(silent(io::ErrorKind::UnexpectedEof.into()));
        }
        match Answer::parse(&line) {
            Ok(Answer::Refused(reason)) => Err(CallError::Refused { job, reason }),
            Ok(answer) => Ok(answer),
            Err(what) => Err(silent(io::Error::other(what))),
        }
    }
}

fn strange(job: JobId, answer: &Answer) -> CallError {
    let what = format!("it answered {answer:?} to another question");
    CallError::Silent {
        job,
        source: io::Error::other(what),
    }
}
