//! Records to the subtask that owns their key's group.
//!
//! The key is hashed once, here; the hash travels beside the record and serves the state
//! table of the consumer.

use std::marker::PhantomData;

use thalweg_memory::record::{Item, Key, Record, Str};

use super::{Route, Router};
use crate::task::SubtaskInfo;

/// Reads the key of a record: the same on both sides of an exchange.
pub trait Select<I: Item, K: Item>: Clone + Send + 'static {
    /// The key of the record.
    fn select<'b>(&self, item: &'b I::Of<'_>) -> K::Of<'b>;
}

/// A selector closure that answers an owned key.
#[derive(Clone)]
pub struct SelectOwned<F>(pub(crate) F);

impl<I, K, F> Select<I, K> for SelectOwned<F>
where
    I: Item,
    K: Record,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> K + Clone + Send + 'static,
{
    #[inline(always)]
    fn select(&self, item: &I::Of<'_>) -> K {
        (self.0)(item)
    }
}

/// A selector closure that answers a string inside the record.
#[derive(Clone)]
pub struct SelectStr<F>(pub(crate) F);

impl<I, F> Select<I, Str> for SelectStr<F>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> &'b str + Clone + Send + 'static,
{
    #[inline(always)]
    fn select<'b>(&self, item: &'b I::Of<'_>) -> &'b str {
        (self.0)(item)
    }
}

/// Routes by the key group of the key's hash.
pub(crate) struct Hash<K, S> {
    selector: S,
    channel_of_group: Box<[u16]>,
    groups: u64,
    key: PhantomData<fn(K)>,
}

impl<K, S> Hash<K, S> {
    pub(crate) fn new(selector: S) -> Self {
        Self {
            selector,
            channel_of_group: Box::default(),
            groups: 0,
            key: PhantomData,
        }
    }
}

impl<K, S: Clone> Clone for Hash<K, S> {
    fn clone(&self) -> Self {
        Self {
            selector: self.selector.clone(),
            channel_of_group: self.channel_of_group.clone(),
            groups: self.groups,
            key: PhantomData,
        }
    }
}

impl<I: Item, K: Key, S: Select<I, K>> Router<I> for Hash<K, S> {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        let max = subtask.max_parallelism;
        let parallelism = channels as u32;
        debug_assert!(
            parallelism <= max.get(),
            "checked when the job graph is made"
        );
        self.groups = u64::from(max.get());
        self.channel_of_group = (0..max.get())
            .map(|group| {
                let group = thalweg_core::key_group::KeyGroup(group as u16);
                max.subtask(group, parallelism) as u16
            })
            .collect();
    }

    #[inline(always)]
    fn route(&mut self, item: &I::Of<'_>) -> Route {
        let hash = K::hash(&self.selector.select(item));
        let group = (((hash.0 >> 32) * self.groups) >> 32) as usize;
        let channel = usize::from(self.channel_of_group[group]);
        Route::One { channel, hash }
    }
}
