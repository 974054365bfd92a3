//! What storage was asked for, and what its outcome is for.
//!
//! A part of the coordinator. Invariant: every command has a ticket of its own, and an outcome counts once.

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

impl CheckpointCoordinator {
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
