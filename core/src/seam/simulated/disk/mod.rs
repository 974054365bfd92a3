//! The simulated disk: in memory, forgetful and faulty.
//!
//! It outlives the simulations that run on it, as a disk outlives processes. Shards use it through their
//! reactors; code that may block, through the calls of [`SimDisk`], which happen at once. Invariant: a file's
//! content survives a loss of power if it was synced, its name if its directory was synced, and neither makes
//! the other survive; what was not synced survives as the [`Survival`] says.

mod content;
mod faults;
mod names;
mod operations;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::content::Content;
pub use self::faults::{DiskFaults, Fault, Survival};
use self::faults::{Faults, os};
use self::names::{InodeId, Names, Node};
use crate::seam::clock::Random;
use crate::seam::reactor::{
    DirectoryEntry, FileAbout, FileId, FileIdentity, FileKind, OpenOptions,
};

/// A disk, shared by all who use it: clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<Disk>>);

/// A file that was opened by a call of [`SimDisk`]. It stays there as long as somebody has it open.
#[derive(Clone, Copy, Debug)]
pub struct SimFile(OpenFile);

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFile {
    inode: InodeId,
    writable: bool,
}

#[derive(Debug)]
pub(super) struct Disk {
    contents: BTreeMap<InodeId, Content>,
    names: Names,
    open: BTreeMap<FileId, OpenFile>,
    next: u64,
    /// The virtual clock when something last happened here.
    now: u64,
    faults: Faults,
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl SimDisk {
    /// An empty disk that always works.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::with_faults(0, DiskFaults::NONE)
    }

    /// An empty disk on which things go wrong, as often as is said, by chance that follows from the seed.
    #[must_use]
    pub fn with_faults(seed: u64, faults: DiskFaults) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(Disk {
            contents: BTreeMap::new(),
            names: Names::default(),
            open: BTreeMap::new(),
            next: 0,
            now: 0,
            faults: Faults::new(seed, faults),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The virtual clock when something last happened here, ns: a simulation on this disk begins no earlier.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.lock().now
    }

    pub(super) fn note_time(&self, now: u64) {
        let mut disk = self.lock();
        disk.now = disk.now.max(now);
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().faults.operations()
    }

    /// Lets the disk fail at the operation of this number, counted from 0 over the disk's life: it and all
    /// later ones fail.
    pub fn cut_before(&self, operation: u64) {
        self.lock().faults.cut_before(operation);
    }

    /// Whether an operation was tried after the cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().faults.is_off()
    }

    /// Lets the operation of this number fail.
    pub fn fail(&self, operation: u64, fault: Fault) {
        self.lock().faults.plan(operation, fault);
    }

    /// Takes back what [`fail`](Self::fail) planned and has not happened yet.
    pub fn mend(&self) {
        self.lock().faults.mend();
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.lock().faults.drawn = faults;
    }

