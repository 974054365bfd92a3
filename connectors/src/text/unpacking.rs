//! From the blocks of a packed file to blocks of its text.
//!
//! Stands between a file's feed and the cutting into lines, on the shard of the reader. Invariant: a
//! position in the text is found again only from the beginning, by unpacking and passing over.

use std::io;

use thalweg_core::shard::step::TurnContext;

use super::decompress::{Step, Unpacker};
use super::feed::{Fed, FeedFault, FileFeed};
use super::lines::HEADROOM;

/// What stands between the blocks of a packed file and its lines.
pub(super) struct Unpacking {
    unpacker: Unpacker,
    /// Unpacked bytes still to pass over: a position is found again only from the beginning.
    before: u64,
    spare: Vec<u8>,
}

/// Why there is no unpacked block.
pub(super) enum UnpackFault {
    Feed(FeedFault),
    Packed(io::Error),
}

impl From<FeedFault> for UnpackFault {
    fn from(fault: FeedFault) -> Self {
        UnpackFault::Feed(fault)
    }
}

impl From<io::Error> for UnpackFault {
    fn from(error: io::Error) -> Self {
        UnpackFault::Packed(error)
    }
}

impl Unpacking {
    /// Passes over so many unpacked bytes first.
    pub(super) fn new(unpacker: Unpacker, before: u64) -> Self {
        Self {
            unpacker,
            before,
            spare: Vec::new(),
        }
    }

    /// Gives a block back for a later step.
    pub(super) fn recycle(&mut self, block: Vec<u8>) {
        self.spare = block;
    }

    /// The next unpacked block.
    pub(super) fn poll(
        &mut self,
        feed: &mut FileFeed,
        context: &mut TurnContext<'_>,
    ) -> Result<Fed, UnpackFault> {
        let mut out = std::mem::take(&mut self.spare);
        out.clear();
        out.resize(HEADROOM, 0);
        loop {
            let step = self.unpacker.step(&mut out)?;
            let there = out.len() - HEADROOM;
            let passed = self.before.min(there as u64);
            if passed < there as u64 {
                self.before -= passed;
                let data = HEADROOM + passed as usize..out.len();
                return Ok(Fed::Block(out, data));
            }
            self.before -= passed;
            out.truncate(HEADROOM);
            match step {
                // Passing over takes time too: give the turn back.
                Step::More if context.expired() => {
                    context.waker().wake();
                    break;
                }
                Step::More => {}
                Step::End => return Ok(Fed::End),
                Step::Hungry => match feed.poll(context)? {
                    Fed::Waiting => break,
                    Fed::End => self.unpacker.end(),
                    Fed::Block(block, data) => {
                        self.unpacker.feed(&block[data]);
                        feed.recycle(block);
                    }
                },
            }
        }
        self.spare = out;
        Ok(Fed::Waiting)
    }
}
