//! Which channel a record takes. One partitioner, one file.
//!
//! A [`Router`] is part of the border's static type, so choosing the channel inlines. Which
//! channels exist between two vertices is the [`EdgePattern`]'s business.

mod broadcast;
mod custom;
mod forward;
mod global;
mod hash;
mod pattern;
mod rebalance;
mod rescale;
mod shuffle;

pub(crate) use broadcast::Broadcast;
pub(crate) use custom::Custom;
pub(crate) use forward::Forward;
pub(crate) use global::Global;
pub(crate) use hash::{Hash, HashOfKey, Select, SelectOwned, SelectStr};
pub use pattern::EdgePattern;
pub(crate) use rebalance::Rebalance;
pub(crate) use rescale::Rescale;
pub(crate) use shuffle::Shuffle;

use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::Item;

use crate::task::SubtaskInfo;

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To one of this subtask's channels.
    One {
        /// Index into the subtask's channels of the edge.
        channel: usize,
        /// The key's hash on keyed edges, zero elsewhere.
        hash: KeyHash,
    },
    /// To every channel.
    All,
}

impl Route {
    #[inline(always)]
    pub(crate) fn to(channel: usize) -> Self {
        Self::One {
            channel,
            hash: KeyHash(0),
        }
    }
}

/// Where each of some records goes, every one to a single channel.
pub struct Routes<const N: usize> {
    /// Indices into the subtask's channels of the edge.
    pub(crate) channels: [u64; N],
    /// The hashes of the keys.
    pub(crate) hashes: [KeyHash; N],
}

impl<const N: usize> Routes<N> {
    /// To be filled in.
    pub(crate) const NONE: Self = Self {
        channels: [0; N],
        hashes: [KeyHash(0); N],
    };
}

/// Chooses the channel of each record. One per producing subtask.
pub trait Router<I: Item>: Clone + Send + 'static {
    /// Called once before the first record, with the number of channels.
    fn open(&mut self, channels: usize, subtask: &SubtaskInfo);
    /// The channel of this record.
    fn route(&mut self, item: &I::Of<'_>) -> Route;
    /// Finds the channels of several records, by a router that is better at many than at one; false from
    /// others.
    #[inline(always)]
    fn route_each<const N: usize>(
        &mut self,
        items: &[I::Of<'_>; N],
        routes: &mut Routes<N>,
    ) -> bool {
        let _ = (items, routes);
        false
    }
}
