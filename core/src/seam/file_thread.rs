//! The one thread that does a shard's file operations which no ring does: all of them where there is no
//! io_uring, else those on names that io_uring has no word for.
//!
//! Entered by the drivers' reactors, which send requests and drain answers. Invariant: requests
//! are done one after the other in the order in which they came, each is answered once, and the thread
//! ends with its shard. The requests cross by a lock that neither side holds while it works.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hashbrown::HashMap;

use crate::seam::directory;
use crate::seam::pending::Pending;
use crate::seam::reactor::{FileId, IoBuffer, IoFailure, Op, OpId, OpResult, OpenOptions, Outcome};
use crate::shard::doorbell::Doorbell;

enum Work {
    Open {
        path: PathBuf,
        options: OpenOptions,
    },
    Read {
        file: Arc<File>,
        buffer: IoBuffer,
        offset: u64,
    },
    Write {
        file: Arc<File>,
        buffer: IoBuffer,
        offset: u64,
    },
    Sync {
        file: Arc<File>,
    },
    Close {
        file: Arc<File>,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SyncDirectory {
        path: PathBuf,
    },
    SetLength {
        file: Arc<File>,
        len: u64,
    },
    About {
        file: Arc<File>,
    },
    List {
        path: PathBuf,
    },
    CreateDirectory {
        path: PathBuf,
    },
}

enum Answer {
    Opened(File, u64),
    Ready(OpResult),
}

#[derive(Default)]
struct Requests {
    waiting: VecDeque<(OpId, Work)>,
    stopping: bool,
}

struct Desk {
    requests: Mutex<Requests>,
    arrived: Condvar,
    answers: Mutex<Vec<(OpId, Answer)>>,
    /// Length of `answers`, so that none is seen without the lock.
    answered: AtomicUsize,
    doorbell: Arc<Doorbell>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks: queues are pushed and popped.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shard's side: its open files and the way to the thread.
pub(crate) struct FileThread {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
    name: String,
    files: HashMap<FileId, Arc<File>, foldhash::fast::FixedState>,
    next_file: u64,
}

impl FileThread {
    /// No thread yet: it is started with the first operation.
    pub(crate) fn new(name: String, doorbell: Arc<Doorbell>) -> FileThread {
        let desk = Desk {
            requests: Mutex::default(),
            arrived: Condvar::new(),
            answers: Mutex::default(),
            answered: AtomicUsize::new(0),
            doorbell,
        };
        FileThread {
            desk: Arc::new(desk),
            thread: None,
            name,
            files: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0)),
            next_file: 0,
        }
    }

    /// Whether an answer waits. One atomic read.
    pub(crate) fn has_answers(&self) -> bool {
        self.desk.answered.load(Ordering::SeqCst) > 0
    }

    /// Hands an operation over; what fails at once is told at once.
    pub(crate) fn submit(&mut self, id: OpId, op: Op, pending: &mut Pending) {
        match self.prepare(op) {
            Ok(work) => self.hand_over(id, work, pending),
            Err(failure) => pending.finish(id, Err(failure)),
        }
    }

    fn hand_over(&mut self, id: OpId, work: Work, pending: &mut Pending) {
        if let Err(failure) = self.make_thread() {
            return pending.finish(id, Err(failure));
        }
        lock(&self.desk.requests).waiting.push_back((id, work));
        self.desk.arrived.notify_one();
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a seam: the thread that works on files for its shard"
    )]
    fn make_thread(&mut self) -> Result<(), IoFailure> {
        if self.thread.is_none() {
            let desk = Arc::clone(&self.desk);
            let builder = std::thread::Builder::new().name(format!("{}-files", self.name));
            self.thread = Some(builder.spawn(move || serve(&desk))?);
        }
        Ok(())
    }

    fn prepare(&mut self, op: Op) -> Result<Work, IoFailure> {
        Ok(match op {
            Op::Open { path, options } => Work::Open { path, options },
            Op::Rename { from, to } => Work::Rename { from, to },
            Op::Remove { path } => Work::Remove { path },
            Op::SyncDirectory { path } => Work::SyncDirectory { path },
            Op::List { path } => Work::List { path },
            Op::CreateDirectory { path } => Work::CreateDirectory { path },
            Op::Sync { file } => Work::Sync {
                file: self.file(file)?,
            },
            Op::SetLength { file, len } => Work::SetLength {
                file: self.file(file)?,
                len,
            },
            Op::About { file } => Work::About {
                file: self.file(file)?,
            },
            Op::Close { file } => {
                let Some(file) = self.files.remove(&file) else {
                    return Err(unknown());
                };
                Work::Close { file }
            }
            Op::Read {
                file,
                buffer,
                offset,
            } => match self.file(file) {
                Ok(file) => Work::Read {
                    file,
                    buffer,
                    offset,
                },
                Err(failure) => {
                    return Err(IoFailure {
                        buffer: Some(buffer),
                        ..failure
                    });
                }
            },
            Op::Write {
                file,
                buffer,
                offset,
            } => match self.file(file) {
                Ok(file) => Work::Write {
                    file,
                    buffer,
                    offset,
                },
                Err(failure) => {
                    return Err(IoFailure {
                        buffer: Some(buffer),
                        ..failure
                    });
                }
            },
            _ => unreachable!("the reactor sends file operations only"),
        })
    }

    /// Hands over what is to be done with a file that somebody else has opened.
    pub(crate) fn set_length(&mut self, id: OpId, file: File, len: u64, pending: &mut Pending) {
        let file = Arc::new(file);
        self.hand_over(id, Work::SetLength { file, len }, pending);
    }

    fn file(&self, id: FileId) -> Result<Arc<File>, IoFailure> {
        self.files.get(&id).map(Arc::clone).ok_or_else(unknown)
    }

    /// Takes the answers in.
    pub(crate) fn poll(&mut self, pending: &mut Pending) {
        if !self.has_answers() {
            return;
        }
        let answers = {
            let mut answers = lock(&self.desk.answers);
            self.desk.answered.store(0, Ordering::SeqCst);
            std::mem::take(&mut *answers)
        };
        for (id, answer) in answers {
            let result = match answer {
                Answer::Ready(result) => result,
                Answer::Opened(file, len) => {
                    self.next_file += 1;
                    let file_id = FileId(self.next_file);
                    self.files.insert(file_id, Arc::new(file));
                    Ok(Outcome::Opened { file: file_id, len })
                }
            };
            pending.finish(id, result);
        }
    }
}

