//! The simulated disk: in memory, forgetful and faulty.
//!
//! Entered by the simulated reactor. Invariant: what was synced survives a crash; what was not survives
//! per sector of 512 bytes by a coin; creations, renames and removals survive as a prefix of the order
//! in which they were made, at least up to the last sync of a directory they touched. One disk per
//! simulation, on its thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::seam::clock::Random;
use crate::seam::reactor::{FileId, IoBuffer, IoFailure, OpResult, OpenOptions, Outcome};

const SECTOR: usize = 512;

pub(super) type InodeId = u64;

#[derive(Default)]
pub(super) struct Inode {
    durable: Vec<u8>,
    pub(super) current: Vec<u8>,
    pub(super) modified_ns: u64,
    /// Writes since the last sync, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
}

enum NameChange {
    Link(PathBuf, InodeId),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    /// The file was emptied when it was opened.
    Truncate(InodeId),
}

impl NameChange {
    fn touches(&self, directory: &Path) -> bool {
        match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) => {
                path.parent() == Some(directory)
            }
            NameChange::Rename(from, to) => {
                from.parent() == Some(directory) || to.parent() == Some(directory)
            }
            NameChange::Truncate(_) => false,
        }
    }
}

type Names = BTreeMap<PathBuf, InodeId>;

/// The faults of a disk, drawn per operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DiskFaults {
    /// Reads, writes and syncs that fail with EIO, of a million.
    pub error_per_million: u32,
    /// Reads and writes that do only a part, of a million.
    pub short_per_million: u32,
    /// Bytes that fit; beyond it writes fail with ENOSPC.
    pub capacity: u64,
}

impl DiskFaults {
    /// A disk that always works and is never full.
    pub const NONE: DiskFaults = DiskFaults {
        error_per_million: 0,
        short_per_million: 0,
        capacity: u64::MAX,
    };
}

/// Files by path.
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) names: Names,
    durable_names: Names,
    /// Changes of names that are not durable yet.
    journal: Vec<NameChange>,
    /// Directories that were made.
    pub(super) directories: BTreeSet<PathBuf>,
    pub(super) open: BTreeMap<FileId, (InodeId, bool)>,
    next: u64,
    /// The virtual clock when the operation in work happens.
    pub(super) now: u64,
    pub(super) faults: DiskFaults,
}

impl Disk {
    pub(super) fn new(faults: DiskFaults) -> Disk {
        Disk {
            inodes: BTreeMap::new(),
            names: Names::new(),
            durable_names: Names::new(),
            journal: Vec::new(),
            directories: BTreeSet::new(),
            open: BTreeMap::new(),
            next: 0,
            now: 0,
            faults,
        }
    }

    pub(super) fn open(&mut self, path: PathBuf, options: OpenOptions) -> OpResult {
        let found = self.names.get(&path).copied();
        let inode = match found {
            Some(_) if options.create && options.exclusive => return failed(libc::EEXIST),
            Some(inode) => inode,
            None if options.create => {
                self.next += 1;
                self.inodes.insert(self.next, Inode::default());
                self.names.insert(path.clone(), self.next);
                self.journal.push(NameChange::Link(path, self.next));
                self.next
            }
            None => return failed(libc::ENOENT),
        };
        let Some(content) = self.inodes.get_mut(&inode) else {
            unreachable!("a name without file")
        };
        if options.truncate && !content.current.is_empty() {
            content.current.clear();
            content.unsynced.clear();
            content.modified_ns = self.now;
            self.journal.push(NameChange::Truncate(inode));
        }
        let len = content.current.len() as u64;
        self.next += 1;
        let file = FileId(self.next);
        self.open.insert(file, (inode, options.write));
        Ok(Outcome::Opened { file, len })
    }

    fn inode(&mut self, file: FileId, to_write: bool) -> Result<&mut Inode, io::Error> {
        let Some((inode, writable)) = self.open.get(&file) else {
            return Err(os(libc::EBADF));
        };
        if to_write && !writable {
            return Err(os(libc::EBADF));
        }
        let Some(inode) = self.inodes.get_mut(inode) else {
            unreachable!("open, so still there")
        };
        Ok(inode)
    }

