//! Every record to every subtask.

use thalweg_memory::record::Item;

use super::{Route, Router};
use crate::task::SubtaskInfo;

/// Every record to every subtask.
#[derive(Clone)]
pub(crate) struct Broadcast;

impl<I: Item> Router<I> for Broadcast {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        debug_assert!(channels > 0, "{} has readers", subtask.vertex_name);
    }

    #[inline(always)]
    fn route(&mut self, _item: &I::Of<'_>) -> Route {
        Route::All
    }
}
