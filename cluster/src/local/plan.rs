//! A job laid out: which subtask on which shard, with which channels.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::config::Configuration;
use thalweg_core::error::ErrorKind;
use thalweg_core::ids::{SubtaskId, VertexId};
use thalweg_dataflow::checkpoint::ChannelPart;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::graph::{
    EdgeDescription, EdgeId, EdgeRole, Job, JobGraph, JobVertex, SubtaskFactory,
};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::EntryLayout;
use thalweg_network::channel::ChannelId;
use thalweg_network::{OutputTarget, segments_needed};
use thalweg_state::ChannelPath;

use super::checkpointing::{Beginning, TaskDoor, TaskPart};
use super::failover::{Post, Regions};
use super::layout::Layout;
use super::memory::MemorySettings;
use super::outcome::withdraw;

/// One subtask, ready to be built on its shard.
pub(crate) struct SubtaskPlan {
    pub(crate) info: SubtaskInfo,
    pub(crate) factory: SubtaskFactory,
    /// The channels of each input, none for sources.
    pub(crate) inputs: Vec<Vec<ChannelId>>,
    /// What stands beside the records of each input.
    pub(crate) input_layouts: Vec<EntryLayout>,
    pub(crate) outputs: Vec<OutputPlan>,
    /// Its channels, at both ends, on which barriers may overtake.
    pub(crate) overtakable: BTreeMap<ChannelId, ChannelPart>,
    pub(crate) splits: Option<Box<dyn Any + Send>>,
    /// Its part in checkpoints, if the job takes any.
    pub(crate) checkpoints: Option<TaskPart>,
}

/// The channels of one outgoing edge of one subtask.
pub(crate) struct OutputPlan {
    pub(crate) edge: EdgeId,
    pub(crate) role: EdgeRole,
    pub(crate) layout: EntryLayout,
    pub(crate) targets: Vec<OutputTarget>,
}

/// A job laid out over the shards of this process, for one attempt.
pub(crate) struct Deployment<'j> {
    pub(crate) graph: &'j JobGraph,
    pub(crate) vertices: &'j [JobVertex],
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) layout: Layout,
    pub(crate) memory: MemorySettings,
    /// The subtasks of each shard; taken when the shards start.
    pub(crate) shards: Vec<Vec<SubtaskPlan>>,
    /// The ways to the tasks that take part in checkpoints.
    pub(crate) doors: Vec<(SubtaskId, TaskDoor)>,
    /// The ways to the shards.
    pub(crate) posts: Vec<Post>,
    /// What of it begins again alone, if not all of it does.
    pub(crate) regions: Option<Regions>,
    /// The splits of each subtask that begins from the beginning, once more; where there are regions.
    pub(crate) dealt: BTreeMap<SubtaskId, Splits>,
    /// How many numbers of channels are given.
    pub(crate) channels: u32,
}

/// The splits of one subtask, opaque.
pub(crate) type Splits = Box<dyn Any + Send>;

impl<'j> Deployment<'j> {
    /// Lays a job out. Enumerates its sources, unless their positions are restored, and checks its sinks. `alone`
    /// says whether parts that nothing connects may begin again without the others.
    pub(crate) fn of(
        job: &'j Job,
        mut beginning: Option<Beginning>,
        alone: bool,
    ) -> Result<Self, JobError> {
        let regions = Some(Regions::of(&job.graph)).filter(|it| alone && it.count() > 1);
        let memory = MemorySettings::of(&job.configuration)?;
        let layout = Layout::of(&job.graph, &job.configuration)?;
        let unaligned = beginning.as_ref().is_some_and(|it| it.unaligned);
        if unaligned {
            tell_of_lines(&job.graph);
        }
        let channels = Channels::of(&job.graph, &layout, unaligned, 0, &|_| true);
        memory.check_network(
            channels.segments_of_fullest_shard(&job.graph, &memory, &layout),
            layout.shards,
        )?;
        let mut shards: Vec<Vec<SubtaskPlan>> = (0..layout.shards).map(|_| Vec::new()).collect();
        let (mut doors, mut dealt) = (Vec::new(), BTreeMap::new());
        for vertex in 0..job.vertices.len() {
            let plans = subtasks(job, vertex, &channels, beginning.as_ref());
            // The sinks before it are prepared, and this one may be in part.
            let plans = plans
                .inspect_err(|_| withdraw(&job.vertices[..=vertex], &job.graph, |_| vec![]))?;
            for mut plan in plans {
                if regions.is_some() {
                    let subtask = SubtaskId::new(plan.info.vertex, plan.info.index);
                    let source = job.vertices[vertex].source.as_ref();
                    let splits = source.zip(plan.splits.as_ref());
                    let splits = splits.and_then(|(source, splits)| source.copy(&**splits));
                    dealt.extend(splits.map(|splits| (subtask, splits)));
                }
                doors.extend(plan.take_part(job, beginning.as_mut()));
                shards[usize::from(layout.shard_of(plan.info.index).0)].push(plan);
            }
        }
        Ok(Self {
            graph: &job.graph,
            vertices: &job.vertices,
            configuration: Arc::clone(&job.configuration),
            layout,
            memory,
            posts: (0..layout.shards).map(|_| Post::default()).collect(),
            shards,
            doors,
            regions,
            dealt,
            channels: channels.next,
        })
    }

    /// How many tasks there are.
    pub(crate) fn tasks(&self) -> usize {
        let parallelism = self.graph.vertices.iter().map(|v| v.parallelism as usize);
        parallelism.sum()
    }
}

