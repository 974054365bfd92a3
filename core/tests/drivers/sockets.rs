//! Sockets over loopback.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use thalweg_core::seam::reactor::{IoBuffer, Op, OpId, OpResult, Outcome, SocketId};
use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::executor::{Pump, Shard};
use thalweg_core::shard::step::{Step, TaskWaker, TurnContext};

use crate::rig::{DONE, Exits, Init, MADE, NONE, Rig, assert_all_done, chain, end_after, step};
use crate::waking::ping_pong;

const BYTES: usize = 1 << 20;

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn content(at: usize) -> u8 {
    (at % 253) as u8
}

/// One operation of a direction: submitted, then looked at every turn.
#[derive(Default)]
struct Slot(Option<OpId>);

impl Slot {
    fn poll(&mut self, cx: &mut TurnContext<'_>) -> Option<OpResult> {
        let result = cx.reactor().take(self.0?)?;
        self.0 = None;
        Some(result)
    }

    fn start(&mut self, cx: &mut TurnContext<'_>, op: Op) {
        assert!(self.0.is_none());
        self.0 = Some(cx.submit(op));
    }
}

type Address = Arc<Mutex<Option<SocketAddr>>>;

fn echo_server(shard: &mut Shard, address: Address) {
    let mut socket = SocketId(0);
    let mut receiving = false;
    let mut total = 0;
    shard.add_step(chain("server", move |_, result| {
        let Some(result) = result else {
            return Some(Op::Listen {
                address: any_port(),
            });
        };
        let to_send = match result.unwrap() {
            Outcome::Listening {
                listener,
                address: at,
            } => {
                assert_ne!(at.port(), 0);
                *address.lock().unwrap() = Some(at);
                return Some(Op::Accept { listener });
            }
            Outcome::Accepted {
                socket: accepted, ..
            } => {
                socket = accepted;
                IoBuffer::zeroed(0)
            }
            Outcome::Bytes { count: 0, .. } if receiving => {
                assert_eq!(total, BYTES, "the end comes after the last byte");
                return None;
            }
            Outcome::Bytes { mut buffer, count } if receiving => {
                total += count;
                buffer.set_window(0..count);
                buffer
            }
            Outcome::Bytes { mut buffer, count } => {
                buffer.advance(count);
                buffer
            }
            other => panic!("{other:?}"),
        };
        receiving = to_send.as_slice().is_empty();
        Some(if receiving {
            Op::Receive {
                socket,
                buffer: IoBuffer::zeroed(10_000),
            }
        } else {
            Op::Send {
                socket,
                buffer: to_send,
            }
        })
    }));
}

struct Client {
    socket: SocketId,
    sent: usize,
    received: usize,
    sending: Slot,
    receiving: Slot,
}

impl Client {
    fn turn(&mut self, cx: &mut TurnContext<'_>) -> bool {
        match self.sending.poll(cx) {
            Some(Ok(Outcome::Bytes { count, .. })) => self.sent += count,
            Some(Ok(Outcome::Done)) => self.sent += 1,
            None => {}
            other => panic!("{other:?}"),
        }
        match self.receiving.poll(cx) {
            Some(Ok(Outcome::Bytes { buffer, count })) => {
                for (at, byte) in buffer.as_slice()[..count].iter().enumerate() {
                    assert_eq!(*byte, content(self.received + at));
                }
                self.received += count;
                assert!(count > 0 || self.received == BYTES);
            }
            None => {}
            other => panic!("{other:?}"),
        }
        if self.sending.0.is_none() && self.sent <= BYTES {
            let socket = self.socket;
            let end = (self.sent + 30_000).min(BYTES);
            let bytes: Vec<u8> = (self.sent..end).map(content).collect();
            // After the last byte the end, counted as one more.
            let op = if bytes.is_empty() && self.received == BYTES {
                Some(Op::Shutdown { socket })
            } else if bytes.is_empty() {
                None
            } else {
                Some(Op::Send {
                    socket,
                    buffer: bytes.into(),
                })
            };
            if let Some(op) = op {
                self.sending.start(cx, op);
            }
        }
        if self.receiving.0.is_none() && self.received < BYTES {
            let buffer = IoBuffer::zeroed(7_777);
            self.receiving.start(
                cx,
                Op::Receive {
                    socket: self.socket,
                    buffer,
                },
            );
        }
        self.sent > BYTES && self.received == BYTES
    }
}

