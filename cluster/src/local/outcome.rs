//! What became of a job: reports counted, the first failure kept, sinks committed or aborted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_core::ids::{ShardId, SubtaskId};
use thalweg_core::seam::reactor::DriverKind;
use thalweg_dataflow::checkpoint::CheckpointAnswer;
use thalweg_dataflow::executor::{JobError, JobResult, JobSummary, VertexSummary};
use thalweg_dataflow::graph::{JobGraph, JobVertex};
use thalweg_dataflow::sink::Committable;
use thalweg_dataflow::task::{TaskEnd, TaskReport};

use super::cancel::CancelToken;
use super::deploy::Report;
use super::plan::Deployment;

/// How often a waiting job looks whether it is to stop.
const CANCEL_CHECK: Duration = Duration::from_millis(50);

/// What a task can tell before the control thread listens again.
const TOLD_BY_TASK: usize = 32;

/// A failure.
pub(crate) struct Failed {
    /// The task that failed, if it was one that ran.
    pub(crate) subtask: Option<SubtaskId>,
    task: String,
    operator: Option<String>,
    message: String,
    panicked: bool,
}

impl Failed {
    /// What has failed, in words.
    pub(crate) fn reason(&self) -> String {
        format!("{}: {}", self.task, self.message)
    }
}

/// The control thread's view of a running job.
pub(crate) struct Outcome {
    sender: SyncSender<Report>,
    receiver: Receiver<Report>,
    expected: usize,
    finished: Vec<TaskReport>,
    /// Answers to checkpoints nobody has looked at.
    answers: Vec<CheckpointAnswer>,
    stopped: Vec<TaskReport>,
    /// The first failure that ends the attempt.
    failed: Option<Failed>,
    /// Whether somebody else decides what follows when a task fails that ran.
    lets_fall: bool,
    /// The tasks that have failed since anybody asked.
    fallen: Vec<Failed>,
    /// From which shards regions have gone since anybody asked.
    gone: Vec<(u64, ShardId)>,
    /// Why the job cannot go on from what it was to be restored from.
    refused: Option<String>,
    cancelled: bool,
    /// All that sinks prepared is visible.
    committed: bool,
    /// The savepoint the job ends by.
    stopped_by: Option<String>,
    /// A shard did not stop.
    left_behind: bool,
    started_ns: u64,
    duration: Duration,
    driver: String,
}

impl Outcome {
    /// An outcome that waits for every task of the deployment, which starts now (ns).
    pub(crate) fn expecting(deployment: &Deployment<'_>, now: u64) -> Self {
        let tasks = deployment.tasks();
        // Room for the end and the failure of every task, for its answers to all checkpoints that can be
        // under way, and for a refusal of every shard: shards never wait.
        let (sender, receiver) = sync_channel(TOLD_BY_TASK * tasks + deployment.shards.len() + 1);
        Self {
            sender,
            receiver,
            expected: tasks,
            finished: Vec::with_capacity(tasks),
            answers: Vec::new(),
            stopped: Vec::new(),
            failed: None,
            lets_fall: false,
            fallen: Vec::new(),
            gone: Vec::new(),
            refused: None,
            cancelled: false,
            committed: false,
            stopped_by: None,
            left_behind: false,
            started_ns: now,
            duration: Duration::ZERO,
            driver: String::new(),
        }
    }

    /// From now on the failure of a task alone is not the end: [`Outcome::take_fallen`] tells of it.
    pub(crate) fn let_fall(&mut self) {
        self.lets_fall = true;
    }

    /// The tasks that have failed since the last call.
    pub(crate) fn take_fallen(&mut self) -> Vec<Failed> {
        std::mem::take(&mut self.fallen)
    }

    /// Whether tasks have failed, or regions have gone, since anybody asked.
    pub(crate) fn has_news(&self) -> bool {
        !self.fallen.is_empty() || !self.gone.is_empty()
    }

    /// In which round of a region, and from which shard, tasks have gone since the last call.
    pub(crate) fn take_gone(&mut self) -> Vec<(u64, ShardId)> {
        std::mem::take(&mut self.gone)
    }

    /// This failure is the end.
    pub(crate) fn ends_by(&mut self, failed: Failed) {
        self.failed.get_or_insert(failed);
    }

    /// What these tasks have said of their ends does not count: they begin again. Answers what their writers had
    /// prepared.
    pub(crate) fn forget(
        &mut self,
        tasks: &BTreeSet<SubtaskId>,
    ) -> BTreeMap<u32, Vec<Committable>> {
        let of_them =
            |report: &TaskReport| tasks.contains(&SubtaskId::new(report.vertex, report.subtask));
        let mut prepared: BTreeMap<u32, Vec<Committable>> = BTreeMap::new();
        for report in self.finished.extract_if(.., |report| of_them(report)) {
            let of_vertex = prepared.entry(report.vertex.0).or_default();
            of_vertex.extend(report.committables);
        }
        self.stopped.retain(|report| !of_them(report));
        prepared
    }

