//! Blocks of one size, each written and read by its number.
//!
//! Invariant: block n lies at n times the size. Lives on one shard's thread.

use super::error::SpillError;
use super::file::SpillFile;
use super::queue::{IoQueue, RequestId};

/// A file of blocks.
pub struct Blocks {
    file: SpillFile,
    block_bytes: usize,
}

impl Blocks {
    /// Blocks of `block_bytes` in a file of their own.
    ///
    /// # Panics
    /// When a block has no byte.
    #[must_use]
    pub fn new(file: SpillFile, block_bytes: usize) -> Blocks {
        assert!(block_bytes > 0, "a block has a byte at least");
        Blocks { file, block_bytes }
    }

    /// Writes block number `number`.
    ///
    /// # Errors
    /// When the quota is used up.
    ///
    /// # Panics
    /// When `bytes` is not a whole block.
    pub fn write(
        &self,
        queue: &mut IoQueue,
        number: u64,
        bytes: Vec<u8>,
    ) -> Result<RequestId, SpillError> {
        assert_eq!(bytes.len(), self.block_bytes, "a whole block is written");
        queue.write(&self.file, number * self.block_bytes as u64, bytes)
    }

    /// Reads block number `number`, which was written.
    pub fn read(&self, queue: &mut IoQueue, number: u64) -> RequestId {
        let offset = number * self.block_bytes as u64;
        queue.read(&self.file, offset, self.block_bytes)
    }
}