/// Client and server on two shards; the client sends and receives at the same time.
pub(crate) fn a_megabyte_is_echoed(rig: &dyn Rig) {
    echo(rig, false);
}

/// The same with a task on each shard that never rests: the reactor gets its turn all the same.
pub(crate) fn sockets_move_beside_a_busy_task(rig: &dyn Rig) {
    echo(rig, true);
}

/// A task that always makes progress, until the shard is shut down.
fn keep_busy(shard: &mut Shard) {
    shard.add_step(step("busy", |_| Ok(MADE)));
}

fn echo(rig: &dyn Rig, busy: bool) {
    let exits = Exits::default();
    let address = Address::default();
    let (told, at) = (Arc::clone(&exits), Arc::clone(&address));
    let server: Init = Box::new(move |shard| {
        end_after(shard, 1, &told);
        echo_server(shard, at);
        if busy {
            keep_busy(shard);
        }
    });
    let told = Arc::clone(&exits);
    let client: Init = Box::new(move |shard| {
        end_after(shard, 1, &told);
        if busy {
            keep_busy(shard);
        }
        let mut connecting = Slot::default();
        let mut client: Option<Client> = None;
        shard.add_step(step("client", move |cx| {
            if let Some(client) = &mut client {
                return Ok(if client.turn(cx) { DONE } else { NONE });
            }
            match connecting.poll(cx) {
                Some(result) => {
                    let Outcome::Connected { socket } = result? else {
                        panic!("not connected")
                    };
                    client = Some(Client {
                        socket,
                        sent: 0,
                        received: 0,
                        sending: Slot::default(),
                        receiving: Slot::default(),
                    });
                    return Ok(MADE);
                }
                None if connecting.0.is_some() => return Ok(NONE),
                None => {}
            }
            match *address.lock().unwrap() {
                Some(address) => connecting.start(cx, Op::Connect { address }),
                None => {
                    cx.wake_at(cx.now() + 1_000_000);
                }
            }
            Ok(NONE)
        }));
    });
    rig.run(vec![(Doorbell::new(), server), (Doorbell::new(), client)]);
    assert_all_done(&exits);
}

pub(crate) fn a_refused_connection_is_told(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        let mut free = any_port();
        shard.add_step(chain("refused", move |stage, result| {
            match (stage, result) {
                (0, _) => Some(Op::Listen {
                    address: any_port(),
                }),
                (1, Some(Ok(Outcome::Listening { listener, address }))) => {
                    free = address;
                    Some(Op::CloseSocket { socket: listener })
                }
                (2, Some(Ok(Outcome::Done))) => Some(Op::Connect { address: free }),
                (3, Some(Err(failure))) => {
                    assert_eq!(failure.error.kind(), std::io::ErrorKind::ConnectionRefused);
                    None
                }
                other => panic!("{other:?}"),
            }
        }));
    });
    assert_all_done(&exits);
}

pub(crate) fn a_closed_socket_ends_its_operations(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        let [mut listening, mut accepting, mut closing] = [Slot(None), Slot(None), Slot(None)];
        let mut listener = None;
        let mut ended = 0;
        shard.add_step(step("closer", move |cx| {
            match listener {
                None => match listening.poll(cx) {
                    Some(result) => {
                        let Outcome::Listening { listener: id, .. } = result? else {
                            panic!()
                        };
                        listener = Some(id);
                        accepting.start(cx, Op::Accept { listener: id });
                        // Closed by a later turn, when the accept is under way.
                        cx.wake_at(cx.now() + 2_000_000);
                    }
                    None if listening.0.is_none() => {
                        listening.start(
                            cx,
                            Op::Listen {
                                address: any_port(),
                            },
                        );
                    }
                    None => {}
                },
                Some(socket) if closing.0.is_none() && ended == 0 => {
                    closing.start(cx, Op::CloseSocket { socket });
                }
                Some(_) => {}
            }
            if let Some(result) = accepting.poll(cx) {
                assert!(result.is_err(), "{result:?}");
                ended += 1;
            }
            if let Some(result) = closing.poll(cx) {
                assert!(result.is_ok(), "{result:?}");
                ended += 1;
            }
            Ok(if ended == 2 { DONE } else { NONE })
        }));
    });
    assert_all_done(&exits);
}

