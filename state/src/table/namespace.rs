//! The second key of an entry, such as the window it belongs to.
//!
//! Part of the entry's place in the table but not of its key group: all namespaces of a key move
//! together, though they lie apart. Invariant: equal namespaces spread equally. Plain data, lives on any thread.

use thalweg_core::{KeyHash, Timestamp};

/// What an entry is kept under besides its key. `()` where there is only the key.
pub trait Namespace: Copy + Eq + 'static {
    /// Bits by which entries of one key are spread over the table; 0 for `()`.
    fn spread(&self) -> u64;
}

impl Namespace for () {
    #[inline(always)]
    fn spread(&self) -> u64 {
        0
    }
}

impl Namespace for u64 {
    #[inline(always)]
    fn spread(&self) -> u64 {
        KeyHash::of_u64(*self).0
    }
}

impl Namespace for i64 {
    #[inline(always)]
    fn spread(&self) -> u64 {
        (*self as u64).spread()
    }
}

impl Namespace for Timestamp {
    #[inline(always)]
    fn spread(&self) -> u64 {
        self.0.spread()
    }
}

/// A window as its start and end.
impl Namespace for (Timestamp, Timestamp) {
    #[inline(always)]
    fn spread(&self) -> u64 {
        KeyHash(self.0.spread()).combine(KeyHash(self.1.spread())).0
    }
}
