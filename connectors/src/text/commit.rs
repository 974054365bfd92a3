//! How pending text files become visible, or go.
//!
//! Runs on control threads, with blocking file operations. A writer's [`Prepared`] names a pending file
//! that is complete and durable, its final place and its length; committing renames it there. Invariants:
//! a final name never shows a file that is not whole; committing the same list again changes nothing;
//! aborting removes every pending file of this attempt, whether it was prepared or not, and nothing else.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_core::error::ErrorKind;
use thalweg_dataflow::sink::{Committable, Committer, SinkError};

use super::sink::Target;

/// The first byte of an encoded [`Prepared`].
const VERSION: u8 = 1;

/// A pending file that waits to be made visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) pending: PathBuf,
    pub(crate) last: PathBuf,
    /// Its length in bytes: what tells the file from another one under the same name.
    pub(crate) len: u64,
}

impl Prepared {
    pub(crate) fn encode(&self) -> Committable {
        let pending = self.pending.as_os_str().as_bytes();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend_from_slice(&(pending.len() as u64).to_le_bytes());
        bytes.extend_from_slice(pending);
        bytes.extend_from_slice(self.last.as_os_str().as_bytes());
        Committable(bytes)
    }

    fn decode(Committable(bytes): &Committable) -> Option<Prepared> {
        let (&VERSION, rest) = bytes.split_first()? else {
            return None;
        };
        let (len, rest) = rest.split_first_chunk()?;
        let (pending_len, rest) = rest.split_first_chunk()?;
        let pending_len = usize::try_from(u64::from_le_bytes(*pending_len)).ok()?;
        let (pending, last) = rest.split_at_checked(pending_len)?;
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        Some(Prepared {
            pending: path(pending),
            last: path(last),
            len: u64::from_le_bytes(*len),
        })
    }
}

/// Publishes or withdraws the files of one text sink.
pub struct TextCommitter {
    pub(crate) target: Arc<Target>,
}

impl Committer for TextCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let prepared = decode_all(prepared)?;
        for file in &prepared {
            publish(file, self.target.overwrite)?;
        }
        if self.target.overwrite {
            self.remove_former(&prepared)?;
        }
        for directory in self.target.directories() {
            let synced = File::open(&directory).and_then(|directory| directory.sync_all());
            synced.map_err(|error| failed("make durable", &directory, &error))?;
        }
        Ok(())
    }

    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let listed = decode_all(prepared)?;
        let listed = listed.into_iter().map(|file| file.pending);
        // A writer that failed has prepared nothing, but its pending file is there.
        for pending in listed.chain(self.target.all_pending()) {
            remove(&pending)?;
        }
        if self.target.made_directory() {
            // Only if it is empty: what else lies there now is not ours.
            match fs::remove_dir(&self.target.path) {
                Ok(()) => {}
                Err(error) if is_not_ours(error.kind()) => {}
                Err(error) => return Err(failed("remove", &self.target.path, &error)),
            }
        }
        Ok(())
    }
}

fn is_not_ours(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
    )
}

impl TextCommitter {
    /// Removes the parts of an earlier, wider job.
    fn remove_former(&self, prepared: &[Prepared]) -> Result<(), SinkError> {
        for part in self.target.parts()? {
            if prepared.iter().all(|file| file.last != part) {
                remove(&part)?;
            }
        }
        Ok(())
    }
}

fn decode_all(prepared: &[Committable]) -> Result<Vec<Prepared>, SinkError> {
    prepared
        .iter()
        .map(|committable| {
            Prepared::decode(committable).ok_or_else(|| {
                SinkError::new(
                    ErrorKind::Internal,
                    "what a text file writer prepared cannot be read back; was it written by another version?",
                )
            })
        })
        .collect()
}

/// Gives a pending file its final name, if it has not got it yet.
fn publish(file: &Prepared, overwrite: bool) -> Result<(), SinkError> {
    let pending_len = len_of(&file.pending)?;
    let last_len = len_of(&file.last)?;
    match (pending_len, last_len) {
        (Some(len), last) => {
            if len != file.len {
                return Err(changed(&file.pending, len, file.len));
            }
            if last.is_some() && !overwrite {
                return Err(appeared(file));
            }
            fs::rename(&file.pending, &file.last)
                .map_err(|error| failed("publish", &file.last, &error))
        }
        (None, Some(len)) if len == file.len => Ok(()),
        (None, _) => {
            let message = format!(
                "the pending file `{}` is gone, so `{}` cannot be published: was it removed? Run the job again",
                file.pending.display(),
                file.last.display()
            );
            Err(SinkError::new(ErrorKind::Data, message))
        }
    }
}

fn len_of(path: &Path) -> Result<Option<u64>, SinkError> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", path, &error)),
    }
}

fn remove(path: &Path) -> Result<(), SinkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", path, &error))
        }
        _ => Ok(()),
    }
}

fn changed(path: &Path, len: u64, wanted: u64) -> SinkError {
    let message = format!(
        "`{}` has {len} bytes but {wanted} were written: something else changed it; it was not published",
        path.display()
    );
    SinkError::new(ErrorKind::Data, message)
}

fn appeared(file: &Prepared) -> SinkError {
    let message = format!(
        "`{}` has appeared while the job ran; its output is left in `{}`: move one of them away, or use .overwrite()",
        file.last.display(),
        file.pending.display()
    );
    SinkError::new(ErrorKind::Invalid, message)
}

pub(crate) fn failed(what: &str, path: &Path, error: &io::Error) -> SinkError {
    let mend = match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user who runs the job write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there",
        io::ErrorKind::ReadOnlyFilesystem => "write to a file system that is not read-only",
        _ => "check the path and the disk it lies on",
    };
    let message = format!("cannot {what} `{}`: {error}; {mend}", path.display());
    SinkError::new(ErrorKind::Resource, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_prepared_reads_back_as_written() {
        let prepared = Prepared {
            pending: PathBuf::from(OsString::from_vec(b"out/.p\xFF.1.pending".to_vec())),
            last: PathBuf::from("out/p"),
            len: 1 << 40,
        };
        let encoded = prepared.encode();
        assert_eq!(Prepared::decode(&encoded), Some(prepared));
        for cut in 0..17 + 17 {
            assert_eq!(
                Prepared::decode(&Committable(encoded.0[..cut].to_vec())),
                None,
                "{cut}"
            );
        }
    }
}
