//! Regions that fail, go, wait and run again.
//!
//! Driven by the control thread, which calls [`Failover::attend`] whenever tasks have said something and when something
//! is due. Invariant: a region is built only when all of it has gone; a failure it cannot go on after alone ends the
//! attempt of the whole job, and none is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_core::ids::{CheckpointId, ShardId, SubtaskId};
use thalweg_dataflow::executor::{JobError, JobStatus};
use thalweg_dataflow::graph::Job;
use thalweg_dataflow::sink::Committable;

use super::taking_back::by_each_sink;
use super::{Post, Regions};
use crate::job_manager::{RestartDecision, RestartStrategy};
use crate::local::coordination::Coordination;
use crate::local::layout::Layout;
use crate::local::metrics::JobFigures;
use crate::local::outcome::{Failed, Outcome};
use crate::local::plan::{Deployment, Splits};

/// How long a region may take to go, ms. A function that does not return holds its shard, with all that is on it.
const PATIENCE_MS: u64 = 30_000;

/// The regions of one attempt of a job.
pub(crate) struct Failover<'j> {
    pub(super) job: &'j Job,
    pub(super) layout: Layout,
    regions: Regions,
    posts: Vec<Post>,
    pub(super) dealt: BTreeMap<SubtaskId, Splits>,
    /// The first number of a channel that is not given.
    pub(super) channels: u32,
    /// Those that do not run.
    resting: BTreeMap<usize, Resting>,
    /// How often any has begun again.
    rounds: u64,
}

/// A region that does not run.
enum Resting {
    /// Its tasks are being taken off.
    Going {
        round: u64,
        /// Who has not said that they have gone.
        shards: BTreeSet<ShardId>,
        /// When that is given up, ms.
        deadline_ms: u64,
        delay: Duration,
    },
    /// It begins again then, ms.
    Waiting { until_ms: u64 },
}

/// What a region needs of its job.
pub(crate) struct Ways<'a, 'j> {
    /// Its checkpoints, if it takes any or begins with one.
    pub(crate) coordination: Option<&'a mut Coordination<'j>>,
    pub(crate) restarts: &'a mut RestartStrategy,
    /// Where restarts are counted.
    pub(crate) figures: &'a JobFigures,
    /// ms of the monotonic clock.
    pub(crate) now_ms: u64,
}

impl<'j> Failover<'j> {
    /// The regions of a deployment, if there are several that begin again alone.
    pub(crate) fn of(job: &'j Job, deployment: &mut Deployment<'_>) -> Option<Self> {
        Some(Self {
            job,
            layout: deployment.layout,
            regions: deployment.regions.clone()?,
            posts: deployment.posts.clone(),
            dealt: std::mem::take(&mut deployment.dealt),
            channels: deployment.channels,
            resting: BTreeMap::new(),
            rounds: 0,
        })
    }

    /// Does what is due; answers how long nothing will be.
    pub(crate) fn attend(&mut self, outcome: &mut Outcome, mut ways: Ways<'_, 'j>) -> Duration {
        for failed in outcome.take_fallen() {
            self.fallen(failed, outcome, &mut ways);
        }
        for (round, shard) in outcome.take_gone() {
            self.gone(round, shard, outcome, &mut ways);
        }
        let now = ways.now_ms;
        let due = |resting: &Resting| resting.due_ms() <= now;
        let due: Vec<usize> = (self.resting.iter())
            .filter(|(_, resting)| due(resting))
            .map(|(region, _)| *region)
            .collect();
        for region in due {
            match self.resting.remove(&region) {
                Some(Resting::Waiting { .. }) => self.begin(region, outcome, &mut ways),
                _ => outcome.fail(
                    "the restart of a region",
                    "its tasks do not end: a user function does not return".to_owned(),
                ),
            }
        }
        if outcome.failure().is_some() {
            return Duration::ZERO;
        }
        let next = self.resting.values().map(Resting::due_ms).min();
        next.map_or(Duration::MAX, |next| {
            Duration::from_millis(next.saturating_sub(now))
        })
    }

    /// How the job stands, as far as regions tell.
    pub(crate) fn status(&self) -> JobStatus {
        match self.resting.is_empty() {
            true => JobStatus::Running,
            false => JobStatus::Restarting,
        }
    }

    /// A task has failed.
    fn fallen(&mut self, failed: Failed, outcome: &mut Outcome, ways: &mut Ways<'_, 'j>) {
        let region = (failed.subtask).and_then(|task| self.regions.region_of(task));
        let Some(region) = region else {
            return outcome.ends_by(failed);
        };
        if self.resting.contains_key(&region) {
            tracing::debug!(reason = failed.reason(), "failed while its region goes");
            return;
        }
        if let Some(why) = self.cannot(region, ways) {
            tracing::debug!(why, "all of the job ends with the region");
            return outcome.ends_by(failed);
        }
        let RestartDecision::After(delay) = ways.restarts.failed(ways.now_ms) else {
            return outcome.ends_by(failed);
        };
        ways.figures.region_begins_again();
        let tasks = self.regions.tasks_of(region);
        let (reason, count) = (failed.reason(), tasks.len());
        tracing::warn!(
            error = reason,
            region,
            tasks = count,
            ?delay,
            "the region is started again"
        );
        if let Some(coordination) = &mut ways.coordination {
            coordination.region_failing(tasks, reason);
        }
        self.rounds += 1;
        let round = self.rounds;
        let mut shards: BTreeMap<ShardId, BTreeSet<SubtaskId>> = BTreeMap::new();
        for task in tasks {
            let here = shards.entry(self.layout.shard_of(task.index)).or_default();
            here.insert(*task);
        }
        let going = Resting::Going {
            round,
            shards: shards.keys().copied().collect(),
            deadline_ms: ways.now_ms.saturating_add(PATIENCE_MS),
            delay,
        };
        self.resting.insert(region, going);
        for (shard, tasks) in shards {
            if !self.posts[shard.index()].take_off(tasks, round) {
                return outcome.ends_by(failed);
            }
        }
    }