    /// Bytes of all files that have a name.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used() as u64
    }

    /// Lets all files together have at most so many bytes.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().faults.drawn.capacity = bytes.unwrap_or(u64::MAX);
    }

    /// Power is lost and comes back.
    pub fn crash(&self, survival: Survival) {
        self.lock().crash(survival);
    }

    /// The processes that used the disk are gone, the host is not: nothing is lost, and nothing more is durable.
    pub fn end_processes(&self) {
        let mut disk = self.lock();
        disk.open.clear();
        disk.faults.restore();
    }

    /// What a file holds now, for checks: no operation.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.lock();
        match disk.names.get(path)? {
            Node::File(inode) => Some(disk.bytes_of(inode).to_vec()),
            Node::Directory => None,
        }
    }

    /// The names in a directory, sorted, for checks: no operation.
    #[must_use]
    pub fn names_in(&self, path: &Path) -> Vec<PathBuf> {
        let disk = self.lock();
        let names = disk.names.inside(path);
        names.map(|(name, _)| PathBuf::from(name)).collect()
    }

    /// Opens a file.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn open(&self, path: &Path, options: OpenOptions) -> io::Result<SimFile> {
        self.lock().open(path, options).map(SimFile)
    }

    /// Writes all the bytes at this place of the file.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say; a part may have been written.
    pub fn write(&self, file: &SimFile, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.lock().write(file.0, at, bytes)
    }

    /// Reads what is there, as much as the buffer takes; 0 at the end.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn read(&self, file: &SimFile, at: usize, into: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.lock();
        disk.faults.on_device()?;
        let there = disk.bytes_of(file.0.inode);
        let there = there.get(at..).unwrap_or_default();
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    /// The length of an open file, bytes.
    #[must_use]
    pub fn length(&self, file: &SimFile) -> u64 {
        self.lock().bytes_of(file.0.inode).len() as u64
    }

    /// Makes the content of a file durable.
    ///
    /// # Errors
    /// As faults say; then what was not synced before is lost when power is.
    pub fn sync(&self, file: &SimFile) -> io::Result<()> {
        self.lock().sync(file.0.inode)
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// If it is not there, and as faults say.
    pub fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.lock().sync_directory(path)
    }

    /// Renames a file, over another if one is there.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().rename(from, to)
    }

    /// Renames a file, if nothing has that name.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        match disk.names.get(to) {
            Some(_) => disk.faults.operation().and(Err(os(libc::EEXIST))),
            None => disk.rename(from, to),
        }
    }

    /// Gives a file another name beside the one it has, if nothing has that name.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say; EOPNOTSUPP where a file has one name only.
    pub fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().link_new(from, to)
    }

    /// Whether there is something of that name.
    ///
    /// # Errors
    /// As faults say.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut disk = self.lock();
        disk.faults.operation()?;
        Ok(disk.names.get(path).is_some())
    }

    /// Makes a directory in one that is there.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.lock().make_directory(path)
    }

    /// Makes a directory, and those above it that are missing; it may be there.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn make_directories(&self, path: &Path) -> io::Result<()> {
        self.lock().make_directories(path)
    }

    /// What is in a directory, sorted by name.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.lock().list(path)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.lock().remove_file(path)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As of the call of the operating system, and as faults say.
    pub fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.lock().remove_directory(path)
    }
}

impl Disk {
    fn bytes_of(&self, inode: InodeId) -> &[u8] {
        self.contents.get(&inode).map_or(&[], Content::bytes)
    }

    /// Bytes of all files that have a name, of one with two names once.
    fn used(&self) -> usize {
        let files: BTreeSet<InodeId> = self.names.files().collect();
        files.iter().map(|inode| self.bytes_of(*inode).len()).sum()
    }

    fn about(&self, inode: InodeId) -> FileAbout {
        FileAbout {
            kind: FileKind::File,
            len: self.bytes_of(inode).len() as u64,
            modified_ns: self
                .contents
                .get(&inode)
                .map_or(0, |content| content.modified_ns),
            identity: FileIdentity { inode, born_ns: 0 },
        }
    }

