//! The channels of a job: from which subtask to which, on which input, and on which of them barriers may overtake.
//!
//! Entered by the plan of a job, or of the part of it that begins again. Invariants: numbers are dense; the channels
//! of an input stand in the order of their producers. Lives on the control thread.

use std::collections::BTreeMap;

use thalweg_core::ids::{SubtaskId, VertexId};
use thalweg_dataflow::checkpoint::ChannelPart;
use thalweg_dataflow::graph::{EdgeDescription, EdgeId, EdgeRole, JobGraph};
use thalweg_memory::EntryLayout;
use thalweg_network::channel::ChannelId;
use thalweg_network::{GateCredits, OutputTarget, segments_needed};
use thalweg_state::ChannelPath;

use super::OutputPlan;
use crate::local::layout::Layout;
use crate::local::memory::MemorySettings;

/// The channels of a job, or of some of its subtasks that have none to others, numbered densely.
pub(crate) struct Channels {
    /// The first number that is not given.
    pub(crate) next: u32,
    /// Per (edge, producer): its targets in the order of the consumers.
    targets: BTreeMap<(EdgeId, u32), Vec<OutputTarget>>,
    /// Per (vertex, subtask): the channels that lead to each of its inputs.
    inputs: BTreeMap<(u32, u32), Vec<Vec<ChannelId>>>,
    /// Per vertex: how many channels the widest gate of its subtasks has.
    widest: BTreeMap<u32, usize>,
    /// Per edge: what stands beside each record.
    layouts: BTreeMap<EdgeId, EntryLayout>,
    /// Per vertex: the layout of each of its inputs.
    input_layouts: BTreeMap<u32, Vec<EntryLayout>>,
    /// Per (vertex, subtask): the channels at both its ends on which barriers may overtake.
    overtakable: BTreeMap<(u32, u32), BTreeMap<ChannelId, ChannelPart>>,
}

/// Whether barriers may overtake on an edge: where every producer has a channel to every consumer, of which it
/// chooses one for each record by itself. What goes to a certain neighbour or to all cannot be dealt out again, and
/// in a loop barriers take a way of their own. Subtasks that tell from event time what they have given out are cut at
/// one time, which barriers keep that wait for each other.
fn is_overtakable(graph: &JobGraph, edge: &EdgeDescription) -> bool {
    let among = ["hash", "rebalance", "shuffle", "global"];
    why_in_line(graph, edge).is_none() && among.contains(&edge.partitioner.as_str())
}

/// Why barriers wait in line on an edge on which a user of Flink expects them to overtake.
fn why_in_line(graph: &JobGraph, edge: &EdgeDescription) -> Option<&'static str> {
    if graph.edges.iter().any(|edge| edge.role != EdgeRole::Onward) {
        return Some("the job has a loop");
    }
    if graph.vertices[edge.to as usize].one_time {
        return Some("its windows are put together from slices, which are cut at one event time");
    }
    (edge.partitioner == "custom")
        .then_some("only its own partitioner could deal records out again")
}

/// Tells on which edges barriers wait in line, though they may overtake.
pub(super) fn tell_of_lines(graph: &JobGraph) {
    for edge in &graph.edges {
        if let Some(why) = why_in_line(graph, edge) {
            let [from, to] =
                [edge.from, edge.to].map(|vertex| &graph.vertices[vertex as usize].name);
            tracing::warn!(
                %from, %to, why,
                "barriers wait in line on this edge, though execution.checkpointing.unaligned is set"
            );
        }
    }
}

impl Channels {
    /// The channels of the subtasks that `within` says, numbered from `first` on.
    pub(crate) fn of(
        graph: &JobGraph,
        layout: &Layout,
        unaligned: bool,
        first: u32,
        within: &dyn Fn(SubtaskId) -> bool,
    ) -> Self {
        let mut channels = Self {
            next: first,
            targets: BTreeMap::new(),
            inputs: BTreeMap::new(),
            widest: BTreeMap::new(),
            layouts: BTreeMap::new(),
            input_layouts: BTreeMap::new(),
            overtakable: BTreeMap::new(),
        };
        for edge in &graph.edges {
            channels.add(graph, edge, layout, within);
            if unaligned && is_overtakable(graph, edge) {
                channels.let_overtake(graph, edge);
            }
        }
        for ((vertex, _), inputs) in &channels.inputs {
            let width: usize = inputs.iter().map(Vec::len).sum();
            let widest = channels.widest.entry(*vertex).or_insert(0);
            *widest = width.max(*widest);
        }
        channels
    }

