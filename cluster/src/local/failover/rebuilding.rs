//! The tasks of one region, laid out once more on the shards that run.
//!
//! Entered by the control thread. Invariant: a task gets the shard and the slot it had, channels that nobody had, and the
//! positions of the checkpoint or the splits it had been dealt.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::ids::{ShardId, SubtaskId};
use thalweg_dataflow::graph::Job;

use super::restarting::Failover;
use crate::local::checkpointing::{Beginning, TaskDoor};
use crate::local::plan::{Channels, SubtaskPlan, has_positions, subtask};

/// The tasks of a region by shard, and the ways to them.
pub(super) struct Rebuilt {
    pub(super) shards: BTreeMap<ShardId, Vec<SubtaskPlan>>,
    pub(super) doors: Vec<(SubtaskId, TaskDoor)>,
}

impl Failover<'_> {
    /// Lays the tasks out.
    pub(super) fn lay_out(
        &mut self,
        tasks: &BTreeSet<SubtaskId>,
        mut beginning: Option<Beginning>,
    ) -> Rebuilt {
        let job: &Job = self.job;
        let unaligned = beginning.as_ref().is_some_and(|it| it.unaligned);
        let within = |task: SubtaskId| tasks.contains(&task);
        let channels = Channels::of(&job.graph, &self.layout, unaligned, self.channels, &within);
        self.channels = channels.next;
        let mut rebuilt = Rebuilt {
            shards: BTreeMap::new(),
            doors: Vec::new(),
        };
        for task in tasks {
            let vertex = task.vertex.0 as usize;
            let source = job.vertices[vertex].source.as_ref();
            let source = source.filter(|_| !has_positions(job, vertex, beginning.as_ref()));
            let splits = source.zip(self.dealt.get(task));
            let splits = splits.and_then(|(source, splits)| source.copy(&**splits));
            let mut plan = subtask(job, vertex, task.index, &channels, splits);
            rebuilt
                .doors
                .extend(plan.take_part(job, beginning.as_mut()));
            let shard = self.layout.shard_of(task.index);
            rebuilt.shards.entry(shard).or_default().push(plan);
        }
        rebuilt
    }
}
