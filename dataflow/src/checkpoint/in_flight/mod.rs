//! Records in flight as a part of checkpoints: written at a barrier that overtook them, read again before new input.
//!
//! Entered by the two ends of a task with what the network copied, and by the head of a restored task. Invariant:
//! a section holds the rest of one channel's buffers in order, and is read as that or not at all. Lives on one
//! shard's thread.

#[cfg(test)]
mod damage_tests;
mod format;
mod record;
mod replay;

pub(crate) use record::InFlightRecorder;
pub use replay::RestoredSection;
pub(crate) use replay::{Replay, Replayed};

pub use format::{FileDamage, check_file};
#[doc(hidden)]
pub use format::{SectionContent, SectionDamage, read_section};
