//! Starts a shard: picks its driver, makes its thread, hands back the way to reach and to end it.
//!
//! Entered by whoever owns the process (local runner, worker, tests). Invariants: when [`StartingShard::ready`]
//! has answered, either the shard's `init` is done, or there is no thread; no task of it has a turn before
//! [`ReadyShard::go`]. So shards that only make sense together are all made, at the same time, before one of them
//! begins.
//! This file starts the only threads of the engine that run tasks.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::ids::ShardId;
use crate::seam::probe::choose;
use crate::seam::reactor::{DriverChoice, DriverKind, Reactor};
use crate::seam::{epoll, glommio};
use crate::shard::catch;
use crate::shard::doorbell::Doorbell;
use crate::shard::executor::Shard;
use crate::shard::mailbox::MailboxSender;
use crate::shard::placement::pin_current_thread;

/// How a shard is to be run.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard of the process it is.
    pub id: ShardId,
    /// The CPU it is pinned to, from the allowed set; None where there are more shards than CPUs.
    pub cpu: Option<usize>,
    /// Which driver it takes.
    pub driver: DriverChoice,
    /// How long it looks for work before it parks, in ns.
    pub spin_ns: u64,
    /// How long one turn of a task may take, in ns.
    pub turn_budget_ns: u64,
    /// A turn longer than this is reported by the stall watchdog, in ns; 0 turns the report off.
    pub stall_threshold_ns: u64,
    /// Its doorbell: made first, so that other shards can be told of it before this one runs.
    pub doorbell: Arc<Doorbell>,
}

impl ShardConfig {
    /// Shard `id` with the defaults: not pinned, driver picked, no spinning, turns of 200 µs, stalls
    /// from 100 ms, a new doorbell.
    pub fn new(id: ShardId) -> ShardConfig {
        ShardConfig {
            id,
            cpu: None,
            driver: DriverChoice::Auto,
            spin_ns: 0,
            turn_budget_ns: 200_000,
            stall_threshold_ns: 100_000_000,
            doorbell: Doorbell::new(),
        }
    }
}

/// A running shard.
#[derive(Debug)]
pub struct ShardHandle {
    /// Wakes it.
    pub doorbell: Arc<Doorbell>,
    /// Sends it commands.
    pub mailbox: MailboxSender,
    /// The driver it runs on.
    pub driver: DriverKind,
    thread: JoinHandle<io::Result<()>>,
}

impl ShardHandle {
    /// Asks the shard to drop its tasks and end. Does nothing if it has ended.
    pub fn stop(&self) {
        // Full: the shard is stalled; the doorbell cannot help, but neither is the wish lost on a
        // shard that has ended.
        if let Err(refused) = self.mailbox.send(Box::new(Shard::shutdown)) {
            tracing::debug!(%refused, "the shard was not told to stop");
        }
    }

    /// Waits until the shard's thread has ended, unless it is given up first; false if it was:
    /// a turn that does not return cannot be ended from outside, and its thread is left behind.
    ///
    /// # Errors
    /// As [`ShardHandle::join`].
    pub fn join_unless(self, given_up: impl Fn() -> bool) -> io::Result<bool> {
        while !self.thread.is_finished() {
            if given_up() {
                return Ok(false);
            }
            std::thread::park_timeout(Duration::from_micros(200));
        }
        self.join().map(|()| true)
    }

    /// Waits until the shard's thread has ended.
    ///
    /// # Errors
    /// If the thread panicked, which means a fault of the engine: panics of tasks do not end it.
    pub fn join(self) -> io::Result<()> {
        match self.thread.join() {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::other(
                "the shard's thread panicked; its message is on stderr",
            )),
        }
    }
}

/// A shard whose `init` runs.
#[derive(Debug)]
#[must_use = "a shard that is not waited for ends without a turn"]
pub struct StartingShard {
    doorbell: Arc<Doorbell>,
    driver: DriverKind,
    thread: JoinHandle<io::Result<()>>,
    started: Receiver<MailboxSender>,
    go: SyncSender<()>,
}

