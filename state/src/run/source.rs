//! Where the bytes of a run are read from.
//!
//! Implemented by what keeps files: bytes in memory here, files and objects elsewhere. Invariant: a run is
//! immutable, so the same place always has the same bytes. Lives where its reader lives.

use std::io::{Error, ErrorKind};

/// Bytes that can be read from any place.
pub trait ReadAt {
    /// How many bytes there are.
    fn length(&self) -> u64;

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When they cannot be read, or end before `into` is full.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Error>;
}

impl ReadAt for [u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|start| self.get(start..)?.get(..into.len()));
        let bytes = bytes.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn length(&self) -> u64 {
        self.as_slice().length()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        self.as_slice().read_at(offset, into)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        (**self).read_at(offset, into)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        (**self).read_at(offset, into)
    }
}
