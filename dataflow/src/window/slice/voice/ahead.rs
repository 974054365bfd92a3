//! Keys of a window whose rows come next, sought before they are said.
//!
//! Entered where rows are given out of a table while what the voice keeps may be on disk. Only keys are taken ahead:
//! what their rows are made of stays in its table, which does not change before they were said. Invariants: rows come in
//! the order in which their keys were taken; none is left when the window is out, and no barrier is cut before.
//! Lives on the shard of its subtask.

use std::collections::VecDeque;

use thalweg_memory::record::{Item, Key};
use thalweg_state::{DUE, WINDOW};

use super::Voice;
use crate::window::TimeWindow;

/// Rows that are said between two looks at how much room there is, and at whether anything is on disk.
pub(in crate::window::slice) const AT_ONCE: usize = 16;

/// Keys whose rows come next, the first one first.
pub(in crate::window::slice) struct Ahead<K: Key> {
    keys: VecDeque<K::Stored>,
}

impl<K: Key> Ahead<K> {
    pub(in crate::window::slice) fn new() -> Self {
        Self {
            keys: VecDeque::new(),
        }
    }

    pub(in crate::window::slice) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether as many are ahead as can be sought at once.
    pub(in crate::window::slice) fn is_full(&self) -> bool {
        self.keys.len() >= DUE
    }

    /// Takes a key, behind the others.
    pub(in crate::window::slice) fn push(&mut self, key: K::Stored) {
        self.keys.push_back(key);
    }

    /// The next key: its row is said.
    pub(in crate::window::slice) fn pop(&mut self) -> Option<K::Stored> {
        self.keys.pop_front()
    }

    /// How many may speak now, from the first on. Where one of them may not, what those behind it need is sought too.
    pub(in crate::window::slice) fn let_speak<R: Item, V: Voice<K, R>>(
        &self,
        voice: &mut V,
        window: TimeWindow,
    ) -> usize {
        let next = self.keys.len().min(AT_ONCE);
        if !voice.has_room(next) {
            return 0;
        }
        let mut missing = None;
        for (nth, key) in self.keys.iter().enumerate() {
            if nth == next && missing.is_none() {
                break;
            }
            if !voice.seek(WINDOW + nth, &K::lend(key), &[window]) {
                missing.get_or_insert(nth);
            }
        }
        match missing.unwrap_or(next).min(next) {
            0 => 0,
            there => voice.let_in(there),
        }
    }
}