impl StartingShard {
    /// Waits until `init` has run.
    ///
    /// # Errors
    /// If the driver cannot be made, or if `init` panicked.
    pub fn ready(self) -> io::Result<ReadyShard> {
        match self.started.recv() {
            Ok(mailbox) => Ok(ReadyShard {
                handle: ShardHandle {
                    doorbell: self.doorbell,
                    mailbox,
                    driver: self.driver,
                    thread: self.thread,
                },
                go: self.go,
            }),
            Err(_) => Err(match self.thread.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) => io::Error::other("the shard ended before it began"),
                Err(_) => io::Error::other("the shard's init panicked; its message is on stderr"),
            }),
        }
    }
}

/// A shard whose `init` is done and that has run nothing yet.
#[derive(Debug)]
#[must_use = "a shard that is dropped before it was told to go ends"]
pub struct ReadyShard {
    handle: ShardHandle,
    go: SyncSender<()>,
}

impl ReadyShard {
    /// Lets it run.
    pub fn go(self) -> ShardHandle {
        // It waits for this word and nothing else.
        let _ = self.go.send(());
        self.handle
    }

    /// Has it end without a single turn; it can be joined.
    pub fn abandon(self) -> ShardHandle {
        drop(self.go);
        self.handle
    }
}

type Init = Box<dyn FnOnce(&mut Shard) -> Box<dyn Any> + Send>;

/// What a driver is given to run one shard.
pub(crate) struct Launch {
    pub(crate) config: ShardConfig,
    init: Init,
    started: SyncSender<MailboxSender>,
    go: Receiver<()>,
}

impl Launch {
    pub(crate) fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.config.doorbell)
    }

    /// Makes the shard over the driver's reactor, runs its `init` and waits for the word to go. What
    /// `init` answered is to be dropped after the shard.
    pub(crate) fn begin(self, reactor: Box<dyn Reactor>) -> (Shard, Box<dyn Any>) {
        let doorbell = self.doorbell();
        let mut shard = Shard::new(
            self.config.id,
            reactor,
            doorbell,
            self.config.turn_budget_ns,
        );
        if let Err(error) = shard.watch_stalls(self.config.stall_threshold_ns) {
            tracing::warn!(%error, shard = %self.config.id, "stalls of a shard are not watched");
        }
        let kept = (self.init)(&mut shard);
        let told = self.started.send(shard.mailbox());
        if told.is_err() || self.go.recv().is_err() {
            shard.shutdown();
        }
        (shard, kept)
    }
}

/// Starts a shard on a thread of its own, as [`prepare`] does, and lets it run.
///
/// # Errors
/// As [`prepare`] and [`StartingShard::ready`].
pub fn start<R: 'static>(
    config: ShardConfig,
    init: impl FnOnce(&mut Shard) -> R + Send + 'static,
) -> io::Result<ShardHandle> {
    prepare(config, init)?.ready().map(ReadyShard::go)
}

/// Begins to make a shard on a thread of its own, where `init` is called. What `init` answers is kept on the
/// shard's thread until the shard has ended.
///
/// # Errors
/// If the driver asked for is forbidden here (the error says how to allow it), or if the thread cannot be made.
pub fn prepare<R: 'static>(
    config: ShardConfig,
    init: impl FnOnce(&mut Shard) -> R + Send + 'static,
) -> io::Result<StartingShard> {
    let driver = choose(config.driver)?;
    catch::note_places();
    let (tell_started, started) = sync_channel(1);
    let (go, word) = sync_channel(1);
    let doorbell = Arc::clone(&config.doorbell);
    let name = config.id.to_string();
    let init: Init = Box::new(move |shard| Box::new(init(shard)));
    let launch = Launch {
        config,
        init,
        started: tell_started,
        go: word,
    };
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        if let Some(cpu) = launch.config.cpu {
            pin_current_thread(cpu)?;
        }
        match driver {
            DriverKind::Glommio => glommio::run(launch),
            DriverKind::Epoll => epoll::run(launch),
            DriverKind::Simulated => unreachable!("a simulation has no threads"),
        }
    })?;
    Ok(StartingShard {
        doorbell,
        driver,
        thread,
        started,
        go,
    })
}
