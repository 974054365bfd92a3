//! What the shards of a simulation share: clock, dice, network, the disk they use, and the events to come.
//!
//! Entered by the simulated reactors and by the simulation's loop. Invariant: every number drawn and
//! every event follows from the seed and the shards' own behaviour, and enters the trace hash. Lives on
//! the simulation's thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::SimOptions;
use super::disk::{SimDisk, Survival};
use super::network::{Arrival, Network};
use crate::seam::clock::Random;
use crate::seam::pending::Pending;
use crate::seam::reactor::{DriverKind, LeftBehind, Op, OpId, OpResult, Reactor};
use crate::shard::step::TaskWaker;

/// A simulated host's clock starts here, so that code that subtracts from it is exercised fairly.
const START_NS: u64 = 1_000_000_000;
const START_WALL_MS: i64 = 1_700_000_000_000;

enum Event {
    /// An operation comes to its turn after its drawn latency.
    Begin(usize, OpId, Op),
    Arrive(Arrival),
}

pub(super) struct World {
    now: Cell<u64>,
    random: RefCell<Random>,
    trace: Cell<u64>,
    options: SimOptions,
    pub(super) disk: SimDisk,
    network: RefCell<Network>,
    events: RefCell<BTreeMap<(u64, u64), Event>>,
    sequence: Cell<u64>,
    /// By shard.
    pending: RefCell<Vec<Rc<RefCell<Pending>>>>,
}

impl World {
    pub(super) fn new(seed: u64, options: SimOptions, disk: SimDisk) -> Rc<World> {
        Rc::new(World {
            now: Cell::new(START_NS.max(disk.now())),
            random: RefCell::new(Random::new(seed)),
            trace: Cell::new(0xCBF2_9CE4_8422_2325),
            options,
            disk,
            network: RefCell::new(Network::new(options.network)),
            events: RefCell::default(),
            sequence: Cell::new(0),
            pending: RefCell::default(),
        })
    }

