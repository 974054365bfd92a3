//! Every record to the one channel there is: subtask i to subtask i, order kept.

use thalweg_memory::record::Item;

use super::{Route, Router};
use crate::task::SubtaskInfo;

/// Every record to the one channel there is: subtask i to subtask i, order kept.
#[derive(Clone)]
pub(crate) struct Forward;

impl<I: Item> Router<I> for Forward {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        debug_assert_eq!(
            channels, 1,
            "{} forwards to one channel",
            subtask.vertex_name
        );
    }

    #[inline(always)]
    fn route(&mut self, _item: &I::Of<'_>) -> Route {
        Route::to(0)
    }
}
