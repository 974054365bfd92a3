//! Drawn programs over timers several times as large as their memory, against an ordered set: timers that come and are
//! deleted, in memory and on disk, fire, and are cut; cuts taken over at other parallelisms and by queues in memory.
//!
//! Invariant: what fires is what the set says, in its order, and what a cut says is what the set was at the barrier.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use thalweg_core::seam::simulated::{DiskFaults, SimOptions, Simulation};
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_core::{Epoch, MaxParallelism};
use thalweg_memory::spill::IoQueue;
use thalweg_memory::{Budget, IoManager, Share};

use super::*;
use crate::lsm::stage::{self, Link};
use crate::lsm::{CarriedRun, Pressure};
use crate::run::{Clip, RunOptions, RunWriter, StateHeader, StateNumber};
use crate::snapshot::reading::Draws;
use crate::snapshot::{CutKind, Snapshot};
use crate::table::Scan;

const BATCH: usize = 16;
const BUDGET: u64 = 1 << 20;

/// A timer in the order in which it fires: time, hash, namespace, key.
type Wanted = (i64, u64, u64, u64);

/// A cut that became durable, newest link first, and what was registered at its barrier.
#[derive(Clone)]
struct Copy {
    links: Vec<Link>,
    was: BTreeSet<Wanted>,
}

/// What a program leaves behind.
#[derive(Default)]
struct Left {
    copies: Vec<Copy>,
    ended: bool,
    fired: usize,
    most_rows: u64,
    most_banks: usize,
    most_held: u64,
}

struct Cutting {
    writer: RunWriter,
    carried: Vec<CarriedRun>,
    was: BTreeSet<Wanted>,
    done: bool,
}

/// How the times of a program lie.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Timers are registered so far ahead, at most.
    ahead: i64,
    /// Times are multiples of this.
    of: i64,
    /// One change in so many deletes a timer.
    deletes: u64,
}

/// One task: timers, a set that is right, and dice.
struct Program {
    timers: LayeredTimers<u64, u64>,
    budget: Budget,
    /// For the rows of cuts.
    queue: IoQueue,
    model: BTreeSet<Wanted>,
    draws: Draws,
    times: Times,
    groups: Range<u16>,
    batches: usize,
    /// The time has come so far.
    now: i64,
    waiting: bool,
    epoch: u64,
    cutting: Option<Cutting>,
    left: Rc<RefCell<Left>>,
}

fn descriptor() -> StateDescriptor {
    StateDescriptor::timers("timers").of_keys::<u64, u64>()
}

fn wanted(at: i64, key: u64, namespace: u64) -> Wanted {
    (at, u64::hash(&key).0, namespace.spread(), key)
}

fn group_of(timer: &Wanted) -> u16 {
    MaxParallelism::default().key_group(KeyHash(timer.1)).0
}

/// The namespaces of timers.
fn name_of(timer: &Wanted) -> u64 {
    let mut names = (0..2_u64).filter(|name| name.spread() == timer.2);
    names.next().unwrap()
}

impl Program {
    fn new(
        (seed, times, batches): (u64, Times, usize),
        groups: Range<u16>,
        manager: &IoManager,
        left: &Rc<RefCell<Left>>,
    ) -> Program {
        let budget = Budget::new("slot", BUDGET);
        let queue = TimerQueue::new(groups.clone(), MaxParallelism::default(), budget.clone());
        let (files, shared, all) = (manager.clone(), budget.clone(), groups.clone());
        let make = move || Piles::new(all.clone(), shared.modest_share(), files.queue(8));
        Program {
            timers: LayeredTimers::on_disk(queue, descriptor(), Box::new(make)),
            budget,
            queue: manager.queue(4),
            model: BTreeSet::new(),
            draws: Draws(seed),
            times,
            groups,
            batches,
            now: 0,
            waiting: false,
            epoch: 0,
            cutting: None,
            left: Rc::clone(left),
        }
    }

