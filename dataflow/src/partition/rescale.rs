//! Records round robin over the near subtasks only: each producer has its share of the
//! consumers, so nothing crosses the groups.

use thalweg_memory::record::Item;

use super::{Rebalance, Route, Router};
use crate::task::SubtaskInfo;

/// Round robin over the channels of a pointwise edge.
#[derive(Clone, Default)]
pub(crate) struct Rescale(Rebalance);

impl<I: Item> Router<I> for Rescale {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        <Rebalance as Router<I>>::open(&mut self.0, channels, subtask);
    }

    #[inline(always)]
    fn route(&mut self, item: &I::Of<'_>) -> Route {
        <Rebalance as Router<I>>::route(&mut self.0, item)
    }
}
