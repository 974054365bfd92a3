//! The operations of a reactor, on the simulated disk.
//!
//! Entered when an operation comes to its turn. Invariant: what it does and answers is what the same call of
//! [`SimDisk`](super::SimDisk) would do; only reads and writes may do less than was asked for.

use super::faults::os;
use super::{Disk, OpenFile};
use crate::seam::reactor::{FileId, IoBuffer, IoFailure, Op, OpResult, Outcome};

impl Disk {
    /// Lets an operation on a file or directory happen at this time.
    pub(in crate::seam::simulated) fn perform(&mut self, now: u64, op: Op) -> OpResult {
        self.now = self.now.max(now);
        let done = match op {
            Op::Open { path, options } => {
                let file = self.open(&path, options)?;
                let len = self.bytes_of(file.inode).len() as u64;
                self.next += 1;
                let id = FileId(self.next);
                self.open.insert(id, file);
                return Ok(Outcome::Opened { file: id, len });
            }
            Op::Read {
                file,
                buffer,
                offset,
            } => return self.read_into(file, buffer, offset),
            Op::Write {
                file,
                buffer,
                offset,
            } => return self.write_from(file, buffer, offset),
            Op::About { file } => {
                let file = self.file(file)?;
                return Ok(Outcome::About(self.about(file.inode)));
            }
            Op::List { path } => return Ok(Outcome::Listed(self.list(&path)?)),
            Op::Sync { file } => {
                let file = self.file(file)?;
                self.sync(file.inode)
            }
            Op::Close { file } => self.open.remove(&file).map(|_| ()).ok_or(os(libc::EBADF)),
            Op::Rename { from, to } => self.rename(&from, &to),
            Op::Remove { path } => self.remove_file(&path),
            Op::SyncDirectory { path } => self.sync_directory(&path),
            Op::SetLength { file, len } => {
                let file = self.file(file)?;
                self.set_length(file, len)
            }
            Op::CreateDirectory { path } => self.make_directories(&path),
            _ => unreachable!("sockets were sent to the network"),
        };
        done.map(|()| Outcome::Done).map_err(IoFailure::from)
    }

    fn file(&self, file: FileId) -> Result<OpenFile, IoFailure> {
        let found = self.open.get(&file).copied();
        found.ok_or_else(|| os(libc::EBADF).into())
    }

    fn read_into(&mut self, file: FileId, mut buffer: IoBuffer, offset: u64) -> OpResult {
        let read = self.file(file).map_err(|failure| failure.error);
        let read = read.and_then(|file| {
            self.faults.on_device()?;
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let there = self.bytes_of(file.inode).len().saturating_sub(at);
            let count = self.faults.shorten(there.min(buffer.as_slice().len()));
            let read = self.bytes_of(file.inode).get(at..).unwrap_or_default();
            buffer.as_mut_slice()[..count].copy_from_slice(&read[..count]);
            Ok(count)
        });
        moved(buffer, read)
    }

    fn write_from(&mut self, file: FileId, buffer: IoBuffer, offset: u64) -> OpResult {
        let written = self.file(file).map_err(|failure| failure.error);
        let written = written.and_then(|file| {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let count = self.faults.shorten(buffer.as_slice().len());
            self.write(file, at, &buffer.as_slice()[..count])?;
            Ok(count)
        });
        moved(buffer, written)
    }
}

fn moved(buffer: IoBuffer, count: std::io::Result<usize>) -> OpResult {
    match count {
        Ok(count) => Ok(Outcome::Bytes { buffer, count }),
        Err(error) => Err(IoFailure {
            error,
            buffer: Some(buffer),
        }),
    }
}