    /// Registers and deletes some timers; whether there was room.
    fn change(&mut self) -> Result<bool, StateError> {
        if self.timers.is_active() && !self.timers.has_room(BATCH) {
            return Ok(false);
        }
        for _ in 0..BATCH {
            let (at, hash, name, key) = self.draw();
            let namespace = name_of(&(at, hash, name, key));
            let hash = KeyHash(hash);
            let timer = wanted(at, key, namespace);
            if self.draws.once_in(self.times.deletes) {
                self.timers.delete(hash, &key, &namespace, Timestamp(at))?;
                self.model.remove(&timer);
            } else {
                self.timers
                    .register(hash, &key, &namespace, Timestamp(at))?;
                self.model.insert(timer);
            }
        }
        self.batches -= 1;
        Ok(true)
    }

    /// A timer: one that was registered, or a new one.
    fn draw(&mut self) -> Wanted {
        if self.draws.once_in(3) {
            let at = self.now + self.draws.below(self.times.ahead as u64) as i64;
            if let Some(known) = self.model.range((at, 0, 0, 0)..).next() {
                return *known;
            }
        }
        loop {
            let key = self.draws.below(1 << 40);
            let ahead = self.draws.below(self.times.ahead as u64) as i64;
            let at = (self.now + ahead) / self.times.of * self.times.of;
            let timer = wanted(at, key, self.draws.below(2));
            if self.groups.contains(&group_of(&timer)) {
                return timer;
            }
        }
    }

    /// Fires what is due, some of it at once; whether all of that was there.
    fn fire(&mut self) -> Result<bool, StateError> {
        let upto = Timestamp(self.now);
        for _ in 0..500 {
            let expected = self.model.first().filter(|timer| timer.0 <= self.now);
            let expected = expected.copied();
            if let Some((at, ..)) = expected {
                let next = self.timers.next_due();
                assert!(
                    next.is_some_and(|next| next.0 <= at),
                    "{next:?} before {at}"
                );
            }
            if !self.timers.bring(upto) {
                return Ok(false);
            }
            let ahead = self.timers.due_ahead(upto).next().map(|timer| timer.at.0);
            let fired = self.timers.pop_due(upto);
            let fired = fired.map(|it| wanted(it.at.0, it.key, it.namespace));
            assert_eq!((fired, ahead), (expected, expected.map(|timer| timer.0)));
            let Some(timer) = expected else { break };
            self.model.remove(&timer);
            self.left.borrow_mut().fired += 1;
            if self.batches > 0 && self.draws.once_in(4) {
                // What a firing registers, at once or much later.
                let again = self.draws.below(2) as i64 * self.times.ahead;
                let (at, key) = (timer.0 + again, timer.3 ^ 1);
                let hash = u64::hash(&key);
                let timer = wanted(at, key, 1);
                if self.groups.contains(&group_of(&timer)) {
                    if !self.timers.has_room(1) {
                        continue;
                    }
                    self.timers.register(hash, &key, &1, Timestamp(at))?;
                    self.model.insert(timer);
                }
            }
        }
        Ok(true)
    }

    fn work(&mut self) -> Result<(), StateError> {
        if !self.fire()? {
            self.waiting = true;
            return Ok(());
        }
        if self.model.first().is_some_and(|timer| timer.0 <= self.now) {
            return Ok(());
        }
        for _ in 0..8 {
            if self.batches == 0 {
                self.now = i64::MAX;
                return Ok(());
            }
            if !self.change()? {
                self.waiting = true;
                return Ok(());
            }
        }
        if self.draws.once_in(3) {
            self.now += self.draws.below(self.times.ahead as u64 / 500) as i64;
        }
        Ok(())
    }

    /// Begins, writes or ends a cut.
    fn cut(&mut self) -> Result<(), StateError> {
        let Some(cutting) = &mut self.cutting else {
            if !self.timers.is_moving() && self.draws.once_in(60) {
                self.freeze()?;
            }
            return Ok(());
        };
        if !cutting.done {
            let mut rows = cutting.writer.rows_of(StateNumber(0))?;
            cutting.done = self.timers.emit(300, &mut rows)? == Scan::Done;
            return Ok(());
        }
        let Some(cutting) = self.cutting.take() else {
            return Ok(());
        };
        if self.draws.once_in(4) {
            self.timers.cut_failed();
            return Ok(());
        }
        self.timers.cut_durable();
        let (queue, groups) = (&mut self.queue, self.groups.clone());
        let mut links = vec![Link::written(queue, cutting.writer, groups)];
        links.extend(cutting.carried.into_iter().map(Link::carried));
        let was = cutting.was;
        self.left.borrow_mut().copies.push(Copy { links, was });
        Ok(())
    }

