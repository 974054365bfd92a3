//! A local job from its first attempt to its last: laid out, run, and after a failure begun again.
//!
//! Entered by the control thread. Invariants: at most one attempt runs at a time; another begins only when
//! every shard of the one before has stopped, from the newest checkpoint that is true; within one, regions may begin
//! again alone (`failover`).

use std::time::Duration;

use thalweg_core::config::{FailoverStrategy, options};
use thalweg_core::error::ErrorKind;
use thalweg_dataflow::executor::{JobControl, JobError, JobRequest, JobResult, JobStatus};
use thalweg_dataflow::graph::Job;

use super::cancel::CancelToken;
use super::coordination::Coordination;
use super::failover::{Failover, Ways};
use super::ground::Ground;
use super::metrics::JobFigures;
use super::outcome::Outcome;
use super::plan::Deployment;
use super::requests;
use crate::checkpoint::protocol::{AfterFailure, JobEnd};
use crate::job_manager::{RestartDecision, RestartStrategy};

/// The attempts of one job.
pub(crate) struct Attempts<'j, G> {
    job: &'j Job,
    cancel: CancelToken,
    ground: &'j G,
    control: &'j JobControl,
    coordination: Option<Coordination<'j>>,
    restarts: RestartStrategy,
    figures: JobFigures,
    attempt: u32,
}

/// What is asked of the job while an attempt runs.
struct Asked<'a> {
    control: &'a JobControl,
    cancel: &'a CancelToken,
}

impl Asked<'_> {
    /// Hands over what was asked since the last call.
    fn each(&self, mut take: impl FnMut(JobRequest)) {
        if self.control.is_cancelled() {
            self.cancel.cancel();
        }
        while let Some(request) = self.control.take_request() {
            take(request);
        }
    }
}

/// What became of one attempt.
enum Verdict {
    /// The job is over.
    Over(Result<JobResult, JobError>),
    /// It failed; another attempt may begin.
    Failed(JobError),
}

impl<'j, G: Ground> Attempts<'j, G> {
    /// The attempts of `job` on some ground, which ends when `cancel` is, and does what is asked through
    /// `control`. What becomes of it is counted in `figures`.
    pub(crate) fn of(
        job: &'j Job,
        cancel: CancelToken,
        ground: &'j G,
        control: &'j JobControl,
        figures: JobFigures,
    ) -> Result<Self, JobError> {
        let coordination = Coordination::of(job, control.id(), ground, &figures)?;
        let checkpoints = (coordination.as_ref()).is_some_and(Coordination::is_periodic);
        Ok(Self {
            job,
            cancel,
            ground,
            control,
            coordination,
            restarts: RestartStrategy::of(&job.configuration, checkpoints, ground.draw()),
            figures,
            attempt: 0,
        })
    }

    /// Runs attempts until one ends the job, or the restart strategy gives up.
    pub(crate) fn run(mut self) -> Result<JobResult, JobError> {
        let result = self.run_all();
        self.with_statistics(result)
    }

    /// Tells what became of the checkpoints too.
    fn with_statistics(
        &self,
        mut result: Result<JobResult, JobError>,
    ) -> Result<JobResult, JobError> {
        let summary = match &mut result {
            Ok(result) => Some(&mut result.summary),
            Err(
                JobError::Failed { summary, .. }
                | JobError::Cancelled { summary }
                | JobError::Overtaken { summary, .. },
            ) => Some(&mut **summary),
            Err(_) => None,
        };
        if let Some(summary) = summary {
            // Whatever it ended with, it is no more.
            self.figures
                .stands(JobStatus::Finished, self.ground.now_ns());
            let figures = self.figures.snapshot(self.ground.now_ns());
            summary.metrics.splice(0..0, figures);
            if let Some(coordination) = &self.coordination {
                summary.checkpoints = coordination.statistics().clone();
            }
        }
        result
    }

    /// The job stands so from now on.
    fn stands(&self, status: JobStatus) {
        let now_ns = self.ground.now_ns();
        stands(self.control, &self.figures, status, now_ns);
    }

