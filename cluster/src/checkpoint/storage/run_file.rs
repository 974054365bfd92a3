//! A run file of this host, read from any place in it.
//!
//! Opened by whoever looks at a checkpoint or restores one; blocking. Invariant: of [`ReadAt`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use thalweg_state::run::ReadAt;

/// An open run.
#[derive(Debug)]
pub struct RunFile {
    file: File,
    bytes: u64,
}

impl RunFile {
    /// Opens the file at a path.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn open(path: &Path) -> io::Result<RunFile> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(RunFile { file, bytes })
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
