//! Files of a shard on a ring of its own (io-uring crate).
//!
//! Entered by the glommio driver's reactor. glommio's own files take only glommio's buffers, and
//! segments must reach the disk without a copy. Invariant: buffer, paths and descriptor of an operation
//! stay in `flying` from the submission until its completion was reaped, whatever became of the task.
//! The ring is made with the first file operation; completions write the shard's eventfd.
//! Lives on the shard's thread.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use io_uring::{IoUring, opcode, squeue, types};

use crate::seam::bell::Bell;
use crate::seam::directory;
use crate::seam::pending::Pending;
use crate::seam::reactor::{FileId, IoBuffer, IoFailure, Op, OpId, OpResult, OpenOptions, Outcome};

/// Entries of the submission queue; the kernel doubles it for completions.
const ENTRIES: u32 = 128;
/// Operations with the kernel at one time, so that the completion queue cannot overflow.
const MAX_FLYING: usize = 256;

enum Kind {
    Open {
        path: CString,
        flags: i32,
    },
    Read {
        offset: u64,
    },
    Write {
        offset: u64,
    },
    Sync,
    Rename {
        from: CString,
        to: CString,
    },
    Remove {
        path: CString,
    },
    /// First the directory is opened, then, with a descriptor, synced.
    SyncDirectory {
        path: CString,
    },
}

struct FileOp {
    id: OpId,
    kind: Kind,
    buffer: Option<IoBuffer>,
    /// Kept open while the operation flies, even if the file is closed meanwhile.
    fd: Option<Rc<OwnedFd>>,
}

/// The files of one shard.
pub(super) struct FileRing {
    ring: Option<IoUring>,
    /// Written by the kernel when an operation completes.
    bell: Arc<Bell>,
    files: HashMap<FileId, Rc<OwnedFd>, foldhash::fast::FixedState>,
    next_file: u64,
    /// By the number that is the operation's user data.
    flying: Vec<Option<FileOp>>,
    vacant: Vec<usize>,
    /// Not yet with the kernel.
    waiting: std::collections::VecDeque<FileOp>,
}

