//! Every record to the first subtask.

use thalweg_memory::record::Item;

use super::{Route, Router};
use crate::task::SubtaskInfo;

/// Every record to the first subtask.
#[derive(Clone)]
pub(crate) struct Global;

impl<I: Item> Router<I> for Global {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        debug_assert!(channels > 0, "{} has a reader", subtask.vertex_name);
    }

    #[inline(always)]
    fn route(&mut self, _item: &I::Of<'_>) -> Route {
        Route::to(0)
    }
}
