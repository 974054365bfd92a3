//! The default driver: glommio for executor, timers and sockets, a ring of our own for files, and a
//! thread for what a ring cannot do with files (listing directories).
//!
//! Entered by `shard::start` only. The shard's loop is one glommio task that polls lanes itself, so the
//! latency of a lane does not depend on glommio's reactor; it lets glommio in when socket operations
//! are in flight (at least every 50 µs, and it then parks there). Invariant: while it is parked, a ring
//! of the doorbell, a completed operation and the next timer each wake it. Lives on the shard's thread.
//!
//! A trap of glommio 0.9: if its preemption timer has fired before it runs the first task after a poll,
//! it takes the tasks that are ready for none and parks with them, for ever if nothing else happens.
//! With a short timer and two busy cores this happened within seconds. So the timer is set so long that
//! it never fires, the loop itself decides when glommio may poll, and a heartbeat bounds what is left of
//! the trap (an unlucky completion in the same instant).

mod direct;
mod file_ring;
mod park;
mod sockets;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::future::yield_now;
use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement};

use self::file_ring::FileRing;
use self::park::Beds;
use self::sockets::Sockets;
use crate::seam::bell::{Bell, sleep_precisely};
use crate::seam::clock::{self, Random};
use crate::seam::file_thread::FileThread;
use crate::seam::pending::Pending;
use crate::seam::reactor::{DriverKind, LeftBehind, Op, OpId, OpResult, Reactor};
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

/// State shared by the reactor, the socket tasks and the loop of one shard.
struct Shared {
    pending: RefCell<Pending>,
    files: RefCell<FileRing>,
    /// Does what the ring of files cannot.
    thread: RefCell<FileThread>,
    sockets: RefCell<Sockets>,
    /// Socket tasks that have not ended.
    tasks: Cell<usize>,
    /// A socket task was spawned and has not run yet.
    spawned: Cell<bool>,
    /// A task outside the shard's own has completed something.
    landed: Cell<bool>,
    /// A socket task has ended, and glommio has not looked at its rings since.
    ended: Cell<bool>,
    /// Wakes the shard's own task while it is parked in glommio's ring.
    parked: RefCell<Option<Waker>>,
    /// Written to end a park in glommio's ring.
    bell: Arc<Bell>,
    /// The bell's descriptor for the task that reads it, until that runs.
    unheard: Cell<Option<OwnedFd>>,
    /// The task that reads the bell is to end, and whether it has.
    stopping: Cell<bool>,
    stopped: Cell<bool>,
    /// Wakes the heartbeat, which ends once it is to be still.
    heart: RefCell<Option<Waker>>,
    still: Cell<bool>,
}

impl Shared {
    fn new(name: String, doorbell: Arc<Doorbell>) -> io::Result<Rc<Shared>> {
        let bell = Arc::new(Bell::new()?);
        Ok(Rc::new(Shared {
            pending: RefCell::new(Pending::new()),
            files: RefCell::new(FileRing::new(Arc::clone(&bell))),
            thread: RefCell::new(FileThread::new(name, doorbell)),
            sockets: RefCell::new(Sockets::new()),
            tasks: Cell::new(0),
            spawned: Cell::new(false),
            landed: Cell::new(false),
            ended: Cell::new(false),
            parked: RefCell::new(None),
            unheard: Cell::new(Some(bell.as_fd().try_clone_to_owned()?)),
            bell,
            stopping: Cell::new(false),
            stopped: Cell::new(false),
            heart: RefCell::new(None),
            still: Cell::new(false),
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
        let id = self.shared.pending.borrow_mut().begin(&op, waker);
        if op.is_socket() {
            sockets::submit(&self.shared, id, op);
            return id;
        }
        let mut pending = self.shared.pending.borrow_mut();
        let mut files = self.shared.files.borrow_mut();
        match op {
            Op::List { .. } | Op::CreateDirectory { .. } => {
                self.shared.thread.borrow_mut().submit(id, op, &mut pending);
            }
            Op::SetLength { file, len } => match files.lend(file) {
                Ok(file) => {
                    let mut thread = self.shared.thread.borrow_mut();
                    thread.set_length(id, file, len, &mut pending);
                }
                Err(failure) => pending.finish(id, Err(failure)),
            },
            op => files.submit(id, op, &mut pending),
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
        self.shared.thread.borrow_mut().poll(&mut pending);
        pending.count_landed()
    }

    fn pending(&self) -> usize {
        self.shared.pending.borrow().flying()
    }

    fn left_behind(&mut self) -> LeftBehind {
        self.shared.pending.borrow_mut().left_behind()
    }
}

/// Runs a shard on the calling thread until it is shut down.
///
/// # Errors
/// If glommio cannot be set up; nothing has run then. Never panics where io_uring is forbidden as long
/// as the probe was asked first.
pub(crate) fn run(launch: Launch) -> io::Result<()> {
    sleep_precisely();
    // The thread is pinned already, or is to roam.
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(IO_MEMORY)
        .preempt_timer(PREEMPT)
        .make()
        .map_err(io::Error::from)?;
    let shared = Shared::new(launch.config.id.to_string(), launch.doorbell())?;
    executor.run(async move {
        let random = Random::new(clock::entropy());
        let reactor = GlommioReactor {
            shared: Rc::clone(&shared),
            random,
        };
        let doorbell = launch.doorbell();
        let spin = Spin::new(launch.config.spin_ns);
        let mut beds = Beds::new(&shared)?;
        let heart = glommio::spawn_local(beat(Rc::clone(&shared)));
        let (shard, kept) = launch.begin(Box::new(reactor));
        drive(shard, &shared, &mut beds, &doorbell, spin).await;
        drop(kept);
        end(&shared).await;
        shared.still.set(true);
        if let Some(waker) = shared.heart.take() {
            waker.wake();
        }
        heart.await;
        Ok(())
    })
}

/// Offers again what the kernel was too busy to take, until the shard's end. It is told to end, not
/// cancelled: glommio 0.9 never frees a task that is.
async fn beat(shared: Rc<Shared>) {
    while !shared.still.get() {
        let mut timer = Timer::new(HEARTBEAT);
        poll_fn(|cx| {
            if shared.still.get() {
                return Poll::Ready(());
            }
            shared.heart.replace(Some(cx.waker().clone()));
            Pin::new(&mut timer).poll(cx).map(|_| ())
        })
        .await;
        if shared.files.borrow().busy() > 0 {
            shared.rouse();
        }
    }
}

async fn drive(
    mut shard: Shard,
    shared: &Rc<Shared>,
    beds: &mut Beds,
    doorbell: &Doorbell,
    mut spin: Spin,
) {
    let mut breathed = 0;
    loop {
        match shard.round() {
            Round::Finished => return,
            Round::Progress => spin.reset(),
            Round::Idle { next_timer } => {
                if !spin.goes_on(clock::monotonic_ns()) {
                    beds.park(&mut shard, shared, doorbell, next_timer).await;
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
    park::stop_listening(shared).await;
}
