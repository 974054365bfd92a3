//! A job's side of its socket.
//!
//! Started and dropped by whoever runs the job. One thread takes connections, another one answers each: a
//! savepoint may take long, and others may ask meanwhile. Invariants: whoever has asked before the job's end is
//! answered before the process goes on; the socket is removed with the server.

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use thalweg_core::seam::clock::wall_ms;
use thalweg_dataflow::executor::JobControl;

use super::message::{Answer, Ask, Description, read_line, write_line};
use super::run_directory;

/// How long one that has connected may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many may ask at once.
const MOST_CALLERS: usize = 32;

/// The listening socket of one job.
pub(crate) struct Server {
    path: PathBuf,
    over: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens for questions to the job.
    ///
    /// # Errors
    /// No socket can be made where they are looked for.
    #[allow(
        clippy::disallowed_methods,
        reason = "who listens for other processes runs no task"
    )]
    pub(crate) fn start(control: &JobControl) -> io::Result<Server> {
        let directory = run_directory::open()?;
        // What was left over is removed on the way.
        run_directory::jobs(&directory)?;
        let path = run_directory::socket(&directory, control.id());
        // A socket is found only when it is listened to: one that refuses counts as left over.
        let fresh = directory.join(format!(".{}.new", control.id()));
        let listener = UnixListener::bind(&fresh)?;
        fs::rename(&fresh, &path)?;
        let over = Arc::new(AtomicBool::new(false));
        let answering = Answering {
            control: control.clone(),
            started_ms: wall_ms(),
        };
        let ended = Arc::clone(&over);
        let listen = move || listen(&listener, &answering, &ended);
        let listening = Builder::new()
            .name("thalweg-control".to_owned())
            .spawn(listen)?;
        Ok(Server {
            path,
            over,
            listening: Some(listening),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the listening thread; without it nobody would be waited for.
        let woken = UnixStream::connect(&self.path).is_ok();
        // Whether it could be removed is for whoever looks there next to see.
        let _ = fs::remove_file(&self.path);
        if let Some(listening) = self.listening.take()
            && woken
        {
            // It tells of its own trouble.
            let _ = listening.join();
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "who answers another process runs no task"
)]
fn listen(listener: &UnixListener, answering: &Answering, over: &AtomicBool) {
    let mut callers: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let connection = listener.accept();
        if over.load(Ordering::Acquire) {
            break;
        }
        callers.retain(|caller| !caller.is_finished());
        let connection = match connection {
            Ok((connection, _)) if callers.len() < MOST_CALLERS => connection,
            // Whoever it is finds the connection closed.
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(%error, "the job can be asked nothing any more");
                break;
            }
        };
        let answering = answering.clone();
        let answer = move || {
            if let Err(error) = answering.answer(&connection) {
                tracing::debug!(%error, "a question to the job was not answered");
            }
        };
        match Builder::new()
            .name("thalweg-caller".to_owned())
            .spawn(answer)
        {
            Ok(caller) => callers.push(caller),
            Err(error) => tracing::warn!(%error, "a question to the job was not answered"),
        }
    }
    for caller in callers {
        // One that panicked has told of it.
        let _ = caller.join();
    }
}

/// Answers what is asked of the job.
#[derive(Clone)]
struct Answering {
    control: JobControl,
    started_ms: i64,
}

impl Answering {
    fn answer(&self, connection: &UnixStream) -> io::Result<()> {
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        let line = read_line(connection)?;
        if line.is_empty() {
            return Ok(());
        }
        let answer = match Ask::parse(&line) {
            Ok(ask) => self.answer_to(&ask),
            Err(reason) => Answer::Refused(reason),
        };
        write_line(connection, &answer.to_line())
    }

    fn answer_to(&self, ask: &Ask) -> Answer {
        let control = &self.control;
        let granted = match ask {
            Ask::Describe => {
                return Answer::Description(Description {
                    job: control.id(),
                    name: control.name().to_owned(),
                    status: control.status().to_string(),
                    process: std::process::id(),
                    started_ms: self.started_ms,
                });
            }
            Ask::Cancel => {
                control.cancel();
                return Answer::Accepted;
            }
            Ask::Savepoint { directory } => control.savepoint(directory.as_deref()),
            Ask::Stop { directory, drain } => control.stop(directory.as_deref(), *drain),
        };
        match granted {
            Ok(path) => Answer::Savepoint(path),
            Err(refused) => Answer::Refused(refused.to_string()),
        }
    }
}
