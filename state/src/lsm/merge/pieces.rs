//! Pieces of runs that streams wait for: blocks that lie side by side, read at once.
//!
//! Entered by walks over runs that are not merges. Invariant: an answer is taken in once, by the stream it was asked
//! for, and only if each of its blocks is whole. Lives on one shard's thread.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use thalweg_memory::SpillError;
use thalweg_memory::spill::{IoDone, IoQueue, RequestId};

use super::super::run::ColdRun;
use super::stream::Stream;
use crate::error::StateError;

/// What was asked for and has not come: for which stream, and which of its blocks.
#[derive(Default)]
pub(in crate::lsm) struct Pieces {
    asked: BTreeMap<RequestId, (usize, Range<usize>)>,
}

impl Pieces {
    /// Asks for blocks of a stream, which come to so many bytes.
    pub(in crate::lsm) fn ask(
        &mut self,
        queue: &mut IoQueue,
        runs: &[Rc<ColdRun>],
        (number, stream): (usize, &Stream),
        (blocks, bytes): (Range<usize>, u64),
    ) {
        let offset = stream.places[blocks.start].offset;
        let request = queue.read(&runs[stream.age].file, offset, bytes as usize);
        self.asked.insert(request, (number, blocks));
    }

    /// Whether a stream waits for any.
    pub(in crate::lsm) fn are_asked_for(&self, number: usize) -> bool {
        self.asked.values().any(|(asked, _)| *asked == number)
    }

    /// Takes an answer of the disk; gives back what is not for these streams.
    ///
    /// # Errors
    /// What the disk says, and damage.
    pub(in crate::lsm) fn answered(
        &mut self,
        runs: &[Rc<ColdRun>],
        streams: &mut [Stream],
        request: RequestId,
        answer: Result<IoDone, SpillError>,
    ) -> Result<Option<Result<IoDone, SpillError>>, StateError> {
        let Some((number, blocks)) = self.asked.remove(&request) else {
            return Ok(Some(answer));
        };
        if let IoDone::Read(bytes) = answer? {
            let stream = &mut streams[number];
            if let Some(place) = stream.put_piece(blocks, &bytes) {
                let run = &runs[stream.age];
                return Err(run.damaged(place, 0, "a block has another checksum").into());
            }
        }
        Ok(None)
    }
}
