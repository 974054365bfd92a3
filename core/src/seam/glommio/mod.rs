//! The default driver: glommio for executor, timers and sockets, a ring of our own for files.
//!
//! Entered by `shard::start` only. The shard's loop is one glommio task that polls lanes itself, so the
//! latency of a lane does not depend on glommio's reactor; it lets glommio in when socket operations
//! are in flight (at least every 50 µs) and when it parks. Invariant: while it is parked, a ring of the
//! doorbell, a completed operation and the next timer each wake it. Lives on the shard's thread.
//!
//! glommio has no public way to wait for a descriptor; the file ring's eventfd is therefore read as if
//! it were a file (one read on glommio's own ring), and the doorbell wakes the task's waker from the
//! foreign thread, which glommio turns into a write of its eventfd.

mod file_ring;
mod sockets;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::future::yield_now;
use glommio::io::BufferedFile;
use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement};

use self::file_ring::FileRing;
use self::sockets::Sockets;
use crate::seam::clock::{self, Random};
use crate::seam::pending::Pending;
use crate::seam::reactor::{DriverKind, Op, OpId, OpResult, Reactor};
use crate::shard::doorbell::Doorbell;
use crate::shard::executor::{POLL_INTERVAL_NS, Round, Shard, Spin};
use crate::shard::start::Launch;
use crate::shard::step::TaskWaker;

/// glommio registers this much memory for its own files, of which we use none: its minimum, because
/// memlock limits are often small.
const IO_MEMORY: usize = 64 << 10;

/// State shared by the reactor, the socket tasks and the loop of one shard.
struct Shared {
    pending: RefCell<Pending>,
    files: RefCell<FileRing>,
    sockets: RefCell<Sockets>,
    /// Socket tasks that have not ended.
    tasks: Cell<usize>,
    /// A socket task was spawned and has not run yet.
    spawned: Cell<bool>,
    /// A task outside the shard's own has completed something.
    landed: Cell<bool>,
    /// Wakes the shard's own task while it is parked.
    parked: RefCell<Option<Waker>>,
    /// A read of the file ring's eventfd is under way.
    listening: Cell<bool>,
}

impl Shared {
    fn new() -> Rc<Shared> {
        Rc::new(Shared {
            pending: RefCell::new(Pending::new()),
            files: RefCell::new(FileRing::new()),
            sockets: RefCell::new(Sockets::new()),
            tasks: Cell::new(0),
            spawned: Cell::new(false),
            landed: Cell::new(false),
            parked: RefCell::new(None),
            listening: Cell::new(false),
        })
    }

    fn finish(&self, id: OpId, result: OpResult) {
        self.pending.borrow_mut().finish(id, result);
        self.rouse();
    }

    /// Wakes the shard's own task if it is parked.
    fn rouse(&self) {
        self.landed.set(true);
        if let Some(waker) = self.parked.take() {
            waker.wake();
        }
    }
}

struct GlommioReactor {
    shared: Rc<Shared>,
    random: Random,
}

impl Reactor for GlommioReactor {
    fn kind(&self) -> DriverKind {
        DriverKind::Glommio
    }

    #[inline]
    fn now(&self) -> u64 {
        clock::monotonic_ns()
    }

    fn wall_ms(&self) -> i64 {
        clock::wall_ms()
    }

    fn random(&mut self) -> u64 {
        self.random.draw()
    }

    fn submit(&mut self, op: Op, waker: TaskWaker) -> OpId {
        let id = self.shared.pending.borrow_mut().begin(waker);
        if op.is_socket() {
            sockets::submit(&self.shared, id, op);
        } else {
            let mut pending = self.shared.pending.borrow_mut();
            self.shared.files.borrow_mut().submit(id, op, &mut pending);
        }
        id
    }

    fn take(&mut self, op: OpId) -> Option<OpResult> {
        self.shared.pending.borrow_mut().take(op)
    }

    fn cancel(&mut self, op: OpId) {
        self.shared.pending.borrow_mut().cancel(op);
        let waker = self.shared.sockets.borrow_mut().forget(op);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&mut self) -> usize {
        let mut pending = self.shared.pending.borrow_mut();
        let mut files = self.shared.files.borrow_mut();
        if files.busy() > 0 {
            files.poll(&mut pending);
        }
        pending.count_landed()
    }

    fn pending(&self) -> usize {
        self.shared.pending.borrow().flying()
    }
}

