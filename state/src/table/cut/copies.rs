//! Entries copied before they changed for the first time since the barrier.
//!
//! A record that changes an entry waits for the copy, so no row is made of it then, but when it is written. Only entries
//! of plain values are copied; of what has memory of its own the row is written aside. Kept in chunks, whose memory is
//! free again as soon as they are empty. Invariant: all memory is in the account. Lives on one shard's thread.

use super::super::account::Account;
use super::super::stamp::Stamp;

/// Entries of a chunk.
const CHUNK: usize = 256;

/// The copies that were not written yet, in no order.
pub(super) struct Copies<E> {
    chunks: Vec<Vec<(E, Stamp)>>,
}

impl<E> Copies<E> {
    pub(super) fn new() -> Copies<E> {
        Copies { chunks: Vec::new() }
    }

    const fn bytes_of_chunk() -> usize {
        CHUNK * size_of::<(E, Stamp)>()
    }

    /// Adds a copy whether there is memory for it or not: what is missing is owed.
    #[inline]
    pub(super) fn push_owing(&mut self, entry: E, stamp: Stamp, account: &mut Account) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push((entry, stamp)),
            _ => self.begin_chunk((entry, stamp), account),
        }
    }

    #[cold]
    fn begin_chunk(&mut self, first: (E, Stamp), account: &mut Account) {
        // A refusal is remembered by the account, and paid before anything else is granted to it.
        let refused = account.follow(0, Self::bytes_of_chunk()).is_err();
        debug_assert!(!refused || account.bytes() >= Self::bytes_of_chunk() as u64);
        let mut chunk = Vec::with_capacity(CHUNK);
        chunk.push(first);
        self.chunks.push(chunk);
    }

    /// Takes one out.
    #[inline]
    pub(super) fn pop(&mut self, account: &mut Account) -> Option<(E, Stamp)> {
        let last = self.chunks.last_mut()?;
        let copy = last.pop();
        if last.is_empty() {
            self.chunks.pop();
            account.release(Self::bytes_of_chunk() as u64);
        }
        copy
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self, account: &mut Account) {
        let chunks = std::mem::take(&mut self.chunks).len();
        account.release((chunks * Self::bytes_of_chunk()) as u64);
    }
}

#[cfg(test)]
mod tests {
    use thalweg_memory::Budget;

    use super::*;

    #[test]
    fn copies_come_out_once_and_their_memory_with_them() {
        let budget = Budget::new("slot", 1 << 20);
        let mut account = Account::new(budget.clone());
        let mut copies = Copies::<u64>::new();
        for round in 0..3 {
            for entry in 0..1_000 {
                copies.push_owing(entry, Stamp(0), &mut account);
            }
            assert!(budget.used() >= 1_000 * size_of::<(u64, Stamp)>() as u64);
            let mut seen: Vec<u64> = Vec::new();
            while round < 2
                && let Some((entry, _)) = copies.pop(&mut account)
            {
                seen.push(entry);
            }
            seen.sort_unstable();
            assert!(round == 2 || seen.into_iter().eq(0..1_000));
        }
        copies.clear(&mut account);
        assert_eq!((budget.used(), account.bytes()), (0, 0));
        assert!(copies.pop(&mut account).is_none());
    }
}