    pub(super) fn read(
        &mut self,
        file: FileId,
        mut buffer: IoBuffer,
        offset: u64,
        random: &mut Random,
    ) -> OpResult {
        let faults = self.faults;
        let count = match self.inode(file, false) {
            Ok(_) if random.chance(faults.error_per_million) => Err(os(libc::EIO)),
            Ok(inode) => {
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(inode.current.len());
                let there = &inode.current[from..];
                let window = buffer.as_mut_slice();
                let count = shorten(there.len().min(window.len()), faults, random);
                window[..count].copy_from_slice(&there[..count]);
                Ok(count)
            }
            Err(error) => Err(error),
        };
        moved(buffer, count)
    }

    pub(super) fn write(
        &mut self,
        file: FileId,
        buffer: IoBuffer,
        offset: u64,
        random: &mut Random,
    ) -> OpResult {
        let (faults, now) = (self.faults, self.now);
        let used: u64 = self
            .inodes
            .values()
            .map(|inode| inode.current.len() as u64)
            .sum();
        let count = match self.inode(file, true) {
            Ok(_) if random.chance(faults.error_per_million) => Err(os(libc::EIO)),
            Ok(inode) => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX);
                let count = shorten(buffer.as_slice().len(), faults, random);
                let end = at.saturating_add(count);
                let grown = end.saturating_sub(inode.current.len()) as u64;
                if used.saturating_add(grown) > faults.capacity {
                    Err(os(libc::ENOSPC))
                } else {
                    let bytes = &buffer.as_slice()[..count];
                    overwrite(&mut inode.current, at, bytes);
                    inode.unsynced.push((at, bytes.to_vec()));
                    inode.modified_ns = now;
                    Ok(count)
                }
            }
            Err(error) => Err(error),
        };
        moved(buffer, count)
    }

    pub(super) fn sync(&mut self, file: FileId, random: &mut Random) -> OpResult {
        let fails = random.chance(self.faults.error_per_million);
        let inode = self.inode(file, false)?;
        if fails {
            // As Linux does: the pages count as clean after a failed sync, and are lost.
            inode.unsynced.clear();
            return failed(libc::EIO);
        }
        inode.durable.clone_from(&inode.current);
        inode.unsynced.clear();
        let Some((synced, _)) = self.open.get(&file).copied() else {
            unreachable!("found above")
        };
        self.journal
            .retain(|change| !matches!(change, NameChange::Truncate(id) if *id == synced));
        Ok(Outcome::Done)
    }

    /// Takes effect for good at the next sync, as what is written does.
    pub(super) fn set_length(&mut self, file: FileId, len: u64) -> OpResult {
        let now = self.now;
        let inode = self.inode(file, true)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        inode.current.resize(len, 0);
        inode.unsynced.retain_mut(|(at, bytes)| {
            bytes.truncate(len.saturating_sub(*at));
            !bytes.is_empty()
        });
        inode.modified_ns = now;
        Ok(Outcome::Done)
    }

    pub(super) fn close(&mut self, file: FileId) -> OpResult {
        match self.open.remove(&file) {
            Some(_) => Ok(Outcome::Done),
            None => failed(libc::EBADF),
        }
    }

    pub(super) fn rename(&mut self, from: PathBuf, to: PathBuf) -> OpResult {
        let Some(inode) = self.names.remove(&from) else {
            return failed(libc::ENOENT);
        };
        self.names.insert(to.clone(), inode);
        self.journal.push(NameChange::Rename(from, to));
        Ok(Outcome::Done)
    }

    pub(super) fn remove(&mut self, path: PathBuf) -> OpResult {
        if self.names.remove(&path).is_none() {
            return failed(libc::ENOENT);
        }
        self.journal.push(NameChange::Unlink(path));
        Ok(Outcome::Done)
    }

    pub(super) fn sync_directory(&mut self, directory: &Path, random: &mut Random) -> OpResult {
        if random.chance(self.faults.error_per_million) {
            return failed(libc::EIO);
        }
        let last = self
            .journal
            .iter()
            .rposition(|change| change.touches(directory));
        self.make_durable(last.map_or(0, |last| last + 1));
        Ok(Outcome::Done)
    }

    fn make_durable(&mut self, changes: usize) {
        for change in self.journal.drain(..changes) {
            match change {
                NameChange::Link(path, inode) => {
                    self.durable_names.insert(path, inode);
                }
                NameChange::Rename(from, to) => {
                    if let Some(inode) = self.durable_names.remove(&from) {
                        self.durable_names.insert(to, inode);
                    }
                }
                NameChange::Unlink(path) => {
                    self.durable_names.remove(&path);
                }
                NameChange::Truncate(inode) => {
                    if let Some(inode) = self.inodes.get_mut(&inode) {
                        inode.durable.clear();
                    }
                }
            }
        }
    }

    /// The host loses its power: every file is closed, and what was not synced is torn.
    pub(super) fn crash(&mut self, random: &mut Random) {
        self.open.clear();
        let kept = random.below(self.journal.len() as u64 + 1) as usize;
        self.make_durable(kept);
        self.journal.clear();
        self.names.clone_from(&self.durable_names);
        for inode in self.inodes.values_mut() {
            for (at, bytes) in std::mem::take(&mut inode.unsynced) {
                for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                    if random.below(2) == 0 {
                        overwrite(&mut inode.durable, at + number * SECTOR, sector);
                    }
                }
            }
            inode.current.clone_from(&inode.durable);
        }
        let names = &self.names;
        self.inodes
            .retain(|id, _| names.values().any(|named| named == id));
    }

    /// What a file holds now, for checks.
    pub(super) fn content(&self, path: &Path) -> Option<&[u8]> {
        self.inodes
            .get(self.names.get(path)?)
            .map(|inode| inode.current.as_slice())
    }
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, with: &[u8]) {
    let end = at + with.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(with);
}

