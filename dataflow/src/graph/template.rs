//! What a deployer gets: the description of each vertex and the means to make its subtasks.

use std::any::Any;
use std::sync::Arc;

use thalweg_core::config::Configuration;
use thalweg_core::key_group::MaxParallelism;

use super::JobGraph;
use super::guarded::{GuardedCommitter, guarded};
use crate::operator::IterationPlan;
use crate::sink::{Committer, Sink, SinkError};
use crate::source::{Source, SourceError};
use crate::stream::RuntimeMode;
use crate::task::{BuildContext, BuildError, Head};

/// Makes the chain of one subtask, on the shard it will live on.
pub type SubtaskFactory =
    Box<dyn FnOnce(&mut BuildContext) -> Result<Box<dyn Head>, BuildError> + Send>;

/// The template of a vertex' subtasks.
pub trait VertexTemplate: Send {
    /// One more subtask's factory.
    fn instantiate(&self) -> SubtaskFactory;
}

/// Deals the splits of a source out over its subtasks.
pub trait SplitPlan: Send {
    /// The splits of each subtask, opaque to the deployer. May block.
    ///
    /// # Errors
    /// Input that is not there or cannot be read.
    fn deal(&self, parallelism: u32) -> Result<Vec<Box<dyn Any + Send>>, SourceError>;

    /// The same splits once more, for a subtask that begins again; none if they are not of this source.
    fn copy(&self, dealt: &(dyn Any + Send)) -> Option<Box<dyn Any + Send>>;
}

pub(crate) struct SourceSplits<S>(pub(crate) S);

impl<S: Source> SplitPlan for SourceSplits<S> {
    fn deal(&self, parallelism: u32) -> Result<Vec<Box<dyn Any + Send>>, SourceError> {
        let mut dealt: Vec<Vec<S::Split>> = (0..parallelism).map(|_| Vec::new()).collect();
        let splits = || self.0.splits(parallelism);
        let splits = guarded("finding the splits", splits, SourceError::new)?;
        for (index, split) in splits.into_iter().enumerate() {
            dealt[index % parallelism as usize].push(split);
        }
        Ok(dealt
            .into_iter()
            .map(|splits| Box::new(splits) as Box<dyn Any + Send>)
            .collect())
    }

    fn copy(&self, dealt: &(dyn Any + Send)) -> Option<Box<dyn Any + Send>> {
        let splits = dealt.downcast_ref::<Vec<S::Split>>()?;
        Some(Box::new(splits.clone()))
    }
}

/// Checks a sink's target before the job and publishes its output after it.
pub trait SinkPlan: Send {
    /// Checks the target. May block.
    ///
    /// # Errors
    /// A target that cannot be written.
    fn prepare(&self, parallelism: u32) -> Result<(), SinkError>;
    /// Who publishes what the writers prepare.
    fn committer(&self) -> Option<Box<dyn Committer>>;
}

pub(crate) struct SinkTarget<I, S> {
    pub(crate) sink: S,
    pub(crate) item: std::marker::PhantomData<fn(I)>,
}

impl<I: thalweg_memory::record::Item, S: Sink<I>> SinkPlan for SinkTarget<I, S> {
    fn prepare(&self, parallelism: u32) -> Result<(), SinkError> {
        let prepare = || self.sink.prepare(parallelism);
        guarded("preparing the target", prepare, SinkError::new)
    }
    fn committer(&self) -> Option<Box<dyn Committer>> {
        let committer = self.sink.committer()?;
        Some(Box::new(GuardedCommitter(committer)))
    }
}

/// One side output of a vertex, its type cut.
pub(crate) trait SideTemplate: Send {
    fn clone_boxed(&self) -> Box<dyn SideTemplate>;
    fn install(self: Box<Self>, context: &mut BuildContext) -> Result<(), BuildError>;
}

/// One vertex of a job: its template and its ends.
pub struct JobVertex {
    pub(crate) template: Box<dyn VertexTemplate>,
    pub(crate) sides: Vec<Box<dyn SideTemplate>>,
    pub(crate) iteration: Option<IterationPlan>,
    /// Its source's splits, if it begins with one.
    pub source: Option<Box<dyn SplitPlan>>,
    /// Its sink, if it ends in one.
    pub sink: Option<Box<dyn SinkPlan>>,
}

impl JobVertex {
    /// The factory of one more subtask: its side outputs, what makes it the head of a loop, then its
    /// chain.
    pub fn instantiate(&self) -> SubtaskFactory {
        let sides: Vec<_> = self.sides.iter().map(|side| side.clone_boxed()).collect();
        let iteration = self.iteration;
        let chain = self.template.instantiate();
        Box::new(move |context| {
            for side in sides {
                side.install(context)?;
            }
            if let Some(iteration) = iteration {
                context.begin_iteration(iteration)?;
            }
            chain(context)
        })
    }
}

/// A program ready to be deployed.
pub struct Job {
    /// The plan. `vertices[i]` of the job makes the subtasks of `graph.vertices[i]`.
    pub graph: JobGraph,
    /// The means to make the subtasks, in the order of the plan's vertices.
    pub vertices: Vec<JobVertex>,
    /// Streaming or batch; never [`RuntimeMode::Automatic`].
    pub mode: RuntimeMode,
    /// How many key groups keyed state is cut into.
    pub max_parallelism: MaxParallelism,
    /// The job's configuration.
    pub configuration: Arc<Configuration>,
}
