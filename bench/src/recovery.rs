//! `recover` and `rescale`: a process is killed, and another one goes on from its newest checkpoint.
//!
//! Both are this program once more, running [`crate::engine::grown`]. What is measured is what a user waits
//! for: from the start of the second process to its first row. Lives on the program's thread, which only waits
//! and listens.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use crate::engine::Word;
use crate::limit::Stopwatch;

/// How long a process may take to say a word, or to complete a checkpoint.
const PATIENCE: Duration = Duration::from_secs(300);
/// Time between two looks for a complete checkpoint.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Keys of the state.
    pub keys: u64,
    /// Subtasks per operator of the process that is killed.
    pub parallelism: u32,
    /// Subtasks per operator of the process that goes on.
    pub restored: u32,
    /// Where checkpoints may be kept; a directory of the run's own is made in it, and removed at the end.
    pub directory: PathBuf,
    /// Settings of the engine by key, beside those of checkpoints.
    pub overrides: Vec<(String, String)>,
}

/// How long it took.
#[derive(Clone, Debug, Serialize)]
pub struct RecoveryReport {
    /// Always Thalweg.
    pub engine: &'static str,
    /// `recover`, or `rescale` at another parallelism.
    pub workload: &'static str,
    /// Keys of the state.
    pub keys: u64,
    /// Subtasks per operator of the process that was killed.
    pub parallelism: u32,
    /// Subtasks per operator of the process that went on.
    pub restored_parallelism: u32,
    /// Files of the newest checkpoint and those before that it builds on, MiB.
    pub checkpoint_mb: f64,
    /// Seconds from the start of a process without state to its first row: what is not recovery.
    pub start_s: f64,
    /// Seconds from the start of the process that went on to its first row.
    pub first_output_s: f64,
    /// Seconds to its first complete checkpoint: by then all of a state that is to be in memory is there.
    pub first_checkpoint_s: f64,
}

/// A run that did not come to its end.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// A directory or a process cannot be had.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was to be done.
        what: String,
        /// Why it could not.
        source: io::Error,
    },
    /// A process ended by itself.
    #[error("the process of the job ended before it said {0:?}: what it wrote above says why")]
    Ended(Word),
    /// A process takes too long.
    #[error("the process of the job has not {what} in {} s: choose a smaller --state-bytes", PATIENCE.as_secs())]
    Late {
        /// What it has not done.
        what: String,
    },
}

/// Does it.
///
/// # Errors
/// A process or directory that cannot be had, or a process that ended by itself.
pub fn recover(work: &Recovery) -> Result<RecoveryReport, RecoveryError> {
    let home = work
        .directory
        .join(format!("recover-{}", std::process::id()));
    fs::create_dir_all(&home).map_err(|source| failed("make", &home, source))?;
    let outcome = recover_in(&home, work);
    let removed = fs::remove_dir_all(&home).map_err(|source| failed("remove", &home, source));
    let report = outcome?;
    removed?;
    Ok(report)
}

fn recover_in(home: &Path, work: &Recovery) -> Result<RecoveryReport, RecoveryError> {
    let mut first = Job::start(home, work, work.parallelism)?;
    let start_s = first.hear(Word::Output)?;
    first.hear(Word::Grown)?;
    // One may be under way that began before; the one after it has everything.
    let whole = newest(home) + 2;
    first.complete(home, whole)?;
    first.kill()?;
    let checkpoint_mb = bytes_in(home) as f64 / f64::from(1 << 20);
    let next = newest(home) + 1;
    let since = Stopwatch::start();
    let mut second = Job::start(home, work, work.restored)?;
    let first_output_s = second.hear(Word::Output)?;
    second.complete(home, next)?;
    let first_checkpoint_s = since.seconds().0;
    second.kill()?;
    Ok(RecoveryReport {
        engine: "thalweg",
        workload: match work.parallelism == work.restored {
            true => "recover",
            false => "rescale",
        },
        keys: work.keys,
        parallelism: work.parallelism,
        restored_parallelism: work.restored,
        checkpoint_mb,
        start_s,
        first_output_s,
        first_checkpoint_s,
    })
}

/// To be called by the process of the job: it ends when the one that measures is gone, whose end of its input
/// closes then.
///
/// # Errors
/// When there is no thread to wait for that.
pub fn end_with_the_measuring_process() -> io::Result<()> {
    let wait = || {
        // Whether it was closed or cannot be read: nobody is there any more.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(1)
    };
    beside(wait)
}

/// Starts a thread that ends by itself.
#[allow(
    clippy::disallowed_methods,
    reason = "who listens to another process runs no task"
)]
fn beside(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(|_| ())
}