impl SubtaskPlan {
    /// Has the subtask take part in checkpoints, if the job takes any; answers the way to it.
    pub(crate) fn take_part(
        &mut self,
        job: &Job,
        beginning: Option<&mut Beginning>,
    ) -> Option<(SubtaskId, TaskDoor)> {
        let beginning = beginning?;
        let operators = job.graph.vertices[self.info.vertex.0 as usize].operator_ids();
        let subtask = SubtaskId::new(self.info.vertex, self.info.index);
        let (part, door) = beginning.part_of(subtask, operators, self.overtakable.clone());
        self.checkpoints = Some(part);
        Some((subtask, door))
    }
}

/// Whether the sources of a vertex go on from positions of a checkpoint.
pub(crate) fn has_positions(job: &Job, vertex: usize, beginning: Option<&Beginning>) -> bool {
    let operators = job.graph.vertices[vertex].operator_ids();
    let head = operators.first().copied().zip(beginning);
    head.is_some_and(|(head, beginning)| beginning.holds_positions_of(head))
}

/// The subtasks of one vertex.
fn subtasks(
    job: &Job,
    vertex: usize,
    channels: &Channels,
    beginning: Option<&Beginning>,
) -> Result<Vec<SubtaskPlan>, JobError> {
    let description = &job.graph.vertices[vertex];
    let template = &job.vertices[vertex];
    let parallelism = description.parallelism;
    let positions = has_positions(job, vertex, beginning);
    let mut splits: Vec<Option<Splits>> = match &template.source {
        Some(source) if !positions => {
            let dealt = source.deal(parallelism).map_err(|error| {
                JobError::rejected(
                    error.kind,
                    format!("{}: {}", description.name, error.message),
                )
            })?;
            dealt.into_iter().map(Some).collect()
        }
        _ => (0..parallelism).map(|_| None).collect(),
    };
    if let Some(sink) = &template.sink {
        sink.prepare(parallelism).map_err(|error| {
            JobError::rejected(
                error.kind,
                format!("{}: {}", description.name, error.message),
            )
        })?;
    }
    if splits.len() != parallelism as usize {
        return Err(JobError::rejected(
            ErrorKind::Internal,
            format!(
                "{} dealt splits to {} subtasks",
                description.name,
                splits.len()
            ),
        ));
    }
    let plan = |index: u32| subtask(job, vertex, index, channels, splits[index as usize].take());
    Ok((0..parallelism).map(plan).collect())
}

/// One subtask of a vertex.
pub(crate) fn subtask(
    job: &Job,
    vertex: usize,
    index: u32,
    channels: &Channels,
    splits: Option<Splits>,
) -> SubtaskPlan {
    let description = &job.graph.vertices[vertex];
    let operators: Arc<[String]> = description
        .operators
        .iter()
        .map(|o| o.name.clone())
        .collect();
    let name: Arc<str> = description.name.as_str().into();
    SubtaskPlan {
        info: SubtaskInfo {
            vertex: VertexId(description.id),
            vertex_name: Arc::clone(&name),
            index,
            parallelism: description.parallelism,
            max_parallelism: job.max_parallelism,
            operators: Arc::clone(&operators),
            mode: job.mode,
            configuration: Arc::clone(&job.configuration),
        },
        factory: job.vertices[vertex].instantiate(),
        inputs: channels.inputs(description.id, index),
        input_layouts: channels.input_layouts(description.id),
        outputs: channels.outputs(&job.graph, description.id, index),
        overtakable: channels.overtakable(description.id, index),
        splits,
        checkpoints: None,
    }
}

/// The channels of a job, or of some of its subtasks that have none to others, numbered densely.
pub(crate) struct Channels {
    /// The first number that is not given.
    pub(crate) next: u32,
    /// Per (edge, producer): its targets in the order of the consumers.
    targets: BTreeMap<(EdgeId, u32), Vec<OutputTarget>>,
    /// Per (vertex, subtask): the channels that lead to each of its inputs.
    inputs: BTreeMap<(u32, u32), Vec<Vec<ChannelId>>>,
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
fn tell_of_lines(graph: &JobGraph) {
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

    fn overtakable(&self, vertex: u32, index: u32) -> BTreeMap<ChannelId, ChannelPart> {
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

    fn inputs(&self, vertex: u32, index: u32) -> Vec<Vec<ChannelId>> {
        let inputs = self.inputs.get(&(vertex, index));
        inputs.cloned().unwrap_or_default()
    }

    fn input_layouts(&self, vertex: u32) -> Vec<EntryLayout> {
        let layouts = self.input_layouts.get(&vertex);
        layouts.cloned().unwrap_or_default()
    }

    fn outputs(&self, graph: &JobGraph, vertex: u32, index: u32) -> Vec<OutputPlan> {
        (graph.edges.iter())
            .filter(|edge| edge.from == vertex)
            .map(|edge| OutputPlan {
                edge: edge.id,
                role: edge.role,
                layout: self.layouts[&edge.id],
                targets: self.targets[&(edge.id, index)].clone(),
            })
            .collect()
    }

    /// Segments the producers of the fullest shard may have in use at once, without what waits on the
    /// way back in a loop.
    fn segments_of_fullest_shard(
        &self,
        graph: &JobGraph,
        memory: &MemorySettings,
        layout: &Layout,
    ) -> usize {
        let empty = graph
            .edges
            .iter()
            .filter(|edge| edge.role == EdgeRole::Votes);
        let empty: Vec<EdgeId> = empty.map(|edge| edge.id).collect();
        let mut per_shard = vec![0; usize::from(layout.shards)];
        for ((edge, producer), targets) in &self.targets {
            if empty.contains(edge) {
                continue;
            }
            let shard = layout.shard_of(*producer);
            per_shard[usize::from(shard.0)] +=
                segments_needed(targets.len(), memory.exclusive, memory.floating);
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