    fn run_all(&mut self) -> Result<JobResult, JobError> {
        loop {
            let error = match self.run_one() {
                Ok(Verdict::Over(result)) => return result,
                Ok(Verdict::Failed(error)) => error,
                // What it begins with could not be fetched, and perhaps can be soon.
                Err(
                    error @ JobError::Rejected {
                        kind: ErrorKind::Retry,
                        ..
                    },
                ) => error,
                Err(error) => {
                    self.end(JobEnd::Failed);
                    return Err(error);
                }
            };
            match self.restarts.failed(self.ground.now_ns() / 1_000_000) {
                RestartDecision::After(delay) => {
                    let attempt = self.attempt;
                    tracing::warn!(%error, attempt, ?delay, "the job is started again");
                    self.figures.begins_again();
                    self.stands(JobStatus::Restarting);
                    let stops = || self.cancel.is_cancelled() || self.control.is_cancelled();
                    if !self.ground.pause(delay, &stops) {
                        self.end(self.cancelled());
                        return Err(given_up(error));
                    }
                }
                RestartDecision::GiveUp(why) => {
                    // Who never asked for restarts misses none.
                    let asked = self.job.configuration.origin(&options::RESTART_STRATEGY);
                    match asked.is_some() || self.attempt > 0 {
                        true => tracing::warn!(%why, "the job is not started again"),
                        false => tracing::debug!(%why, "the job is not started again"),
                    }
                    self.end(JobEnd::Failed);
                    return Err(error);
                }
            }
            self.attempt += 1;
        }
    }

    fn run_one(&mut self) -> Result<Verdict, JobError> {
        let beginning = match &mut self.coordination {
            Some(coordination) => Some(coordination.beginning()?),
            None => None,
        };
        let alone = self.knows_regions();
        let mut deployment = Deployment::of(self.job, beginning, alone)?;
        let ground = self.ground;
        let mut outcome = Outcome::expecting(&deployment, ground.now_ns());
        let failover = Failover::of(self.job, &mut deployment);
        if failover.is_some() {
            outcome.let_fall();
        }
        let started = ground.start(&mut deployment, &mut outcome);
        // Nothing has run, but sinks have made room for what they were to write.
        let shards = started.inspect_err(|_| outcome.abort(&deployment))?;
        if outcome.failure().is_none() {
            self.stands(JobStatus::Running);
        }
        match self.coordination {
            Some(_) => self.attend(&mut deployment, (shards, outcome), failover),
            None => self.attend_without_checkpoints(&deployment, (shards, outcome), failover),
        }
    }

    /// Sees an attempt without checkpoints to its end.
    fn attend_without_checkpoints(
        &mut self,
        deployment: &Deployment<'_>,
        (mut shards, mut outcome): (G::Shards, Outcome),
        mut failover: Option<Failover<'j>>,
    ) -> Result<Verdict, JobError> {
        let ground = self.ground;
        let asked = Asked {
            control: self.control,
            cancel: &self.cancel,
        };
        ground.wait(&mut shards, &mut outcome, &self.cancel, &mut |outcome| {
            asked.each(requests::refuse);
            let ways = Ways {
                coordination: None,
                restarts: &mut self.restarts,
                figures: &self.figures,
                now_ms: ground.now_ns() / 1_000_000,
            };
            let Some(failover) = &mut failover else {
                return Duration::MAX;
            };
            let patience = failover.attend(outcome, ways);
            let status = failover.status();
            stands(self.control, &self.figures, status, ground.now_ns());
            patience
        });
        outcome.note_end(ground.now_ns());
        if outcome.failure().is_some() {
            self.stands(JobStatus::Failing);
        } else if outcome.is_cancelled() {
            self.stands(JobStatus::Cancelling);
        }
        let stoppers = (&self.cancel, self.control);
        stop(ground, shards, &mut outcome, &self.restarts, stoppers);
        let restart = outcome.may_restart();
        Ok(match outcome.conclude(deployment) {
            Err(error @ JobError::Failed { .. }) if restart => Verdict::Failed(error),
            result => Verdict::Over(result),
        })
    }

