//! Attempts that run, and checkpoints that start in them.
//!
//! A part of the coordinator. Invariant: what somebody asked for goes before what the interval asks for;
//! never are more under way than allowed; after a savepoint to stop with none starts.

use thalweg_core::ids::AttemptId;

use super::{CheckpointCoordinator, Phase};
use crate::checkpoint::protocol::{Output, Wanted};
use crate::checkpoint::tasks::{JobTasks, VertexShape};
use crate::checkpoint::trigger::{Now, Purpose, RequestId};

impl CheckpointCoordinator {
    pub(super) fn run(&mut self, attempt: AttemptId, vertices: Vec<VertexShape>, now: Now) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Running(attempt);
        let (first, last) = match self.attempts.take() {
            Some(before) => before.into_inner(),
            None => (attempt, attempt),
        };
        self.attempts = Some(first.min(attempt)..=last.max(attempt));
        self.stopping = false;
        self.stopped_by = None;
        self.resting.clear();
        self.failures = 0;
        self.tasks = JobTasks::of(vertices);
        self.schedule.run(now.ms);
    }

    /// Somebody wants something. A job that does not run, or of which tasks do not, is not waited for.
    pub(super) fn want(&mut self, request: RequestId, wanted: Wanted, out: &mut Vec<Output>) {
        let runs = matches!(self.phase, Phase::Running(_)) && self.resting.is_empty();
        if runs {
            return self.wanted.push_back((request, wanted));
        }
        let answer = Err(
            "not all tasks of the job run: it has failed; try again when it is RUNNING".to_owned(),
        );
        out.push(Output::Answer { request, answer });
    }

    /// Nobody waits for something any more. What was begun goes on.
    pub(super) fn withdrawn(&mut self, request: RequestId, out: &mut Vec<Output>) {
        let waited = self.wanted.len();
        self.wanted.retain(|(who, _)| *who != request);
        if self.wanted.len() < waited {
            let answer = Err("nobody waits for it any more".to_owned());
            out.push(Output::Answer { request, answer });
        }
    }

    /// Whether any may start: not while what was in flight is being read again, which is part of no other copy, nor
    /// while some tasks do not run, whose state is part of every checkpoint.
    pub(super) fn may_start(&self) -> bool {
        let whole = self.replaying.is_empty() && self.resting.is_empty();
        matches!(self.phase, Phase::Running(_)) && !self.stopping && whole
    }

    /// Whether a stop waits for those under way, after none of which the job goes on.
    pub(super) fn stop_waits(&self) -> bool {
        let stops = matches!(self.wanted.front(), Some((_, Wanted::Stop { .. })));
        stops && self.under_way() > 0
    }

    /// Starts what is wanted or due; whether it did.
    pub(super) fn start_next(&mut self, now: Now, out: &mut Vec<Output>) -> bool {
        if !self.may_start() || self.under_way() >= self.max_concurrent {
            return false;
        }
        let mut full = self.foreign.is_some();
        let settles = self.is_to_be_settled() && !self.tasks.running().is_empty();
        if settles && self.start(Purpose::Periodic, full, now, out) {
            return true;
        }
        let purpose = match self.wanted.front() {
            Some(_) if self.stop_waits() => return false,
            Some(_) => match self.wanted.pop_front() {
                Some((request, Wanted::Checkpoint { full: asked })) => {
                    full |= asked;
                    Purpose::Asked(request)
                }
                Some((request, Wanted::Savepoint { directory })) => {
                    Purpose::Savepoint { request, directory }
                }
                Some((request, Wanted::Stop { directory, drain })) => Purpose::Stop {
                    request,
                    directory,
                    drain,
                },
                None => return false,
            },
            // When all tasks have finished, only who ends the job asks for one.
            None if self.tasks.running().is_empty() => return false,
            None if self.schedule.is_due(now.ms, self.under_way()) => {
                self.schedule.started(now.ms);
                Purpose::Periodic
            }
            None => return false,
        };
        self.start(purpose, full, now, out)
    }

    pub(super) fn start(
        &mut self,
        purpose: Purpose,
        full: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) -> bool {
        let request = purpose.request();
        let stop = match &purpose {
            Purpose::Stop { drain, .. } => Some(*drain),
            _ => None,
        };
        match self.trigger.start(&self.tasks, purpose, full, now) {
            Ok(pending) => {
                self.stopping |= stop.is_some();
                out.push(Output::Trigger {
                    checkpoint: pending.checkpoint,
                    kind: pending.kind(),
                    stop,
                    tasks: pending.awaited().clone(),
                });
                self.pending.insert(pending.checkpoint, pending);
                true
            }
            Err(not_started) => {
                if let Some(request) = request {
                    let answer = Err(not_started.to_string());
                    out.push(Output::Answer { request, answer });
                }
                request.is_some()
            }
        }
    }
}
