//! Where the subtasks of a job live: slots over shards.
//!
//! Subtask i of every vertex shares slot i, so a job needs as many slots as its highest
//! parallelism; slot i lives on shard i mod shards.

use thalweg_core::config::{Configuration, options};
use thalweg_core::error::ErrorKind;
use thalweg_core::ids::ShardId;
use thalweg_core::shard::placement;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::graph::JobGraph;

/// The slots and shards of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Slots the managed memory is cut into.
    pub(crate) slots: u32,
    /// Shards of the process.
    pub(crate) shards: u16,
}

impl Layout {
    /// Fits a job into what is configured.
    pub(crate) fn of(graph: &JobGraph, configuration: &Configuration) -> Result<Self, JobError> {
        let needed = graph.vertices.iter().map(|v| v.parallelism).max();
        let needed = needed.unwrap_or(1);
        let offered = configuration.get(&options::NUMBER_OF_TASK_SLOTS);
        if offered != 0 && offered < needed {
            return Err(JobError::rejected(
                ErrorKind::Resource,
                format!(
                    "the job needs {needed} slots (its highest parallelism), but \
                     taskmanager.numberOfTaskSlots is {offered}: raise it to {needed}, or lower \
                     the parallelism"
                ),
            ));
        }
        // Where the host does not tell, one shard is always right.
        let cores = placement::allowed_cpus().map_or(1, |cpus| cpus.len().max(1)) as u32;
        let asked = configuration.get(&options::SHARD_COUNT);
        let shards = if asked == 0 { cores } else { asked };
        let shards = shards.min(needed).min(u32::from(u16::MAX));
        Ok(Self {
            slots: if offered == 0 { needed } else { offered },
            shards: shards as u16,
        })
    }

    /// The shard of a subtask.
    pub(crate) fn shard_of(&self, subtask: u32) -> ShardId {
        ShardId((subtask % u32::from(self.shards)) as u16)
    }

    /// How many slots live on a shard.
    pub(crate) fn slots_on(&self, shard: ShardId) -> u32 {
        let (slots, shards) = (self.slots, u32::from(self.shards));
        slots / shards + u32::from(u32::from(shard.0) < slots % shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_on_one_shard() {
        for slots in 1..20 {
            for shards in 1..6 {
                let layout = Layout { slots, shards };
                let counted: u32 = (0..shards).map(|s| layout.slots_on(ShardId(s))).sum();
                assert_eq!(counted, slots);
                for shard in 0..shards {
                    let here = (0..slots)
                        .filter(|s| layout.shard_of(*s).0 == shard)
                        .count();
                    assert_eq!(here as u32, layout.slots_on(ShardId(shard)));
                }
            }
        }
    }
}