impl FileRing {
    pub(super) fn new(bell: Arc<Bell>) -> FileRing {
        FileRing {
            ring: None,
            bell,
            files: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0)),
            next_file: 0,
            flying: Vec::new(),
            vacant: Vec::new(),
            waiting: std::collections::VecDeque::new(),
        }
    }

    /// How many operations have not completed.
    pub(super) fn busy(&self) -> usize {
        self.flying.len() - self.vacant.len() + self.waiting.len()
    }

    /// What can be read when an operation has completed; None while none is in flight.
    pub(super) fn completions(&self) -> Option<BorrowedFd<'_>> {
        let ring = self.ring.as_ref().filter(|_| self.busy() > 0)?;
        // SAFETY: the descriptor is open as long as the ring, which is borrowed as long as the answer.
        Some(unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) })
    }

    /// Takes a file operation in; what fails at once is told at once.
    pub(super) fn submit(&mut self, id: OpId, op: Op, pending: &mut Pending) {
        if let Op::Close { file } = op {
            let closed = self.files.remove(&file).map(|_| Outcome::Done);
            pending.finish(id, closed.ok_or_else(|| unknown_file(None)));
            return;
        }
        if let Op::About { file } = op {
            let told = self
                .lend(file)
                .and_then(|file| Ok(directory::about(&file)?));
            pending.finish(id, told.map(Outcome::About));
            return;
        }
        match self
            .prepare(id, op)
            .and_then(|op| self.make_ring().map(|()| op).map_err(Into::into))
        {
            Ok(op) => self.waiting.push_back(op),
            Err(failure) => pending.finish(id, Err(failure)),
        }
    }

    /// Another descriptor of an open file, for what the ring cannot do with it.
    pub(super) fn lend(&self, file: FileId) -> Result<File, IoFailure> {
        match self.files.get(&file) {
            Some(fd) => Ok(File::from(fd.try_clone()?)),
            None => Err(unknown_file(None)),
        }
    }

    fn make_ring(&mut self) -> io::Result<()> {
        if self.ring.is_some() {
            return Ok(());
        }
        let ring = IoUring::new(ENTRIES)?;
        ring.submitter()
            .register_eventfd(self.bell.as_fd().as_raw_fd())?;
        self.ring = Some(ring);
        Ok(())
    }

    fn prepare(&self, id: OpId, op: Op) -> Result<FileOp, IoFailure> {
        let named = |kind| {
            Ok(FileOp {
                id,
                kind,
                buffer: None,
                fd: None,
            })
        };
        match op {
            Op::Open { path, options } => named(Kind::Open {
                path: c_path(&path)?,
                flags: open_flags(options),
            }),
            Op::Rename { from, to } => named(Kind::Rename {
                from: c_path(&from)?,
                to: c_path(&to)?,
            }),
            Op::Remove { path } => named(Kind::Remove {
                path: c_path(&path)?,
            }),
            Op::SyncDirectory { path } => named(Kind::SyncDirectory {
                path: c_path(&path)?,
            }),
            Op::Read {
                file,
                buffer,
                offset,
            } => self.on_file(id, file, Kind::Read { offset }, Some(buffer)),
            Op::Write {
                file,
                buffer,
                offset,
            } => self.on_file(id, file, Kind::Write { offset }, Some(buffer)),
            Op::Sync { file } => self.on_file(id, file, Kind::Sync, None),
            _ => unreachable!("the reactor sends file operations only"),
        }
    }

    fn on_file(
        &self,
        id: OpId,
        file: FileId,
        kind: Kind,
        buffer: Option<IoBuffer>,
    ) -> Result<FileOp, IoFailure> {
        match self.files.get(&file) {
            Some(fd) => Ok(FileOp {
                id,
                kind,
                buffer,
                fd: Some(Rc::clone(fd)),
            }),
            None => Err(unknown_file(buffer)),
        }
    }

    /// Hands what waits to the kernel and reaps what completed. Does not wait.
    pub(super) fn poll(&mut self, pending: &mut Pending) {
        self.push(pending);
        self.reap(pending);
        // What has found room, and the second half of operations of two.
        self.push(pending);
    }

    /// Waits until the kernel holds no operation of this ring.
    pub(super) fn finish(&mut self, pending: &mut Pending) {
        self.waiting.clear();
        while self.busy() > 0 {
            if let Some(ring) = &self.ring
                && let Err(error) = ring.submit_and_wait(1)
                && error.kind() != io::ErrorKind::Interrupted
            {
                // The kernel may still write to the buffers: keep them for good rather than free them.
                tracing::error!(%error, "cannot wait for file operations; their buffers are leaked");
                std::mem::forget(std::mem::take(&mut self.flying));
                self.vacant.clear();
                return;
            }
            self.reap(pending);
            self.waiting.clear();
        }
    }

    fn push(&mut self, pending: &mut Pending) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(ring) = &mut self.ring else {
            unreachable!("made when the operation was taken in")
        };
        let mut queue = ring.submission();
        while !queue.is_full() && self.flying.len() - self.vacant.len() < MAX_FLYING {
            let Some(mut op) = self.waiting.pop_front() else {
                break;
            };
            let place = self.vacant.pop().unwrap_or_else(|| {
                self.flying.push(None);
                self.flying.len() - 1
            });
            let entry = entry(&mut op).user_data(place as u64);
            self.flying[place] = Some(op);
            // SAFETY: all that the entry points to is owned by the operation, which stays in `flying`
            // until its completion is reaped; `CString` and `IoBuffer` keep their bytes in place.
            let pushed = unsafe { queue.push(&entry) };
            debug_assert!(pushed.is_ok(), "there was room");
        }
        drop(queue);
        if let Err(error) = ring.submit() {
            // Busy, interrupted: the entries stay in the queue and go with the next poll.
            let later = [Some(libc::EBUSY), Some(libc::EAGAIN), Some(libc::EINTR)];
            if !later.contains(&error.raw_os_error()) {
                tracing::error!(%error, "the file ring takes no operations");
            }
        }
        debug_assert!(
            pending.flying() > 0,
            "an operation flies that nobody asked for"
        );
    }

    fn reap(&mut self, pending: &mut Pending) {
        let Some(ring) = &mut self.ring else { return };
        // An entry that could not be submitted before goes now.
        if !ring.submission().is_empty() {
            let _ = ring.submit();
        }
        let mut completed = std::mem::take(&mut self.vacant);
        let before = completed.len();
        let mut answers = Vec::new();
        for entry in ring.completion() {
            let place = entry.user_data() as usize;
            if let Some(op) = self.flying[place].take() {
                completed.push(place);
                answers.push((op, entry.result()));
            }
        }
        debug_assert_eq!(completed.len() - before, answers.len());
        self.vacant = completed;
        for (op, result) in answers {
            self.complete(op, result, pending);
        }
    }

    fn complete(&mut self, mut op: FileOp, result: i32, pending: &mut Pending) {
        if result == -libc::EINTR || result == -libc::EAGAIN {
            self.waiting.push_back(op);
            return;
        }
        if result >= 0 && op.fd.is_none() && matches!(op.kind, Kind::SyncDirectory { .. }) {
            // SAFETY: the kernel opened this descriptor for this operation; nobody else has it.
            op.fd = Some(Rc::new(unsafe { OwnedFd::from_raw_fd(result) }));
            self.waiting.push_back(op);
            return;
        }
        let id = op.id;
        let answer = self.answer(op, result);
        pending.finish(id, answer);
    }

    fn answer(&mut self, op: FileOp, result: i32) -> OpResult {
        if result < 0 {
            let error = io::Error::from_raw_os_error(-result);
            return Err(IoFailure {
                error,
                buffer: op.buffer,
            });
        }
        match (op.kind, op.buffer) {
            (Kind::Read { .. } | Kind::Write { .. }, Some(buffer)) => Ok(Outcome::Bytes {
                buffer,
                count: result as usize,
            }),
            (Kind::Open { .. }, _) => {
                // SAFETY: the kernel opened this descriptor for this operation; nobody else has it.
                let fd = unsafe { OwnedFd::from_raw_fd(result) };
                let file = File::from(fd);
                // The inode is in memory: this does not wait for the disk.
                let len = file.metadata()?.len();
                self.next_file += 1;
                let id = FileId(self.next_file);
                self.files.insert(id, Rc::new(OwnedFd::from(file)));
                Ok(Outcome::Opened { file: id, len })
            }
            _ => Ok(Outcome::Done),
        }
    }
}