    fn freeze(&mut self) -> Result<(), StateError> {
        self.epoch += 1;
        let kind = match self.draws.once_in(4) {
            true => CutKind::Copy,
            false => CutKind::Changes,
        };
        assert!(self.timers.freeze(Epoch(self.epoch), kind).is_full());
        let carried = self.timers.carried();
        assert_eq!(self.timers.begins_anew(), !carried.is_empty());
        assert!(carried.iter().all(CarriedRun::is_written));
        let mut writer = RunWriter::new(RunOptions::default().with_section_bytes(4_096));
        let mut described = Vec::new();
        descriptor().encode(&mut described);
        writer.declare(StateHeader {
            name: "timers".to_owned(),
            descriptor: described,
            full: carried.is_empty(),
        })?;
        self.cutting = Some(Cutting {
            writer,
            carried,
            was: self.model.clone(),
            done: false,
        });
        Ok(())
    }

    /// Goes on from copies of former subtasks.
    fn adopt(&mut self, copies: &[Copy], files: &Simulation) {
        let links = copies.iter().flat_map(|copy| &copy.links);
        let adopted = links.map(|link| link.adopted(files, &self.groups));
        self.timers.adopt(adopted.collect()).unwrap();
        self.timers.restored().unwrap();
        let was = copies.iter().flat_map(|copy| &copy.was);
        let mine = was.filter(|timer| self.groups.contains(&group_of(timer)));
        self.model = mine.copied().collect();
        self.now = self.model.first().map_or(0, |timer| timer.0 - 1);
        self.epoch = 1_000;
    }
}

impl Step for Program {
    fn name(&self) -> &str {
        "program"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.timers.begin_turn(context)?;
        self.waiting = false;
        while let Some((_, answer)) = self.queue.next_done() {
            answer?;
        }
        self.work()?;
        self.cut()?;
        self.queue.poll(context);
        let pressure = self.timers.end_turn(context, self.waiting)?;
        let mut left = self.left.borrow_mut();
        left.most_held = left.most_held.max(self.budget.used());
        if let Some(disk) = &self.timers.disk {
            left.most_rows = left.most_rows.max(disk.banks.size().disk_rows);
            left.most_banks = left.most_banks.max(disk.banks.len());
        }
        let all = self.batches == 0 && self.model.is_empty() && !self.timers.is_moving();
        let done = all && self.cutting.is_none() && self.queue.pending() == 0;
        if done {
            left.ended = true;
            assert_eq!(self.timers.next_due(), None);
            let size = self.timers.size();
            assert_eq!((size.entries, size.disk_rows), (0, 0));
        }
        let made = !done && pressure != Pressure::Disk || self.cutting.is_some();
        Ok(Progress { made, done })
    }
}

fn simulation(seed: u64) -> (Simulation, IoManager) {
    let options = SimOptions {
        disk: DiskFaults::NONE,
        ..SimOptions::default()
    };
    stage::spilling(seed, options)
}

/// Times that come about in order, ones that are all the same, and ones that lie far ahead.
const TIMES: [Times; 4] = [
    Times {
        ahead: 1_000_000,
        of: 1,
        deletes: 4,
    },
    Times {
        ahead: 1_000_000,
        of: 500_000,
        deletes: 6,
    },
    Times {
        ahead: 50_000,
        of: 10,
        deletes: 2,
    },
    Times {
        ahead: 2_000,
        of: 1_000,
        deletes: 1_000,
    },
];

