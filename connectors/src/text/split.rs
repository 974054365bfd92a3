//! Which bytes of which file a subtask reads: the cutting of text files into splits.
//!
//! Entered on the submitting thread, before any task runs, so that a file that is not there stops the
//! job at its start. A line belongs to the split its first byte lies in: a reader whose split begins
//! amid a line goes on to the next one, and reads the line that straddles its end to that line's end.
//! Invariant: the splits of a file cover its bytes once, in order.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_core::error::ErrorKind;
use thalweg_dataflow::source::SourceError;

/// Splits per subtask, so that a slow one does not hold up the job with one large piece.
const SPLITS_PER_SUBTASK: u64 = 4;

/// How a file is packed, by the end of its name.
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
    fn of(path: &Path) -> Packing {
        match path.extension().and_then(|end| end.to_str()) {
            Some("gz") => Packing::Gzip,
            Some("zst") => Packing::Zstd,
            _ => Packing::Plain,
        }
    }
}

/// A range of one text file and how far it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSplit {
    /// The file.
    pub(crate) path: Arc<Path>,
    pub(crate) packing: Packing,
    /// The next byte to be read; of a packed file, a byte of its unpacked text.
    pub(crate) position: u64,
    /// Whether a line is known to begin at `position`.
    pub(crate) at_line: bool,
    /// Lines that begin here or later belong to others.
    pub(crate) end: u64,
}

/// A file to be read.
struct Found {
    path: Arc<Path>,
    len: u64,
}

/// Cuts files for so many subtasks, into pieces of at least `least` bytes.
pub(crate) fn cut(
    paths: &[PathBuf],
    recursive: bool,
    parallelism: u32,
    least: u64,
) -> Result<Vec<TextSplit>, SourceError> {
    let mut files = Vec::new();
    for path in paths {
        find(path, recursive, &mut files)?;
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
        path: Arc::clone(&file.path),
        packing,
        position,
        at_line: position == 0,
        end,
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

/// Adds the file, or the files of the directory by name.
fn find(path: &Path, recursive: bool, files: &mut Vec<Found>) -> Result<(), SourceError> {
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if about.is_dir() {
        return find_in_directory(path, recursive, files);
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
    files.push(Found {
        path: Arc::from(path),
        len: about.len(),
    });
    Ok(())
}

fn find_in_directory(
    directory: &Path,
    recursive: bool,
    files: &mut Vec<Found>,
) -> Result<(), SourceError> {
    let failed = |error: io::Error| unreadable(directory, &error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    for entry in entries.iter().filter(|entry| !is_hidden(entry)) {
        if recursive || !entry.is_dir() {
            find(entry, recursive, files)?;
        }
    }
    Ok(())
}

/// Names that begin with `.` or `_` are not data: pending files, markers.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.as_encoded_bytes());
    matches!(name, Some([b'.' | b'_', ..]))
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    let mend = match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path; it is looked up in the directory the job is started in"
        }
        io::ErrorKind::PermissionDenied => "let the user who runs the job read it",
        _ => "check the disk it lies on",
    };
    let message = format!("cannot read `{}`: {error}; {mend}", path.display());
    SourceError::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(len: u64) -> Found {
        Found {
            path: Arc::from(Path::new("text")),
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
        file.path = Arc::from(Path::new("dir/text.gz"));
        let splits = cut_file(&file, 10);
        assert_eq!(splits.len(), 1);
        assert_eq!(
            (splits[0].packing, splits[0].end),
            (Packing::Gzip, u64::MAX)
        );
    }
}
