//! The key of the record in work, kept while the record is taken apart.
//!
//! Invariant: memory is reused from key to key. Lives on one shard.

use thalweg_memory::record::Key;

/// A key, as tables keep it.
pub(super) struct HeldKey<K: Key>(Option<K::Stored>);

impl<K: Key> HeldKey<K> {
    /// No key.
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// Keeps `key` and lends it.
    #[inline(always)]
    pub(super) fn hold(&mut self, key: &K::Of<'_>) -> K::Of<'_> {
        match &mut self.0 {
            Some(stored) => {
                K::assign(stored, key);
                K::lend(stored)
            }
            none => K::lend(none.insert(K::store(key))),
        }
    }

    /// The key that is kept, if there was one.
    pub(super) fn lend(&self) -> Option<K::Of<'_>> {
        self.0.as_ref().map(|stored| K::lend(stored))
    }
}
