//! Sockets of a shard by `glommio::net`.
//!
//! Entered by the glommio driver's reactor. Each operation is a small glommio task beside the shard's
//! own; it stores its outcome and wakes. Invariant: on one socket at most one receive and one send; a
//! cancelled operation's task ends at its next wake-up, which the cancellation itself causes. Lives on
//! the shard's thread.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use hashbrown::HashMap;

use super::Shared;
use crate::seam::reactor::{IoBuffer, IoFailure, Op, OpId, OpResult, Outcome, SocketId};

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

struct Stream {
    tcp: RefCell<TcpStream>,
    receiving: Cell<bool>,
    sending: Cell<bool>,
}

#[derive(Clone)]
enum Socket {
    Stream(Rc<Stream>),
    /// With its descriptor, which glommio does not show.
    Listener(Rc<TcpListener>, RawFd),
}

/// The sockets of one shard.
pub(super) struct Sockets {
    open: Map<SocketId, Socket>,
    next: u64,
    /// Wakers of the tasks that wait, to cancel them.
    waiting: Map<OpId, Waker>,
}

impl Sockets {
    pub(super) fn new() -> Sockets {
        let hasher = || foldhash::fast::FixedState::with_seed(0);
        Sockets {
            open: HashMap::with_hasher(hasher()),
            next: 0,
            waiting: HashMap::with_hasher(hasher()),
        }
    }

    fn insert(&mut self, socket: Socket) -> SocketId {
        self.next += 1;
        self.open.insert(SocketId(self.next), socket);
        SocketId(self.next)
    }

    fn stream(&self, id: SocketId) -> Option<Rc<Stream>> {
        match self.open.get(&id) {
            Some(Socket::Stream(stream)) => Some(Rc::clone(stream)),
            _ => None,
        }
    }

    /// The waker of an operation's task, so that it notices its cancellation.
    pub(super) fn forget(&mut self, id: OpId) -> Option<Waker> {
        self.waiting.remove(&id)
    }

    /// The operations whose tasks wait.
    pub(super) fn waiting(&self) -> Vec<OpId> {
        self.waiting.keys().copied().collect()
    }
}

/// Starts a socket operation.
pub(super) fn submit(shared: &Rc<Shared>, id: OpId, op: Op) {
    match op {
        Op::Connect { address } => {
            let place = Rc::clone(shared);
            spawn(shared, id, async move { connect(&place, address).await });
        }
        Op::Listen { address } => shared.finish(id, listen(shared, address)),
        Op::Accept { listener } => {
            let found = shared.sockets.borrow().open.get(&listener).cloned();
            let Some(Socket::Listener(listener, _)) = found else {
                return shared.finish(id, Err(unknown(None)));
            };
            let place = Rc::clone(shared);
            spawn(shared, id, async move { accept(&place, &listener).await });
        }
        Op::Receive { socket, buffer } => receive(shared, id, socket, buffer),
        Op::Send { socket, buffer } => send(shared, id, socket, buffer),
        Op::Shutdown { socket } => {
            let found = shared.sockets.borrow().stream(socket);
            let answer = match found {
                Some(stream) => shut(stream.tcp.borrow().as_raw_fd(), Shutdown::Write),
                None => Err(unknown(None)),
            };
            shared.finish(id, answer);
        }
        Op::CloseSocket { socket } => {
            let found = shared.sockets.borrow_mut().open.remove(&socket);
            let answer = match found {
                // What flies on it ends by itself: a receive with 0 bytes, a send or accept with an
                // error. The descriptor is closed when the last of them is gone.
                Some(Socket::Stream(stream)) => {
                    let _ = shut(stream.tcp.borrow().as_raw_fd(), Shutdown::Both);
                    Ok(Outcome::Done)
                }
                Some(Socket::Listener(_listener, fd)) => {
                    let _ = shut(fd, Shutdown::Both);
                    Ok(Outcome::Done)
                }
                None => Err(unknown(None)),
            };
            shared.finish(id, answer);
        }
        _ => unreachable!("the reactor sends socket operations only"),
    }
}

fn unknown(buffer: Option<IoBuffer>) -> IoFailure {
    IoFailure {
        error: io::Error::from_raw_os_error(libc::EBADF),
        buffer,
    }
}

fn busy(buffer: IoBuffer) -> IoFailure {
    let error = io::Error::new(
        io::ErrorKind::ResourceBusy,
        "an operation of this direction is already in flight on the socket",
    );
    IoFailure {
        error,
        buffer: Some(buffer),
    }
}

