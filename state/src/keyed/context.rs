//! The key whose record or timer is in work.
//!
//! Entered by the operator per record, read by the handles. Invariant: hash and key belong together. The
//! key is kept as a table keeps it, in memory that is reused. Lives on one shard's thread.

use std::cell::{Cell, Ref, RefCell};

use thalweg_core::KeyHash;
use thalweg_memory::Key;

/// The current key of one operator, shared by its handles.
pub struct KeyedContext<K: Key> {
    current: RefCell<Option<Current<K::Stored>>>,
    /// The place in the window of the record in work.
    turn: Cell<u8>,
}

/// A current key as tables keep it, with its hash.
pub(crate) struct Current<S> {
    pub(crate) hash: KeyHash,
    pub(crate) key: S,
}

impl<K: Key> KeyedContext<K> {
    /// A context with no current key.
    #[must_use]
    pub fn new() -> KeyedContext<K> {
        KeyedContext {
            current: RefCell::new(None),
            turn: Cell::new(0),
        }
    }

    /// Makes `key`, whose hash is `hash`, the current key. Allocates only where a key needs more memory
    /// than every one before it.
    ///
    /// # Panics
    /// When called from inside a closure that a state handle calls while it holds the key, as most do.
    #[inline]
    pub fn set_current(&self, hash: KeyHash, key: &K::Of<'_>) {
        debug_assert_eq!(
            hash,
            K::hash(key),
            "the hash that travelled is that of the key"
        );
        let mut current = self.current.borrow_mut();
        match &mut *current {
            Some(current) => {
                K::assign(&mut current.key, key);
                current.hash = hash;
            }
            none => {
                *none = Some(Current {
                    hash,
                    key: K::store(key),
                })
            }
        }
    }

    /// Leaves the current key: from now on there is none.
    ///
    /// # Panics
    /// When called from inside a closure that a state handle calls while it holds the key, as most do.
    pub fn leave_current(&self) {
        self.current.replace(None);
    }

    /// The next current key is that of the record at this place of the window, whose entries were
    /// located.
    #[inline(always)]
    pub fn turn_to(&self, at: u8) {
        self.turn.set(at);
    }

    /// The place in the window of the record in work.
    #[inline(always)]
    pub(crate) fn turn(&self) -> u8 {
        self.turn.get()
    }

    /// Calls `with` with the current key, if there is one.
    #[inline]
    pub fn with_current<R>(&self, with: impl FnOnce(KeyHash, &K::Of<'_>) -> R) -> Option<R> {
        let current = self.current()?;
        Some(with(current.hash, &K::lend(&current.key)))
    }

    /// The current key, if there is one. No other becomes current while this is held.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<Ref<'_, Current<K::Stored>>> {
        Ref::filter_map(self.current.borrow(), Option::as_ref).ok()
    }
}

impl<K: Key> Default for KeyedContext<K> {
    fn default() -> Self {
        KeyedContext::new()
    }
}
