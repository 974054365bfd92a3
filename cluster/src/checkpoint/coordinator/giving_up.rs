//! Checkpoints that fail, attempts that are over, the end of the job.
//!
//! A part of the coordinator. Invariant: who waits for a checkpoint is told what became of it, once; nothing
//! a completed checkpoint needs is removed while the job may start again.

use std::collections::BTreeSet;

use thalweg_core::config::CheckpointRetention;
use thalweg_core::ids::CheckpointId;

use super::errands::Errand;
use super::{CheckpointCoordinator, Phase};
use crate::checkpoint::home::Ended;
use crate::checkpoint::home::pointer::Pointer;
use crate::checkpoint::protocol::{AfterFailure, JobEnd, Output};
use crate::checkpoint::storage::command::TaskFiles;
use crate::checkpoint::storage::{Location, StorageCommand};
use crate::checkpoint::trigger::{Now, Purpose};

/// Of how many checkpoints given up in a row late answers are waited for.
const MOST_LATE: usize = 1_000;

impl CheckpointCoordinator {
    /// Gives a checkpoint up.
    pub(super) fn fail(
        &mut self,
        checkpoint: CheckpointId,
        reason: &str,
        counts: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let pending = self.pending.remove(&checkpoint);
        let Some(pending) = pending.or_else(|| self.ready.remove(&checkpoint)) else {
            return;
        };
        self.late.insert(checkpoint, pending.awaited().clone());
        self.given_up(&pending.purpose, checkpoint, reason, counts, now, out);
        if self.late.len() > MOST_LATE && matches!(self.phase, Phase::Running(_)) {
            let reason = format!("{MOST_LATE} checkpoints were given up and none completed");
            self.fail_job(reason, AfterFailure::Restart, now, out);
        }
    }

    /// What follows from giving a checkpoint up.
    pub(super) fn given_up(
        &mut self,
        purpose: &Purpose,
        checkpoint: CheckpointId,
        reason: &str,
        counts: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.schedule.ended(now.ms);
        let reason = reason.to_owned();
        out.push(Output::Aborted {
            checkpoint,
            reason: reason.clone(),
        });
        if let Some(request) = purpose.request() {
            let answer = Err(format!("{checkpoint} failed: {reason}"));
            out.push(Output::Answer { request, answer });
        }
        self.unsettled_by(checkpoint, &reason, out);
        if !counts || !matches!(self.phase, Phase::Running(_)) {
            return;
        }
        if purpose.is_stop() {
            // Its sources have stopped: only a restart lets them go on.
            let reason = format!("the savepoint to stop with failed: {reason}");
            self.fail_job(reason, AfterFailure::Restart, now, out);
        } else if !purpose.is_savepoint() {
            self.failures += 1;
            if self.failures > self.tolerable_failures {
                let reason = format!(
                    "{} checkpoints in a row failed, execution.checkpointing.tolerable-failed-checkpoints \
                     is {}; the last, {checkpoint}: {reason}",
                    self.failures, self.tolerable_failures
                );
                self.fail_job(reason, AfterFailure::Restart, now, out);
            }
        }
    }

    /// The job must fail.
    pub(super) fn fail_job(
        &mut self,
        reason: String,
        then: AfterFailure,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.stand_still(&reason, now, out);
        if then != AfterFailure::Restart {
            self.phase = Phase::Over;
            self.drop_unsettled(&reason, out);
        }
        out.push(Output::FailJob { reason, then });
    }

    /// The attempt is over: all that waits for answers is given up. What is being made true still may be.
    pub(super) fn stand_still(&mut self, reason: &str, now: Now, out: &mut Vec<Output>) {
        self.phase = Phase::Failing;
        self.schedule.stand_still();
        self.resting.clear();
        let open: Vec<CheckpointId> = self
            .pending
            .keys()
            .chain(self.ready.keys())
            .copied()
            .collect();
        for checkpoint in open {
            self.fail(checkpoint, reason, false, now, out);
        }
        self.late.clear();
        self.refuse_wanted(reason, out);
    }