    /// Lets barriers overtake on an edge that was added.
    fn let_overtake(&mut self, graph: &JobGraph, edge: &EdgeDescription) {
        let (from, to) = (
            &graph.vertices[edge.from as usize],
            &graph.vertices[edge.to as usize],
        );
        let (Some(sender), Some(receiver)) = (
            from.operator_ids().last().copied(),
            to.operator_ids().first().copied(),
        ) else {
            return;
        };
        let ends = |it: &EdgeDescription| (it.from, it.to, it.input);
        let twins = graph.edges.iter().take_while(|it| it.id != edge.id);
        let port = twins.filter(|it| ends(it) == ends(edge)).count() as u32;
        for producer in 0..from.parallelism {
            let Some(targets) = self.targets.get(&(edge.id, producer)) else {
                continue;
            };
            for (consumer, target) in (0..).zip(targets) {
                let part = ChannelPart {
                    path: ChannelPath {
                        receiver,
                        input: edge.input,
                        to: consumer,
                        sender,
                        port,
                        from: producer,
                        keyed: edge.keyed,
                    },
                    layout: self.layouts[&edge.id],
                };
                for end in [(edge.from, producer), (edge.to, consumer)] {
                    let of_end = self.overtakable.entry(end).or_default();
                    of_end.insert(target.channel, part);
                }
            }
        }
    }

    pub(super) fn overtakable(&self, vertex: u32, index: u32) -> BTreeMap<ChannelId, ChannelPart> {
        let channels = self.overtakable.get(&(vertex, index));
        channels.cloned().unwrap_or_default()
    }

    fn add(
        &mut self,
        graph: &JobGraph,
        edge: &EdgeDescription,
        layout: &Layout,
        within: &dyn Fn(SubtaskId) -> bool,
    ) {
        let producers = graph.vertices[edge.from as usize].parallelism;
        let consumers = graph.vertices[edge.to as usize].parallelism;
        let entry = EntryLayout {
            hash: edge.keyed,
            timestamp: graph.vertices[edge.to as usize].timestamps,
        };
        self.layouts.insert(edge.id, entry);
        let input = edge.input as usize;
        *at_or_default(self.input_layouts.entry(edge.to).or_default(), input) = entry;
        let from = VertexId(edge.from);
        for producer in (0..producers).filter(|index| within(SubtaskId::new(from, *index))) {
            let mut targets = Vec::new();
            for consumer in edge.pattern.consumers_of(producer, producers, consumers) {
                let channel = ChannelId(self.next);
                self.next += 1;
                targets.push(OutputTarget {
                    channel,
                    shard: layout.shard_of(consumer),
                });
                let inputs = self.inputs.entry((edge.to, consumer)).or_default();
                at_or_default(inputs, input).push(channel);
            }
            self.targets.insert((edge.id, producer), targets);
        }
    }

    pub(super) fn inputs(&self, vertex: u32, index: u32) -> Vec<Vec<ChannelId>> {
        let inputs = self.inputs.get(&(vertex, index));
        inputs.cloned().unwrap_or_default()
    }

    /// How many channels the widest gate of a vertex has: both ends of each channel have to know the same.
    pub(super) fn gate_width(&self, vertex: u32) -> usize {
        self.widest.get(&vertex).copied().unwrap_or(0)
    }

    pub(super) fn input_layouts(&self, vertex: u32) -> Vec<EntryLayout> {
        let layouts = self.input_layouts.get(&vertex);
        layouts.cloned().unwrap_or_default()
    }

    pub(super) fn outputs(&self, graph: &JobGraph, vertex: u32, index: u32) -> Vec<OutputPlan> {
        (graph.edges.iter())
            .filter(|edge| edge.from == vertex)
            .map(|edge| OutputPlan {
                edge: edge.id,
                role: edge.role,
                layout: self.layouts[&edge.id],
                targets: self.targets[&(edge.id, index)].clone(),
                gate_width: self.gate_width(edge.to),
            })
            .collect()
    }

    /// Segments the producers of the fullest shard may have in use at once, without what waits on the
    /// way back in a loop.
    pub(super) fn segments_of_fullest_shard(
        &self,
        graph: &JobGraph,
        memory: &MemorySettings,
        layout: &Layout,
    ) -> usize {
        let filled = graph
            .edges
            .iter()
            .filter(|edge| edge.role != EdgeRole::Votes);
        let credits: BTreeMap<EdgeId, GateCredits> = filled
            .map(|edge| (edge.id, memory.credits(self.gate_width(edge.to))))
            .collect();
        let mut per_shard = vec![0; usize::from(layout.shards)];
        for ((edge, producer), targets) in &self.targets {
            let Some(credits) = credits.get(edge) else {
                continue;
            };
            let shard = layout.shard_of(*producer);
            per_shard[usize::from(shard.0)] += segments_needed(targets.len(), *credits);
        }
        per_shard.into_iter().max().unwrap_or(0)
    }
}

/// The place `at` of a list that grows with defaults as far as it is asked for.
fn at_or_default<T: Default>(list: &mut Vec<T>, at: usize) -> &mut T {
    if list.len() <= at {
        list.resize_with(at + 1, T::default);
    }
    &mut list[at]
}
