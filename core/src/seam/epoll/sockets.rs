//! Sockets of a shard on epoll.
//!
//! Entered by the epoll driver. Each operation is tried at once; if it would block it waits in its
//! socket until epoll says that the socket is ready. Invariant: a socket is armed (one shot) for
//! exactly the directions that have an operation waiting. Lives on the shard's thread.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use hashbrown::HashMap;
use polling::{AsSource, Event, Poller};

use crate::seam::pending::Pending;
use crate::seam::reactor::{IoBuffer, IoFailure, Op, OpId, OpResult, Outcome, SocketId};

type Waiting = Option<(OpId, IoBuffer)>;

enum Socket {
    Connecting {
        stream: TcpStream,
        op: OpId,
    },
    Stream {
        stream: TcpStream,
        receive: Waiting,
        send: Waiting,
    },
    Listener {
        listener: TcpListener,
        accepts: VecDeque<OpId>,
    },
}

impl Socket {
    /// What it waits for, under its number.
    fn interest(&self, key: usize) -> Event {
        match self {
            Socket::Connecting { .. } => Event::writable(key),
            Socket::Stream { receive, send, .. } => {
                Event::new(key, receive.is_some(), send.is_some())
            }
            Socket::Listener { accepts, .. } => Event::new(key, !accepts.is_empty(), false),
        }
    }

    fn source(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Connecting { stream, .. } | Socket::Stream { stream, .. } => stream.source(),
            Socket::Listener { listener, .. } => listener.source(),
        }
    }
}

/// The sockets of one shard.
pub(super) struct Sockets {
    poller: Arc<Poller>,
    open: HashMap<SocketId, Socket, foldhash::fast::FixedState>,
    next: u64,
}

