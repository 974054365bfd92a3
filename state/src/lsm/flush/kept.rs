//! Which entries stay in memory when a round passes: what was used lately, and what is ahead.
//!
//! Entered for each record ahead and for each entry a round passes over. Invariant: what is ahead stays. Lives on one
//! shard's thread.

use thalweg_core::KeyHash;

use crate::lsm::ahead::Ahead;
use crate::lsm::hot::{Candidate, Unit};

/// How often the hand passes before what was used may go.
const SWEEPS: u8 = 2;

/// Which entries stay in memory.
pub(in crate::lsm) struct Kept {
    /// By slot: how many more times the hand passes over its entry before that may go; where all of a key go at
    /// once, by hash: the sweep of the hand in which it was used last.
    used: Vec<u8>,
    unit: Unit,
    /// How often the hand has begun from the start.
    sweep: u8,
    /// Nothing stays but what the first record that waits needs.
    only: Option<KeyHash>,
    /// Hashes of what is ahead, as bits of a small set.
    ahead: Vec<u64>,
}

/// Bits of the set of what is ahead, to one that is in it.
const SPREAD: usize = 64;

impl Kept {
    pub(in crate::lsm) fn new(unit: Unit) -> Kept {
        Kept {
            used: Vec::new(),
            unit,
            sweep: 0,
            only: None,
            ahead: vec![0],
        }
    }

    /// An entry is used.
    #[inline]
    pub(in crate::lsm) fn used(&mut self, slot: usize, slots: usize) {
        if self.used.len() != slots {
            // The array is another: what was used in the old one is forgotten.
            self.used = vec![0; slots];
        }
        self.used[slot] = 2;
    }

    /// All that a key has is used, of a state with so many slots.
    pub(in crate::lsm) fn used_key(&mut self, hash: KeyHash, slots: usize) {
        if self.used.len() != slots {
            self.used = vec![self.sweep; slots];
        }
        let at = self.mark_of(hash);
        if let Some(used) = self.used.get_mut(at) {
            *used = self.sweep;
        }
    }

    fn mark_of(&self, hash: KeyHash) -> usize {
        (hash.0 % self.used.len().max(1) as u64) as usize
    }

    /// The hand begins from the start.
    pub(in crate::lsm) fn begin_sweep(&mut self) {
        self.sweep = self.sweep.wrapping_add(1);
    }

    /// Memory is so little that nothing stays but what the first record that waits needs; or it is not.
    pub(in crate::lsm) fn keep_only(&mut self, first: Option<KeyHash>) {
        self.only = first;
    }

    /// What is ahead needs this.
    pub(in crate::lsm) fn set_ahead(&mut self, ahead: &Ahead) {
        // Few of those that are not ahead share a bit with one that is.
        let words = (ahead.len() * SPREAD / 64).next_power_of_two();
        self.ahead.clear();
        self.ahead.resize(words, 0);
        for hash in ahead.hashes() {
            let (word, bit) = self.bit_of(hash);
            self.ahead[word] |= bit;
        }
    }

    /// Where the bit of a hash is, and which.
    fn bit_of(&self, hash: KeyHash) -> (usize, u64) {
        let bit = hash.0 as usize % (self.ahead.len() * 64);
        (bit / 64, 1 << (bit % 64))
    }

    fn is_ahead(&self, hash: KeyHash) -> bool {
        let (word, bit) = self.bit_of(hash);
        self.ahead[word] & bit != 0
    }

    /// The hand passes over an entry; whether it may go. One that was used may go the next time.
    pub(super) fn pass_over(&mut self, candidate: Candidate) -> bool {
        if self.unit != Unit::Key
            && let Some(used) = self.used.get_mut(candidate.slot)
        {
            *used = used.saturating_sub(1);
        }
        self.may_drop(candidate)
    }

    pub(super) fn may_drop(&self, candidate: Candidate) -> bool {
        let (slot, hash) = (candidate.slot, self.unit.hash_of(candidate));
        if let Some(only) = self.only {
            return hash != only;
        }
        let used = match self.unit {
            Unit::Entry | Unit::Part => self.used.get(slot).is_some_and(|used| *used > 0),
            Unit::Key => {
                let last = self.used.get(self.mark_of(hash));
                last.is_some_and(|last| self.sweep.wrapping_sub(*last) < SWEEPS)
            }
        };
        !used && !self.is_ahead(hash)
    }

    pub(in crate::lsm) fn memory_bytes(&self) -> u64 {
        (self.used.capacity() + self.ahead.capacity() * 8) as u64
    }
}
