//! The order in which timers fire, and what a timer is.
//!
//! Invariant: time first; within one time by the hash of the key, hence by key group, because a key group
//! is a run of hashes; what is left is ordered by namespace and by the canonical bytes of the key. So the
//! order is that of the timers alone, whatever was registered first. Plain data, lives on any thread.

use std::cmp::Ordering;

use thalweg_core::{KeyHash, Timestamp};
use thalweg_memory::Key;

use crate::table::Namespace;

/// A wake-up for a key at a time.
pub struct Timer<K: Key, N: Namespace = ()> {
    /// When it is due.
    pub at: Timestamp,
    /// The hash of the key.
    pub hash: KeyHash,
    /// The key, as tables keep it: `K::lend` gives it back.
    pub key: K::Stored,
    /// What it is for besides the key, such as a window.
    pub namespace: N,
}

/// Time and hash as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(i128);

impl Order {
    /// Not after any other.
    pub(super) const FIRST: Order = Order(i128::MIN);

    /// The place right behind it.
    pub(super) fn next(self) -> Order {
        Order(self.0.saturating_add(1))
    }

    #[inline(always)]
    pub(super) fn of(at: Timestamp, hash: KeyHash) -> Order {
        Order(i128::from(at.0) << 64 | i128::from(hash.0))
    }
}

/// Bits that place a timer in a table.
#[inline(always)]
pub(super) fn probe<N: Namespace>(at: Timestamp, hash: KeyHash, namespace: &N) -> u64 {
    let key = hash.0 ^ namespace.spread().rotate_left(32);
    KeyHash(key.wrapping_add(at.0 as u64)).table_index()
}

impl<K: Key, N: Namespace> Timer<K, N> {
    #[inline(always)]
    pub(super) fn order(&self) -> Order {
        Order::of(self.at, self.hash)
    }

    #[inline(always)]
    pub(super) fn probe(&self) -> u64 {
        probe(self.at, self.hash, &self.namespace)
    }

    /// Whether it is the timer of this key and namespace at this time.
    #[inline(always)]
    pub(super) fn is(&self, at: Timestamp, key: &K::Of<'_>, namespace: &N) -> bool {
        self.at == at && self.namespace == *namespace && K::same(&self.key, key)
    }

    /// Which of two timers fires first.
    #[inline]
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let by_order = self.order().cmp(&other.order());
        by_order.then_with(|| self.compare_rest(other))
    }

    #[cold]
    fn compare_rest(&self, other: &Self) -> Ordering {
        let encoded = |timer: &Self| {
            let mut bytes = Vec::new();
            K::encode(&K::lend(&timer.key), &mut bytes);
            bytes
        };
        let by_namespace = self.namespace.spread().cmp(&other.namespace.spread());
        by_namespace.then_with(|| encoded(self).cmp(&encoded(other)))
    }

    /// Bytes of the key on the heap.
    #[inline]
    pub(super) fn heap_bytes(&self) -> u64 {
        K::stored_heap_bytes(&self.key) as u64
    }

    pub(super) fn copy(&self) -> Self {
        Timer {
            at: self.at,
            hash: self.hash,
            key: K::store(&K::lend(&self.key)),
            namespace: self.namespace,
        }
    }
}