impl Sockets {
    pub(super) fn new(poller: Arc<Poller>) -> Sockets {
        let open = HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0));
        Sockets {
            poller,
            open,
            next: 0,
        }
    }

    /// Takes a socket operation in.
    pub(super) fn submit(&mut self, id: OpId, op: Op, pending: &mut Pending) {
        match op {
            Op::Connect { address } => {
                if let Err(error) = self.connect(id, address) {
                    pending.finish(id, Err(error.into()));
                }
            }
            Op::Listen { address } => {
                let answer = self.listen(address).map_err(Into::into);
                pending.finish(id, answer);
            }
            Op::Accept { listener } => match self.open.get_mut(&listener) {
                Some(Socket::Listener { accepts, .. }) => {
                    accepts.push_back(id);
                    self.advance(listener, pending);
                }
                _ => pending.finish(id, Err(unknown(None))),
            },
            Op::Receive { socket, buffer } => self.transfer(id, socket, buffer, true, pending),
            Op::Send { socket, buffer } => self.transfer(id, socket, buffer, false, pending),
            Op::Shutdown { socket } => {
                let answer = match self.open.get(&socket) {
                    Some(Socket::Stream { stream, .. }) => stream.shutdown(Shutdown::Write),
                    _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
                };
                pending.finish(id, answer.map(|()| Outcome::Done).map_err(Into::into));
            }
            Op::CloseSocket { socket } => {
                let answer = self.close(socket, pending);
                pending.finish(id, answer);
            }
            _ => unreachable!("the reactor sends socket operations only"),
        }
    }

    /// Gives up what a cancelled operation waits for.
    pub(super) fn cancel(&mut self, id: OpId) {
        let mut abandoned = None;
        for (socket_id, socket) in &mut self.open {
            match socket {
                Socket::Connecting { op, .. } if *op == id => abandoned = Some(*socket_id),
                Socket::Connecting { .. } => {}
                Socket::Stream { receive, send, .. } => {
                    for waiting in [receive, send] {
                        if waiting.as_ref().is_some_and(|(op, _)| *op == id) {
                            *waiting = None;
                        }
                    }
                }
                Socket::Listener { accepts, .. } => accepts.retain(|op| *op != id),
            }
        }
        if let Some(socket) = abandoned.and_then(|socket| self.open.remove(&socket)) {
            self.forget(&socket);
        }
    }

    /// Whether there is any socket to watch.
    pub(super) fn watching(&self) -> bool {
        !self.open.is_empty()
    }

    /// A socket is ready, says epoll.
    pub(super) fn ready(&mut self, key: usize, pending: &mut Pending) {
        self.advance(SocketId(key as u64), pending);
    }

    fn insert(&mut self, socket: Socket) -> io::Result<SocketId> {
        self.next += 1;
        let id = SocketId(self.next);
        let event = socket.interest(self.next as usize);
        // SAFETY: the socket is owned by the table, and `forget` takes it out of the poller before it
        // is dropped; the poller itself lives on the same thread.
        unsafe { self.poller.add(socket.source().as_raw_fd(), event)? };
        self.open.insert(id, socket);
        Ok(id)
    }

    fn forget(&self, socket: &Socket) {
        if let Err(error) = self.poller.delete(socket.source()) {
            tracing::debug!(%error, "a socket was not in the poller");
        }
    }

    fn connect(&mut self, op: OpId, address: SocketAddr) -> io::Result<()> {
        let stream = begin_connect(address)?;
        self.insert(Socket::Connecting { stream, op }).map(|_| ())
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<Outcome> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = self.insert(Socket::Listener {
            listener,
            accepts: VecDeque::new(),
        })?;
        Ok(Outcome::Listening { listener, address })
    }

    fn close(&mut self, id: SocketId, pending: &mut Pending) -> OpResult {
        let Some(socket) = self.open.remove(&id) else {
            return Err(unknown(None));
        };
        self.forget(&socket);
        match socket {
            Socket::Connecting { op, .. } => pending.finish(op, Err(closed(None))),
            Socket::Stream { receive, send, .. } => {
                for (op, buffer) in [receive, send].into_iter().flatten() {
                    pending.finish(op, Err(closed(Some(buffer))));
                }
            }
            Socket::Listener { accepts, .. } => {
                for op in accepts {
                    pending.finish(op, Err(closed(None)));
                }
            }
        }
        Ok(Outcome::Done)
    }

    fn transfer(
        &mut self,
        id: OpId,
        socket: SocketId,
        buffer: IoBuffer,
        inbound: bool,
        pending: &mut Pending,
    ) {
        let Some(Socket::Stream { receive, send, .. }) = self.open.get_mut(&socket) else {
            return pending.finish(id, Err(unknown(Some(buffer))));
        };
        let place = if inbound { receive } else { send };
        if place.is_some() {
            let error = io::Error::new(
                io::ErrorKind::ResourceBusy,
                "an operation of this direction is already in flight on the socket",
            );
            return pending.finish(
                id,
                Err(IoFailure {
                    error,
                    buffer: Some(buffer),
                }),
            );
        }
        *place = Some((id, buffer));
        self.advance(socket, pending);
    }

    /// Tries what waits on a socket, then arms it for what still waits.
    fn advance(&mut self, id: SocketId, pending: &mut Pending) {
        match self.open.get_mut(&id) {
            None => return,
            Some(Socket::Connecting { .. }) => self.finish_connect(id, pending),
            Some(Socket::Stream {
                stream,
                receive,
                send,
            }) => {
                if let Some(waiting) = receive.take() {
                    *receive = attempt(waiting, pending, |buffer| {
                        stream.read(buffer.as_mut_slice())
                    });
                }
                if let Some(waiting) = send.take() {
                    *send = attempt(waiting, pending, |buffer| stream.write(buffer.as_slice()));
                }
            }
            Some(Socket::Listener { .. }) => self.accept(id, pending),
        }
        let Some(socket) = self.open.get(&id) else {
            return;
        };
        let event = socket.interest(id.0 as usize);
        if (event.readable || event.writable)
            && let Err(error) = self.poller.modify(socket.source(), event)
        {
            tracing::error!(%error, "epoll refuses to watch a socket; closing it");
            let _ = self.close(id, pending);
        }
    }

    fn finish_connect(&mut self, id: SocketId, pending: &mut Pending) {
        let Some(socket) = self.open.remove(&id) else {
            return;
        };
        let Socket::Connecting { stream, op } = socket else {
            return;
        };
        match stream
            .take_error()
            .and_then(|error| error.map_or_else(|| stream.peer_addr(), Err))
        {
            Ok(_) => {
                self.open.insert(
                    id,
                    Socket::Stream {
                        stream,
                        receive: None,
                        send: None,
                    },
                );
                pending.finish(op, Ok(Outcome::Connected { socket: id }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                // Not yet: told too early.
                self.open.insert(id, Socket::Connecting { stream, op });
            }
            Err(error) => {
                self.forget(&Socket::Connecting { stream, op });
                pending.finish(op, Err(error.into()));
            }
        }
    }

    fn accept(&mut self, id: SocketId, pending: &mut Pending) {
        while let Some(Socket::Listener { listener, accepts }) = self.open.get_mut(&id) {
            let Some(op) = accepts.front().copied() else {
                return;
            };
            match listener.accept() {
                Err(error) if again(&error) => return,
                answer => {
                    accepts.pop_front();
                    let answer = answer.and_then(|(stream, peer)| self.admit(stream, peer));
                    pending.finish(op, answer.map_err(Into::into));
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> io::Result<Outcome> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let socket = self.insert(Socket::Stream {
            stream,
            receive: None,
            send: None,
        })?;
        Ok(Outcome::Accepted { socket, peer })
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for socket in self.open.values() {
            self.forget(socket);
        }
    }
}

/// Tries a transfer; what would block comes back.
fn attempt(
    (op, mut buffer): (OpId, IoBuffer),
    pending: &mut Pending,
    mut work: impl FnMut(&mut IoBuffer) -> io::Result<usize>,
) -> Waiting {
    match work(&mut buffer) {
        Ok(count) => pending.finish(op, Ok(Outcome::Bytes { buffer, count })),
        Err(error) if again(&error) => return Some((op, buffer)),
        Err(error) => pending.finish(
            op,
            Err(IoFailure {
                error,
                buffer: Some(buffer),
            }),
        ),
    }
    None
}

fn again(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn unknown(buffer: Option<IoBuffer>) -> IoFailure {
    IoFailure {
        error: io::Error::from_raw_os_error(libc::EBADF),
        buffer,
    }
}

fn closed(buffer: Option<IoBuffer>) -> IoFailure {
    let error = io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the socket was closed here",
    );
    IoFailure { error, buffer }
}

/// Starts to connect without waiting for the peer.
fn begin_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: makes a new descriptor and touches no memory.
    let fd = unsafe { libc::socket(family, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was made just above and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let raw = fd.as_raw_fd();
    let answer = match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: `name` is a whole address of the length given and lives through the call.
            unsafe { libc::connect(raw, (&raw const name).cast(), size_of_val(&name) as u32) }
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { libc::connect(raw, (&raw const name).cast(), size_of_val(&name) as u32) }
        }
    };
    if answer < 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error);
        }
    }
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    Ok(stream)
}
