//! Records to the subtask that owns their key's group.
//!
//! The key is hashed once, here; the hash travels beside the record and serves the state
//! table of the consumer.

use std::marker::PhantomData;

use thalweg_core::key_group::{KeyHash, MaxParallelism};
use thalweg_memory::record::{Item, Key, KeyValue, Record, Str};

use super::{Route, Router, Routes};
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
    groups: u64,
    /// Subtasks per key group, times 2^32, rounded up.
    share: u64,
}

impl Channels {
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo) {
        *self = Self::of(subtask.max_parallelism, channels as u32);
    }

    fn of(max: MaxParallelism, parallelism: u32) -> Self {
        debug_assert!(
            parallelism <= max.get(),
            "checked when the job graph is made"
        );
        let groups = u64::from(max.get());
        Self {
            groups,
            share: (u64::from(parallelism) << 32).div_ceil(groups),
        }
    }

    /// The subtask that [`MaxParallelism::subtask`] answers for the group that
    /// [`MaxParallelism::key_group`] answers.
    ///
    /// Two multiplications and no look-up: vector instructions do several hashes at once. That the
    /// division by the number of groups is a multiplication is exact: rounding the share up adds less
    /// than 2^-17 to the quotient (groups are below 2^15), whose fraction is at least 2^-15 short of
    /// the next whole number.
    #[inline(always)]
    fn channel(&self, hash: KeyHash) -> u64 {
        let group = ((hash.0 >> 32) * self.groups) >> 32;
        (group * self.share) >> 32
    }

    #[inline(always)]
    fn route(&self, hash: KeyHash) -> Route {
        let channel = self.channel(hash) as usize;
        Route::One { channel, hash }
    }

    /// Routes by hashes that are there already.
    #[inline(always)]
    fn route_each<const N: usize>(&self, routes: &mut Routes<N>) {
        for (channel, hash) in routes.channels.iter_mut().zip(&routes.hashes) {
            *channel = self.channel(*hash);
        }
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

    #[inline(always)]
    fn route_each<const N: usize>(
        &mut self,
        items: &[I::Of<'_>; N],
        routes: &mut Routes<N>,
    ) -> bool {
        for (hash, item) in routes.hashes.iter_mut().zip(items) {
            *hash = K::hash(&self.selector.select(item));
        }
        self.channels.route_each(routes);
        true
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

    #[inline(always)]
    fn route_each<const N: usize>(
        &mut self,
        items: &[(K::Of<'_>, V); N],
        routes: &mut Routes<N>,
    ) -> bool {
        for (hash, (key, _)) in routes.hashes.iter_mut().zip(items) {
            *hash = K::hash(key);
        }
        self.channels.route_each(routes);
        true
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::key_group::KeyGroup;

    use super::*;

    #[test]
    fn channels_are_the_subtasks_that_own_the_groups() {
        for max in [1_u32, 2, 3, 7, 100, 128, 1000, 4096, 32_767, 32_768] {
            let Ok(groups) = MaxParallelism::new(max) else {
                panic!("{max} is a number of key groups")
            };
            for parallelism in [1, 2, 3, 5, 64, 127, 999, 4095, 32_767, 32_768] {
                if parallelism > max {
                    continue;
                }
                let channels = Channels::of(groups, parallelism);
                for group in 0..max {
                    let first = (u64::from(group) << 32).div_ceil(u64::from(max)) << 32;
                    let (hash, group) = (KeyHash(first), KeyGroup(group as u16));
                    assert_eq!(groups.key_group(hash), group);
                    let owner = u64::from(groups.subtask(group, parallelism));
                    assert_eq!(channels.channel(hash), owner, "{max} over {parallelism}");
                }
            }
        }
    }
}
