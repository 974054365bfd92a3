//! What tasks say: answers, refusals, ends. And those who say nothing in time.
//!
//! A part of the coordinator. Invariant: whatever an attempt that is over says changes nothing; what a sink
//! prepared is kept however late it is told.

use thalweg_core::ids::{AttemptId, CheckpointId, SubtaskId};
use thalweg_state::snapshot::TaskSnapshot;

use super::{CheckpointCoordinator, Phase};
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::pending::{PendingCheckpoint, Refusal, bad_name};
use crate::checkpoint::protocol::Output;
use crate::checkpoint::trigger::Now;

impl CheckpointCoordinator {
    pub(super) fn receipt(
        &mut self,
        attempt: AttemptId,
        snapshot: TaskSnapshot,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let checkpoint = snapshot.checkpoint;
        let task = SubtaskId::new(snapshot.vertex, snapshot.subtask);
        if self.phase != Phase::Running(attempt) {
            let why = format!("an answer of {task} in {attempt}, which is over");
            return out.push(Output::Refused { checkpoint, why });
        }
        if let Some(pending) = self.pending.get_mut(&checkpoint) {
            let foreign = self.foreign.as_ref().filter(|_| pending.full);
            let borrowed = foreign.and_then(|point| borrowed(&snapshot, &point.metadata));
            if let Some(file) = borrowed {
                let reason = format!(
                    "{} still needs the file {file} of what the job was restored from",
                    self.tasks.name(task)
                );
                return self.fail(checkpoint, &reason, true, now, out);
            }
            match pending.answer(snapshot.clone()) {
                Ok(()) => self.absorb(&snapshot, checkpoint),
                Err(Refusal::NotAwaited(_)) => out.push(Output::Refused {
                    checkpoint,
                    why: format!("a second answer of {}", self.tasks.name(task)),
                }),
                Err(refusal) => self.fail(checkpoint, &refusal.to_string(), true, now, out),
            }
            return;
        }
        // Of a checkpoint that was given up, what sinks prepared is still to be committed by a later one.
        let late = self.late.get_mut(&checkpoint);
        let expected = late.is_some_and(|tasks| tasks.remove(&task));
        if expected && bad_name(&snapshot).is_none() {
            self.absorb(&snapshot, checkpoint);
        }
        let why = format!("a late answer of {}", self.tasks.name(task));
        out.push(Output::Refused { checkpoint, why });
    }

    /// Keeps what a task prepared and wrote, whatever becomes of the checkpoint.
    pub(super) fn absorb(&mut self, snapshot: &TaskSnapshot, checkpoint: CheckpointId) {
        self.ledger.add(snapshot, checkpoint);
        for file in snapshot.files() {
            self.store.files().note(file, checkpoint);
        }
    }

    pub(super) fn declined(
        &mut self,
        attempt: AttemptId,
        task: SubtaskId,
        checkpoint: CheckpointId,
        reason: &str,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let awaited = self
            .pending
            .get(&checkpoint)
            .map(PendingCheckpoint::awaited);
        if self.phase == Phase::Running(attempt)
            && awaited.is_some_and(|tasks| tasks.contains(&task))
        {
            let reason = format!("{} declined: {reason}", self.tasks.name(task));
            self.fail(checkpoint, &reason, true, now, out);
            return;
        }
        let why = format!("a late refusal of {task}: {reason}");
        out.push(Output::Refused { checkpoint, why });
    }

    pub(super) fn task_finished(
        &mut self,
        attempt: AttemptId,
        task: SubtaskId,
        last: Option<TaskSnapshot>,
        out: &mut Vec<Output>,
    ) {
        let next = self.trigger.next();
        let ends = self.phase == Phase::Running(attempt) && self.tasks.finish(task, last.clone());
        if !ends {
            let why = format!("a second or late end of {task} in {attempt}");
            return out.push(Output::Refused {
                checkpoint: next,
                why,
            });
        }
        self.replaying.remove(&task);
        let mut part_of = next;
        for pending in self.pending.values_mut() {
            if pending.finish(task) {
                part_of = part_of.min(pending.checkpoint);
            }
        }
        if let Some(last) = last {
            self.absorb(&last, part_of);
        }
    }

    pub(super) fn expire(&mut self, now: Now, out: &mut Vec<Output>) {
        let expired: Vec<(CheckpointId, String)> = (self.pending.values())
            .filter(|pending| pending.is_expired(now.ms) && !pending.is_answered())
            .map(|pending| {
                let open = pending.awaited();
                let names: Vec<String> = open.iter().take(3).map(|task| self.tasks.name(*task)).collect();
                let reason = format!(
                    "{} tasks have not answered within execution.checkpointing.timeout, among them {}",
                    open.len(),
                    names.join(", ")
                );
                (pending.checkpoint, reason)
            })
            .collect();
        for (checkpoint, reason) in expired {
            self.fail(checkpoint, &reason, true, now, out);
        }
    }
}

/// A file that a snapshot names and that belongs to what the job was restored from.
fn borrowed(snapshot: &TaskSnapshot, foreign: &CheckpointMetadata) -> Option<String> {
    let files = foreign.files();
    let mut runs = snapshot
        .operators
        .iter()
        .flat_map(|operator| &operator.runs);
    let borrowed = runs.find(|run| files.contains_key(run.file.as_str()));
    borrowed.map(|run| run.file.clone())
}