    /// Why a region cannot begin again alone, if it cannot.
    fn cannot(&self, region: usize, ways: &Ways<'_, 'j>) -> Option<&'static str> {
        let tasks = self.regions.tasks_of(region);
        let vertices: BTreeSet<usize> = tasks.iter().map(|task| task.vertex.0 as usize).collect();
        let sinks = vertices
            .iter()
            .filter(|vertex| self.job.vertices[**vertex].sink.is_some());
        let mut sinks = sinks.copied();
        match &ways.coordination {
            Some(coordination) if !coordination.may_rest() => {
                Some("its sources have been told to stop")
            }
            Some(coordination) if coordination.is_periodic() => {
                let all = sinks.all(|sink| coordination.rolls_back(sink));
                (!all).then_some("a sink of it cannot take back what some of its subtasks wrote")
            }
            _ => {
                let all = sinks.all(|sink| self.takes_back(sink));
                (!all).then_some("without checkpoints a sink of it cannot take back what it wrote")
            }
        }
    }

    /// Whether what a sink has written is all hidden, and can be taken back.
    fn takes_back(&self, vertex: usize) -> bool {
        let sink = self.job.vertices[vertex].sink.as_ref();
        let committer = sink.and_then(|sink| sink.committer());
        committer.is_some_and(|committer| committer.rolls_back())
    }

    /// Tasks have gone from a shard.
    fn gone(&mut self, round: u64, shard: ShardId, outcome: &mut Outcome, ways: &mut Ways<'_, 'j>) {
        let of_round = |resting: &Resting| matches!(resting, Resting::Going { round: its, .. } if *its == round);
        let mut all = self.resting.iter_mut();
        let Some((region, resting)) = all.find(|(_, resting)| of_round(resting)) else {
            return;
        };
        let region = *region;
        let Resting::Going { shards, delay, .. } = resting else {
            return;
        };
        shards.remove(&shard);
        if !shards.is_empty() {
            return;
        }
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let until_ms = ways.now_ms.saturating_add(delay_ms);
        *resting = Resting::Waiting { until_ms };
        let tasks = self.regions.tasks_of(region);
        let taken_back = match &mut ways.coordination {
            Some(coordination) => {
                let heard = coordination.heard_of(outcome, tasks);
                outcome.forget(tasks);
                coordination.region_stopped(tasks, heard);
                coordination.trouble()
            }
            None => {
                let prepared = outcome.forget(tasks);
                self.take_back(tasks, &prepared).err()
            }
        };
        if let Some(reason) = taken_back {
            outcome.fail("the restart of a region", reason);
        }
    }

    /// Has sinks take back what tasks wrote, in a job without checkpoints.
    fn take_back(
        &self,
        tasks: &BTreeSet<SubtaskId>,
        prepared: &BTreeMap<u32, Vec<Committable>>,
    ) -> Result<(), String> {
        by_each_sink(self.job, tasks, |place, subtasks| {
            let sink = self.job.vertices[place].sink.as_ref();
            let Some(mut committer) = sink.and_then(|sink| sink.committer()) else {
                return Ok(());
            };
            let vertex = self.job.graph.vertices[place].id;
            let prepared = prepared.get(&vertex).map_or(&[][..], Vec::as_slice);
            committer.roll_back(prepared, subtasks, CheckpointId(0))
        })
    }

    /// A region begins again.
    fn begin(&mut self, region: usize, outcome: &mut Outcome, ways: &mut Ways<'_, 'j>) {
        let tasks = self.regions.tasks_of(region).clone();
        let beginning = match &mut ways.coordination {
            Some(coordination) => coordination.region_beginning(&tasks).map(Some),
            None => Ok(None),
        };
        let beginning = match beginning {
            Ok(beginning) => beginning,
            Err(error) => return self.not_begun(region, &error, outcome, ways),
        };
        let rebuilt = self.lay_out(&tasks, beginning);
        for (shard, plans) in rebuilt.shards {
            if !self.posts[shard.index()].build(plans) {
                let what = format!("{shard} takes no commands");
                return outcome.fail("the restart of a region", what);
            }
        }
        if let Some(coordination) = &mut ways.coordination {
            coordination.region_running(&tasks, rebuilt.doors);
        }
    }

    /// What a region begins with cannot be had: perhaps it can be soon.
    fn not_begun(
        &mut self,
        region: usize,
        error: &JobError,
        outcome: &mut Outcome,
        ways: &mut Ways<'_, 'j>,
    ) {
        let again = matches!(
            error,
            JobError::Rejected {
                kind: ErrorKind::Retry,
                ..
            }
        );
        let decision = again.then(|| ways.restarts.failed(ways.now_ms));
        let Some(RestartDecision::After(delay)) = decision else {
            return outcome.fail("the restart of a region", error.to_string());
        };
        ways.figures.region_begins_again();
        tracing::warn!(%error, region, ?delay, "the region is started again later");
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let until_ms = ways.now_ms.saturating_add(delay_ms);
        self.resting.insert(region, Resting::Waiting { until_ms });
    }
}

impl Resting {
    /// When something is to be done about it, ms.
    fn due_ms(&self) -> u64 {
        match self {
            Resting::Going { deadline_ms, .. } => *deadline_ms,
            Resting::Waiting { until_ms } => *until_ms,
        }
    }
}
