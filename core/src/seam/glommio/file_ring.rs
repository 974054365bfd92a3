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

use super::direct::{DirectBuffers, DirectRead};
use crate::seam::bell::Bell;
use crate::seam::directory;
use crate::seam::pending::Pending;
use crate::seam::reactor::{FileId, IoBuffer, IoFailure, Op, OpId, OpResult, OpenOptions, Outcome};

/// Entries of the submission queue; the kernel doubles it for completions.
const ENTRIES: u32 = 128;
/// Operations with the kernel at one time, so that the completion queue cannot overflow.
const MAX_FLYING: usize = 256;

enum Kind {
    /// First as ever; then, if reads are to go past the page cache, once more for that.
    Open {
        path: CString,
        flags: i32,
        direct: bool,
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
    /// The same file, to be read past the page cache.
    direct: Option<Rc<OwnedFd>>,
    /// Where it is read to, if it is.
    slot: Option<DirectRead>,
}

/// A file that is open.
struct OpenFile {
    fd: Rc<OwnedFd>,
    /// The same, to be read past the page cache.
    direct: Option<Rc<OwnedFd>>,
}

/// The files of one shard.
pub(super) struct FileRing {
    ring: Option<IoUring>,
    /// Written by the kernel when an operation completes.
    bell: Arc<Bell>,
    /// For reads past the page cache; made with the first file that asks for them. Outlives the ring.
    buffers: Option<DirectBuffers>,
    /// It was said that files cannot be read so.
    told_refusal: bool,
    files: HashMap<FileId, OpenFile, foldhash::fast::FixedState>,
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
            buffers: None,
            told_refusal: false,
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
            Some(file) => Ok(File::from(file.fd.try_clone()?)),
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
                direct: None,
                slot: None,
            })
        };
        match op {
            Op::Open { path, options } => named(Kind::Open {
                path: c_path(&path)?,
                flags: open_flags(options),
                direct: options.direct,
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
            Some(open) => Ok(FileOp {
                id,
                direct: open
                    .direct
                    .clone()
                    .filter(|_| matches!(kind, Kind::Read { .. })),
                kind,
                buffer,
                fd: Some(Rc::clone(&open.fd)),
                slot: None,
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
                std::mem::forget(self.buffers.take());
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
            op.slot = slot_for(&op, self.buffers.as_mut());
            let registered = self.buffers.as_ref().is_some_and(|it| it.registered);
            let entry = entry(&mut op, registered).user_data(place as u64);
            self.flying[place] = Some(op);
            // SAFETY: all that the entry points to is owned by the operation, which stays in `flying`
            // until its completion is reaped; `CString` and `IoBuffer` keep their bytes in place. Or it is a slot of
            // `buffers`, which is this operation's as long, and whose memory stays as long as the ring.
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
        if let Some(read) = op.slot.take()
            && let Some(buffers) = &mut self.buffers
        {
            if let (Ok(count), Some(buffer)) = (usize::try_from(result), op.buffer.as_mut()) {
                let count = buffers.finish(&read, count, buffer.as_mut_slice());
                return self.end(op, count as i32, pending);
            }
            buffers.give_back(&read);
            if result == -libc::EINVAL {
                // The device wants what no other does: as ever, then.
                op.direct = None;
                self.waiting.push_back(op);
                return;
            }
        }
        if result == -libc::EINTR || result == -libc::EAGAIN {
            self.waiting.push_back(op);
            return;
        }
        if let Kind::Open { direct: true, .. } = op.kind {
            return self.opened(op, result, pending);
        }
        if result >= 0 && op.fd.is_none() && matches!(op.kind, Kind::SyncDirectory { .. }) {
            // SAFETY: the kernel opened this descriptor for this operation; nobody else has it.
            op.fd = Some(Rc::new(unsafe { OwnedFd::from_raw_fd(result) }));
            self.waiting.push_back(op);
            return;
        }
        self.end(op, result, pending);
    }

    fn end(&mut self, op: FileOp, result: i32, pending: &mut Pending) {
        let id = op.id;
        let answer = self.answer(op, result);
        pending.finish(id, answer);
    }

    /// A file whose reads are to go past the page cache was opened, for the first or the second time.
    fn opened(&mut self, mut op: FileOp, result: i32, pending: &mut Pending) {
        // SAFETY: the kernel opened this descriptor for this operation; nobody else has it.
        let fd = (result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(result) });
        match (&op.fd, fd) {
            (None, None) => self.end(op, result, pending),
            (None, Some(fd)) => {
                op.fd = Some(Rc::new(fd));
                self.waiting.push_back(op);
            }
            (Some(_), fd) => {
                if fd.is_none() && !std::mem::replace(&mut self.told_refusal, true) {
                    let error = io::Error::from_raw_os_error(-result);
                    tracing::warn!(%error, "a file system cannot be read past the page cache: it is read as ever");
                }
                if let (Some(_), None, Some(ring)) = (&fd, &self.buffers, &self.ring) {
                    self.buffers = Some(DirectBuffers::new(&ring.submitter()));
                }
                op.direct = fd.map(Rc::new);
                self.end(op, 0, pending);
            }
        }
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
                let fd = op.fd.unwrap_or_else(|| {
                    // SAFETY: the kernel opened this descriptor for this operation; nobody else has it.
                    Rc::new(unsafe { OwnedFd::from_raw_fd(result) })
                });
                // The inode is in memory: this does not wait for the disk.
                let len = file_length(&fd)?;
                self.next_file += 1;
                let id = FileId(self.next_file);
                let direct = op.direct;
                self.files.insert(id, OpenFile { fd, direct });
                Ok(Outcome::Opened { file: id, len })
            }
            _ => Ok(Outcome::Done),
        }
    }
}

fn file_length(fd: &OwnedFd) -> io::Result<u64> {
    Ok(File::from(fd.try_clone()?).metadata()?.len())
}

/// Where an operation is read to, if that goes past the page cache.
fn slot_for(op: &FileOp, buffers: Option<&mut DirectBuffers>) -> Option<DirectRead> {
    let (Kind::Read { offset }, Some(_), Some(buffer)) = (&op.kind, &op.direct, &op.buffer) else {
        return None;
    };
    buffers?.take(*offset, buffer.window().len())
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

fn entry(op: &mut FileOp, registered: bool) -> squeue::Entry {
    const HERE: types::Fd = types::Fd(libc::AT_FDCWD);
    let fd = op.fd.as_ref().map(|fd| types::Fd(fd.as_raw_fd()));
    if let (Some(read), Some(direct)) = (&op.slot, &op.direct) {
        let direct = types::Fd(direct.as_raw_fd());
        return match registered {
            true => opcode::ReadFixed::new(direct, read.at, read.length, 0)
                .offset(read.offset)
                .build(),
            false => opcode::Read::new(direct, read.at, read.length)
                .offset(read.offset)
                .build(),
        };
    }
    match (&op.kind, fd, &mut op.buffer) {
        (Kind::Open { path, .. }, Some(_), _) => opcode::OpenAt::new(HERE, path.as_ptr())
            .flags(libc::O_RDONLY | libc::O_DIRECT | libc::O_CLOEXEC)
            .build(),
        (Kind::Open { path, flags, .. }, ..) => opcode::OpenAt::new(HERE, path.as_ptr())
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
