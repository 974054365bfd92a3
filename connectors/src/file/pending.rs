//! How hidden files that are complete become visible, or go.
//!
//! Runs on control threads, with blocking file operations. A [`Pending`] names a hidden file that is
//! complete and durable, its final place and its length; to publish it is to rename it there. It travels
//! as a [`Committable`]: absolute paths, so that another process may commit it. Invariants: a final name
//! never shows a file that is not whole; publishing the same file again changes nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use thalweg_core::error::ErrorKind;
use thalweg_core::seam::mend::mend_of;
use thalweg_dataflow::sink::{Committable, SinkError};

/// The first byte of an encoded [`Pending`].
const VERSION: u8 = 1;

/// What was found of a pending file that was to be made visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// It is visible.
    Visible,
    /// Neither it nor what it was to become is there.
    Gone,
}

/// A pending file that waits to be made visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) pending: PathBuf,
    pub(crate) last: PathBuf,
    /// Its length in bytes: what tells the file from another one under the same name.
    pub(crate) len: u64,
}

impl Pending {
    pub(crate) fn encode(&self) -> Committable {
        let pending = self.pending.as_os_str().as_bytes();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend_from_slice(&(pending.len() as u64).to_le_bytes());
        bytes.extend_from_slice(pending);
        bytes.extend_from_slice(self.last.as_os_str().as_bytes());
        Committable(bytes)
    }

    pub(crate) fn decode(Committable(bytes): &Committable) -> Option<Pending> {
        let (&VERSION, rest) = bytes.split_first()? else {
            return None;
        };
        let (len, rest) = rest.split_first_chunk()?;
        let (pending_len, rest) = rest.split_first_chunk()?;
        let pending_len = usize::try_from(u64::from_le_bytes(*pending_len)).ok()?;
        let (pending, last) = rest.split_at_checked(pending_len)?;
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        Some(Pending {
            pending: path(pending),
            last: path(last),
            len: u64::from_le_bytes(*len),
        })
    }

    /// Gives the file its final name, if it has not got it yet.
    pub(crate) fn publish(&self, overwrite: bool) -> Result<Published, SinkError> {
        let pending_len = len_of(&self.pending)?;
        let last_len = len_of(&self.last)?;
        match (pending_len, last_len) {
            (Some(len), last) => {
                if len != self.len {
                    return Err(changed(&self.pending, len, self.len));
                }
                if last.is_some() && !overwrite {
                    return Err(self.appeared());
                }
                fs::rename(&self.pending, &self.last)
                    .map_err(|error| failed("publish", &self.last, &error))?;
                Ok(Published::Visible)
            }
            (None, Some(len)) if len == self.len => Ok(Published::Visible),
            (None, None) => Ok(Published::Gone),
            (None, Some(len)) => Err(self.overwritten(len)),
        }
    }

    /// What to say of a file that cannot be published because it is not there.
    pub(crate) fn gone(&self, mend: &str) -> SinkError {
        let message = format!(
            "the pending file `{}` is gone, so `{}` cannot be published: was it removed? If so, {mend}",
            self.pending.display(),
            self.last.display()
        );
        SinkError::new(ErrorKind::Data, message)
    }

    fn overwritten(&self, len: u64) -> SinkError {
        let message = format!(
            "`{}` has {len} bytes, but the job wrote {} there, and nothing of it is left in `{}`: something else has \
             changed or replaced the visible file; move it away and run the job again",
            self.last.display(),
            self.len,
            self.pending.display()
        );
        SinkError::new(ErrorKind::Data, message)
    }

    fn appeared(&self) -> SinkError {
        let message = format!(
            "`{}` has appeared while the job ran; its output is left in `{}`: move one of them away, or use .overwrite()",
            self.last.display(),
            self.pending.display()
        );
        SinkError::new(ErrorKind::Invalid, message)
    }
}

pub(crate) fn decode_all(prepared: &[Committable]) -> Result<Vec<Pending>, SinkError> {
    prepared
        .iter()
        .map(|committable| {
            Pending::decode(committable).ok_or_else(|| {
                SinkError::new(
                    ErrorKind::Internal,
                    "what a file's writer prepared cannot be read back; was it written by another version?",
                )
            })
        })
        .collect()
}

/// Makes what was renamed, made and removed in these directories durable.
pub(crate) fn sync_all(directories: &BTreeSet<PathBuf>) -> Result<(), SinkError> {
    for directory in directories {
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed("make durable", directory, &error))?;
    }
    Ok(())
}

fn len_of(path: &Path) -> Result<Option<u64>, SinkError> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", path, &error)),
    }
}

/// Removes a file; it may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), SinkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Removes a directory if it is empty: what else lies there is not ours.
pub(crate) fn remove_if_empty(directory: &Path) -> Result<(), SinkError> {
    match fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(failed("remove", directory, &error)),
    }
}

/// What lies in a directory.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, SinkError> {
    let failed = |error: io::Error| failed("look into", directory, &error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    Ok(paths)
}

pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    }
}

fn changed(path: &Path, len: u64, wanted: u64) -> SinkError {
    let message = format!(
        "`{}` has {len} bytes but {wanted} were written: something else changed it; it was not published",
        path.display()
    );
    SinkError::new(ErrorKind::Data, message)
}

pub(crate) fn failed(what: &str, path: &Path, error: &io::Error) -> SinkError {
    let known = mend_of(error);
    let mend = match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user who runs the job write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there",
        io::ErrorKind::FileTooLarge => {
            "raise the limit of a file's size (ulimit -f), or write to another file system"
        }
        io::ErrorKind::ReadOnlyFilesystem => "write to a file system that is not read-only",
        _ => known
            .as_deref()
            .unwrap_or("check the path and the disk it lies on"),
    };
    let message = format!("cannot {what} `{}`: {error}; {mend}", path.display());
    SinkError::new(ErrorKind::Resource, message)
}

pub(crate) fn invalid(path: &Path, what: &str) -> SinkError {
    SinkError::new(ErrorKind::Invalid, format!("`{}` {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_prepared_reads_back_as_written() {
        let prepared = Pending {
            pending: PathBuf::from(OsString::from_vec(b"out/.p\xFF.1.pending".to_vec())),
            last: PathBuf::from("out/p"),
            len: 1 << 40,
        };
        let encoded = prepared.encode();
        assert_eq!(Pending::decode(&encoded), Some(prepared));
        for cut in 0..17 + 17 {
            assert_eq!(
                Pending::decode(&Committable(encoded.0[..cut].to_vec())),
                None,
                "{cut}"
            );
        }
    }
}
