//! Some records side by side, of which each channel's writer picks its own.
//!
//! Made by the end of a chain where records come in bursts; bits of one word say which of them are meant.
//! Lives on the shard's thread.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;

use crate::record::Item;

/// Records of a [`Block`].
pub const BLOCK: usize = u64::BITS as usize;

/// Some records with their hashes and times, of which writers take those they are told to.
pub struct Block<'a, 'i, W: Item> {
    /// The hash of each.
    pub hashes: &'a [KeyHash; BLOCK],
    /// The time of each.
    pub ats: &'a [Timestamp; BLOCK],
    /// The records.
    pub items: &'a [W::Of<'i>; BLOCK],
}

impl<'a, 'i, W: Item> Block<'a, 'i, W> {
    /// The record with this number, modulo the length of a block.
    #[inline(always)]
    pub(super) fn get(&self, number: u32) -> (KeyHash, Timestamp, &'a W::Of<'i>) {
        let number = number as usize % BLOCK;
        (self.hashes[number], self.ats[number], &self.items[number])
    }
}
