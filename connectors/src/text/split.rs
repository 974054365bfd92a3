//! Which bytes of which file a subtask reads: the cutting of text files into splits.
//!
//! Entered on the submitting thread, before any task runs, so that a file that is not there stops the
//! job at its start. A line belongs to the split its first byte lies in: a reader whose split begins
//! amid a line goes on to the next one, and reads the line that straddles its end to that line's end.
//! Invariant: the splits of a file cover its bytes once, in order.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use thalweg_core::error::ErrorKind;
use thalweg_core::seam::mend::mend_of;
use thalweg_core::seam::reactor::FileIdentity;
use thalweg_dataflow::source::SourceError;
use thalweg_memory::record::record;

use crate::monitor::filter::{PathFilter, is_hidden};

/// Splits per subtask, so that a slow one does not hold up the job with one large piece.
const SPLITS_PER_SUBTASK: u64 = 4;

/// How a file is packed, by the end of its name.
#[record(crate = thalweg_memory)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not packed: any part of it can be read by itself.
    Plain,
    /// `.gz`: read whole by one reader.
    Gzip,
    /// `.zst`: read whole by one reader.
    Zstd,
}

impl Packing {
    pub(crate) fn of(path: &Path) -> Packing {
        match path.extension().and_then(|end| end.to_str()) {
            Some("gz") => Packing::Gzip,
            Some("zst") => Packing::Zstd,
            _ => Packing::Plain,
        }
    }
}

/// A range of one text file and how far it was read.
#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSplit {
    /// The file, as the bytes of its name: not all names are text.
    path: Vec<u8>,
    pub(crate) packing: Packing,
    /// The next byte to be read; of a packed file, a byte of its unpacked text.
    pub(crate) position: u64,
    /// Whether a line is known to begin at `position`.
    pub(crate) at_line: bool,
    /// Lines that begin here or later belong to others.
    pub(crate) end: u64,
    /// Nothing from `end` on belongs to it, even where a line goes on.
    pub(crate) closed: bool,
    /// Which file it was, if it may be called otherwise by now: its inode and when that was born.
    identity: Option<(u64, u64)>,
}

impl TextSplit {
    /// What a monitor has found: the bytes `range` of this very file, in whole lines.
    pub(crate) fn found(path: &Path, identity: FileIdentity, range: Range<u64>) -> Self {
        let packing = Packing::of(path);
        let (position, end) = match packing {
            Packing::Plain => (range.start, range.end),
            // Positions are in the unpacked text.
            Packing::Gzip | Packing::Zstd => (0, u64::MAX),
        };
        Self {
            path: path.as_os_str().as_bytes().to_vec(),
            packing,
            position,
            at_line: true,
            end,
            closed: packing == Packing::Plain,
            identity: Some((identity.inode, identity.born_ns)),
        }
    }

    /// Which of so many readers reads it: all splits of a file have the same one.
    pub(crate) fn reader(&self, readers: usize) -> usize {
        let (inode, born_ns) = self.identity.unwrap_or_default();
        // Inodes are mostly given out one after the other: that deals them evenly.
        inode.wrapping_add(born_ns) as usize % readers.max(1)
    }

