//! The fallback driver: a loop on epoll and one file thread, where io_uring is forbidden.
//!
//! Entered by `shard::start` only. A product path: the same tests run on it as on the default, once
//! more under a filter that denies io_uring. Invariant: while it is parked in epoll, a ring of the
//! doorbell (by `Poller::notify`), a ready socket, an answer of the file thread (which rings the
//! doorbell) and the next timer each wake it. Lives on the shard's thread.

mod sockets;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use polling::{Events, Poller};

use self::sockets::Sockets;
use crate::seam::clock::{self, Random};
use crate::seam::file_thread::FileThread;
use crate::seam::pending::Pending;
use crate::seam::reactor::{DriverKind, LeftBehind, Op, OpId, OpResult, Reactor};
use crate::shard::doorbell::Doorbell;
use crate::shard::executor::{Round, Shard, Spin};
use crate::shard::start::Launch;
use crate::shard::step::TaskWaker;

/// Ends a wait in epoll from any thread.
struct Notifier(Arc<Poller>);

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(error) = self.0.notify() {
            tracing::error!(%error, "cannot wake a shard that sleeps in epoll");
        }
    }
}

/// State shared by the reactor and the loop of one shard.
struct Shared {
    poller: Arc<Poller>,
    events: RefCell<Events>,
    pending: RefCell<Pending>,
    files: RefCell<FileThread>,
    sockets: RefCell<Sockets>,
}

impl Shared {
    fn new(name: String, doorbell: Arc<Doorbell>) -> io::Result<Rc<Shared>> {
        let poller = Arc::new(Poller::new()?);
        Ok(Rc::new(Shared {
            poller: Arc::clone(&poller),
            events: RefCell::new(Events::new()),
            pending: RefCell::new(Pending::new()),
            files: RefCell::new(FileThread::new(name, doorbell)),
            sockets: RefCell::new(Sockets::new(poller)),
        }))
    }

    /// Waits in epoll, at most for `timeout`, and advances what became ready.
    fn wait(&self, timeout: Option<Duration>) {
        let mut events = self.events.borrow_mut();
        events.clear();
        if let Err(error) = self.poller.wait(&mut events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "epoll does not wait");
        }
        let mut pending = self.pending.borrow_mut();
        let mut sockets = self.sockets.borrow_mut();
        for event in events.iter() {
            sockets.ready(event.key, &mut pending);
        }
    }
}

struct EpollReactor {
    shared: Rc<Shared>,
    random: Random,
}

impl Reactor for EpollReactor {
    fn kind(&self) -> DriverKind {
        DriverKind::Epoll
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
        let mut pending = self.shared.pending.borrow_mut();
        let id = pending.begin(&op, waker);
        if op.is_socket() {
            self.shared
                .sockets
                .borrow_mut()
                .submit(id, op, &mut pending);
        } else {
            self.shared.files.borrow_mut().submit(id, op, &mut pending);
        }
        id
    }

    fn take(&mut self, op: OpId) -> Option<OpResult> {
        self.shared.pending.borrow_mut().take(op)
    }

    fn cancel(&mut self, op: OpId) {
        if self.shared.pending.borrow_mut().cancel(op) {
            self.shared.sockets.borrow_mut().cancel(op);
        }
    }

    fn poll(&mut self) -> usize {
        if self.shared.sockets.borrow().watching() {
            self.shared.wait(Some(Duration::ZERO));
        }
        let mut pending = self.shared.pending.borrow_mut();
        self.shared.files.borrow_mut().poll(&mut pending);
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
/// If epoll cannot be set up; nothing has run then.
pub(crate) fn run(launch: Launch) -> io::Result<()> {
    let doorbell = launch.doorbell();
    let shared = Shared::new(launch.config.id.to_string(), Arc::clone(&doorbell))?;
    let reactor = EpollReactor {
        shared: Rc::clone(&shared),
        random: Random::new(clock::entropy()),
    };
    let spin = Spin::new(launch.config.spin_ns);
    let (shard, kept) = launch.begin(Box::new(reactor));
    drive(shard, &shared, &doorbell, spin);
    drop(kept);
    Ok(())
}

fn drive(mut shard: Shard, shared: &Shared, doorbell: &Doorbell, mut spin: Spin) {
    let notifier = Waker::from(Arc::new(Notifier(Arc::clone(&shared.poller))));
    loop {
        match shard.round() {
            Round::Finished => return,
            Round::Progress => spin.reset(),
            Round::Idle { .. } if spin.goes_on(clock::monotonic_ns()) => std::hint::spin_loop(),
            Round::Idle { next_timer } => {
                park(&mut shard, shared, doorbell, &notifier, next_timer);
                spin.reset();
            }
        }
    }
}

/// Sleeps in epoll until there is something to do.
fn park(
    shard: &mut Shard,
    shared: &Shared,
    doorbell: &Doorbell,
    notifier: &Waker,
    next_timer: Option<u64>,
) {
    let wait = next_timer.map(|deadline| deadline.saturating_sub(clock::monotonic_ns()));
    doorbell.set_sleeper(notifier);
    if !doorbell.try_park(|| shard.quiet() && !shared.files.borrow().has_answers()) {
        return;
    }
    shared.wait(wait.map(Duration::from_nanos));
    doorbell.unpark();
}
