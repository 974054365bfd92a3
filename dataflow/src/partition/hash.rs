//! Records to the subtask that owns their key's group.
//!
//! The key is hashed once, here; the hash travels beside the record and serves the state
//! table of the consumer.

use std::marker::PhantomData;

use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key, KeyValue, Record, Str};

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

/// Which channel leads to the subtask that owns a hash.
#[derive(Clone, Default)]
struct Channels {
    channel_of_group: Box<[u16]>,
    groups: u64,
}

impl Channels {
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
    fn route(&self, hash: KeyHash) -> Route {
        let group = (((hash.0 >> 32) * self.groups) >> 32) as usize;
        let channel = usize::from(self.channel_of_group[group]);
        Route::One { channel, hash }
    }
}

/// Routes by the key group of the key's hash.
pub(crate) struct Hash<K, S> {
    selector: S,
    channels: Channels,
    key: PhantomData<fn(K)>,
}

impl<K, S> Hash<K, S> {
    pub(crate) fn new(selector: S) -> Self {
        Self {
            selector,
            channels: Channels::default(),
            key: PhantomData,
        }
    }
}

impl<K, S: Clone> Clone for Hash<K, S> {
    fn clone(&self) -> Self {
        Self {
            selector: self.selector.clone(),
            channels: self.channels.clone(),
            key: PhantomData,
        }
    }
}

impl<I: Item, K: Key, S: Select<I, K>> Router<I> for Hash<K, S> {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        self.channels.open(channels, subtask);
    }

    #[inline(always)]
    fn route(&mut self, item: &I::Of<'_>) -> Route {
        self.channels.route(K::hash(&self.selector.select(item)))
    }
}

/// Routes pairs by their key, whose hash may be known already.
pub(crate) struct HashOfKey<K> {
    channels: Channels,
    key: PhantomData<fn(K)>,
}

impl<K> HashOfKey<K> {
    pub(crate) fn new() -> Self {
        Self {
            channels: Channels::default(),
            key: PhantomData,
        }
    }

    /// The channel of a key with this hash.
    #[inline(always)]
    pub(crate) fn route_hash(&self, hash: KeyHash) -> Route {
        self.channels.route(hash)
    }
}

impl<K> Clone for HashOfKey<K> {
    fn clone(&self) -> Self {
        Self {
            channels: self.channels.clone(),
            key: PhantomData,
        }
    }
}

impl<K: Key, V: Record> Router<KeyValue<K, V>> for HashOfKey<K> {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        self.channels.open(channels, subtask);
    }

    #[inline(always)]
    fn route(&mut self, (key, _): &(K::Of<'_>, V)) -> Route {
        self.channels.route(K::hash(key))
    }
}