    fn check_directory_of(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(directory) if self.names.is_directory(directory) => Ok(()),
            _ => Err(os(libc::ENOENT)),
        }
    }

    fn named_file(&self, path: &Path) -> io::Result<InodeId> {
        match self.names.get(path) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Directory) => Err(os(libc::EISDIR)),
            None => Err(os(libc::ENOENT)),
        }
    }

    fn open(&mut self, path: &Path, options: OpenOptions) -> io::Result<OpenFile> {
        self.faults.operation()?;
        let writable = options.write;
        let inode = match self.names.get(path) {
            Some(_) if options.create && options.exclusive => return Err(os(libc::EEXIST)),
            Some(Node::Directory) => return Err(os(libc::EISDIR)),
            Some(Node::File(inode)) => inode,
            None if options.create => {
                self.check_directory_of(path)?;
                self.next += 1;
                self.contents.insert(self.next, Content::default());
                self.names.put(path, Node::File(self.next));
                self.next
            }
            None => return Err(os(libc::ENOENT)),
        };
        if options.truncate
            && let Some(content) = self.contents.get_mut(&inode)
            && !content.bytes().is_empty()
        {
            content.set_length(0, self.now);
        }
        Ok(OpenFile { inode, writable })
    }

    /// Writes all, or half of it and answers why.
    fn write(&mut self, file: OpenFile, at: usize, bytes: &[u8]) -> io::Result<()> {
        let mut outcome = self.faults.on_device();
        if self.faults.is_off() || !file.writable {
            return outcome.and(Err(os(libc::EBADF)));
        }
        let capacity = self.faults.drawn.capacity;
        // Adding all files up is not for nothing.
        if outcome.is_ok() && capacity < u64::MAX {
            let grown = (at + bytes.len()).saturating_sub(self.bytes_of(file.inode).len());
            if (self.used() + grown) as u64 > capacity {
                outcome = Err(os(libc::ENOSPC));
            }
        }
        let written = match &outcome {
            Ok(()) => bytes.len(),
            Err(_) => bytes.len() / 2,
        };
        if let Some(content) = self.contents.get_mut(&file.inode) {
            content.write(at, &bytes[..written], self.now);
        }
        outcome
    }

    fn set_length(&mut self, file: OpenFile, len: u64) -> io::Result<()> {
        self.faults.operation()?;
        if !file.writable {
            return Err(os(libc::EBADF));
        }
        if let Some(content) = self.contents.get_mut(&file.inode) {
            content.set_length(usize::try_from(len).unwrap_or(usize::MAX), self.now);
        }
        Ok(())
    }

    fn sync(&mut self, inode: InodeId) -> io::Result<()> {
        let outcome = self.faults.on_device();
        if self.faults.is_off() {
            return outcome;
        }
        if let Some(content) = self.contents.get_mut(&inode) {
            match outcome {
                Ok(()) => content.sync(),
                Err(_) => content.fail_sync(),
            }
        }
        outcome
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        self.faults.on_device()?;
        if !self.names.is_directory(path) {
            return Err(os(libc::ENOENT));
        }
        self.names.sync(path);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.operation()?;
        let inode = self.named_file(from)?;
        self.check_directory_of(to)?;
        if self.names.is_directory(to) {
            return Err(os(libc::EISDIR));
        }
        self.names.rename(from, to, Node::File(inode));
        Ok(())
    }

    fn link_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.operation()?;
        let inode = self.named_file(from)?;
        self.check_directory_of(to)?;
        if self.names.get(to).is_some() {
            return Err(os(libc::EEXIST));
        }
        if !self.faults.drawn.links {
            return Err(os(libc::EOPNOTSUPP));
        }
        self.names.put(to, Node::File(inode));
        Ok(())
    }

    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        self.faults.operation()?;
        if self.names.get(path).is_some() {
            return Err(os(libc::EEXIST));
        }
        self.check_directory_of(path)?;
        self.names.put(path, Node::Directory);
        Ok(())
    }

    fn make_directories(&mut self, path: &Path) -> io::Result<()> {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for directory in above {
            match self.names.get(directory) {
                Some(Node::Directory) => {}
                Some(Node::File(_)) => return Err(os(libc::EEXIST)),
                None => self.make_directory(directory)?,
            }
        }
        Ok(())
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.faults.operation()?;
        match self.names.get(path) {
            Some(Node::Directory) => {}
            Some(Node::File(_)) => return Err(os(libc::ENOTDIR)),
            None => return Err(os(libc::ENOENT)),
        }
        let entries = self.names.inside(path).map(|(name, node)| DirectoryEntry {
            name: name.to_owned(),
            about: match node {
                Node::File(inode) => self.about(inode),
                Node::Directory => FileAbout {
                    kind: FileKind::Directory,
                    len: 0,
                    modified_ns: 0,
                    identity: FileIdentity {
                        inode: 0,
                        born_ns: 0,
                    },
                },
            },
        });
        Ok(entries.collect())
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.faults.operation()?;
        self.named_file(path)?;
        self.names.remove(path);
        Ok(())
    }

    fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        self.faults.operation()?;
        if !self.names.is_directory(path) {
            return Err(os(libc::ENOENT));
        }
        if self.names.inside(path).next().is_some() {
            return Err(os(libc::ENOTEMPTY));
        }
        self.names.remove(path);
        Ok(())
    }

    fn crash(&mut self, survival: Survival) {
        let seed = match survival {
            Survival::Drawn(seed) => seed,
            _ => 0,
        };
        let mut random = Random::new(seed);
        self.open.clear();
        self.faults.restore();
        self.names.crash(survival, &mut random);
        for content in self.contents.values_mut() {
            content.crash(survival, &mut random);
        }
        let kept: BTreeSet<InodeId> = self.names.all_files().collect();
        self.contents.retain(|inode, _| kept.contains(inode));
    }
}
