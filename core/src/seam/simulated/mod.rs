//! The simulated driver: many shards on one thread, virtual time, seeded order, faults.
//!
//! Entered by tests and by the cluster's simulator. Invariant: the same seed and the same shards give
//! the same [`Simulation::trace_hash`]; the clock moves only when it is read or when all shards sleep,
//! so a run takes no time of its own. What crosses between shards is delayed by simply not running the
//! receiver's round.

mod disk;
mod network;
mod world;

use std::rc::Rc;
use std::sync::Arc;

pub use self::disk::{DiskFaults, Fault, SimDisk, SimFile, Survival};
pub use self::network::NetworkFaults;
use self::world::World;
use crate::ids::ShardId;
use crate::shard::catch;
use crate::shard::doorbell::Doorbell;
use crate::shard::executor::{Round, Shard};

/// The dice of a simulation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SimOptions {
    /// The budget of a turn, in ns.
    pub turn_budget_ns: u64,
    /// The most that one reading of the clock moves it, in ns.
    pub max_tick_ns: u64,
    /// The most an operation waits before it happens, in ns.
    pub max_latency_ns: u64,
    /// Rounds after which a shard is held up, of a million: its core does something else.
    pub stall_per_million: u32,
    /// For how many rounds of all shards it is, at most.
    pub max_stall_rounds: u64,
    /// What goes wrong on the disk.
    pub disk: DiskFaults,
    /// What goes wrong on the network.
    pub network: NetworkFaults,
}

impl Default for SimOptions {
    /// No faults; turns of 200 µs, readings of the clock up to 20 µs apart, operations up to 200 µs.
    fn default() -> SimOptions {
        SimOptions {
            turn_budget_ns: 200_000,
            max_tick_ns: 20_000,
            max_latency_ns: 200_000,
            stall_per_million: 0,
            max_stall_rounds: 0,
            disk: DiskFaults::NONE,
            network: NetworkFaults::NONE,
        }
    }
}

/// How a run ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum SimOutcome {
    /// Every shard was shut down.
    Finished,
    /// Every shard that is left sleeps, and no timer and no operation will wake one: a hang, unless the
    /// test is about to act from outside.
    Quiescent,
    /// The steps were used up.
    OutOfSteps,
}

struct SimShard {
    shard: Option<Shard>,
    doorbell: Arc<Doorbell>,
    /// While it sleeps: its next timer.
    asleep: Option<Option<u64>>,
    /// It runs no round before this one.
    held_until: u64,
}

/// A process of simulated shards.
pub struct Simulation {
    world: Rc<World>,
    options: SimOptions,
    shards: Vec<SimShard>,
    steps: u64,
}

impl Simulation {
    /// A simulation without shards, with a disk of its own, whose every drawn number follows from `seed`.
    pub fn new(seed: u64, options: SimOptions) -> Simulation {
        Simulation::on(SimDisk::with_faults(seed, options.disk), seed, options)
    }

    /// The same on a disk that is there already, which keeps its faults: a process of the host that other
    /// processes ran on before. Its clock is not behind theirs.
    pub fn on(disk: SimDisk, seed: u64, options: SimOptions) -> Simulation {
        catch::note_places();
        Simulation {
            world: World::new(seed, options, disk),
            options,
            shards: Vec::new(),
            steps: 0,
        }
    }

    /// Adds a shard; its number is that of the shards added before it.
    pub fn add_shard<R>(&mut self, init: impl FnOnce(&mut Shard) -> R) -> R {
        self.add_shard_with(Doorbell::new(), init)
    }

    /// Adds a shard with a doorbell made before, so that others know it already.
    pub fn add_shard_with<R>(
        &mut self,
        doorbell: Arc<Doorbell>,
        init: impl FnOnce(&mut Shard) -> R,
    ) -> R {
        let Ok(id) = u16::try_from(self.shards.len()) else {
            unreachable!("65,536 shards")
        };
        let reactor = Box::new(self.world.reactor());
        let budget = self.options.turn_budget_ns;
        let mut shard = Shard::new(ShardId(id), reactor, Arc::clone(&doorbell), budget);
        let answer = init(&mut shard);
        self.shards.push(SimShard {
            shard: Some(shard),
            doorbell,
            asleep: None,
            held_until: 0,
        });
        answer
    }

    /// Runs rounds of shards picked by the dice, until nothing is left to do or `max_steps` rounds.
    pub fn run(&mut self, max_steps: u64) -> SimOutcome {
        self.run_until(u64::MAX, max_steps)
    }