    /// Sees an attempt with checkpoints to its end.
    fn attend(
        &mut self,
        deployment: &mut Deployment<'_>,
        (mut shards, mut outcome): (G::Shards, Outcome),
        mut failover: Option<Failover<'j>>,
    ) -> Result<Verdict, JobError> {
        let Some(coordination) = &mut self.coordination else {
            unreachable!("the job takes part in checkpoints")
        };
        let ground = self.ground;
        let asked = Asked {
            control: self.control,
            cancel: &self.cancel,
        };
        coordination.running(std::mem::take(&mut deployment.doors));
        ground.wait(&mut shards, &mut outcome, &self.cancel, &mut |outcome| {
            asked.each(|request| coordination.ask(request));
            let patience = coordination.attend(outcome);
            let Some(failover) = &mut failover else {
                return patience;
            };
            let ways = Ways {
                coordination: Some(&mut *coordination),
                restarts: &mut self.restarts,
                figures: &self.figures,
                now_ms: ground.now_ns() / 1_000_000,
            };
            let patience = patience.min(failover.attend(outcome, ways));
            let status = failover.status();
            stands(self.control, &self.figures, status, ground.now_ns());
            patience
        });
        outcome.note_end(ground.now_ns());
        if outcome.is_complete() {
            match coordination.conclude(&mut outcome) {
                Ok(()) => outcome.committed(),
                Err(reason) => outcome.fail("the checkpoint at the end", reason),
            }
        }
        if ground.is_gone() {
            outcome.fail("the process", "it was killed".to_owned());
            return Ok(Verdict::Over(outcome.conclude_committed(deployment)));
        }
        if let Some(reason) = outcome.failure() {
            let (control, figures) = (self.control, &self.figures);
            stands(control, figures, JobStatus::Failing, ground.now_ns());
            coordination.failing(&reason);
        } else if outcome.is_cancelled() {
            let (control, figures) = (self.control, &self.figures);
            stands(control, figures, JobStatus::Cancelling, ground.now_ns());
        }
        let stoppers = (&self.cancel, self.control);
        stop(ground, shards, &mut outcome, &self.restarts, stoppers);
        let then = coordination.stopped();
        let restart = then == AfterFailure::Restart && outcome.may_restart();
        if restart && outcome.failure().is_some() {
            coordination.take_all_back();
        }
        let verdict = match outcome.conclude_committed(deployment) {
            Ok(result) => Verdict::Over(Ok(result)),
            Err(JobError::Failed {
                message, summary, ..
            }) if then == AfterFailure::Overtaken => {
                Verdict::Over(Err(JobError::Overtaken { message, summary }))
            }
            Err(error @ JobError::Failed { .. }) if restart => return Ok(Verdict::Failed(error)),
            Err(error) => Verdict::Over(Err(error)),
        };
        self.end(match &verdict {
            Verdict::Over(Ok(_)) => JobEnd::Finished,
            Verdict::Over(Err(JobError::Cancelled { .. })) => self.cancelled(),
            Verdict::Over(Err(_)) | Verdict::Failed(_) => JobEnd::Failed,
        });
        Ok(verdict)
    }

    /// Whether regions of the job begin again alone.
    fn knows_regions(&self) -> bool {
        let strategy = self.job.configuration.get(&options::FAILOVER_STRATEGY);
        let coordination = self.coordination.as_ref();
        strategy == FailoverStrategy::Region && coordination.is_none_or(Coordination::knows_regions)
    }

    /// How a job ends that is to stop.
    fn cancelled(&self) -> JobEnd {
        match self.cancel.is_interrupted() {
            true => JobEnd::Interrupted,
            false => JobEnd::Cancelled,
        }
    }

    fn end(&mut self, end: JobEnd) {
        if let Some(coordination) = &mut self.coordination {
            coordination.ended(end);
        }
    }
}

/// Stops the shards of an attempt. Another can follow only when all have stopped; whoever cancels the job does not wait
/// for that.
fn stop<G: Ground>(
    ground: &G,
    shards: G::Shards,
    outcome: &mut Outcome,
    restarts: &RestartStrategy,
    (cancel, control): (&CancelToken, &JobControl),
) {
    let failed = outcome.failure().is_some() && restarts.may_begin_again();
    let others_follow = || failed && !cancel.is_cancelled() && !control.is_cancelled();
    ground.stop(shards, outcome, &others_follow);
}

/// The job stands so from now (ns) on. Whoever sees that it does finds it in its figures too.
fn stands(control: &JobControl, figures: &JobFigures, status: JobStatus, now_ns: u64) {
    figures.stands(status, now_ns);
    control.is_now(status);
}

/// What becomes of a job that is cancelled while it waits to begin again after a failure.
fn given_up(error: JobError) -> JobError {
    match error {
        JobError::Failed { summary, .. } => JobError::Cancelled { summary },
        before_it_ran => before_it_ran,
    }
}