/// Runs an operation as a glommio task until it is done or cancelled.
fn spawn(shared: &Rc<Shared>, id: OpId, work: impl Future<Output = OpResult> + 'static) {
    let shared = Rc::clone(shared);
    shared.tasks.set(shared.tasks.get() + 1);
    shared.spawned.set(true);
    glommio::spawn_local(async move {
        let mut work = pin!(work);
        let answer = poll_fn(|cx| poll_unless_cancelled(&shared, id, work.as_mut(), cx)).await;
        shared.sockets.borrow_mut().waiting.remove(&id);
        if let Some(answer) = answer {
            shared.finish(id, answer);
        }
        shared.tasks.set(shared.tasks.get() - 1);
        shared.ended.set(true);
    })
    .detach();
}

fn poll_unless_cancelled(
    shared: &Shared,
    id: OpId,
    work: Pin<&mut impl Future<Output = OpResult>>,
    cx: &mut Context<'_>,
) -> Poll<Option<OpResult>> {
    if !shared.pending.borrow().is_flying(id) {
        return Poll::Ready(None);
    }
    let answer = work.poll(cx);
    if answer.is_pending() {
        shared
            .sockets
            .borrow_mut()
            .waiting
            .insert(id, cx.waker().clone());
    }
    answer.map(Some)
}

async fn connect(shared: &Shared, address: SocketAddr) -> OpResult {
    let stream = TcpStream::connect(address).await.map_err(io::Error::from)?;
    stream.set_nodelay(true).map_err(io::Error::from)?;
    Ok(Outcome::Connected {
        socket: admit(shared, stream),
    })
}

fn admit(shared: &Shared, tcp: TcpStream) -> SocketId {
    let stream = Stream {
        tcp: RefCell::new(tcp),
        receiving: Cell::new(false),
        sending: Cell::new(false),
    };
    shared
        .sockets
        .borrow_mut()
        .insert(Socket::Stream(Rc::new(stream)))
}

fn listen(shared: &Shared, address: SocketAddr) -> OpResult {
    // Bound by std, which allows an address to be taken again at once after a restart and, unlike
    // glommio, does not let two processes share it.
    let listener = std::net::TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let fd = listener.into_raw_fd();
    // SAFETY: the descriptor was given away by std just above, so glommio is its only owner.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };
    let listener = shared
        .sockets
        .borrow_mut()
        .insert(Socket::Listener(Rc::new(listener), fd));
    Ok(Outcome::Listening { listener, address })
}

async fn accept(shared: &Shared, listener: &TcpListener) -> OpResult {
    let accepted = listener.shared_accept().await.map_err(io::Error::from)?;
    // Bound first: from here on the descriptor has an owner, whatever fails.
    let stream = accepted.bind_to_executor();
    let peer = stream.peer_addr().map_err(io::Error::from)?;
    stream.set_nodelay(true).map_err(io::Error::from)?;
    Ok(Outcome::Accepted {
        socket: admit(shared, stream),
        peer,
    })
}

fn receive(shared: &Rc<Shared>, id: OpId, socket: SocketId, mut buffer: IoBuffer) {
    let found = shared.sockets.borrow().stream(socket);
    let Some(stream) = found else {
        return shared.finish(id, Err(unknown(Some(buffer))));
    };
    if stream.receiving.replace(true) {
        return shared.finish(id, Err(busy(buffer)));
    }
    spawn(shared, id, async move {
        let got = poll_fn(|cx| {
            let mut tcp = stream.tcp.borrow_mut();
            Pin::new(&mut *tcp).poll_read(cx, buffer.as_mut_slice())
        });
        let got = Released(&stream.receiving, got).await;
        moved(buffer, got)
    });
}

fn send(shared: &Rc<Shared>, id: OpId, socket: SocketId, buffer: IoBuffer) {
    let found = shared.sockets.borrow().stream(socket);
    let Some(stream) = found else {
        return shared.finish(id, Err(unknown(Some(buffer))));
    };
    if stream.sending.replace(true) {
        return shared.finish(id, Err(busy(buffer)));
    }
    spawn(shared, id, async move {
        let sent = poll_fn(|cx| {
            let mut tcp = stream.tcp.borrow_mut();
            Pin::new(&mut *tcp).poll_write(cx, buffer.as_slice())
        });
        let sent = Released(&stream.sending, sent).await;
        moved(buffer, sent)
    });
}

fn moved(buffer: IoBuffer, count: io::Result<usize>) -> OpResult {
    match count {
        Ok(count) => Ok(Outcome::Bytes { buffer, count }),
        Err(error) => Err(IoFailure {
            error,
            buffer: Some(buffer),
        }),
    }
}

/// Clears its flag when the operation ends, also if it is cancelled.
struct Released<'a, F>(&'a Cell<bool>, F);

impl<F: Future + Unpin> Future for Released<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.1).poll(cx)
    }
}

impl<F> Drop for Released<'_, F> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn shut(fd: i32, how: Shutdown) -> OpResult {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: touches no memory; the descriptor is open, its owner is borrowed by the caller.
    if unsafe { libc::shutdown(fd, how) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(Outcome::Done)
}
