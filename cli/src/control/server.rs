//! A job's side of its socket.
//!
//! Started and dropped by whoever runs the job. One thread takes connections, another one answers each: a
//! savepoint may take long, and others may ask meanwhile. When there are as many of these as may be, the thread that
//! takes connections answers what takes no time itself. Invariants: whoever has asked before the job's end is answered
//! before the process goes on; however many wait, the job can be cancelled; the socket is removed with the server.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use thalweg_core::seam::clock::wall_ms;
use thalweg_dataflow::executor::{
    Answered, CheckpointType, JobControl, JobWish, RequestRefused, TakenCheckpoint,
};

use super::message::{Answer, Ask, Description, read_line, write_line};
use super::run_directory;

/// How long one that has connected may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one may take to ask that the thread which takes connections answers.
const LITTLE_PATIENCE: Duration = Duration::from_millis(200);

/// How often it is looked whether who waits for a savepoint is still there.
const ABSENCE_CHECK: Duration = Duration::from_millis(50);

/// How many may wait at once.
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
    pub(crate) fn start(control: &JobControl) -> io::Result<Server> {
        let directory = run_directory::open()?;
        // What was left over is removed on the way.
        run_directory::jobs(&directory)?;
        Server::start_in(&directory, control)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "who listens for other processes runs no task"
    )]
    fn start_in(directory: &Path, control: &JobControl) -> io::Result<Server> {
        let path = run_directory::socket(directory, control.id());
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
            Ok((connection, _)) => connection,
            Err(error) => {
                tracing::warn!(%error, "the job can be asked nothing any more");
                break;
            }
        };
        if callers.len() >= MOST_CALLERS {
            answering.serve(&connection, Time::Little);
            continue;
        }
        let answering = answering.clone();
        let answer = move || answering.serve(&connection, Time::Enough);
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

/// How much there is for a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    /// As much as it takes.
    Enough,
    /// Others wait to be heard meanwhile.
    Little,
}

impl Answering {
    fn serve(&self, connection: &UnixStream, time: Time) {
        if let Err(error) = self.answer(connection, time) {
            tracing::debug!(%error, "a question to the job was not answered");
        }
    }

    fn answer(&self, connection: &UnixStream, time: Time) -> io::Result<()> {
        let patience = match time {
            Time::Enough => PATIENCE,
            Time::Little => LITTLE_PATIENCE,
        };
        connection.set_read_timeout(Some(patience))?;
        connection.set_write_timeout(Some(patience))?;
        let line = read_line(connection)?;
        if line.is_empty() {
            return Ok(());
        }
        let answer = match Ask::parse(&line) {
            Ok(ask) => self.answer_to(&ask, connection, time)?,
            Err(reason) => Answer::Refused(reason),
        };
        write_line(connection, &answer.to_line())
    }

    fn answer_to(&self, ask: &Ask, connection: &UnixStream, time: Time) -> io::Result<Answer> {
        let control = &self.control;
        let saved = |taken: TakenCheckpoint| Answer::Savepoint(taken.path);
        let (wish, granted): (_, fn(TakenCheckpoint) -> Answer) = match ask.clone() {
            Ask::Describe => {
                return Ok(Answer::Description(Description {
                    job: control.id(),
                    name: control.name().to_owned(),
                    status: control.status().to_string(),
                    process: std::process::id(),
                    started_ms: self.started_ms,
                }));
            }
            Ask::Cancel => {
                control.cancel();
                return Ok(Answer::Accepted);
            }
            Ask::Checkpoint { full } => {
                let kind = match full {
                    true => CheckpointType::Full,
                    false => CheckpointType::Configured,
                };
                (JobWish::Checkpoint { kind }, Answer::Checkpoint)
            }
            Ask::Savepoint { directory } => (JobWish::Savepoint { directory }, saved),
            Ask::Stop { directory, drain } => (JobWish::Stop { directory, drain }, saved),
        };
        if time == Time::Little {
            return Ok(Answer::Refused(format!(
                "{MOST_CALLERS} others ask something of it already: try again when they have their answers"
            )));
        }
        match control.put(wish) {
            Ok(answered) => {
                let answer = wait(&answered, connection)?;
                Ok(answer.map_or_else(|refused| Answer::Refused(refused.to_string()), granted))
            }
            Err(refused) => Ok(Answer::Refused(refused.to_string())),
        }
    }
}

/// Waits for an answer as long as who waits for it is there.
fn wait(
    answered: &Answered,
    connection: &UnixStream,
) -> io::Result<Result<TakenCheckpoint, RequestRefused>> {
    connection.set_nonblocking(true)?;
    let answer = loop {
        match answered.wait_for(ABSENCE_CHECK) {
            Some(answer) => break answer,
            None if has_gone(connection)? => {
                let what = "who asked has gone";
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, what));
            }
            None => {}
        }
    };
    connection.set_nonblocking(false)?;
    Ok(answer)
}

