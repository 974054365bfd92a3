//! The simulated network: loopback connections with drawn delay, short transfers and disconnects.
//!
//! Entered by the simulated reactor and by the events of the world. Invariant: within a connection bytes
//! arrive complete and in order until it ends or breaks; a sender that is a window ahead waits. One
//! network per simulation, on its thread.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::seam::clock::Random;
use crate::seam::reactor::{IoBuffer, IoFailure, OpResult, Outcome, SocketId};

/// Bytes that may be under way or unread in one direction.
const WINDOW: usize = 64 << 10;

/// An operation of one shard.
pub(super) type Caller = (usize, crate::seam::reactor::OpId);
/// An operation that has its answer.
pub(super) type Answer = (Caller, OpResult);

/// The faults of a network, drawn per operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct NetworkFaults {
    /// Sends that break their connection instead, of a million.
    pub disconnect_per_million: u32,
    /// Sends and receives that move only a part, of a million.
    pub short_per_million: u32,
    /// The longest time bytes are under way, in ns.
    pub max_delay_ns: u64,
}

impl NetworkFaults {
    /// A network that never breaks, with up to 50 µs under way.
    pub const NONE: NetworkFaults = NetworkFaults {
        disconnect_per_million: 0,
        short_per_million: 0,
        max_delay_ns: 50_000,
    };
}

struct End {
    peer: SocketId,
    /// Bytes that arrived and were not received.
    inbox: VecDeque<u8>,
    /// Bytes sent to here that have not arrived.
    coming: usize,
    /// When the last of them arrives: what is sent later arrives later.
    last_arrival: u64,
    ended: bool,
    broken: bool,
    receive: Option<(Caller, IoBuffer)>,
    send: Option<(Caller, IoBuffer)>,
}

struct Listener {
    address: SocketAddr,
    arrived: VecDeque<(SocketId, SocketAddr)>,
    accepts: VecDeque<Caller>,
}

/// Something that reaches an end later.
pub(super) enum Arrival {
    Bytes(SocketId, Vec<u8>),
    End(SocketId),
    Break(SocketId),
}

/// All sockets of a simulation.
pub(super) struct Network {
    ends: BTreeMap<SocketId, End>,
    listeners: BTreeMap<SocketId, Listener>,
    next: u64,
    next_port: u16,
    faults: NetworkFaults,
    /// Answers of operations, to be handed out by the world.
    pub(super) answers: Vec<Answer>,
    /// What has set out and when it arrives.
    pub(super) departures: Vec<(u64, Arrival)>,
}

impl Network {
    pub(super) fn new(faults: NetworkFaults) -> Network {
        Network {
            ends: BTreeMap::new(),
            listeners: BTreeMap::new(),
            next: 0,
            next_port: 40_000,
            faults,
            answers: Vec::new(),
            departures: Vec::new(),
        }
    }

    fn new_id(&mut self) -> SocketId {
        self.next += 1;
        SocketId(self.next)
    }

