//! Records round robin over all subtasks.

use thalweg_memory::record::Item;

use super::{Route, Router};
use crate::task::SubtaskInfo;

/// Round robin over the channels; producers start at different ones.
#[derive(Clone, Default)]
pub(crate) struct Rebalance {
    channels: usize,
    next: usize,
}

impl<I: Item> Router<I> for Rebalance {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        self.channels = channels;
        self.next = subtask.index as usize % channels;
    }

    #[inline(always)]
    fn route(&mut self, _item: &I::Of<'_>) -> Route {
        let channel = self.next;
        self.next += 1;
        if self.next >= self.channels {
            self.next = 0;
        }
        Route::to(channel)
    }
}
