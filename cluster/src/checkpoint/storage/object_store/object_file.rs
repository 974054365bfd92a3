//! An object, read from any place in it.
//!
//! Opened by whoever looks at a checkpoint; blocking, not on a shard. What was read last is kept, so that who reads on
//! from there asks the store once for many blocks. Invariant: of [`ReadAt`].

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use object_store::path::Path;
use thalweg_state::run::ReadAt;

use super::client::Client;
use super::threads::Threads;
use crate::checkpoint::storage::contract::StorageError;

/// Bytes that are read at least, if there are so many.
const AHEAD: u64 = 1 << 20;

/// An open object.
pub(super) struct ObjectFile {
    client: Client,
    name: Path,
    threads: Arc<Threads>,
    bytes: u64,
    /// What was read last, and from which place on.
    last: RefCell<(u64, Vec<u8>)>,
}

impl ObjectFile {
    pub(super) fn open(
        client: Client,
        name: Path,
        threads: Arc<Threads>,
    ) -> Result<ObjectFile, StorageError> {
        let bytes = threads.wait({
            let (client, name) = (client.clone(), name.clone());
            async move { client.length("open", &name).await }
        })?;
        Ok(ObjectFile {
            client,
            name,
            threads,
            bytes,
            last: RefCell::new((0, Vec::new())),
        })
    }
}

impl ReadAt for ObjectFile {
    fn length(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64);
        let end = end.filter(|end| *end <= self.bytes);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut last = self.last.borrow_mut();
        if offset < last.0 || end > last.0 + last.1.len() as u64 {
            let range = offset..end.max(self.bytes.min(offset + AHEAD));
            let (client, name) = (self.client.clone(), self.name.clone());
            let read = (self.threads).wait(async move { client.piece(&name, range).await });
            *last = (offset, read.map_err(io::Error::other)?);
        }
        let begin = (offset - last.0) as usize;
        into.copy_from_slice(&last.1[begin..begin + into.len()]);
        Ok(())
    }
}