fn unknown_file(buffer: Option<IoBuffer>) -> IoFailure {
    IoFailure {
        error: io::Error::from_raw_os_error(libc::EBADF),
        buffer,
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the path has a zero byte"))
}

fn open_flags(options: OpenOptions) -> i32 {
    let mut flags = libc::O_CLOEXEC;
    flags |= if options.write {
        libc::O_RDWR
    } else {
        libc::O_RDONLY
    };
    if options.create {
        flags |= libc::O_CREAT;
    }
    if options.exclusive {
        flags |= libc::O_EXCL;
    }
    if options.truncate {
        flags |= libc::O_TRUNC;
    }
    flags
}

fn entry(op: &mut FileOp) -> squeue::Entry {
    const HERE: types::Fd = types::Fd(libc::AT_FDCWD);
    let fd = op.fd.as_ref().map(|fd| types::Fd(fd.as_raw_fd()));
    match (&op.kind, fd, &mut op.buffer) {
        (Kind::Open { path, flags }, ..) => opcode::OpenAt::new(HERE, path.as_ptr())
            .flags(*flags)
            .mode(0o644)
            .build(),
        (Kind::Read { offset }, Some(fd), Some(buffer)) => {
            let window = buffer.as_mut_slice();
            opcode::Read::new(fd, window.as_mut_ptr(), length(window))
                .offset(*offset)
                .build()
        }
        (Kind::Write { offset }, Some(fd), Some(buffer)) => {
            let window = buffer.as_slice();
            opcode::Write::new(fd, window.as_ptr(), length(window))
                .offset(*offset)
                .build()
        }
        (Kind::Sync, Some(fd), _) => opcode::Fsync::new(fd)
            .flags(types::FsyncFlags::DATASYNC)
            .build(),
        (Kind::SyncDirectory { .. }, Some(fd), _) => opcode::Fsync::new(fd).build(),
        (Kind::SyncDirectory { path }, None, _) => opcode::OpenAt::new(HERE, path.as_ptr())
            .flags(libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC)
            .build(),
        (Kind::Rename { from, to }, ..) => {
            opcode::RenameAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build()
        }
        (Kind::Remove { path }, ..) => opcode::UnlinkAt::new(HERE, path.as_ptr()).build(),
        _ => unreachable!("an operation on a file has its descriptor and, to move bytes, a buffer"),
    }
}

/// A window longer than the kernel takes at once is read or written in part.
fn length(window: &[u8]) -> u32 {
    u32::try_from(window.len()).unwrap_or(1 << 30).min(1 << 30)
}
