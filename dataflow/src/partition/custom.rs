//! The channel a user's function chooses.

use std::marker::PhantomData;

use thalweg_memory::record::Item;

use super::{Route, Router};
use crate::task::SubtaskInfo;

/// Routes by `F(item, channels)`, taken modulo the number of channels so that no choice
/// can lose a record.
pub(crate) struct Custom<I, F> {
    choose: F,
    channels: usize,
    item: PhantomData<fn(I)>,
}

impl<I, F> Custom<I, F> {
    pub(crate) fn new(choose: F) -> Self {
        Self {
            choose,
            channels: 1,
            item: PhantomData,
        }
    }
}

impl<I, F: Clone> Clone for Custom<I, F> {
    fn clone(&self) -> Self {
        Self {
            choose: self.choose.clone(),
            channels: self.channels,
            item: PhantomData,
        }
    }
}

impl<I, F> Router<I> for Custom<I, F>
where
    I: Item,
    F: for<'a, 'b> FnMut(&'b I::Of<'a>, usize) -> usize + Clone + Send + 'static,
{
    fn open(&mut self, channels: usize, _subtask: &SubtaskInfo) {
        self.channels = channels;
    }

    #[inline(always)]
    fn route(&mut self, item: &I::Of<'_>) -> Route {
        Route::to((self.choose)(item, self.channels) % self.channels)
    }
}