    /// The same, but the clock is not moved on beyond `latest` (ns) while all shards sleep: what wakes
    /// one later than that counts as nothing to do. Reading the clock moves it all the same.
    pub fn run_until(&mut self, latest: u64, max_steps: u64) -> SimOutcome {
        for _ in 0..max_steps {
            self.rouse();
            let awake: Vec<usize> = (0..self.shards.len())
                .filter(|at| self.is_awake(*at))
                .collect();
            if awake.is_empty() {
                if self.shards.iter().all(|shard| shard.shard.is_none()) {
                    return SimOutcome::Finished;
                }
                let next = self.next_instant().filter(|next| *next <= latest);
                let Some(next) = next else {
                    return SimOutcome::Quiescent;
                };
                self.world.advance_to(next);
                self.world.run_events();
                continue;
            }
            let picked = self.pick(awake);
            self.step(picked);
            self.hold_up(picked);
        }
        SimOutcome::OutOfSteps
    }

    /// One of these, by the dice; none that is held up, unless all are.
    fn pick(&self, mut awake: Vec<usize>) -> usize {
        let free = |at: &usize| self.shards[*at].held_until <= self.steps;
        if awake.iter().any(free) {
            awake.retain(free);
        }
        awake[self.world.below(awake.len() as u64) as usize]
    }

    fn hold_up(&mut self, at: usize) {
        let SimOptions {
            stall_per_million,
            max_stall_rounds,
            ..
        } = self.options;
        if stall_per_million > 0 && self.world.below(1_000_000) < u64::from(stall_per_million) {
            self.shards[at].held_until = self.steps + self.world.below(max_stall_rounds);
        }
    }

    fn is_awake(&self, at: usize) -> bool {
        self.shards[at].shard.is_some() && self.shards[at].asleep.is_none()
    }

    /// Ends the sleep of every shard that was rung, whose timer has come, or that has work.
    fn rouse(&mut self) {
        let now = self.world.now();
        for SimShard {
            shard,
            doorbell,
            asleep,
            ..
        } in &mut self.shards
        {
            let (Some(shard), Some(timer)) = (shard, &asleep) else {
                continue;
            };
            let due = timer.is_some_and(|at| at <= now);
            // Work: an operation of the shard has landed and woken a task.
            if due || !doorbell.is_parked() || shard.has_ready_tasks() {
                doorbell.unpark();
                *asleep = None;
            }
        }
    }

    fn next_instant(&self) -> Option<u64> {
        let timers = self
            .shards
            .iter()
            .filter_map(|shard| shard.asleep.flatten());
        timers.chain(self.world.next_event()).min()
    }

    fn step(&mut self, at: usize) {
        self.steps += 1;
        let entry = &mut self.shards[at];
        let Some(shard) = &mut entry.shard else {
            unreachable!("only the living are picked")
        };
        let round = shard.round();
        let kind = match round {
            Round::Progress => 1,
            Round::Idle { next_timer } => {
                if entry.doorbell.try_park(|| shard.quiet()) {
                    entry.asleep = Some(next_timer);
                }
                2
            }
            Round::Finished => {
                entry.shard = None;
                3
            }
        };
        self.world.note((at as u64) << 32 | kind);
        self.world.note(self.world.now());
    }

    /// The host loses its power: all shards are gone at once, without a shutdown; what was not synced to
    /// the disk is torn. Then new shards may be added, numbered from 0 again.
    pub fn crash(&mut self) {
        self.shards.clear();
        self.world.crash();
    }

    /// Ends all shards, each in a round of its own, in the order of their numbers: tasks and pumps are dropped.
    /// Then new shards may be added, numbered from 0 again. What the old ones have asked the disk for still
    /// happens.
    pub fn end_shards(&mut self) {
        for at in 0..self.shards.len() {
            if let Some(shard) = &mut self.shards[at].shard {
                shard.shutdown();
                self.step(at);
            }
        }
        self.shards.clear();
    }

    /// The disk.
    pub fn disk(&self) -> &SimDisk {
        &self.world.disk
    }

    /// The virtual clock, ns. Reading it here does not move it.
    pub fn now(&self) -> u64 {
        self.world.now()
    }

    /// The virtual date, ms since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.world.wall_ms()
    }

    /// A drawn number.
    pub fn draw(&self) -> u64 {
        self.world.draw()
    }

    /// Moves the virtual clock on to `to` (ns), if it is behind, while nothing runs.
    pub fn advance_to(&mut self, to: u64) {
        self.world.advance_to(to);
    }

    /// How many rounds were run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// A number that is the same for two runs only if they did the same.
    pub fn trace_hash(&self) -> u64 {
        self.world.trace()
    }
}

impl Drop for Simulation {
    /// The next process on the disk begins when this one has ended.
    fn drop(&mut self) {
        self.world.disk.note_time(self.world.now());
    }
}