    /// Where shards send their reports.
    pub(crate) fn reports(&self) -> SyncSender<Report> {
        self.sender.clone()
    }

    pub(crate) fn note_driver(&mut self, driver: DriverKind) {
        self.driver = driver.to_string();
    }

    /// Waits until every task has finished, one has failed, or the job is cancelled. `attend` is called
    /// before each wait and answers how long that may be.
    pub(crate) fn wait(
        &mut self,
        cancel: &CancelToken,
        attend: &mut dyn FnMut(&mut Outcome) -> Duration,
    ) {
        while !self.is_over() {
            let patience = attend(self).min(CANCEL_CHECK);
            match self.receiver.recv_timeout(patience) {
                Ok(report) => self.take(report),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("this outcome holds a sender itself")
                }
            }
            // Asked after reports too: they may never stop coming.
            self.cancelled = cancel.is_cancelled();
        }
    }

    /// Whether the job was told to stop before its tasks came to their end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// The last task has ended, or is to end, now (ns).
    pub(crate) fn note_end(&mut self, now: u64) {
        self.duration = Duration::from_nanos(now.saturating_sub(self.started_ns));
    }

    /// Takes in what has been reported, without waiting. True when the job is over.
    pub(crate) fn poll(&mut self) -> bool {
        while let Ok(report) = self.receiver.try_recv() {
            self.take(report);
        }
        self.is_over()
    }

    fn is_over(&self) -> bool {
        let ended = self.finished.len() == self.expected || self.stopped_by.is_some();
        ended || self.cancelled || self.failed.is_some() || self.refused.is_some()
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Ended(report) => match report.end {
                TaskEnd::Finished => self.finished.push(report),
                TaskEnd::Stopped => self.stopped.push(report),
            },
            Report::Refused(message) => {
                self.refused.get_or_insert(message);
            }
            Report::Checkpoint(answer) => self.answers.push(answer),
            Report::Gone { round, shard } => self.gone.push((round, shard)),
            Report::Failed {
                subtask,
                task,
                operator,
                message,
                panicked,
            } => {
                let failed = Failed {
                    subtask,
                    task,
                    operator,
                    message,
                    panicked,
                };
                match self.lets_fall && subtask.is_some() {
                    true => self.fallen.push(failed),
                    false => self.ends_by(failed),
                }
            }
        }
    }

    /// The tasks that have finished so far, in the order of their ends.
    pub(crate) fn finished(&self) -> &[TaskReport] {
        &self.finished
    }

    /// The answers to checkpoints since the last call.
    pub(crate) fn take_answers(&mut self) -> Vec<CheckpointAnswer> {
        std::mem::take(&mut self.answers)
    }

    /// Ends the job with a failure that is none of a task's.
    pub(crate) fn fail(&mut self, what: &str, message: String) {
        self.failed.get_or_insert(Failed {
            subtask: None,
            task: what.to_owned(),
            operator: None,
            message,
            panicked: false,
        });
    }

    /// A shard could not be stopped in time.
    pub(crate) fn left_behind(&mut self, shard: String) {
        self.left_behind = true;
        tracing::warn!(
            %shard,
            "did not stop in time: a turn of a task does not end, as where a user function does not return; the \
             thread is left behind"
        );
    }

    /// A shard's thread died: a defect of the engine.
    pub(crate) fn shard_failed(&mut self, shard: String, message: &str) {
        self.failed.get_or_insert(Failed {
            subtask: None,
            task: shard,
            operator: None,
            message: message.to_owned(),
            panicked: true,
        });
    }

    /// Whether every task has finished and nothing has failed.
    pub(crate) fn is_complete(&self) -> bool {
        let finished = self.finished.len() == self.expected;
        let trouble = self.failed.is_some() || self.refused.is_some();
        finished && !trouble && self.stopped_by.is_none()
    }

    /// What has failed, in words.
    pub(crate) fn failure(&self) -> Option<String> {
        if let Some(refused) = &self.refused {
            return Some(refused.clone());
        }
        self.failed.as_ref().map(Failed::reason)
    }

    /// Whether another attempt may begin: no thread of this one is left behind.
    pub(crate) fn may_restart(&self) -> bool {
        !self.left_behind
    }

    /// The end: commits what the sinks prepared, or withdraws it.
    pub(crate) fn conclude(mut self, deployment: &Deployment<'_>) -> Result<JobResult, JobError> {
        self.poll();
        if self.is_complete() {
            let summary = self.summary(deployment);
            self.commit(deployment, &summary)?;
            self.committed();
        } else {
            self.abort(deployment);
        }
        self.conclude_committed(deployment)
    }

    /// The job ends by this savepoint, and all output up to it is visible.
    pub(crate) fn stop_by(&mut self, savepoint: String) {
        self.stopped_by.get_or_insert(savepoint);
        self.committed = true;
    }

    /// Everything the sinks prepared was made visible: the job has succeeded, if nothing fails any more.
    pub(crate) fn committed(&mut self) {
        self.committed = true;
    }

    /// The end, when checkpoints have seen to what the sinks prepared. Tasks that came to their end only
    /// while the job was being stopped do not make it a success: what they prepared was withdrawn.
    pub(crate) fn conclude_committed(
        mut self,
        deployment: &Deployment<'_>,
    ) -> Result<JobResult, JobError> {
        self.poll();
        let summary = self.summary(deployment);
        if let Some(message) = self.refused {
            return Err(JobError::rejected(ErrorKind::Invalid, message));
        }
        if self.committed && self.failed.is_none() {
            return Ok(JobResult {
                summary,
                savepoint: self.stopped_by,
            });
        }
        let summary = Box::new(summary);
        match self.failed {
            Some(failed) => Err(JobError::Failed {
                task: failed.task,
                operator: failed.operator,
                message: failed.message,
                panicked: failed.panicked,
                summary,
            }),
            None => Err(JobError::Cancelled { summary }),
        }
    }

    /// What the writers of each vertex prepared.
    fn prepared(&self) -> BTreeMap<u32, Vec<Committable>> {
        let mut prepared: BTreeMap<u32, Vec<Committable>> = BTreeMap::new();
        for report in &self.finished {
            let of_vertex = prepared.entry(report.vertex.0).or_default();
            of_vertex.extend(report.committables.iter().cloned());
        }
        prepared
    }

    fn commit(&self, deployment: &Deployment<'_>, summary: &JobSummary) -> Result<(), JobError> {
        let prepared = self.prepared();
        for (vertex, description) in deployment.vertices.iter().zip(&deployment.graph.vertices) {
            let committer = vertex.sink.as_ref().and_then(|sink| sink.committer());
            let Some(mut committer) = committer else {
                continue;
            };
            let list = prepared.get(&description.id).cloned().unwrap_or_default();
            committer.commit(&list).map_err(|error| JobError::Failed {
                task: description.name.clone(),
                operator: None,
                message: format!("its output could not be made visible: {error}"),
                panicked: false,
                summary: Box::new(summary.clone()),
            })?;
        }
        Ok(())
    }

    /// Withdraws what the sinks prepared.
    pub(crate) fn abort(&self, deployment: &Deployment<'_>) {
        let prepared = self.prepared();
        withdraw(deployment.vertices, deployment.graph, |vertex| {
            prepared.get(&vertex).cloned().unwrap_or_default()
        });
    }

    fn summary(&self, deployment: &Deployment<'_>) -> JobSummary {
        let mut summary = JobSummary {
            name: deployment.graph.name.clone(),
            duration: self.duration,
            io_driver: self.driver.clone(),
            shards: u32::from(deployment.layout.shards),
            ..JobSummary::default()
        };
        for description in &deployment.graph.vertices {
            let mut vertex = VertexSummary {
                name: description.name.clone(),
                parallelism: description.parallelism,
                ..VertexSummary::default()
            };
            let of_vertex = |report: &&TaskReport| report.vertex.0 == description.id;
            let reports = self.finished.iter().chain(&self.stopped);
            for report in reports.filter(of_vertex) {
                vertex.records_in += report.records_in;
                vertex.records_out += report.records_out;
                summary.metrics.extend(report.metrics.iter().cloned());
                for (name, value) in &report.accumulators {
                    *summary.accumulators.entry(name.clone()).or_default() += value;
                }
            }
            summary.records_in += if description.source {
                vertex.records_in
            } else {
                0
            };
            summary.records_out += if description.sink {
                vertex.records_out
            } else {
                0
            };
            summary.vertices.push(vertex);
        }
        summary
    }

    /// The job did not come to its end within the steps a simulation gives it.
    pub(crate) fn stuck(&mut self, what: &str) {
        self.failed.get_or_insert(Failed {
            subtask: None,
            task: "simulation".to_owned(),
            operator: None,
            message: what.to_owned(),
            panicked: false,
        });
    }
}

/// Has sinks remove what they made for an attempt that will not succeed, with what `prepared` tells of each
/// vertex.
pub(crate) fn withdraw(
    vertices: &[JobVertex],
    graph: &JobGraph,
    prepared: impl Fn(u32) -> Vec<Committable>,
) {
    for (vertex, description) in vertices.iter().zip(&graph.vertices) {
        let committer = vertex.sink.as_ref().and_then(|sink| sink.committer());
        let Some(mut committer) = committer else {
            continue;
        };
        if let Err(error) = committer.abort(&prepared(description.id)) {
            tracing::warn!(sink = %description.name, %error, "left something behind");
        }
    }
}