    /// Which file it is, if that is known.
    pub(crate) fn identity(&self) -> Option<FileIdentity> {
        let (inode, born_ns) = self.identity?;
        Some(FileIdentity { inode, born_ns })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// A file to be read.
struct Found {
    path: PathBuf,
    len: u64,
}

/// Which files of a directory are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) recursive: bool,
    pub(crate) filter: PathFilter,
}

/// Cuts files for so many subtasks, into pieces of at least `least` bytes.
pub(crate) fn cut(
    paths: &[PathBuf],
    search: &Search,
    parallelism: u32,
    least: u64,
) -> Result<Vec<TextSplit>, SourceError> {
    let mut files = Vec::new();
    for path in paths {
        find(path, path, search, &mut files)?;
    }
    if files.is_empty() {
        tracing::warn!(?paths, "no file to read: the text source is empty");
    }
    let total: u64 = files.iter().map(|file| file.len).sum();
    let piece = match parallelism {
        0 | 1 => u64::MAX,
        subtasks => (total / (u64::from(subtasks) * SPLITS_PER_SUBTASK)).max(least.max(1)),
    };
    Ok(files
        .iter()
        .flat_map(|file| cut_file(file, piece))
        .collect())
}

fn cut_file(file: &Found, piece: u64) -> Vec<TextSplit> {
    let packing = Packing::of(&file.path);
    let split = |position: u64, end: u64| TextSplit {
        path: file.path.clone().into_os_string().into_vec(),
        packing,
        position,
        at_line: position == 0,
        end,
        closed: false,
        identity: None,
    };
    if packing != Packing::Plain {
        return vec![split(0, u64::MAX)];
    }
    let pieces = (file.len / piece).max(1);
    let bound = |piece: u64| {
        let bound = u128::from(file.len) * u128::from(piece) / u128::from(pieces);
        u64::try_from(bound).unwrap_or(u64::MAX)
    };
    (0..pieces)
        .map(|index| split(bound(index), bound(index + 1)))
        .filter(|split| split.position < split.end)
        .collect()
}

/// Adds the file, or the files of the directory by name. `root` is the path the program has named.
fn find(
    root: &Path,
    path: &Path,
    search: &Search,
    files: &mut Vec<Found>,
) -> Result<(), SourceError> {
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if about.is_dir() {
        return find_in_directory(root, path, search, files);
    }
    let below = path.strip_prefix(root).unwrap_or(path);
    if path != root && !search.filter.admits(below) {
        return Ok(());
    }
    if !about.is_file() {
        let message = format!(
            "`{}` is neither a file nor a directory: copy what it gives into a file first, or read \
             a socket with socket_text",
            path.display()
        );
        return Err(SourceError::new(ErrorKind::Invalid, message));
    }
    File::open(path).map_err(|error| unreadable(path, &error))?;
    // A split may be read again by a process that was started in another directory.
    let path = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    let len = about.len();
    files.push(Found { path, len });
    Ok(())
}

fn find_in_directory(
    root: &Path,
    directory: &Path,
    search: &Search,
    files: &mut Vec<Found>,
) -> Result<(), SourceError> {
    let failed = |error: io::Error| unreadable(directory, &error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    for entry in entries.iter().filter(|entry| !is_hidden(entry)) {
        if search.recursive || !entry.is_dir() {
            find(root, entry, search, files)?;
        }
    }
    Ok(())
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    let known = mend_of(error);
    let mend = match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path; it is looked up in the directory the job is started in"
        }
        io::ErrorKind::PermissionDenied => "let the user who runs the job read it",
        _ => known.as_deref().unwrap_or("check the disk it lies on"),
    };
    let message = format!("cannot read `{}`: {error}; {mend}", path.display());
    SourceError::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(len: u64) -> Found {
        Found {
            path: PathBuf::from("text"),
            len,
        }
    }

    #[test]
    fn pieces_cover_the_file_once_in_order() {
        for (len, piece) in [(0, 10), (1, 10), (10, 10), (19, 10), (20, 10), (1000, 7)] {
            let splits = cut_file(&found(len), piece);
            let mut at = 0;
            for split in &splits {
                assert_eq!(split.position, at, "{len}/{piece}");
                assert_eq!(split.at_line, at == 0);
                assert!(
                    split.end - split.position >= piece.min(len),
                    "{len}/{piece}"
                );
                at = split.end;
            }
            assert_eq!(at, len, "{len}/{piece}");
        }
    }

    #[test]
    fn packed_files_are_one_piece() {
        let mut file = found(1 << 30);
        file.path = PathBuf::from("dir/text.gz");
        let splits = cut_file(&file, 10);
        assert_eq!(splits.len(), 1);
        assert_eq!(
            (splits[0].packing, splits[0].end),
            (Packing::Gzip, u64::MAX)
        );
    }
}
