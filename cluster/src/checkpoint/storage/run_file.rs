//! A run file of this host, read from any place in it.
//!
//! Opened by whoever looks at a checkpoint or restores one; blocking. Invariant: of [`ReadAt`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use thalweg_state::run::ReadAt;

use super::contract::StorageError;
use super::location::Location;

/// An open run.
#[derive(Debug)]
pub struct RunFile {
    file: File,
    bytes: u64,
}

impl RunFile {
    /// Opens the file at a place.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn open(at: &Location) -> Result<RunFile, StorageError> {
        let opened = File::open(at.path()).and_then(|file| {
            let bytes = file.metadata()?.len();
            Ok(RunFile { file, bytes })
        });
        opened.map_err(|error| StorageError::of_io("open", at, &error))
    }
}

impl ReadAt for RunFile {
    fn length(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}