pub(crate) fn a_shutdown_with_sockets_in_flight_ends(rig: &dyn Rig) {
    rig.run_shard(move |shard| {
        let mailbox = shard.mailbox();
        let mut listening = Slot::default();
        let mut accepting = Slot::default();
        shard.add_step(step("waits for ever", move |cx| {
            if listening.0.is_none() && accepting.0.is_none() {
                listening.start(
                    cx,
                    Op::Listen {
                        address: any_port(),
                    },
                );
            }
            if let Some(result) = listening.poll(cx) {
                let Outcome::Listening { listener, .. } = result? else {
                    panic!("no listener")
                };
                accepting.start(cx, Op::Accept { listener });
                cx.wake_at(cx.now() + 2_000_000);
            } else if accepting.0.is_some() {
                mailbox.send(Box::new(Shard::shutdown))?;
            }
            Ok(NONE)
        }));
    });
}

pub(crate) fn a_cancelled_accept_answers_nothing(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        let mut stage = 0;
        let mut op = None;
        shard.add_step(step("canceller", move |cx| {
            stage += 1;
            if stage == 1 {
                op = Some(cx.submit(Op::Listen {
                    address: any_port(),
                }));
                return Ok(NONE);
            }
            let Some(flying) = op else {
                panic!("an operation was submitted")
            };
            if stage == 2 {
                let result = cx.reactor().take(flying);
                let Some(Ok(Outcome::Listening { listener, .. })) = result else {
                    panic!("{result:?}")
                };
                op = Some(cx.submit(Op::Accept { listener }));
                cx.wake_at(cx.now() + 2_000_000);
                return Ok(NONE);
            }
            assert_eq!(cx.reactor().pending(), 1);
            cx.reactor().cancel(flying);
            assert_eq!(cx.reactor().pending(), 0);
            assert!(cx.reactor().take(flying).is_none());
            Ok(DONE)
        }));
    });
    assert_all_done(&exits);
}

/// Gives a task a turn every few rounds.
struct NowAndThen {
    rounds: u32,
    task: TaskWaker,
}

impl Pump for NowAndThen {
    fn pump(&mut self) -> bool {
        self.rounds += 1;
        if self.rounds.is_multiple_of(32) {
            self.task.wake();
        }
        false
    }

    fn ready_to_park(&mut self) -> bool {
        true
    }
}

/// Waits for a connection, and at its next turn gives it up again.
fn come_and_go() -> Box<dyn Step> {
    let mut listening = Slot::default();
    let mut listener = None;
    let mut accepting: Option<OpId> = None;
    step("comes and goes", move |cx| {
        let Some(listener) = listener else {
            match listening.poll(cx) {
                Some(Ok(Outcome::Listening { listener: made, .. })) => listener = Some(made),
                None => listening.start(
                    cx,
                    Op::Listen {
                        address: any_port(),
                    },
                ),
                other => panic!("{other:?}"),
            }
            return Ok(NONE);
        };
        match accepting.take() {
            Some(flying) => cx.reactor().cancel(flying),
            None => accepting = Some(cx.submit(Op::Accept { listener })),
        }
        Ok(NONE)
    })
}

/// A shard that sleeps elsewhere while it waits for a socket is woken in either bed.
pub(crate) fn wake_ups_beside_a_socket_that_comes_and_goes(rig: &dyn Rig) {
    let (shards, exits) = ping_pong(5_000);
    let with_sockets = |(bell, init): (Arc<Doorbell>, Init)| {
        let both: Init = Box::new(move |shard| {
            init(shard);
            let task = shard.add_step(come_and_go());
            shard.add_pump(Box::new(NowAndThen { rounds: 0, task }));
        });
        (bell, both)
    };
    rig.run(shards.into_iter().map(with_sockets).collect());
    assert_all_done(&exits);
    assert_eq!(exits.lock().unwrap().len(), 2);
}
