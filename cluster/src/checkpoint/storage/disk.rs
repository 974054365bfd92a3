//! The calls of a file system that storage in directories is made of.
//!
//! A seam: [`HostDisk`] is the file system of this host, [`simulated`](super::simulated) one in memory that
//! forgets what was not synced. Blocking, on the control thread. Invariant: none of its own; what must come
//! before what is decided in [`directory`](super::directory).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crc32c::crc32c_append;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use thalweg_core::seam::clock::entropy;
use thalweg_dataflow::checkpoint::{CrashListener, CrashPoint};
use thalweg_state::run::ReadAt;

use super::contract::Entry;
use super::run_file::RunFile;
use super::whole_file::facts_of;
use crate::checkpoint::metadata::model::FileFacts;

/// Bytes that are read at once.
pub(super) const PIECE: usize = 256 << 10;

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

    /// Length and checksum of a file that is not being written, from all its bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn facts(&mut self, path: &Path) -> io::Result<FileFacts>
    where
        Self: Sized,
    {
        read_pieces(self, path, |error| error, |_, _| Ok(()))
    }

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

    /// A number that nobody else who writes on this disk draws at this time: what is in work is named by it.
    fn draw(&mut self) -> u64;

    /// Gives a file another name in its directory, if nothing has that name. Where the former name cannot be taken
    /// from it the file has both, which is no error.
    ///
    /// # Errors
    /// As the operating system says; [`io::ErrorKind::AlreadyExists`] if something has that name.
    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file that is never changed another name beside the one it has, if nothing has that name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] and [`io::ErrorKind::NotFound`] as the operating system says; anything else
    /// where a file cannot have two names, or not these.
    fn link_new(&mut self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

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

/// Shows a file's bytes piece by piece; answers what they are.
pub(super) fn read_pieces<D: Disk, E>(
    disk: &mut D,
    path: &Path,
    failed: impl Fn(io::Error) -> E,
    mut piece: impl FnMut(&mut D, &[u8]) -> Result<(), E>,
) -> Result<FileFacts, E> {
    let mut file = disk.open(path).map_err(&failed)?;
    let mut buffer = vec![0; PIECE];
    let (mut bytes, mut checksum) = (0, 0);
    loop {
        let count = disk.read(&mut file, &mut buffer).map_err(&failed)?;
        if count == 0 {
            return Ok(FileFacts { bytes, checksum });
        }
        bytes += count as u64;
        checksum = crc32c_append(checksum, &buffer[..count]);
        piece(disk, &buffer[..count])?;
    }
}

/// The file system of this host.
#[derive(Clone, Debug, Default)]
pub struct HostDisk {
    /// Who is told of points at which to crash.
    pub(super) crash_points: CrashListener,
}

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

    fn facts(&mut self, path: &Path) -> io::Result<FileFacts> {
        facts_of(path)
    }

    fn sync(&mut self, file: &mut File) -> io::Result<()> {
        self.crash_points.passes(CrashPoint::BeforeSync);
        file.sync_all()
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.crash_points.passes(CrashPoint::BeforeName);
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // File systems over the network cannot do it in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                link_new(from, to, |from| fs::remove_file(from))?;
            }
            other => other?,
        }
        self.crash_points.passes(CrashPoint::AfterName);
        Ok(())
    }

    fn link_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn draw(&mut self) -> u64 {
        entropy()
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

/// Gives a file another name beside the one it has, then takes that from it.
fn link_new(
    from: &Path,
    to: &Path,
    remove: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    if let Err(error) = fs::hard_link(from, to) {
        // Its first answer may have been lost on the way, and the second try has found what the first made.
        let one = |at| fs::symlink_metadata(at).map(|about| (about.dev(), about.ino()));
        if !matches!((one(from), one(to)), (Ok(from), Ok(to)) if from == to) {
            return Err(error);
        }
    }
    if let Err(error) = remove(from) {
        tracing::warn!(%error, file = %from.display(), "a name that is of no use any more stays");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_its_new_name_is_named_whatever_becomes_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let stays = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        fs::write(at("part"), "whole").unwrap();
        link_new(&at("part"), &at("newest"), stays).unwrap();
        assert_eq!(fs::read(at("newest")).unwrap(), b"whole");
        // The request came twice.
        link_new(&at("part"), &at("newest"), |from| fs::remove_file(from)).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // Of another the name is not taken.
        fs::write(at("part"), "whole").unwrap();
        let refused = link_new(&at("part"), &at("newest"), stays).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        let missing = link_new(&at("none"), &at("other"), stays).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
