//! Commands to the shards of a running job: tasks taken off, tasks built.
//!
//! Sent by the control thread, run on shards between two turns. Invariant: a shard says that tasks have gone only when
//! nothing is being done for them any more, and all they said was said before.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use thalweg_core::ids::SubtaskId;
use thalweg_core::shard::executor::Shard;
use thalweg_core::shard::mailbox::{Command, MailboxSender};

use crate::local::deploy::{Ground, Report};
use crate::local::plan::SubtaskPlan;

/// The way to one shard. Clones lead to the same.
#[derive(Clone, Default)]
pub(crate) struct Post(Arc<OnceLock<MailboxSender>>);

impl Post {
    /// The shard is there.
    pub(crate) fn reached(&self, mailbox: MailboxSender) {
        let before = self.0.set(mailbox);
        debug_assert!(before.is_ok(), "a shard is made once");
    }

    /// Sends a command; false if the shard takes none.
    fn send(&self, command: Command) -> bool {
        let mailbox = self.0.get();
        mailbox.is_some_and(|mailbox| mailbox.send(command).is_ok())
    }

    /// Takes these tasks off the shard, which then reports that they have gone; false if it takes no command.
    pub(super) fn take_off(&self, tasks: BTreeSet<SubtaskId>, round: u64) -> bool {
        self.send(Box::new(move |shard| {
            if let Some(ground) = shard.kept::<Ground>() {
                tasks.iter().for_each(|task| ground.remove(*task, shard));
                say_gone(&ground, shard, round);
            }
        }))
    }

    /// Builds these subtasks, each between two turns of others; false if the shard takes no command. What cannot be built
    /// is reported as ever.
    pub(super) fn build(&self, plans: Vec<SubtaskPlan>) -> bool {
        plans.into_iter().all(|plan| {
            self.send(Box::new(move |shard| {
                if let Some(ground) = shard.kept::<Ground>() {
                    ground.build_again(plan, shard);
                }
            }))
        })
    }
}

/// Reports that tasks have gone, in a later round if files are still being written for them.
fn say_gone(ground: &Ground, shard: &mut Shard, round: u64) {
    if shard.clear_away() {
        let shard = shard.id();
        // Nobody listens only when the job is already over.
        let _ = ground.reports().try_send(Report::Gone { round, shard });
        return;
    }
    // In simulation time passes only for who looks at the clock, and without it nothing is ever written.
    shard.reactor().now();
    let later = move |shard: &mut Shard| {
        if let Some(ground) = shard.kept::<Ground>() {
            say_gone(&ground, shard, round);
        }
    };
    // A shard that takes no more commands has ended, or has been given more than it can do: either is noticed.
    let _ = shard.mailbox().send(Box::new(later));
}