    /// A reactor for one more shard.
    pub(super) fn reactor(self: &Rc<World>) -> SimReactor {
        let pending = Rc::new(RefCell::new(Pending::new()));
        let mut all = self.pending.borrow_mut();
        all.push(Rc::clone(&pending));
        SimReactor {
            world: Rc::clone(self),
            pending,
            shard: all.len() - 1,
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    pub(super) fn wall_ms(&self) -> i64 {
        START_WALL_MS + (self.now() / 1_000_000) as i64
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Enters a number into the trace hash.
    pub(super) fn note(&self, what: u64) {
        let mixed = (self.trace.get() ^ what).wrapping_mul(0x0000_0100_0000_01B3);
        self.trace.set(mixed.rotate_left(23));
    }

    pub(super) fn draw(&self) -> u64 {
        self.random.borrow_mut().draw()
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// Time passes by itself, a drawn amount.
    fn tick(&self) {
        let step = 1 + self.below(self.options.max_tick_ns);
        self.now.set(self.now.get() + step);
    }

    pub(super) fn advance_to(&self, at: u64) {
        self.now.set(self.now.get().max(at));
    }

    pub(super) fn next_event(&self) -> Option<u64> {
        self.events
            .borrow()
            .first_key_value()
            .map(|((at, _), _)| *at)
    }

    fn schedule(&self, at: u64, event: Event) {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        self.events.borrow_mut().insert((at, sequence), event);
    }

    /// Lets everything happen whose time has come.
    pub(super) fn run_events(&self) {
        loop {
            let due = {
                let mut events = self.events.borrow_mut();
                match events.first_entry() {
                    Some(first) if first.key().0 <= self.now.get() => first.remove(),
                    _ => return,
                }
            };
            match due {
                Event::Begin(shard, id, op) => self.perform(shard, id, op),
                Event::Arrive(arrival) => {
                    let mut random = self.random.borrow_mut();
                    self.network
                        .borrow_mut()
                        .arrive(arrival, self.now.get(), &mut random);
                }
            }
            self.settle_network();
        }
    }

    fn finish(&self, shard: usize, id: OpId, result: OpResult) {
        self.note(id.0 << 8 | u64::from(result.is_ok()));
        let pending = Rc::clone(&self.pending.borrow()[shard]);
        pending.borrow_mut().finish(id, result);
    }

    fn perform(&self, shard: usize, id: OpId, op: Op) {
        let wanted = self.pending.borrow()[shard].borrow().is_flying(id);
        if op.is_socket() {
            if wanted {
                self.perform_on_network(shard, id, op);
            }
            return;
        }
        // The kernel may have begun what was cancelled since.
        if !wanted && self.below(2) == 0 {
            return;
        }
        let answer = self.disk.lock().perform(self.now.get(), op);
        self.finish(shard, id, answer);
    }

    fn perform_on_network(&self, shard: usize, id: OpId, op: Op) {
        let mut network = self.network.borrow_mut();
        let mut random = self.random.borrow_mut();
        let (caller, now) = ((shard, id), self.now.get());
        match op {
            Op::Connect { address } => network.connect(caller, address),
            Op::Listen { address } => network.listen(caller, address),
            Op::Accept { listener } => network.accept(caller, listener),
            Op::Receive { socket, buffer } => {
                network.receive(caller, socket, buffer, &mut random);
                network.reopen_window(socket, now, &mut random);
            }
            Op::Send { socket, buffer } => network.send(caller, socket, buffer, now, &mut random),
            Op::Shutdown { socket } => network.shutdown(caller, socket, now, &mut random),
            Op::CloseSocket { socket } => network.close(caller, socket, now, &mut random),
            _ => unreachable!("files were sent to the disk"),
        }
    }

    /// Hands out what the network has answered and notes what it has sent on its way.
    fn settle_network(&self) {
        let (answers, departures) = {
            let mut network = self.network.borrow_mut();
            (
                std::mem::take(&mut network.answers),
                std::mem::take(&mut network.departures),
            )
        };
        for (at, arrival) in departures {
            self.schedule(at, Event::Arrive(arrival));
        }
        for ((shard, id), result) in answers {
            self.finish(shard, id, result);
        }
    }

    /// The host loses its power: nothing is in flight any more, the disk forgets.
    pub(super) fn crash(&self) {
        self.events.borrow_mut().clear();
        self.network.borrow_mut().crash();
        self.disk
            .crash(Survival::Drawn(self.random.borrow_mut().draw()));
        self.note(u64::MAX);
    }
}

/// The reactor of one simulated shard.
pub(super) struct SimReactor {
    world: Rc<World>,
    pending: Rc<RefCell<Pending>>,
    shard: usize,
}

impl Reactor for SimReactor {
    fn kind(&self) -> DriverKind {
        DriverKind::Simulated
    }

    fn now(&self) -> u64 {
        self.world.tick();
        self.world.now()
    }

    fn wall_ms(&self) -> i64 {
        // As with the other clock: what reads it twice may read two times.
        self.world.tick();
        self.world.wall_ms()
    }

    fn random(&mut self) -> u64 {
        self.world.draw()
    }

    fn submit(&mut self, op: Op, waker: TaskWaker) -> OpId {
        let id = self.pending.borrow_mut().begin(&op, waker);
        let latency = 1 + self.world.below(self.world.options.max_latency_ns);
        self.world
            .schedule(self.world.now() + latency, Event::Begin(self.shard, id, op));
        id
    }

    fn take(&mut self, op: OpId) -> Option<OpResult> {
        self.pending.borrow_mut().take(op)
    }

    fn cancel(&mut self, op: OpId) {
        self.pending.borrow_mut().cancel(op);
        self.world.network.borrow_mut().cancel((self.shard, op));
    }

    fn poll(&mut self) -> usize {
        self.world.run_events();
        self.pending.borrow_mut().count_landed()
    }

    fn pending(&self) -> usize {
        self.pending.borrow().flying()
    }

    fn left_behind(&mut self) -> LeftBehind {
        self.pending.borrow_mut().left_behind()
    }
}
