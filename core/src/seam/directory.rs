//! What is told about a file, and about those in a directory.
//!
//! Entered by the drivers, which ask the system by `about` and `list` on a thread that may block, and
//! by tasks, which get the answers. Plain data. Invariant: an [`FileIdentity`] stays with a file through
//! renaming and writing, and another file at the same path has another one.

use std::ffi::OsString;
use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// What tells a file from every other one in its file system, whatever it is called.
///
/// The number of an inode is used again once its file is gone; the time of birth tells those apart, on
/// file systems that know it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileIdentity {
    /// The inode's number.
    pub inode: u64,
    /// When it was made, in ns since 1970; 0 where that is not kept.
    pub born_ns: u64,
}

/// What kind of thing has a name in a directory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A file, or a link to one.
    File,
    /// A directory, or a link to one.
    Directory,
    /// A device, a pipe, a socket.
    Other,
}

impl From<FileType> for FileKind {
    fn from(kind: FileType) -> FileKind {
        if kind.is_file() {
            FileKind::File
        } else if kind.is_dir() {
            FileKind::Directory
        } else {
            FileKind::Other
        }
    }
}

/// What the system tells about a file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FileAbout {
    /// Its kind.
    pub kind: FileKind,
    /// Its length in bytes.
    pub len: u64,
    /// When its content was last changed, in ns since 1970.
    pub modified_ns: u64,
    /// Which file it is.
    pub identity: FileIdentity,
}

impl From<&Metadata> for FileAbout {
    fn from(told: &Metadata) -> FileAbout {
        let born = told.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|born| u64::try_from(born.as_nanos()).ok());
        let seconds = u64::try_from(told.mtime()).unwrap_or(0);
        let rest = u64::try_from(told.mtime_nsec()).unwrap_or(0);
        FileAbout {
            kind: told.file_type().into(),
            len: told.len(),
            modified_ns: seconds.saturating_mul(1_000_000_000).saturating_add(rest),
            identity: FileIdentity {
                inode: told.ino(),
                born_ns: born_ns.unwrap_or(0),
            },
        }
    }
}

/// A name in a directory and what it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectoryEntry {
    /// The last part of the path.
    pub name: OsString,
    /// What has the name; links are followed.
    pub about: FileAbout,
}

/// What the system tells about an open file. The inode is in memory: this does not wait for the disk.
pub(crate) fn about(file: &File) -> io::Result<FileAbout> {
    file.metadata().map(|told| FileAbout::from(&told))
}

/// What has a name in the directory, sorted by name. What vanishes while it is looked at, and links to
/// nothing, are left out.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        match std::fs::metadata(entry.path()) {
            Ok(told) => entries.push(DirectoryEntry {
                name: entry.file_name(),
                about: FileAbout::from(&told),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}