    fn new_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(40_000);
        self.next_port
    }

    pub(super) fn listen(&mut self, caller: Caller, mut address: SocketAddr) {
        if address.port() == 0 {
            address.set_port(self.new_port());
        }
        let answer = if self
            .listeners
            .values()
            .any(|listener| listener.address == address)
        {
            Err(io::Error::from_raw_os_error(libc::EADDRINUSE).into())
        } else {
            let id = self.new_id();
            let listener = Listener {
                address,
                arrived: VecDeque::new(),
                accepts: VecDeque::new(),
            };
            self.listeners.insert(id, listener);
            Ok(Outcome::Listening {
                listener: id,
                address,
            })
        };
        self.answers.push((caller, answer));
    }

    pub(super) fn connect(&mut self, caller: Caller, address: SocketAddr) {
        let found = self
            .listeners
            .iter()
            .find(|(_, listener)| listener.address == address);
        let Some(listener) = found.map(|(id, _)| *id) else {
            let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
            return self.answers.push((caller, Err(refused.into())));
        };
        let (here, there) = (self.new_id(), self.new_id());
        self.ends.insert(here, End::new(there));
        self.ends.insert(there, End::new(here));
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.new_port());
        self.answers
            .push((caller, Ok(Outcome::Connected { socket: here })));
        if let Some(listener) = self.listeners.get_mut(&listener) {
            listener.arrived.push_back((there, peer));
        }
        self.match_accepts(listener);
    }

    pub(super) fn accept(&mut self, caller: Caller, id: SocketId) {
        match self.listeners.get_mut(&id) {
            Some(listener) => listener.accepts.push_back(caller),
            None => self.answers.push((caller, Err(unknown(None)))),
        }
        self.match_accepts(id);
    }

    fn match_accepts(&mut self, id: SocketId) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        while !listener.accepts.is_empty() && !listener.arrived.is_empty() {
            let pair = (listener.accepts.pop_front(), listener.arrived.pop_front());
            let (Some(caller), Some((socket, peer))) = pair else {
                unreachable!("neither is empty")
            };
            self.answers
                .push((caller, Ok(Outcome::Accepted { socket, peer })));
        }
    }

    pub(super) fn receive(
        &mut self,
        caller: Caller,
        id: SocketId,
        buffer: IoBuffer,
        random: &mut Random,
    ) {
        match self.ends.get_mut(&id) {
            None => self.answers.push((caller, Err(unknown(Some(buffer))))),
            Some(end) if end.receive.is_some() => self.answers.push((caller, Err(busy(buffer)))),
            Some(end) => {
                end.receive = Some((caller, buffer));
                self.deliver(id, random);
            }
        }
    }

    pub(super) fn send(
        &mut self,
        caller: Caller,
        id: SocketId,
        buffer: IoBuffer,
        now: u64,
        random: &mut Random,
    ) {
        match self.ends.get_mut(&id) {
            None => return self.answers.push((caller, Err(unknown(Some(buffer))))),
            Some(end) if end.send.is_some() => {
                return self.answers.push((caller, Err(busy(buffer))));
            }
            Some(end) => end.send = Some((caller, buffer)),
        }
        if random.chance(self.faults.disconnect_per_million) {
            let Some(peer) = self.ends.get(&id).map(|end| end.peer) else {
                return;
            };
            self.break_end(id, random);
            self.depart(peer, now, random, Arrival::Break);
            return;
        }
        self.depart_sent(id, now, random);
    }

    /// Sends on what the window allows of the send that waits at `id`.
    fn depart_sent(&mut self, id: SocketId, now: u64, random: &mut Random) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        let peer = end.peer;
        let broken = end.broken;
        let Some((caller, buffer)) = end.send.take() else {
            return;
        };
        let room = match self.ends.get(&peer) {
            Some(far) if !broken && !far.broken => {
                WINDOW - (far.coming + far.inbox.len()).min(WINDOW)
            }
            _ => {
                let error = io::Error::from_raw_os_error(libc::EPIPE);
                let failure = IoFailure {
                    error,
                    buffer: Some(buffer),
                };
                return self.answers.push((caller, Err(failure)));
            }
        };
        let asked = buffer.as_slice().len();
        if room == 0 && asked > 0 {
            if let Some(end) = self.ends.get_mut(&id) {
                end.send = Some((caller, buffer));
            }
            return;
        }
        let count = self.shorten(asked.min(room), random);
        let bytes = buffer.as_slice()[..count].to_vec();
        if let Some(far) = self.ends.get_mut(&peer) {
            far.coming += count;
        }
        self.depart(peer, now, random, |to| Arrival::Bytes(to, bytes));
        self.answers
            .push((caller, Ok(Outcome::Bytes { buffer, count })));
    }

    fn shorten(&self, count: usize, random: &mut Random) -> usize {
        if count > 1 && random.chance(self.faults.short_per_million) {
            return 1 + random.below(count as u64 - 1) as usize;
        }
        count
    }

    fn depart(
        &mut self,
        to: SocketId,
        now: u64,
        random: &mut Random,
        what: impl FnOnce(SocketId) -> Arrival,
    ) {
        let delay = 1 + random.below(self.faults.max_delay_ns);
        let Some(end) = self.ends.get_mut(&to) else {
            return;
        };
        end.last_arrival = (now + delay).max(end.last_arrival + 1);
        self.departures.push((end.last_arrival, what(to)));
    }

    pub(super) fn arrive(&mut self, arrival: Arrival, now: u64, random: &mut Random) {
        let id = match arrival {
            Arrival::Bytes(id, bytes) => {
                let Some(end) = self.ends.get_mut(&id) else {
                    return;
                };
                end.coming -= bytes.len();
                end.inbox.extend(bytes);
                id
            }
            Arrival::End(id) => {
                let Some(end) = self.ends.get_mut(&id) else {
                    return;
                };
                end.ended = true;
                id
            }
            Arrival::Break(id) => return self.break_end(id, random),
        };
        self.deliver(id, random);
        self.reopen_window(id, now, random);
    }

    /// Hands the receive that waits at `id` what is there.
    fn deliver(&mut self, id: SocketId, random: &mut Random) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        if end.inbox.is_empty() && !end.ended && !end.broken {
            return;
        }
        let Some((caller, mut buffer)) = end.receive.take() else {
            return;
        };
        if end.broken && end.inbox.is_empty() {
            let error = io::Error::from_raw_os_error(libc::ECONNRESET);
            let failure = IoFailure {
                error,
                buffer: Some(buffer),
            };
            return self.answers.push((caller, Err(failure)));
        }
        let asked = end.inbox.len().min(buffer.as_slice().len());
        let count = self.shorten(asked, random);
        if let Some(end) = self.ends.get_mut(&id) {
            for (to, from) in buffer
                .as_mut_slice()
                .iter_mut()
                .zip(end.inbox.drain(..count))
            {
                *to = from;
            }
        }
        self.answers
            .push((caller, Ok(Outcome::Bytes { buffer, count })));
    }

    /// Room was made at `id`: its peer may go on sending.
    pub(super) fn reopen_window(&mut self, id: SocketId, now: u64, random: &mut Random) {
        let Some(peer) = self.ends.get(&id).map(|end| end.peer) else {
            return;
        };
        if self.ends.get(&peer).is_some_and(|end| end.send.is_some()) {
            self.depart_sent(peer, now, random);
        }
    }

    fn break_end(&mut self, id: SocketId, random: &mut Random) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        end.broken = true;
        if let Some((caller, buffer)) = end.send.take() {
            let error = io::Error::from_raw_os_error(libc::ECONNRESET);
            self.answers.push((
                caller,
                Err(IoFailure {
                    error,
                    buffer: Some(buffer),
                }),
            ));
        }
        self.deliver(id, random);
    }

    pub(super) fn shutdown(&mut self, caller: Caller, id: SocketId, now: u64, random: &mut Random) {
        let answer = match self.ends.get(&id).map(|end| end.peer) {
            Some(peer) => {
                self.depart(peer, now, random, Arrival::End);
                Ok(Outcome::Done)
            }
            None => Err(unknown(None)),
        };
        self.answers.push((caller, answer));
    }

    pub(super) fn close(&mut self, caller: Caller, id: SocketId, now: u64, random: &mut Random) {
        let mut ended = Vec::new();
        let answer = if let Some(end) = self.ends.remove(&id) {
            ended.extend(
                [end.receive, end.send]
                    .into_iter()
                    .flatten()
                    .map(|(op, b)| (op, Some(b))),
            );
            self.depart(end.peer, now, random, Arrival::End);
            Ok(Outcome::Done)
        } else if let Some(listener) = self.listeners.remove(&id) {
            ended.extend(listener.accepts.into_iter().map(|op| (op, None)));
            for (socket, _) in listener.arrived {
                self.ends.remove(&socket);
            }
            Ok(Outcome::Done)
        } else {
            Err(unknown(None))
        };
        for (op, buffer) in ended {
            let error = io::Error::from_raw_os_error(libc::ECONNABORTED);
            self.answers.push((op, Err(IoFailure { error, buffer })));
        }
        self.answers.push((caller, answer));
    }

    /// The operation waits no more.
    pub(super) fn cancel(&mut self, caller: Caller) {
        for end in self.ends.values_mut() {
            for waiting in [&mut end.receive, &mut end.send] {
                if waiting.as_ref().is_some_and(|(by, _)| *by == caller) {
                    *waiting = None;
                }
            }
        }
        for listener in self.listeners.values_mut() {
            listener.accepts.retain(|by| *by != caller);
        }
    }

    /// Every socket is gone, as after a crash of the host.
    pub(super) fn crash(&mut self) {
        self.ends.clear();
        self.listeners.clear();
        self.answers.clear();
        self.departures.clear();
    }
}

impl End {
    fn new(peer: SocketId) -> End {
        End {
            peer,
            inbox: VecDeque::new(),
            coming: 0,
            last_arrival: 0,
            ended: false,
            broken: false,
            receive: None,
            send: None,
        }
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
