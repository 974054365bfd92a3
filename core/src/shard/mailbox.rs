//! Commands to a shard from other threads, run between two turns.
//!
//! Entered by the control thread and by whoever starts, cancels or inspects tasks; never by the record
//! path (that uses lanes). Invariant: a command that was accepted is run once, in order, on the shard's
//! thread, or dropped there when the shard ends; after `Mailbox::close` nothing is accepted. Sent
//! from any thread; drained by the shard.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::shard::doorbell::Doorbell;
use crate::shard::executor::Shard;

/// A piece of work for the shard's thread.
pub type Command = Box<dyn FnOnce(&mut Shard) + Send>;

/// How many commands may wait before [`MailboxSender::send`] refuses.
pub const MAILBOX_CAPACITY: usize = 4096;

/// Why a command was not accepted.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The shard has ended.
    #[error("the shard has ended and runs no more commands")]
    Closed,
    /// The shard does not come to run its commands.
    #[error(
        "{MAILBOX_CAPACITY} commands already wait for the shard: it is stalled (see the stall \
         warnings for the task that holds it), or commands are sent in a loop without waiting"
    )]
    Full,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Length of the queue, so that an empty one is seen without the lock.
    waiting: AtomicUsize,
    doorbell: Arc<Doorbell>,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // A panic under this lock leaves the queue whole: nothing runs while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shard's side of its mailbox.
pub struct Mailbox(Arc<Shared>);

impl Mailbox {
    /// An empty mailbox that rings `doorbell` for each command.
    pub fn new(doorbell: Arc<Doorbell>) -> Mailbox {
        Mailbox(Arc::new(Shared {
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            doorbell,
        }))
    }

    /// A sender to this mailbox.
    pub fn sender(&self) -> MailboxSender {
        MailboxSender(Arc::clone(&self.0))
    }

    /// Whether nothing waits. One atomic read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) == 0
    }

    /// Takes what waits, in order.
    pub(crate) fn take(&mut self) -> VecDeque<Command> {
        let mut queue = self.0.lock();
        self.0.waiting.store(0, Ordering::SeqCst);
        std::mem::take(&mut queue.commands)
    }

    /// Accepts nothing more and drops what waits.
    pub(crate) fn close(&mut self) {
        let dropped = {
            let mut queue = self.0.lock();
            queue.closed = true;
            self.0.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut queue.commands)
        };
        // Outside the lock: a command may own a sender whose drop sends.
        drop(dropped);
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// Sends commands to one shard from any thread.
#[derive(Clone)]
pub struct MailboxSender(Arc<Shared>);

impl MailboxSender {
    /// Hands over a command and wakes the shard.
    ///
    /// # Errors
    /// [`Refused`]: the shard has ended, or too many commands wait. Never blocks.
    pub fn send(&self, command: Command) -> Result<(), Refused> {
        {
            let mut queue = self.0.lock();
            if queue.closed {
                return Err(Refused::Closed);
            }
            if queue.commands.len() >= MAILBOX_CAPACITY {
                return Err(Refused::Full);
            }
            queue.commands.push_back(command);
            self.0.waiting.store(queue.commands.len(), Ordering::SeqCst);
        }
        self.0.doorbell.ring();
        Ok(())
    }

    /// Whether the shard has ended.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

impl std::fmt::Debug for MailboxSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailboxSender")
            .field("waiting", &self.0.waiting)
            .finish_non_exhaustive()
    }
}
