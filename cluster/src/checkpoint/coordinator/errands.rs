//! What storage was asked for, and what its outcome is for.
//!
//! A part of the coordinator. Invariants: every command has a ticket of its own, and an outcome counts once; what
//! newer checkpoints have outlived is deleted while no checkpoint waits for it, and sooner or later in any case.

use super::CheckpointCoordinator;
use crate::checkpoint::protocol::{Output, Ticket};
use crate::checkpoint::storage::{StorageCommand, StorageError};
use crate::checkpoint::trigger::Now;

/// What a storage command was for.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// The next step of making a checkpoint true.
    Completion,
    /// Deleting something; whether it is tried again later if that fails.
    Garbage(StorageCommand, bool),
    /// Making sure once more that this is the leader; then all of it is deleted.
    Farewell(StorageCommand),
}

/// How much that could not be deleted is remembered to be tried again; what is beyond it the next leader removes.
const MOST_GARBAGE: usize = 256;

/// What newer checkpoints have made needless. Deleting large files takes as long as a small checkpoint does: whoever
/// carries out commands is not to be busy with it when a barrier is to be sent or answers come.
#[derive(Clone, Debug, Default)]
pub(super) struct Outlived {
    commands: Vec<StorageCommand>,
    /// So many of the first have waited through a whole checkpoint.
    overdue: usize,
}

impl Outlived {
    /// A checkpoint has completed, and made this needless.
    pub(super) fn add(&mut self, commands: impl IntoIterator<Item = StorageCommand>) {
        self.overdue = self.commands.len();
        self.commands.extend(commands);
    }

    /// It is left to the next leader, who removes what it does not know.
    pub(super) fn leave(&mut self) {
        *self = Outlived::default();
    }

    /// What is to be deleted now.
    fn due(&mut self, under_way: usize) -> Vec<StorageCommand> {
        let due = match under_way {
            0 => self.commands.len(),
            _ => self.overdue,
        };
        self.overdue = 0;
        self.commands.drain(..due).collect()
    }
}

impl CheckpointCoordinator {
    /// Deletes what newer checkpoints have outlived, if none is under way, or it has waited for a whole one.
    pub(super) fn dispose_of_outlived(&mut self, out: &mut Vec<Output>) {
        for command in self.outlived.due(self.under_way()) {
            self.dispose(command, true, out);
        }
    }

    pub(super) fn store(&mut self, errand: Errand, command: StorageCommand, out: &mut Vec<Output>) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.errands.insert(ticket, errand);
        out.push(Output::Store { ticket, command });
    }

    pub(super) fn dispose(&mut self, command: StorageCommand, retry: bool, out: &mut Vec<Output>) {
        self.store(Errand::Garbage(command.clone(), retry), command, out);
    }

    pub(super) fn stored(
        &mut self,
        ticket: Ticket,
        outcome: Result<(), StorageError>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        match (self.errands.remove(&ticket), outcome) {
            (Some(Errand::Completion), outcome) => self.completion_moved(outcome, now, out),
            (Some(Errand::Garbage(command, retry)), Err(error)) => {
                out.push(Output::Leftover(error));
                if retry && self.garbage.len() < MOST_GARBAGE {
                    self.garbage.push(command);
                }
            }
            (Some(Errand::Farewell(_)), Err(error)) => out.push(Output::Leftover(error)),
            (Some(Errand::Farewell(command)), Ok(())) => self.dispose(command, false, out),
            (Some(Errand::Garbage(..)) | None, _) => {}
        }
    }
}