/// What a chain says, in a queue that is all in memory.
fn in_memory(copy: &Copy, files: &Simulation) -> BTreeSet<Wanted> {
    let budget = Budget::new("copy", 1 << 40);
    let queue = TimerQueue::<u64, u64>::new(0..128, MaxParallelism::default(), budget);
    let mut timers = LayeredTimers::in_memory(queue);
    for link in copy.links.iter().rev() {
        let reader = link.open(files);
        let mut walk = reader.walk(Clip::all());
        while let Some((_, row)) = walk.next_row().unwrap() {
            timers.restore(row).unwrap();
        }
    }
    let mut all = BTreeSet::new();
    while let Some(timer) = timers.pop_due(Timestamp::MAX) {
        assert!(all.insert(wanted(timer.at.0, timer.key, timer.namespace)));
    }
    all
}

#[test]
fn timers_far_larger_than_their_memory_fire_as_a_set_says_and_so_do_their_cuts() {
    for seed in 0..12 {
        let (mut simulation, manager) = simulation(seed);
        let left = Rc::new(RefCell::new(Left::default()));
        let times = TIMES[seed as usize % 4];
        let program = Program::new((seed, times, 12_000), 0..128, &manager, &left);
        stage::run(&mut simulation, program).unwrap();
        let left = left.take();
        assert!(left.ended, "seed {seed} hangs");
        assert!(
            left.most_rows > 20_000,
            "seed {seed}: {} rows on disk",
            left.most_rows
        );
        assert!(
            left.most_held <= BUDGET,
            "seed {seed}: {} held",
            left.most_held
        );
        assert!(
            left.most_banks < 40,
            "seed {seed}: {} banks",
            left.most_banks
        );
        assert!(
            left.copies.len() > 1,
            "seed {seed}: {} cuts",
            left.copies.len()
        );
        for copy in &left.copies {
            assert!(in_memory(copy, &simulation) == copy.was, "seed {seed}");
        }
    }
}

/// A program beside another state of its slot, which holds all there is, and gives it back when it is told.
struct Crowded {
    program: Program,
    other: Option<Share>,
    /// What it holds.
    bytes: u64,
    turns: u32,
}

impl Step for Crowded {
    fn name(&self) -> &str {
        "crowded"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        let Some(other) = &self.other else {
            return self.program.turn(context);
        };
        let beyond = other.is_beyond();
        self.turns += u32::from(beyond);
        // It is slow to begin, and slow to end.
        other.shrinks(self.turns > 20);
        if self.turns == 500 {
            other.budget().release(self.bytes);
            self.other = None;
        }
        let progress = self.program.turn(context)?;
        Ok(Progress {
            made: true,
            ..progress
        })
    }
}

#[test]
fn memory_that_others_hold_beyond_their_part_is_waited_for() {
    let (mut simulation, manager) = simulation(5);
    let left = Rc::new(RefCell::new(Left::default()));
    let program = Program::new((5, TIMES[0], 3_000), 0..128, &manager, &left);
    let other = program.budget.share();
    let bytes = program.budget.left() - (32 << 10);
    program.budget.reserve(bytes).unwrap();
    other.holds(bytes);
    let crowded = Crowded {
        program,
        other: Some(other),
        bytes,
        turns: 0,
    };
    stage::run(&mut simulation, crowded).unwrap();
    assert!(left.take().ended);
}

#[test]
fn a_copy_goes_on_at_any_parallelism() {
    for seed in 0..8 {
        let (mut simulation, manager) = simulation(seed);
        let times = TIMES[seed as usize % 4];
        let mut copies: Vec<Copy> = Vec::new();
        let lives: &[&[u16]] = &[&[0, 128], &[0, 50, 128], &[0, 1, 100, 128], &[0, 128]];
        for (life, ends) in lives.iter().enumerate() {
            let mut next = Vec::new();
            for (number, ends) in ends.windows(2).enumerate() {
                let groups = ends[0]..ends[1];
                let left = Rc::new(RefCell::new(Left::default()));
                let drawn = (seed * 100 + (10 * life + number) as u64, times, 4_000);
                let mut program = Program::new(drawn, groups, &manager, &left);
                program.adopt(&copies, &simulation);
                stage::run(&mut simulation, program).unwrap();
                let left = left.take();
                assert!(left.ended, "seed {seed}, life {life} hangs");
                let middle = left.copies.len() / 2;
                next.extend(left.copies.get(middle).cloned());
            }
            copies = next;
        }
        assert!(!copies.is_empty(), "seed {seed}");
    }
}