fn shorten(count: usize, faults: DiskFaults, random: &mut Random) -> usize {
    if count > 1 && random.chance(faults.short_per_million) {
        return 1 + random.below(count as u64 - 1) as usize;
    }
    count
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

fn os(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

pub(super) fn failed(code: i32) -> OpResult {
    Err(os(code).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(answer: OpResult) -> FileId {
        match answer {
            Ok(Outcome::Opened { file, .. }) => file,
            other => panic!("{other:?}"),
        }
    }

    fn write_all(disk: &mut Disk, file: FileId, bytes: &[u8], random: &mut Random) {
        disk.write(file, bytes.to_vec().into(), 0, random).unwrap();
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_is_torn() {
        let mut torn = 0;
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut disk = Disk::new(DiskFaults::NONE);
            let file = opened(disk.open("/d/a".into(), OpenOptions::WRITE_NEW));
            write_all(&mut disk, file, &[1; 4096], &mut random);
            disk.sync(file, &mut random).unwrap();
            disk.sync_directory(Path::new("/d"), &mut random).unwrap();
            write_all(&mut disk, file, &[2; 4096], &mut random);
            disk.crash(&mut random);
            let content = disk.content(Path::new("/d/a")).unwrap();
            assert_eq!(content.len(), 4096);
            let new = content.iter().filter(|byte| **byte == 2).count();
            assert_eq!(new % SECTOR, 0);
            torn += usize::from(new > 0 && new < 4096);
        }
        assert!(torn > 150, "{torn}");
    }

    #[test]
    fn a_rename_without_a_directory_sync_may_be_lost_but_never_loses_the_file() {
        let mut lost = 0;
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut disk = Disk::new(DiskFaults::NONE);
            let file = opened(disk.open("/d/new".into(), OpenOptions::WRITE_NEW));
            write_all(&mut disk, file, b"x", &mut random);
            disk.sync(file, &mut random).unwrap();
            disk.sync_directory(Path::new("/d"), &mut random).unwrap();
            disk.rename("/d/new".into(), "/d/name".into()).unwrap();
            disk.crash(&mut random);
            let (old, new) = (
                disk.content(Path::new("/d/new")),
                disk.content(Path::new("/d/name")),
            );
            assert!(old.is_some() != new.is_some());
            lost += usize::from(old.is_some());
        }
        assert!((50..150).contains(&lost), "{lost}");
    }

    #[test]
    fn a_full_disk_and_a_broken_one_say_so() {
        let mut random = Random::new(1);
        let mut disk = Disk::new(DiskFaults {
            capacity: 10,
            ..DiskFaults::NONE
        });
        let file = opened(disk.open("/a".into(), OpenOptions::WRITE_NEW));
        let full = disk
            .write(file, vec![0; 11].into(), 0, &mut random)
            .unwrap_err();
        assert_eq!(full.error.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(full.buffer.unwrap().len(), 11);
        disk.faults.error_per_million = 1_000_000;
        let broken = disk
            .write(file, vec![0; 1].into(), 0, &mut random)
            .unwrap_err();
        assert_eq!(broken.error.raw_os_error(), Some(libc::EIO));
    }
}
