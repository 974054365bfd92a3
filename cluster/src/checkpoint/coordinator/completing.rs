//! Checkpoints all tasks have answered: made true one after the other, in the order of their numbers.
//!
//! A part of the coordinator. Invariant: what a completed checkpoint makes needless is deleted only after its
//! pointer is durable.

use std::sync::Arc;

use thalweg_core::ids::CheckpointId;

use super::errands::Errand;
use super::{CheckpointCoordinator, Phase, RestorePoint};
use crate::checkpoint::complete::{Completion, Progress, gather};
use crate::checkpoint::protocol::{AfterFailure, Completed, Output};
use crate::checkpoint::storage::{Location, StorageCommand, StorageError};
use crate::checkpoint::trigger::Now;

impl CheckpointCoordinator {
    pub(super) fn begin_completion(&mut self, now: Now, out: &mut Vec<Output>) {
        while self.completing.is_none() && self.phase != Phase::Over {
            let Some((checkpoint, pending)) = self.ready.pop_first() else {
                return;
            };
            let listed = self.ledger.up_to(checkpoint);
            let job = (self.job.0, self.job.1.as_str());
            let metadata = gather(job, &pending, &self.tasks, listed);
            let purpose = pending.purpose.clone();
            match Completion::begin(pending, metadata, &self.layout) {
                Ok(mut completion) => {
                    let files = completion.metadata.files();
                    self.store.files().hold(files.into_keys(), checkpoint);
                    self.leadership.next = self.trigger.next();
                    let command = completion.next(&mut self.leadership);
                    self.completing = Some(completion);
                    self.store(Errand::Completion, command, out);
                }
                Err(error) => {
                    self.given_up(&purpose, checkpoint, &error.to_string(), true, now, out);
                }
            }
        }
    }

    pub(super) fn completion_moved(
        &mut self,
        outcome: Result<(), StorageError>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(mut completion) = self.completing.take() else {
            return;
        };
        self.leadership.next = self.trigger.next();
        match completion.outcome(outcome, &mut self.leadership) {
            Progress::Do(command) => {
                self.completing = Some(completion);
                self.store(Errand::Completion, command, out);
            }
            Progress::Complete => self.completed(completion, now, out),
            Progress::Failed(reason) => {
                self.release(&completion);
                let checkpoint = completion.pending.checkpoint;
                if let Some(cleanup) = completion.cleanup() {
                    self.dispose(cleanup, false, out);
                }
                self.given_up(
                    &completion.pending.purpose,
                    checkpoint,
                    &reason,
                    true,
                    now,
                    out,
                );
            }
            Progress::Fenced(reason, withdraw) => {
                if let Some(withdraw) = withdraw {
                    self.dispose(withdraw, false, out);
                }
                self.let_go(&completion, &reason, AfterFailure::Overtaken, now, out);
            }
            Progress::Unknown(reason) => {
                self.let_go(&completion, &reason, AfterFailure::LetGo, now, out);
            }
        }
    }

    /// The job is another's, or nobody knows whose.
    fn let_go(
        &mut self,
        completion: &Completion,
        reason: &str,
        then: AfterFailure,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.release(completion);
        self.outlived.leave();
        let checkpoint = completion.pending.checkpoint;
        self.given_up(
            &completion.pending.purpose,
            checkpoint,
            reason,
            false,
            now,
            out,
        );
        let reason = match then {
            AfterFailure::Overtaken => reason.to_owned(),
            _ => format!("this process does not know what is true of the job any more: {reason}"),
        };
        self.fail_job(reason, then, now, out);
    }

    /// The files of one that was being completed are held no more.
    pub(super) fn release(&mut self, completion: &Completion) {
        let files = completion.metadata.files();
        self.store.files().release(files.into_keys());
    }

    pub(super) fn completed(&mut self, completion: Completion, now: Now, out: &mut Vec<Output>) {
        let checkpoint = completion.pending.checkpoint;
        let answers = completion.pending.answers().values();
        let completed = Completed {
            metadata: Arc::clone(&completion.metadata),
            directory: completion.directory.clone(),
            duration_ms: now.ms.saturating_sub(completion.pending.started_ms),
            bytes_written: answers
                .clone()
                .map(|answer| answer.effort.bytes_written)
                .sum(),
            bytes_in_flight: answers.map(|answer| answer.effort.bytes_in_flight).sum(),
        };
        self.schedule.ended(now.ms);
        let purpose = completion.pending.purpose.clone();
        let commits = purpose.lists_for_good();
        let commit = if commits {
            completion.metadata.committables.clone()
        } else {
            Vec::new()
        };
        out.push(Output::Complete {
            completed: completed.clone(),
            commit,
        });
        if commits {
            self.settle_savepoints(checkpoint, out);
        }
        match (purpose.request(), commits) {
            (Some(request), true) => {
                let answer = Ok(completed);
                out.push(Output::Answer { request, answer });
            }
            (Some(request), false) => self.savepoint_is_whole(request, completed, out),
            (None, _) => {}
        }
        if purpose.is_stop() {
            let newest = (checkpoint, completion.facts());
            self.stopped_by = Some((newest, completion.directory.clone()));
            self.foreign = Some(RestorePoint {
                metadata: Arc::clone(&completion.metadata),
                runs: completion.directory.clone(),
            });
        } else if commits {
            self.subsume(&completion, now, out);
        }
        self.release(&completion);
        if self.phase == Phase::Still {
            self.clear_away(out);
        }
    }

    /// A checkpoint is the newest now: older ones go.
    pub(super) fn subsume(&mut self, completion: &Completion, now: Now, out: &mut Vec<Output>) {
        let checkpoint = completion.pending.checkpoint;
        self.failures = 0;
        let newer = |point: &RestorePoint| point.metadata.checkpoint > checkpoint;
        self.foreign = self.foreign.take().filter(newer);
        let older: Vec<CheckpointId> = (self.pending.values().chain(self.ready.values()))
            .filter(|pending| pending.checkpoint < checkpoint && !pending.purpose.is_savepoint())
            .map(|pending| pending.checkpoint)
            .collect();
        for older in older {
            self.fail(
                older,
                &format!("{checkpoint} completed before it"),
                false,
                now,
                out,
            );
        }
        self.late.retain(|late, _| *late > checkpoint);
        let unsaid = std::mem::take(&mut self.unsaid);
        for unsaid in &unsaid {
            (self.store.files()).release(unsaid.files().into_keys());
        }
        let subsumed = self.store.completed(Arc::clone(&completion.metadata));
        let mut commands = std::mem::take(&mut self.garbage);
        let directories = subsumed.checkpoints.into_iter();
        let directories = directories.chain(unsaid.iter().map(|unsaid| unsaid.checkpoint));
        commands.extend(directories.map(|gone| {
            let directory = self.layout.checkpoint(gone);
            StorageCommand::DeleteDirectory(directory)
        }));
        let shared = self.layout.shared();
        let mut files: Vec<Location> = subsumed
            .files
            .iter()
            .map(|file| shared.child(file))
            .collect();
        // The pointers before say nothing any more.
        let overtaken = self.oldest_pointer..self.leadership.sequence;
        files.extend(overtaken.map(|sequence| self.layout.pointer(sequence)));
        self.oldest_pointer = self.leadership.sequence;
        commands.push(StorageCommand::Delete(files));
        self.outlived.add(commands);
    }
}
