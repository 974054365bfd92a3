//! A disk in memory that forgets and fails as disks do.
//!
//! For tests and the simulator: the calls of a file system, counted; power may go before any of them, and any
//! of them may fail. Invariant: a file's content survives if it was synced, its name if its directory was
//! synced, and neither makes the other survive; what was not synced survives as the [`Survival`] says. On the
//! thread of its test.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thalweg_core::seam::clock::Random;

use super::contract::Entry;
use super::disk::Disk;

const SECTOR: usize = 512;

type InodeId = u64;

/// What of the things that were not synced is there after a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Names without their content: files of the right length, full of zeros.
    Names,
    /// Content without its names.
    Content,
    /// By chance: of each directory the changes up to some point, of each file its sectors one by one.
    Drawn(
        /// Where chance comes from.
        u64,
    ),
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. Half of a write has happened; a sync has lost what it should have made durable, and the next
    /// sync of that file will not say so.
    Io,
    /// ENOSPC. Half of a write has happened.
    Full,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// From where on the current content has not been synced.
    synced: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(InodeId),
    Directory,
}

/// A name that came to be or went away, in the directory that holds it.
#[derive(Clone, Debug)]
struct Change {
    path: PathBuf,
    node: Option<Node>,
    /// For a name that moved: where from, in the same directory, in the same breath.
    from: Option<PathBuf>,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    inodes: BTreeMap<InodeId, Inode>,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    journal: Vec<Change>,
    next: InodeId,
    operations: u64,
    cut_before: Option<u64>,
    faults: BTreeMap<u64, Fault>,
    capacity: Option<u64>,
}

/// An open file.
#[derive(Debug)]
pub struct SimulatedFile {
    inode: InodeId,
    at: usize,
}

impl SimulatedDisk {
    /// An empty disk that works.
    #[must_use]
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Lets power go before the operation of this number, counted from 0 over the disk's life: it and all
    /// later ones fail.
    pub fn cut_before(&mut self, operation: u64) {
        self.cut_before = Some(operation);
    }

