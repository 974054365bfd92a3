//! Checkpoint storage on the simulated disk, for tests and the simulator.
//!
//! The disk is the one that simulated shards write their runs to, so that both see the same losses. Its calls
//! happen at once, on the thread of the simulation. Invariant: of [`Disk`].

use std::io;
use std::path::{Path, PathBuf};

use thalweg_core::seam::reactor::{FileKind, OpenOptions};
pub use thalweg_core::seam::simulated::{Fault, SimDisk as SimulatedDisk, SimFile, Survival};
use thalweg_dataflow::checkpoint::RunFiles;
use thalweg_state::RunHandle;
use thalweg_state::run::ReadAt;

use super::contract::Entry;
use super::disk::Disk;

/// An open file, with how far it was read or written.
#[derive(Debug)]
pub struct SimulatedFile {
    file: SimFile,
    at: usize,
}

impl SimulatedFile {
    fn open(disk: &SimulatedDisk, path: &Path, options: OpenOptions) -> io::Result<SimulatedFile> {
        let file = disk.open(path, options)?;
        Ok(SimulatedFile { file, at: 0 })
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn create_new(&mut self, path: &Path) -> io::Result<SimulatedFile> {
        let options = OpenOptions {
            exclusive: true,
            ..OpenOptions::WRITE_NEW
        };
        SimulatedFile::open(self, path, options)
    }

    fn open(&mut self, path: &Path) -> io::Result<SimulatedFile> {
        SimulatedFile::open(self, path, OpenOptions::READ)
    }

    fn open_run(&mut self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(SimulatedRun::open(self, path)?))
    }

    fn write(&mut self, file: &mut SimulatedFile, bytes: &[u8]) -> io::Result<()> {
        SimulatedDisk::write(self, &file.file, file.at, bytes)?;
        file.at += bytes.len();
        Ok(())
    }

    fn read(&mut self, file: &mut SimulatedFile, buffer: &mut [u8]) -> io::Result<usize> {
        let count = SimulatedDisk::read(self, &file.file, file.at, buffer)?;
        file.at += count;
        Ok(count)
    }

    fn sync(&mut self, file: &mut SimulatedFile) -> io::Result<()> {
        SimulatedDisk::sync(self, &file.file)
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        SimulatedDisk::sync_directory(self, path)
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        SimulatedDisk::rename_new(self, from, to)
    }

    fn link_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        SimulatedDisk::link_new(self, from, to)
    }

    fn draw(&mut self) -> u64 {
        // Whoever writes under it makes it an old one.
        self.operations()
    }

    fn exists(&mut self, path: &Path) -> io::Result<bool> {
        SimulatedDisk::exists(self, path)
    }

    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        SimulatedDisk::make_directory(self, path)
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<Entry>> {
        let entries = SimulatedDisk::list(self, path)?.into_iter();
        let entries = entries.map(|entry| Entry {
            name: entry.name.to_string_lossy().into_owned(),
            bytes: entry.about.len,
            directory: entry.about.kind == FileKind::Directory,
        });
        Ok(entries.collect())
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        SimulatedDisk::remove_file(self, path)
    }

    fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        SimulatedDisk::remove_directory(self, path)
    }
}

/// The runs of a checkpoint in a directory of a simulated disk.
pub struct SimulatedRuns {
    /// The disk.
    pub disk: SimulatedDisk,
    /// The directory.
    pub directory: PathBuf,
}

struct SimulatedRun {
    disk: SimulatedDisk,
    file: SimFile,
}

impl SimulatedRun {
    fn open(disk: &SimulatedDisk, path: &Path) -> io::Result<SimulatedRun> {
        let file = disk.open(path, OpenOptions::READ)?;
        let disk = disk.clone();
        Ok(SimulatedRun { disk, file })
    }
}

impl RunFiles for SimulatedRuns {
    fn open_file(&self, file: &str) -> io::Result<Box<dyn ReadAt>> {
        let path = self.directory.join(file);
        Ok(Box::new(SimulatedRun::open(&self.disk, &path)?))
    }

    fn path(&self, handle: &RunHandle) -> Option<PathBuf> {
        Some(self.directory.join(&handle.file))
    }
}

impl ReadAt for SimulatedRun {
    fn length(&self) -> u64 {
        self.disk.length(&self.file)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let count = self.disk.read(&self.file, at, into)?;
        match count == into.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
