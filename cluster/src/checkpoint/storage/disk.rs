//! The calls of a file system that storage in directories is made of.
//!
//! A seam: [`HostDisk`] is the file system of this host, [`simulated`](super::simulated) one in memory that
//! forgets what was not synced. Blocking, on the control thread. Invariant: none of its own; what must come
//! before what is decided in [`directory`](super::directory).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use thalweg_state::run::ReadAt;

use super::contract::Entry;
use super::run_file::RunFile;

/// Calls of a file system. Each does one thing and retries nothing.
pub trait Disk: Send {
    /// An open file.
    type File;

    /// Creates a file that is not there.
    ///
    /// # Errors
    /// As the operating system says.
    fn create_new(&mut self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file to read it.
    ///
    /// # Errors
    /// As the operating system says.
    fn open(&mut self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file to read it from any place in it.
    ///
    /// # Errors
    /// As the operating system says.
    fn open_run(&mut self, path: &Path) -> io::Result<Box<dyn ReadAt>>;

    /// Writes all the bytes at the end of what was written.
    ///
    /// # Errors
    /// As the operating system says; a part may have been written.
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Reads the next bytes; 0 at the end.
    ///
    /// # Errors
    /// As the operating system says.
    fn read(&mut self, file: &mut Self::File, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes the content of a file durable. After an error the file is not to be trusted, nor synced again:
    /// the kernel has dropped what it could not write.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync_directory(&mut self, path: &Path) -> io::Result<()>;

    /// Gives a file another name in its directory, if nothing has that name. If that fails half-way the file
    /// may have both names.
    ///
    /// # Errors
    /// As the operating system says; [`io::ErrorKind::AlreadyExists`] if something has that name.
    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Whether there is something of that name.
    ///
    /// # Errors
    /// As the operating system says.
    fn exists(&mut self, path: &Path) -> io::Result<bool>;

    /// Makes a directory in one that is there.
    ///
    /// # Errors
    /// As the operating system says.
    fn make_directory(&mut self, path: &Path) -> io::Result<()>;

    /// What is in a directory, in any order.
    ///
    /// # Errors
    /// As the operating system says.
    fn list(&mut self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove_file(&mut self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove_directory(&mut self, path: &Path) -> io::Result<()>;
}

/// The file system of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostDisk;

impl Disk for HostDisk {
    type File = File;

    fn create_new(&mut self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn open(&mut self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn open_run(&mut self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(RunFile::open(path)?))
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn read(&mut self, file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn sync(&mut self, file: &mut File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // File systems over the network cannot do it in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            other => Ok(other?),
        }
    }

    fn exists(&mut self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let about = match entry.metadata() {
                Ok(about) => about,
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: if about.is_dir() { 0 } else { about.len() },
                directory: about.is_dir(),
            });
        }
        Ok(entries)
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}
