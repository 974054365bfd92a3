//! Buffers of any size that go in at one end and come out at the other.
//!
//! Invariant: they come out in the order in which they went in; where each lies is kept in memory, 16 bytes
//! per buffer. A buffer is asked back for only after it was written. Lives on one shard's thread.

use std::collections::VecDeque;

use super::error::SpillError;
use super::file::SpillFile;
use super::queue::{IoQueue, RequestId};

/// A first-in first-out line of buffers in a file.
pub struct BufferSpool {
    file: SpillFile,
    /// Written and not asked back yet: offset and length.
    line: VecDeque<(u64, usize)>,
}

impl BufferSpool {
    /// An empty line in a file of its own.
    #[must_use]
    pub fn new(file: SpillFile) -> BufferSpool {
        let line = VecDeque::new();
        BufferSpool { file, line }
    }

    /// Buffers in line.
    #[must_use]
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether no buffer is in line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Writes a buffer behind the last.
    ///
    /// # Errors
    /// When the quota is used up.
    pub fn push(&mut self, queue: &mut IoQueue, bytes: Vec<u8>) -> Result<RequestId, SpillError> {
        let place = (self.file.len(), bytes.len());
        let written = queue.write(&self.file, place.0, bytes)?;
        self.line.push_back(place);
        Ok(written)
    }

    /// Reads the first buffer in line, whose writing was answered; none where there is none.
    pub fn pop(&mut self, queue: &mut IoQueue) -> Option<RequestId> {
        let (offset, length) = self.line.pop_front()?;
        Some(queue.read(&self.file, offset, length))
    }
}
