//! Whole files, written and read from front to back in large pieces.
//!
//! Invariant: a few pieces are at the disk at once, and whoever makes them is told to hold back. Lives on
//! one shard's thread.

use std::collections::VecDeque;

use super::error::SpillError;
use super::file::SpillFile;
use super::queue::{IoDone, IoQueue, RequestId};

/// Pieces at the disk at once; at more the writer is full.
const IN_FLIGHT: usize = 4;

/// Writes one file from front to back.
pub struct BulkWriter {
    file: SpillFile,
    piece_bytes: usize,
    gathered: Vec<u8>,
    flying: Vec<RequestId>,
}

impl BulkWriter {
    /// Writes `file` in pieces of about `piece_bytes`.
    #[must_use]
    pub fn new(file: SpillFile, piece_bytes: usize) -> BulkWriter {
        BulkWriter {
            file,
            piece_bytes: piece_bytes.max(1),
            gathered: Vec::new(),
            flying: Vec::new(),
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &SpillFile {
        &self.file
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When the quota is used up.
    pub fn append(&mut self, queue: &mut IoQueue, bytes: &[u8]) -> Result<(), SpillError> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= self.piece_bytes {
            self.flush(queue)?;
        }
        Ok(())
    }

    /// Writes what is gathered.
    ///
    /// # Errors
    /// As [`BulkWriter::append`].
    pub fn flush(&mut self, queue: &mut IoQueue) -> Result<(), SpillError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.gathered);
        let offset = self.file.len();
        self.flying.push(queue.write(&self.file, offset, piece)?);
        Ok(())
    }

    /// Whether so much is on its way that no more should be made until some of it is there.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.flying.len() >= IN_FLIGHT
    }

    /// Whether all that was appended and flushed has been written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.flying.is_empty() && self.gathered.is_empty()
    }

    /// Shows it an answer of the queue; whether it was one of its own.
    ///
    /// # Errors
    /// When the piece could not be written.
    pub fn answered(
        &mut self,
        id: RequestId,
        answer: &Result<IoDone, SpillError>,
    ) -> Result<bool, SpillError> {
        let Some(at) = self.flying.iter().position(|flying| *flying == id) else {
            return Ok(false);
        };
        self.flying.swap_remove(at);
        match answer {
            Ok(_) => Ok(true),
            Err(error) => Err(error.clone()),
        }
    }
}

/// Reads one file from front to back, some pieces ahead.
pub struct BulkReader {
    file: SpillFile,
    piece_bytes: usize,
    end: u64,
    asked: u64,
    /// Pieces asked for, in order, with what has come.
    ahead: VecDeque<(RequestId, Option<Vec<u8>>)>,
}

impl BulkReader {
    /// Reads what has been written to `file` so far, in pieces of `piece_bytes`.
    #[must_use]
    pub fn new(file: SpillFile, piece_bytes: usize) -> BulkReader {
        BulkReader {
            end: file.len(),
            file,
            piece_bytes: piece_bytes.max(1),
            asked: 0,
            ahead: VecDeque::new(),
        }
    }

    /// Asks for pieces ahead.
    pub fn ask(&mut self, queue: &mut IoQueue) {
        while self.ahead.len() < IN_FLIGHT && self.asked < self.end {
            let left = self.end - self.asked;
            let length = left.min(self.piece_bytes as u64) as usize;
            let id = queue.read(&self.file, self.asked, length);
            self.asked += length as u64;
            self.ahead.push_back((id, None));
        }
    }

    /// Shows it an answer of the queue; gives back what is not its own.
    ///
    /// # Errors
    /// When a piece could not be read.
    pub fn answered(
        &mut self,
        id: RequestId,
        answer: Result<IoDone, SpillError>,
    ) -> Result<Option<Result<IoDone, SpillError>>, SpillError> {
        let Some((_, piece)) = self.ahead.iter_mut().find(|(asked, _)| *asked == id) else {
            return Ok(Some(answer));
        };
        if let IoDone::Read(bytes) = answer? {
            *piece = Some(bytes);
        }
        Ok(None)
    }

    /// The next piece, if it has come.
    pub fn next_piece(&mut self) -> Option<Vec<u8>> {
        let (_, piece) = self.ahead.front_mut()?;
        let piece = piece.take()?;
        self.ahead.pop_front();
        Some(piece)
    }

    /// Whether all pieces were taken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.asked == self.end && self.ahead.is_empty()
    }
}