/// Runs a shard on the calling thread until it is shut down.
///
/// # Errors
/// If glommio cannot be set up; nothing has run then. Never panics where io_uring is forbidden as long
/// as the probe was asked first.
pub(crate) fn run(launch: Launch) -> io::Result<()> {
    let placement = launch
        .config
        .cpu
        .map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement)
        .io_memory(IO_MEMORY)
        .preempt_timer(Duration::from_nanos(POLL_INTERVAL_NS))
        .make()
        .map_err(io::Error::from)?;
    executor.run(async move {
        let shared = Shared::new();
        let random = Random::new(clock::entropy());
        let reactor = GlommioReactor {
            shared: Rc::clone(&shared),
            random,
        };
        let doorbell = launch.doorbell();
        let spin = Spin::new(launch.config.spin_ns);
        let (shard, kept) = launch.begin(Box::new(reactor));
        drive(shard, &shared, &doorbell, spin).await;
        drop(kept);
        end(&shared).await;
    });
    Ok(())
}

async fn drive(mut shard: Shard, shared: &Rc<Shared>, doorbell: &Doorbell, mut spin: Spin) {
    loop {
        match shard.round() {
            Round::Finished => return,
            Round::Progress => spin.reset(),
            Round::Idle { next_timer } => {
                if !spin.goes_on(clock::monotonic_ns()) {
                    park(&mut shard, shared, doorbell, next_timer).await;
                    spin.reset();
                    continue;
                }
                std::hint::spin_loop();
            }
        }
        let waiting = shared.tasks.get() > 0 && glommio::executor().need_preempt();
        if waiting || shared.spawned.get() {
            shared.spawned.set(false);
            yield_now().await;
        }
    }
}

/// Sleeps in glommio's ring until there is something to do.
async fn park(
    shard: &mut Shard,
    shared: &Rc<Shared>,
    doorbell: &Doorbell,
    next_timer: Option<u64>,
) {
    let mut timer = None;
    if let Some(deadline) = next_timer {
        let wait = deadline.saturating_sub(clock::monotonic_ns());
        if wait == 0 {
            return;
        }
        timer = Some(Timer::new(Duration::from_nanos(wait)));
    }
    if shared.files.borrow().busy() > 0 {
        listen_to_files(shared);
    }
    shared.landed.set(false);
    if !doorbell.try_park(|| shard.quiet()) {
        return;
    }
    poll_fn(|cx| poll_parked(shared, doorbell, &mut timer, cx)).await;
    doorbell.unpark();
    shared.parked.take();
}

fn poll_parked(
    shared: &Shared,
    doorbell: &Doorbell,
    timer: &mut Option<Timer>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    shared.parked.replace(Some(cx.waker().clone()));
    doorbell.set_sleeper(cx.waker());
    // After the waker was set: a ring before that found none to wake.
    if !doorbell.is_parked() || shared.landed.get() {
        return Poll::Ready(());
    }
    match timer {
        Some(timer) => Pin::new(timer).poll(cx).map(|_| ()),
        None => Poll::Pending,
    }
}

/// Has the next completion of the file ring wake the shard.
fn listen_to_files(shared: &Rc<Shared>) {
    if shared.listening.replace(true) {
        return;
    }
    let event = shared
        .files
        .borrow()
        .event()
        .map(|event| event.as_fd().try_clone_to_owned());
    let Some(Ok(event)) = event else {
        // No ring, or no descriptor left: poll rather than sleep for ever.
        shared.listening.set(false);
        shared.rouse();
        return;
    };
    // SAFETY: the descriptor was cloned just above and is given away to glommio here.
    let event = unsafe { BufferedFile::from_raw_fd(event.into_raw_fd()) };
    let shared = Rc::clone(shared);
    glommio::spawn_local(async move {
        // The read ends when the counter is not zero, and resets it. An error wakes as well: the shard
        // then polls the ring itself.
        let _ = event.read_at(0, 8).await;
        let _ = event.close().await;
        shared.listening.set(false);
        shared.rouse();
    })
    .detach();
}

/// Ends what is still in flight, so that no buffer is freed under the kernel.
async fn end(shared: &Rc<Shared>) {
    let waiting = shared.sockets.borrow().waiting();
    for op in waiting {
        shared.pending.borrow_mut().cancel(op);
        let waker = shared.sockets.borrow_mut().forget(op);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
    while shared.tasks.get() > 0 {
        yield_now().await;
    }
    shared
        .files
        .borrow_mut()
        .finish(&mut shared.pending.borrow_mut());
    if shared.listening.get() {
        // The eventfd is still being read: end that read.
        if let Some(event) = shared.files.borrow().event() {
            ring_event(event);
        }
        poll_fn(|cx| {
            shared.parked.replace(Some(cx.waker().clone()));
            if shared.listening.get() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

fn ring_event(event: &std::os::fd::OwnedFd) {
    if let Ok(copy) = event.try_clone() {
        let written = io::Write::write(&mut std::fs::File::from(copy), &1_u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "an eventfd takes a one");
    }
}
