//! A slot: a share of one shard's memory and time, rented to one job.
//!
//! Plain data, lives on any thread; the memory itself is leased by the pools of its shard. Invariant: a
//! slot never moves to another shard.

use crate::ids::{ShardId, SlotId};
use std::fmt;

/// A share of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Which slot of the process.
    pub id: SlotId,
    /// The shard it lives on, for good.
    pub shard: ShardId,
    /// How much managed memory its tenant may hold, in bytes.
    pub memory_bytes: u64,
}

impl Slot {
    /// Cuts `memory_bytes` of managed memory into `count` equal slots laid round-robin over `shards`
    /// shards. What does not divide evenly goes to nobody (less than `count` bytes).
    ///
    /// # Panics
    /// When `count` or `shards` is zero.
    #[must_use]
    pub fn divide(memory_bytes: u64, count: u32, shards: u16) -> Vec<Slot> {
        assert!(count > 0, "at least one slot");
        assert!(shards > 0, "at least one shard");
        let share = memory_bytes / u64::from(count);
        let shard_of = |slot: u32| ShardId((slot % u32::from(shards)) as u16);
        (0..count)
            .map(|slot| Slot {
                id: SlotId(slot),
                shard: shard_of(slot),
                memory_bytes: share,
            })
            .collect()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {} with {} bytes",
            self.id, self.shard, self.memory_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_share_memory_evenly_and_never_more_than_there_is() {
        let slots = Slot::divide(1_000, 3, 2);
        assert_eq!(
            slots.iter().map(|slot| slot.shard.0).collect::<Vec<_>>(),
            [0, 1, 0]
        );
        assert!(slots.iter().all(|slot| slot.memory_bytes == 333));
        assert!(slots.iter().map(|slot| slot.memory_bytes).sum::<u64>() <= 1_000);
    }
}
