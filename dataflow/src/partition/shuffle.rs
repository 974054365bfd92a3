//! Each record to a subtask chosen at random, evenly; repeatable per subtask.

use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::Item;

use super::{Route, Router};
use crate::task::SubtaskInfo;

/// Pseudo-random channels from a generator seeded by the subtask's index.
#[derive(Clone, Default)]
pub(crate) struct Shuffle {
    channels: u64,
    drawn: u64,
}

impl<I: Item> Router<I> for Shuffle {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        self.channels = channels as u64;
        self.drawn = u64::from(subtask.index) << 32;
    }

    #[inline(always)]
    fn route(&mut self, _item: &I::Of<'_>) -> Route {
        self.drawn = self.drawn.wrapping_add(1);
        let random = KeyHash::of_u64(self.drawn).0 >> 32;
        Route::to(((random * self.channels) >> 32) as usize)
    }
}