/// Whether the other side has closed its end. What it says beyond its question is passed over.
fn has_gone(mut connection: &UnixStream) -> io::Result<bool> {
    let waits = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
    match connection.read(&mut [0; 256]) {
        Ok(read) => Ok(read == 0),
        Err(error) if waits.contains(&error.kind()) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::ids::{CheckpointId, JobId};
    use thalweg_dataflow::executor::{JobRequest, JobStatus};

    use super::*;

    const SAVEPOINT: Ask = Ask::Savepoint { directory: None };

    /// A job nobody leads, and its socket.
    struct Job {
        _folder: tempfile::TempDir,
        control: JobControl,
        server: Server,
    }

    impl Job {
        fn that_is(status: JobStatus) -> Job {
            let folder = tempfile::tempdir().unwrap();
            let control = JobControl::new(JobId(7), "job");
            control.is_now(status);
            let server = Server::start_in(folder.path(), &control).unwrap();
            Job {
                _folder: folder,
                control,
                server,
            }
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(&self.server.path).unwrap()
        }

        fn ask(&self, ask: &Ask) -> UnixStream {
            let connection = self.connect();
            write_line(&connection, &ask.to_line()).unwrap();
            connection
        }

        /// Waits until so many requests have come to the job.
        fn until_asked(&self, times: usize) -> Vec<JobRequest> {
            let mut requests = Vec::new();
            while requests.len() < times {
                requests.extend(self.control.take_request());
                std::thread::yield_now();
            }
            requests
        }
    }

    fn answer(connection: &UnixStream) -> Answer {
        Answer::parse(&read_line(connection).unwrap()).unwrap()
    }

    fn reason(connection: &UnixStream) -> String {
        match answer(connection) {
            Answer::Refused(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_that_waits_to_begin_again_refuses_at_once_and_can_be_cancelled() {
        let job = Job::that_is(JobStatus::Restarting);
        for _ in 0..2 * MOST_CALLERS {
            let refused = reason(&job.ask(&SAVEPOINT));
            assert!(refused.contains("RESTARTING"), "{refused}");
        }
        assert_eq!(answer(&job.ask(&Ask::Cancel)), Answer::Accepted);
        assert!(job.control.is_cancelled());
    }

    #[test]
    fn a_checkpoint_is_asked_for_and_answered_as_it_was_said() {
        let job = Job::that_is(JobStatus::Running);
        for (full, kind) in [
            (true, CheckpointType::Full),
            (false, CheckpointType::Configured),
        ] {
            let connection = job.ask(&Ask::Checkpoint { full });
            let request = job.until_asked(1).remove(0);
            assert_eq!(request.wish, JobWish::Checkpoint { kind });
            let (id, path) = (CheckpointId(3), "/c/chk-3".to_owned());
            let taken = TakenCheckpoint { id, path };
            request.answer(Ok(taken.clone()));
            assert_eq!(answer(&connection), Answer::Checkpoint(taken));
        }
    }

    #[test]
    fn however_many_wait_the_job_tells_of_itself_and_can_be_cancelled() {
        let job = Job::that_is(JobStatus::Running);
        let waiting: Vec<UnixStream> = (0..MOST_CALLERS).map(|_| job.ask(&SAVEPOINT)).collect();
        let requests = job.until_asked(MOST_CALLERS);
        let refused = reason(&job.ask(&SAVEPOINT));
        assert!(refused.contains("try again"), "{refused}");
        let described = answer(&job.ask(&Ask::Describe));
        assert!(matches!(described, Answer::Description(_)));
        assert_eq!(answer(&job.ask(&Ask::Cancel)), Answer::Accepted);
        assert!(job.control.is_cancelled());
        drop(requests);
        for connection in waiting {
            reason(&connection);
        }
    }

    #[test]
    fn who_connects_and_says_nothing_keeps_nobody_from_cancelling() {
        let job = Job::that_is(JobStatus::Running);
        let silent: Vec<UnixStream> = (0..MOST_CALLERS + 3).map(|_| job.connect()).collect();
        assert_eq!(answer(&job.ask(&Ask::Cancel)), Answer::Accepted);
        assert!(job.control.is_cancelled());
        drop(silent);
    }

    #[test]
    fn who_closes_the_connection_waits_no_more_and_makes_room_for_others() {
        let job = Job::that_is(JobStatus::Running);
        let gone: Vec<UnixStream> = (0..MOST_CALLERS).map(|_| job.ask(&SAVEPOINT)).collect();
        let requests = job.until_asked(MOST_CALLERS);
        assert!(requests.iter().all(|request| !request.is_withdrawn()));
        drop(gone);
        while !requests.iter().all(JobRequest::is_withdrawn) {
            std::thread::yield_now();
        }
        let (stays, request) = loop {
            let stays = job.ask(&SAVEPOINT);
            stays.set_nonblocking(true).unwrap();
            let request = (0..100).find_map(|_| {
                std::thread::park_timeout(Duration::from_millis(1));
                job.control.take_request()
            });
            if let Some(request) = request {
                stays.set_nonblocking(false).unwrap();
                break (stays, request);
            }
        };
        // Longer than it takes to see that somebody has gone; what else is said does not matter.
        write_line(&stays, "well?\n").unwrap();
        std::thread::park_timeout(3 * ABSENCE_CHECK);
        assert!(!request.is_withdrawn());
        let (id, path) = (CheckpointId(1), "/s".to_owned());
        request.answer(Ok(TakenCheckpoint { id, path }));
        assert_eq!(answer(&stays), Answer::Savepoint("/s".to_owned()));
    }
}
