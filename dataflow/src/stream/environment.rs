//! Where a program begins: sources are added here, and the job is started here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_core::config::{Configuration, options};
use thalweg_core::error::ErrorKind;
use thalweg_core::key_group::MaxParallelism;

use super::{DataStream, Draft, RuntimeMode, SourcePipe};
use crate::executor::{Executor, JobClient, JobError, JobResult};
use crate::graph::{EdgeDescription, EdgeRole, Job, JobGraph, LogicalGraph, PlanSettings};
use crate::source::Source;
use crate::time::{GeneratorTemplate, TimedSourcePipe, TimestampAssigner, WatermarkStrategy};

/// A program under construction and the means to run it.
///
/// The facade's `environment()` makes one that knows how this process is to run jobs.
pub struct Environment {
    graph: Rc<RefCell<LogicalGraph>>,
    configuration: RefCell<Configuration>,
    executor: Arc<dyn Executor>,
}

impl Environment {
    /// An empty program whose jobs this executor runs.
    pub fn with_executor(executor: Arc<dyn Executor>, configuration: Configuration) -> Self {
        Self {
            graph: Rc::default(),
            configuration: RefCell::new(configuration),
            executor,
        }
    }

    /// The configuration of the next job, to change.
    pub fn configure(&self, change: impl FnOnce(&mut Configuration)) -> &Self {
        change(&mut self.configuration.borrow_mut());
        self
    }

    /// The parallelism of every operator that is not given one of its own.
    pub fn set_parallelism(&self, parallelism: u32) -> &Self {
        let option = &options::PARALLELISM_DEFAULT;
        let set = (self.configuration.borrow_mut()).try_set(option, parallelism);
        if let Err(error) = set {
            self.graph.borrow_mut().problem(error.to_string());
        }
        self
    }

    /// Streaming, batch, or whichever the sources allow.
    pub fn set_runtime_mode(&self, mode: RuntimeMode) -> &Self {
        self.configure(|configuration| {
            configuration.set(&options::RUNTIME_MODE, mode);
        })
    }

    /// The mode as it is set; AUTOMATIC is decided when the job is submitted.
    pub fn runtime_mode(&self) -> RuntimeMode {
        self.configuration.borrow().get(&options::RUNTIME_MODE)
    }

    /// A stream of what the source reads.
    pub fn source<S: Source>(&self, source: S) -> DataStream<S::Item, SourcePipe<S>> {
        let draft = Draft::source(&self.graph, source.clone());
        DataStream::new(SourcePipe::new(source), draft)
    }

    /// A stream of what the source reads, with event times and watermarks as the strategy says, kept
    /// apart for each split of the source.
    ///
    /// The watermark is the minimum over the splits each subtask reads, as far as its reader tells them
    /// apart ([`crate::SourceOutput::begin_split`]); splits that are read one after the other count one
    /// after the other.
    ///
    /// The facade's module `time` has an example that runs.
    pub fn source_with<S, M, A>(
        &self,
        source: S,
        strategy: WatermarkStrategy<S::Item, M, A>,
    ) -> DataStream<S::Item, TimedSourcePipe<S, M, A>>
    where
        S: Source,
        M: GeneratorTemplate<S::Item>,
        A: TimestampAssigner<S::Item>,
    {
        let draft = Draft::source(&self.graph, source.clone());
        draft.assign_timestamps();
        let group = strategy.alignment.as_ref();
        let group = group.map(|alignment| draft.align(&alignment.group));
        DataStream::new(TimedSourcePipe::new(source, strategy, group), draft)
    }

    /// The plan of the program as it would run now, without running it. The program is
    /// taken: the environment is empty afterwards.
    ///
    /// # Errors
    /// The mistakes of the program, each with its mend.
    pub fn plan(&self, name: &str) -> Result<JobGraph, JobError> {
        Ok(self.job(name)?.graph)
    }

    /// Runs the program to its end under this name. The environment is empty afterwards
    /// and may be given another program.
    ///
    /// # Errors
    /// Why the job could not start, failed or was cancelled.
    pub fn execute(&self, name: &str) -> Result<JobResult, JobError> {
        let job = self.job(name)?;
        self.executor.execute(job)
    }

    /// Starts the program under this name and answers a client of the running job at once. The environment
    /// is empty afterwards and may be given another program.
    ///
    /// The client is waited for before `main` returns: a local job ends with its process. At the head of
    /// the facade's `Environment` stands an example that runs.
    ///
    /// # Errors
    /// Why the job could not start. What happens to it later is answered by its client.
    pub fn execute_async(&self, name: &str) -> Result<JobClient, JobError> {
        let job = self.job(name)?;
        self.executor.submit(job)
    }

    pub(crate) fn job(&self, name: &str) -> Result<Job, JobError> {
        let rejected = |message: String| JobError::rejected(ErrorKind::Invalid, message);
        let configuration = self.configuration.borrow().clone();
        let max_parallelism = MaxParallelism::new(configuration.get(&options::MAX_PARALLELISM))
            .map_err(|error| rejected(error.to_string()))?;
        let settings = PlanSettings {
            name: name.to_owned(),
            default_parallelism: configuration.get(&options::PARALLELISM_DEFAULT),
            max_parallelism,
            mode: configuration.get(&options::RUNTIME_MODE),
        };
        let program = self.graph.take();
        let (graph, vertices, mode) = program.into_job_graph(settings).map_err(rejected)?;
        let interval = &options::CHECKPOINT_INTERVAL;
        let back = |edge: &EdgeDescription| edge.role == EdgeRole::Feedback;
        if configuration.get(interval).is_some() && graph.edges.iter().any(back) {
            return Err(rejected(format!(
                "{} asks for checkpoints, but the job has a loop, and what is on its way back is in no \
                 checkpoint yet: leave the setting out",
                interval.key
            )));
        }
        Ok(Job {
            graph,
            vertices,
            mode,
            max_parallelism,
            configuration: Arc::new(configuration),
        })
    }
}