    /// Whether power has gone: an operation was tried after the cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.cut_before.is_some_and(|cut| self.operations > cut)
    }

    /// Takes back all faults that have not happened yet.
    pub fn mend(&mut self) {
        self.faults.clear();
    }

    /// Lets the operation of this number fail.
    pub fn fail(&mut self, operation: u64, fault: Fault) {
        self.faults.insert(operation, fault);
    }

    /// Lets all files together have at most so many bytes.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    /// Power is lost and comes back.
    pub fn crash(&mut self, survival: Survival) {
        let mut random = match survival {
            Survival::Drawn(seed) => Random::new(seed),
            _ => Random::new(0),
        };
        self.crash_names(survival, &mut random);
        for inode in self.inodes.values_mut() {
            crash_content(inode, survival, &mut random);
        }
        self.cut_before = None;
        self.faults.clear();
    }

    fn crash_names(&mut self, survival: Survival, random: &mut Random) {
        let journal = std::mem::take(&mut self.journal);
        let mut lengths: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for change in &journal {
            *lengths.entry(directory_of(&change.path)).or_default() += 1;
        }
        // How many changes of each directory survive.
        for length in lengths.values_mut() {
            *length = match survival {
                Survival::Nothing | Survival::Content => 0,
                Survival::Everything | Survival::Names => *length,
                Survival::Drawn(_) => random.below(*length + 1),
            };
        }
        for change in journal {
            let left = lengths.entry(directory_of(&change.path)).or_default();
            if *left > 0 {
                *left -= 1;
                apply(&mut self.durable_names, change);
            }
        }
        // What lies in a directory that is gone is gone.
        let names = self.durable_names.clone();
        let reachable = |path: &Path| {
            path.ancestors()
                .skip(1)
                .all(|above| above.parent().is_none() || names.get(above) == Some(&Node::Directory))
        };
        self.durable_names.retain(|path, _| reachable(path));
        self.names = self.durable_names.clone();
    }

    /// Counts an operation; answers how it fails, if it does.
    fn operation(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.cut_before.is_some_and(|cut| number >= cut) {
            return Err(io::Error::other("power is gone"));
        }
        match self.faults.remove(&number) {
            Some(Fault::Io) => Err(io::Error::other("injected EIO")),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<InodeId> {
        match self.names.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Bytes of all files that have a name.
    fn used(&self) -> usize {
        let files = self.names.values().filter_map(|node| match node {
            Node::File(inode) => self.inodes.get(inode),
            Node::Directory => None,
        });
        files.map(|inode| inode.current.len()).sum()
    }

    fn inode(&mut self, inode: InodeId) -> io::Result<&mut Inode> {
        let found = self.inodes.get_mut(&inode);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, path: &Path, node: Option<Node>, from: Option<PathBuf>) {
        let change = Change {
            path: path.to_owned(),
            node,
            from,
        };
        apply(&mut self.names, change.clone());
        self.journal.push(change);
    }

    fn has_directory(&self, path: &Path) -> bool {
        path.parent().is_none() || self.names.get(path) == Some(&Node::Directory)
    }

    fn check_directory(&self, path: &Path) -> io::Result<()> {
        if self.has_directory(&directory_of(path)) {
            return Ok(());
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: Change) {
    if let Some(from) = change.from {
        names.remove(&from);
    }
    match change.node {
        Some(node) => names.insert(change.path, node),
        None => names.remove(&change.path),
    };
}

fn crash_content(inode: &mut Inode, survival: Survival, random: &mut Random) {
    let current = std::mem::take(&mut inode.current);
    let keep_all = matches!(survival, Survival::Everything | Survival::Content);
    match survival {
        Survival::Nothing => {}
        Survival::Names => inode.durable.resize(current.len(), 0),
        Survival::Drawn(_) | Survival::Everything | Survival::Content => {
            let synced = inode.synced.min(inode.durable.len());
            let mut at = synced;
            while at < current.len() {
                let end = (at / SECTOR * SECTOR + SECTOR).min(current.len());
                if keep_all || random.chance(500_000) {
                    inode.durable.resize(inode.durable.len().max(end), 0);
                    inode.durable[at..end].copy_from_slice(&current[at..end]);
                }
                at = end;
            }
        }
    }
    inode.current = inode.durable.clone();
    inode.synced = inode.current.len();
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn create_new(&mut self, path: &Path) -> io::Result<SimulatedFile> {
        self.operation()?;
        self.check_directory(path)?;
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.next += 1;
        let inode = self.next;
        self.inodes.insert(inode, Inode::default());
        self.change(path, Some(Node::File(inode)), None);
        Ok(SimulatedFile { inode, at: 0 })
    }

    fn open(&mut self, path: &Path) -> io::Result<SimulatedFile> {
        self.operation()?;
        let inode = self.file(path)?;
        Ok(SimulatedFile { inode, at: 0 })
    }

    fn write(&mut self, file: &mut SimulatedFile, bytes: &[u8]) -> io::Result<()> {
        let mut outcome = self.operation();
        if self.is_off() {
            return outcome;
        }
        let used = self.used();
        if (self.capacity).is_some_and(|capacity| (used + bytes.len()) as u64 > capacity) {
            outcome = Err(io::ErrorKind::StorageFull.into());
        }
        let written = if outcome.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let inode = self.inode(file.inode)?;
        inode.current.extend_from_slice(&bytes[..written]);
        file.at += written;
        outcome
    }

    fn read(&mut self, file: &mut SimulatedFile, buffer: &mut [u8]) -> io::Result<usize> {
        self.operation()?;
        let at = file.at;
        let inode = self.inode(file.inode)?;
        let rest = inode.current.get(at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        file.at += count;
        Ok(count)
    }

    fn sync(&mut self, file: &mut SimulatedFile) -> io::Result<()> {
        let outcome = self.operation();
        if self.is_off() {
            return outcome;
        }
        let inode = self.inode(file.inode)?;
        let from = inode.synced.min(inode.durable.len());
        // Either way nothing is left to write: that is why a second sync succeeds.
        inode.synced = inode.current.len();
        if outcome.is_ok() {
            inode.durable.resize(inode.current.len(), 0);
            inode.durable[from..].copy_from_slice(&inode.current[from..]);
        } else {
            inode.durable.resize(inode.current.len(), 0);
        }
        outcome
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        self.operation()?;
        if !self.has_directory(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        for change in std::mem::take(&mut self.journal) {
            if change.path.parent() == Some(path) {
                apply(&mut self.durable_names, change);
            } else {
                self.journal.push(change);
            }
        }
        Ok(())
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation()?;
        let inode = self.file(from)?;
        if self.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        self.change(to, Some(Node::File(inode)), Some(from.to_owned()));
        Ok(())
    }

    fn exists(&mut self, path: &Path) -> io::Result<bool> {
        self.operation()?;
        Ok(path.parent().is_none() || self.names.contains_key(path))
    }

    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        self.operation()?;
        self.check_directory(path)?;
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(path, Some(Node::Directory), None);
        Ok(())
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<Entry>> {
        self.operation()?;
        if !self.has_directory(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = (self.names.iter()).filter(|(name, _)| name.parent() == Some(path));
        let entries = inside.map(|(name, node)| Entry {
            name: name
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            bytes: match node {
                Node::File(inode) => self.inodes[inode].current.len() as u64,
                Node::Directory => 0,
            },
            directory: *node == Node::Directory,
        });
        Ok(entries.collect())
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.operation()?;
        self.file(path)?;
        self.change(path, None, None);
        Ok(())
    }

    fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        self.operation()?;
        if !self.has_directory(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.names.keys().any(|name| name.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.change(path, None, None);
        Ok(())
    }
}
