//! A job laid out: which subtask on which shard, with which channels.
//!
//! Entered by whoever starts a job or begins a part of it again. Invariant: what both ends of a channel must know of
//! it stands in both plans. Lives on the control thread.

mod channels;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::config::Configuration;
use thalweg_core::error::ErrorKind;
use thalweg_core::ids::{SubtaskId, VertexId};
use thalweg_dataflow::checkpoint::ChannelPart;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::graph::{EdgeId, EdgeRole, Job, JobGraph, JobVertex, SubtaskFactory};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::EntryLayout;
use thalweg_network::OutputTarget;
use thalweg_network::channel::ChannelId;

pub(crate) use self::channels::Channels;
use self::channels::tell_of_lines;
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
    /// How many channels the widest gate of its vertex has.
    pub(crate) gate_width: usize,
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
    /// How many channels the widest gate at their other end has.
    pub(crate) gate_width: usize,
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
        let segments = |memory: &MemorySettings| {
            channels.segments_of_fullest_shard(&job.graph, memory, &layout)
        };
        let memory = memory.fitting(segments, layout.shards)?;
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
        gate_width: channels.gate_width(description.id),
        input_layouts: channels.input_layouts(description.id),
        outputs: channels.outputs(&job.graph, description.id, index),
        overtakable: channels.overtakable(description.id, index),
        splits,
        checkpoints: None,
    }
}
