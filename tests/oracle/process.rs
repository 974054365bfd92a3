//! The oracle's side of a process: started, told to stop, killed, and heard to its end.
//!
//! Lives on the oracle's thread; another one listens to what the process says. Invariant: no process outlives its
//! handle.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use thalweg_core::seam::clock::monotonic_ns;

use super::job::{ENDED, FINISHED, REFUSED, RUNNING, STOP, STOPPED};

/// How a process has come to its end.
#[derive(Debug)]
pub(super) enum End {
    /// Its job is done.
    Finished,
    /// Its job was stopped with this savepoint.
    Stopped(String),
    /// It had ended before, and nothing was run.
    HadEnded,
    /// It gave up, or was ended by somebody else.
    Failed(ExitStatus),
}

/// A process with the job.
pub(super) struct Process {
    child: Child,
    /// Apart from the child: to wait for that would close it, and whoever finds it closed ends at once.
    input: ChildStdin,
    said: Receiver<String>,
    /// What was refused to it.
    pub(super) refused: Option<String>,
    /// Whether its job runs.
    pub(super) running: bool,
    started: u64,
}

impl Process {
    /// Starts it; what it logs goes to a file.
    pub(super) fn start(program: &Path, arguments: &[String], log: &Path) -> io::Result<Process> {
        let mut command = Command::new(program);
        command.arg("job").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(log)?);
        let started = monotonic_ns();
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were piped")
        };
        let (say, said) = sync_channel(8);
        let process = Process {
            child,
            input,
            said,
            refused: None,
            running: false,
            started,
        };
        listen(output, say)?;
        Ok(process)
    }

    /// Waits until it is so old, or has ended.
    pub(super) fn live(&mut self, until: Duration) -> io::Result<Option<End>> {
        let is_old = |_: &Process| false;
        self.hear(until, is_old)
    }

    /// Waits until its job runs, it is so old, or it has ended.
    pub(super) fn begin(&mut self, until: Duration) -> io::Result<Option<End>> {
        self.hear(until, |process| process.running)
    }

    /// Waits until what it was told is refused, it is so old, or has ended.
    pub(super) fn heed(&mut self, until: Duration) -> io::Result<Option<End>> {
        self.hear(until, |process| process.refused.is_some())
    }

    fn hear(
        &mut self,
        until: Duration,
        enough: impl Fn(&Process) -> bool,
    ) -> io::Result<Option<End>> {
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        let until = self.started.saturating_add(until);
        while !enough(self) {
            let left = until.saturating_sub(monotonic_ns());
            match self.said.recv_timeout(Duration::from_nanos(left)) {
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Some(End::Failed(self.child.wait()?)));
                }
                Ok(line) if line == RUNNING => self.running = true,
                Ok(line) if line == FINISHED => return self.ended(End::Finished),
                Ok(line) if line == ENDED => return self.ended(End::HadEnded),
                Ok(line) => match line.strip_prefix(STOPPED) {
                    Some(savepoint) => return self.ended(End::Stopped(savepoint.to_owned())),
                    None => self.refused = line.strip_prefix(REFUSED).map(str::to_owned),
                },
            }
        }
        Ok(None)
    }

    /// How old it is.
    pub(super) fn age(&self) -> Duration {
        Duration::from_nanos(monotonic_ns() - self.started)
    }

    fn ended(&mut self, end: End) -> io::Result<Option<End>> {
        let status = self.child.wait()?;
        Ok(Some(match status.success() {
            true => end,
            false => End::Failed(status),
        }))
    }

    /// Tells it to stop with a savepoint.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        match writeln!(self.input, "{STOP}") {
            // It has just come to its end, which is heard next.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            told => told,
        }
    }

    /// Ends it with SIGKILL.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended, in most cases; and nobody is left to be told.
        let _ = self.end();
    }
}

/// Hands on what a process says until its output closes.
#[allow(
    clippy::disallowed_methods,
    reason = "who listens to another process runs no task"
)]
fn listen(output: ChildStdout, say: SyncSender<String>) -> io::Result<()> {
    let listen = move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().spawn(listen).map(|_| ())
}