/// A process with the job, killed at the latest when this is dropped.
struct Job {
    child: Child,
    words: Receiver<(Word, f64)>,
    /// The words heard so far, with the seconds since the start: they come in any order.
    heard: Vec<(Word, f64)>,
}

impl Job {
    fn start(home: &Path, work: &Recovery, parallelism: u32) -> Result<Job, RecoveryError> {
        let program = std::env::current_exe()
            .map_err(|source| failed("find", Path::new("myself"), source))?;
        let settings = [
            ("execution.checkpointing.interval", "500ms".to_owned()),
            ("execution.checkpointing.dir", home.display().to_string()),
            ("execution.state-recovery.path", "latest".to_owned()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value));
        let mut command = Command::new(&program);
        command.args(["grown", "--keys", &work.keys.to_string()]);
        command.args(["--parallelism", &parallelism.to_string()]);
        for (key, value) in settings.iter().chain(&work.overrides) {
            command.args(["-D", &format!("{key}={value}")]);
        }
        command.stdout(Stdio::piped()).stdin(Stdio::piped());
        let since = Stopwatch::start();
        let mut child = command
            .spawn()
            .map_err(|source| failed("start", &program, source))?;
        let Some(output) = child.stdout.take() else {
            unreachable!("its output was piped")
        };
        let (say, words) = sync_channel(8);
        let job = Job {
            child,
            words,
            heard: Vec::new(),
        };
        let listen = move || listen(output, &since, |word, at| say.send((word, at)).is_ok());
        beside(listen).map_err(|source| failed("listen to", Path::new("the job"), source))?;
        Ok(job)
    }

    /// Waits for a word, if it was not heard yet; the seconds from the start of the process to it.
    fn hear(&mut self, word: Word) -> Result<f64, RecoveryError> {
        loop {
            if let Some((_, at)) = self.heard.iter().find(|(heard, _)| *heard == word) {
                return Ok(*at);
            }
            match self.words.recv_timeout(PATIENCE) {
                Ok(said) => self.heard.push(said),
                Err(RecvTimeoutError::Disconnected) => return Err(RecoveryError::Ended(word)),
                Err(RecvTimeoutError::Timeout) => {
                    let what = format!("said {word:?}");
                    return Err(RecoveryError::Late { what });
                }
            }
        }
    }

    /// Waits until the checkpoint with a number is complete.
    fn complete(&mut self, home: &Path, number: u64) -> Result<(), RecoveryError> {
        let since = Stopwatch::start();
        while newest(home) < number {
            if since.seconds().0 > PATIENCE.as_secs_f64() {
                let what = format!("completed checkpoint {number}");
                return Err(RecoveryError::Late { what });
            }
            match self.words.recv_timeout(LOOK) {
                Ok(said) => self.heard.push(said),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RecoveryError::Ended(Word::Grown));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Ok(())
    }

    /// Ends it as a power cut would: with SIGKILL.
    fn kill(mut self) -> Result<(), RecoveryError> {
        self.end()
            .map_err(|source| failed("kill", Path::new("the job"), source))
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Already ended, in most cases; and nobody is left to be told.
        let _ = self.end();
    }
}

/// Hands on the words a process says, with the seconds since its start, until its output closes or nobody wants
/// them.
fn listen(output: ChildStdout, since: &Stopwatch, hand_on: impl Fn(Word, f64) -> bool) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let wanted = Word::of(&line).is_none_or(|word| hand_on(word, since.seconds().0));
        if !wanted {
            return;
        }
    }
}

fn failed(what: &str, place: &Path, source: io::Error) -> RecoveryError {
    let what = format!("{what} {}", place.display());
    RecoveryError::Io { what, source }
}

/// The number of the newest completed checkpoint of any job in a directory; 0 without.
fn newest(home: &Path) -> u64 {
    let jobs = entries(home).into_iter();
    let checkpoints = jobs.flat_map(|job| entries(&job));
    let complete = checkpoints.filter(|checkpoint| checkpoint.join("_metadata").exists());
    let number = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix("chk-")?;
        name.parse().ok()
    };
    complete.filter_map(number).max().unwrap_or(0)
}

/// What is in a directory; nothing where it is none, or is gone.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(directory).into_iter().flatten();
    found.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Bytes of all files below a directory.
fn bytes_in(directory: &Path) -> u64 {
    let sizes = entries(directory)
        .into_iter()
        .map(|path| match path.is_dir() {
            true => bytes_in(&path),
            false => path.metadata().map_or(0, |about| about.len()),
        });
    sizes.sum()
}
