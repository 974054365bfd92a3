//! The default driver: glommio for executor, timers and sockets, a ring of our own for files.
//!
//! Entered by `shard::start` only. The shard's loop is one glommio task that polls lanes itself, so the
//! latency of a lane does not depend on glommio's reactor; it lets glommio in when socket operations
//! are in flight (at least every 50 µs) and when it parks. Invariant: while it is parked, a ring of the
//! doorbell, a completed operation and the next timer each wake it. Lives on the shard's thread.
//!
//! glommio has no public way to wait for a descriptor, so the shard's one eventfd, written by the doorbell
//! and by the file ring, is read as if it were a file: one read that is always under way on glommio's
//! main ring. (A glommio waker woken from the foreign thread works too, by a channel and a second ring.)
//!
//! A trap of glommio 0.9: if its preemption timer has fired before it runs the first task after a poll,
//! it takes the tasks that are ready for none and parks with them, for ever if nothing else happens.
//! With a short timer and two busy cores this happened within seconds. So the timer is set so long that
//! it never fires, the loop itself decides when glommio may poll, and a heartbeat bounds what is left of
//! the trap (an unlucky completion in the same instant).

mod file_ring;
mod sockets;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
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

/// Never: see the trap above.
const PREEMPT: Duration = Duration::from_secs(24 * 3600);

/// The longest sleep of an executor.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// The eventfd whose write ends a park, from any thread.
struct Bell(Arc<File>);

impl Bell {
    fn new() -> io::Result<Bell> {
        // SAFETY: makes a new descriptor and touches no memory.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `event` was made just above and belongs to nobody else.
        Ok(Bell(Arc::new(unsafe { File::from_raw_fd(event) })))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(error) = (&*self.0).write_all(&1_u64.to_ne_bytes()) {
            tracing::error!(%error, "cannot wake a shard that sleeps in its ring");
        }
    }
}

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
    /// Written to end a park.
    bell: Arc<Bell>,
    /// The task that reads the bell is to end, and whether it has.
    stopping: Cell<bool>,
    stopped: Cell<bool>,
}

impl Shared {
    fn new() -> io::Result<Rc<Shared>> {
        let bell = Bell::new()?;
        Ok(Rc::new(Shared {
            pending: RefCell::new(Pending::new()),
            files: RefCell::new(FileRing::new(Arc::clone(&bell.0))),
            sockets: RefCell::new(Sockets::new()),
            tasks: Cell::new(0),
            spawned: Cell::new(false),
            landed: Cell::new(false),
            parked: RefCell::new(None),
            bell: Arc::new(bell),
            stopping: Cell::new(false),
            stopped: Cell::new(false),
        }))
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
    // The thread is pinned already, or is to roam.
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(IO_MEMORY)
        .preempt_timer(PREEMPT)
        .make()
        .map_err(io::Error::from)?;
    let shared = Shared::new()?;
    executor.run(async move {
        let random = Random::new(clock::entropy());
        let reactor = GlommioReactor {
            shared: Rc::clone(&shared),
            random,
        };
        let doorbell = launch.doorbell();
        let spin = Spin::new(launch.config.spin_ns);
        listen(&shared)?;
        let chest = Rc::clone(&shared);
        let heart = glommio::spawn_local(async move {
            loop {
                Timer::new(HEARTBEAT).await;
                // What the kernel was too busy to take is offered again.
                if chest.files.borrow().busy() > 0 {
                    chest.rouse();
                }
            }
        });
        let (shard, kept) = launch.begin(Box::new(reactor));
        drive(shard, &shared, &doorbell, spin).await;
        drop(kept);
        end(&shared).await;
        heart.cancel().await;
        Ok(())
    })
}

async fn drive(mut shard: Shard, shared: &Rc<Shared>, doorbell: &Doorbell, mut spin: Spin) {
    let sleeper = Waker::from(Arc::clone(&shared.bell));
    let mut breathed = 0;
    loop {
        match shard.round() {
            Round::Finished => return,
            Round::Progress => spin.reset(),
            Round::Idle { next_timer } => {
                if !spin.goes_on(clock::monotonic_ns()) {
                    park(&mut shard, shared, doorbell, &sleeper, next_timer).await;
                    spin.reset();
                    continue;
                }
                std::hint::spin_loop();
            }
        }
        if shared.tasks.get() > 0 {
            breathe(shared, &mut breathed).await;
        }
    }
}

/// Lets the socket tasks run, and every 50 µs glommio look at its rings.
async fn breathe(shared: &Shared, breathed: &mut u64) {
    let now = clock::monotonic_ns();
    if now.saturating_sub(*breathed) >= POLL_INTERVAL_NS {
        *breathed = now;
        shared.spawned.set(false);
        poll_glommio().await;
    } else if shared.spawned.take() {
        yield_now().await;
    }
}

/// Has glommio look at its rings without sleeping. It does so only when no task is ready, so this one
/// waits for a timer that is due by then.
async fn poll_glommio() {
    const INSTANT_NS: u64 = 500;
    let due = clock::monotonic_ns() + 2 * INSTANT_NS;
    let mut timer = Timer::new(Duration::from_nanos(INSTANT_NS));
    poll_fn(|cx| {
        let answer = Pin::new(&mut timer).poll(cx);
        while answer.is_pending() && clock::monotonic_ns() < due {
            std::hint::spin_loop();
        }
        answer.map(|_| ())
    })
    .await;
}

/// Sleeps in glommio's ring until there is something to do.
async fn park(
    shard: &mut Shard,
    shared: &Rc<Shared>,
    doorbell: &Doorbell,
    sleeper: &Waker,
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
    shared.landed.set(false);
    doorbell.set_sleeper(sleeper);
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
    if !doorbell.is_parked() || shared.landed.get() {
        return Poll::Ready(());
    }
    match timer {
        Some(timer) => Pin::new(timer).poll(cx).map(|_| ()),
        None => Poll::Pending,
    }
}

/// Keeps one read of the bell under way; each that ends wakes the shard if it is parked.
fn listen(shared: &Rc<Shared>) -> io::Result<()> {
    let event = shared.bell.0.as_fd().try_clone_to_owned()?;
    // SAFETY: the descriptor was cloned just above and is given away to glommio here.
    let event = unsafe { BufferedFile::from_raw_fd(event.into_raw_fd()) };
    let shared = Rc::clone(shared);
    glommio::spawn_local(async move {
        while !shared.stopping.get() {
            // Ends when the counter is not zero, and resets it.
            if let Err(error) = event.read_at(0, 8).await {
                tracing::error!(%error, "cannot wait for the bell of a shard: it polls");
                Timer::new(Duration::from_millis(1)).await;
            }
            shared.rouse();
        }
        if let Err(error) = event.close().await {
            tracing::debug!(%error, "the bell of a shard was not closed");
        }
        shared.stopped.set(true);
        shared.rouse();
    })
    .detach();
    Ok(())
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
    shared.stopping.set(true);
    shared.bell.wake_by_ref();
    poll_fn(|cx| {
        shared.parked.replace(Some(cx.waker().clone()));
        if shared.stopped.get() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