impl Drop for FileThread {
    fn drop(&mut self) {
        {
            let mut requests = lock(&self.desk.requests);
            requests.stopping = true;
            requests.waiting.clear();
        }
        self.desk.arrived.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the file thread of a shard had panicked");
        }
    }
}

fn unknown() -> IoFailure {
    io::Error::from_raw_os_error(libc::EBADF).into()
}

fn serve(desk: &Desk) {
    while let Some((id, work)) = next(desk) {
        let answer = perform(work);
        {
            let mut answers = lock(&desk.answers);
            answers.push((id, answer));
            desk.answered.store(answers.len(), Ordering::SeqCst);
        }
        desk.doorbell.ring();
    }
}

fn next(desk: &Desk) -> Option<(OpId, Work)> {
    let mut requests = lock(&desk.requests);
    loop {
        if requests.stopping {
            return None;
        }
        if let Some(request) = requests.waiting.pop_front() {
            return Some(request);
        }
        requests = desk
            .arrived
            .wait(requests)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

fn perform(work: Work) -> Answer {
    let told = |answer: io::Result<Outcome>| Answer::Ready(answer.map_err(Into::into));
    let done = |answer: io::Result<()>| told(answer.map(|()| Outcome::Done));
    match work {
        Work::Open { path, options } => match open(&path, options) {
            Ok((file, len)) => Answer::Opened(file, len),
            Err(error) => Answer::Ready(Err(error.into())),
        },
        Work::Read {
            file,
            mut buffer,
            offset,
        } => {
            let count = again(|| file.read_at(buffer.as_mut_slice(), offset));
            Answer::Ready(moved(buffer, count))
        }
        Work::Write {
            file,
            buffer,
            offset,
        } => {
            let count = again(|| file.write_at(buffer.as_slice(), offset));
            Answer::Ready(moved(buffer, count))
        }
        Work::Sync { file } => done(file.sync_data()),
        Work::Close { file } => {
            drop(file);
            done(Ok(()))
        }
        Work::Rename { from, to } => done(std::fs::rename(from, to)),
        Work::Remove { path } => done(std::fs::remove_file(path)),
        Work::SyncDirectory { path } => {
            done(File::open(path).and_then(|directory| directory.sync_all()))
        }
        Work::SetLength { file, len } => done(file.set_len(len)),
        Work::About { file } => told(directory::about(&file).map(Outcome::About)),
        Work::List { path } => told(directory::list(&path).map(Outcome::Listed)),
        Work::CreateDirectory { path } => done(std::fs::create_dir_all(path)),
    }
}

fn open(path: &std::path::Path, options: OpenOptions) -> io::Result<(File, u64)> {
    let OpenOptions {
        write,
        create,
        exclusive,
        truncate,
        // This driver serves hosts that forbid the better one: it reads as ever.
        direct: _,
    } = options;
    let file = File::options()
        .read(true)
        .write(write)
        .create(create)
        .create_new(create && exclusive)
        .truncate(truncate)
        .open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn again(mut work: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

fn moved(buffer: IoBuffer, count: io::Result<usize>) -> OpResult {
    match count {
        Ok(count) => Ok(Outcome::Bytes { buffer, count }),
        Err(error) => Err(IoFailure {
            error,
            buffer: Some(buffer),
        }),
    }
}