    /// What was not begun is not waited for until tasks run again.
    pub(super) fn refuse_wanted(&mut self, reason: &str, out: &mut Vec<Output>) {
        for (request, _) in std::mem::take(&mut self.wanted) {
            let answer = Err(reason.to_owned());
            out.push(Output::Answer { request, answer });
        }
    }

    /// No task runs: what no completed checkpoint lists will never be committed, files nobody holds will never
    /// be named.
    pub(super) fn clear_away(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Still || self.completing.is_some() {
            return;
        }
        let newest = self
            .store
            .newest()
            .map_or(CheckpointId(0), |kept| kept.checkpoint);
        let foreign = self
            .foreign
            .as_ref()
            .map_or(newest, |point| point.metadata.checkpoint);
        self.drop_unsettled("the job stopped", out);
        let discarded = self.ledger.discard_after(newest.max(foreign));
        if !discarded.is_empty() {
            out.push(Output::Discard(discarded));
        }
        self.store.files().forget_unheld();
        self.sweep(None, out);
    }

    /// Removes files that no completed checkpoint needs, of tasks that do not run.
    pub(super) fn sweep(&mut self, of: Option<BTreeSet<TaskFiles>>, out: &mut Vec<Output>) {
        let Some(attempts) = self.attempts.clone() else {
            return;
        };
        let sweep = StorageCommand::Sweep {
            directory: self.layout.shared(),
            attempts,
            of,
            keep: self.store.needed_files(),
        };
        // Not to be repeated later: what must stay then is another matter.
        self.dispose(sweep, false, out);
    }

    /// The job is over.
    pub(super) fn end(&mut self, end: JobEnd, now: Now, out: &mut Vec<Output>) {
        if self.phase == Phase::Over {
            return;
        }
        self.stand_still("the job has ended", now, out);
        self.phase = Phase::Still;
        // One that is just being made true is of no use any more, unless it is the user's.
        let dropped = (self.completing).take_if(|it| it.pending.purpose.lists_for_good());
        if let Some(request) = dropped.and_then(|it| it.pending.purpose.request()) {
            let answer = Err("the job has ended".to_owned());
            out.push(Output::Answer { request, answer });
        }
        self.clear_away(out);
        self.phase = Phase::Over;
        let keep = match self.retention {
            _ if end == JobEnd::Interrupted => true,
            CheckpointRetention::NoExternalizedCheckpoints => false,
            CheckpointRetention::DeleteOnCancellation => end == JobEnd::Failed,
            CheckpointRetention::RetainOnCancellation => end != JobEnd::Finished,
        };
        // What this process never ran is not its to delete: it was refused, and the job goes on another time.
        let never_ran = self.goes_on && self.attempts.is_none() && end != JobEnd::Finished;
        if keep || never_ran {
            return;
        }
        let marks = self.marks_end && end == JobEnd::Finished;
        self.take_leave(marks, now, out);
    }

    /// Says that there is no checkpoint any more, or that the job has ended if it `marks` that, and deletes them. Where
    /// others may begin, because the job has an identity, the directory itself stays.
    fn take_leave(&mut self, marks: bool, now: Now, out: &mut Vec<Output>) {
        self.leadership.sequence += 1;
        let home = self.layout.home().clone();
        let last = self.layout.pointer(self.leadership.sequence);
        let mut pointer = Pointer {
            sequence: self.leadership.sequence,
            term: self.leadership.term,
            next: self.trigger.next(),
            newest: None,
            savepoint: None,
            ended: None,
        };
        if marks {
            (pointer.newest, pointer.savepoint) = self.stopped_by.take().unzip();
            pointer.ended = Some(Ended::new(now.wall_ms, &self.job.1));
        }
        let stays = marks || self.job.0.is_of_identity();
        let farewell = home_goes(home.clone(), last, stays);
        let since = self.leadership.since;
        let leads = StorageCommand::Point {
            home,
            pointer,
            since,
        };
        self.store(Errand::Farewell(farewell), leads, out);
    }
}

/// Deletes what is in the directory of a job's checkpoints; it and the last pointer too, unless they are to stay.
pub(crate) fn home_goes(home: Location, last: Location, stays: bool) -> StorageCommand {
    match stays {
        true => StorageCommand::ClearHome { home, last },
        false => StorageCommand::DeleteHome { home, last },
    }
}
