//! States that expire while they lie on disk: drawn programs under a clock that goes on, through cuts of every kind
//! and restores with another time to live, against a map; and how much disk is left of what is gone.
//!
//! Invariant: a value that is alive is there; one whose time has passed may be gone, and where it may still be seen
//! it is the last one its key had, never one before that, and never one that was cleared.

mod collections;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use thalweg_core::seam::simulated::{SimOptions, Simulation};
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_core::{Epoch, KeyHash, MaxParallelism, Timestamp};
use thalweg_memory::spill::IoQueue;
use thalweg_memory::{Budget, IoManager, SpillFile};

use self::collections::{Collected, Collections};
use super::stage::{self, run, spilling};
use super::{AdoptedRun, CarriedRun, Pressure};
use crate::backend::KeyedBackend;
use crate::run::{Clip, CountingRun, RunOptions, RunReader, RunWriter, StateHeader, StateNumber};
use crate::snapshot::Adopts;
use crate::snapshot::planted::{Bug, failures};
use crate::snapshot::reading::{Draws, Level, finish};
use crate::snapshot::{CutKind, Snapshot};
use crate::ttl::TtlVisibility;
use crate::{
    ReducingState, Scan, StateDescriptor, StateError, StateTtl, StateVisitor, ValueState, WINDOW,
};

const BATCH: usize = 16;
const KEYS: u64 = 12_000;
/// Turns within which a record or a cut goes on: each cut that is begun meanwhile keeps a model.
const IDLE: usize = 20_000;
const GROUPS: std::ops::Range<u16> = 0..128;

fn hash(key: u64) -> KeyHash {
    KeyHash::of_u64(key)
}

/// The last value that a key had, and when.
#[derive(Clone, Copy, Debug)]
struct Last {
    value: u64,
    touched: i64,
    /// It was over at some time, under whichever time to live was then: it may be gone.
    maybe: bool,
}

/// What keys had in one state.
#[derive(Clone, Default)]
struct Model(BTreeMap<u64, Last>);

impl Model {
    /// What was read of a key is what could be; and what is over has gone with that.
    fn check(&mut self, key: u64, read: Option<u64>, (ttl, now): (StateTtl, i64), what: &str) {
        let over = |last: &Last| ttl.is_over(Timestamp(last.touched), Timestamp(now));
        let Some(last) = self.0.get(&key).copied() else {
            assert_eq!(read, None, "key {key} has nothing: {what}");
            return;
        };
        let shows = ttl.visibility() == TtlVisibility::ReturnExpiredIfNotCleanedUp;
        let may_be_gone = over(&last) || last.maybe;
        let may_be_there = !over(&last) || shows;
        let fits = match read {
            None => may_be_gone,
            Some(value) => may_be_there && value == last.value,
        };
        assert!(fits, "key {key} at {now} is {read:?}, was {last:?}: {what}");
        if read.is_none() || over(&last) {
            self.0.remove(&key);
        }
    }

    fn set(&mut self, key: u64, value: u64, touched: i64) {
        let maybe = false;
        self.0.insert(
            key,
            Last {
                value,
                touched,
                maybe,
            },
        );
    }

    /// What is over by now may be gone from now on.
    fn age(&mut self, ttl: StateTtl, now: i64) {
        for last in self.0.values_mut() {
            last.maybe |= ttl.is_over(Timestamp(last.touched), Timestamp(now));
        }
    }
}

/// What keys had in all states.
#[derive(Clone, Default)]
struct Models {
    values: [Model; 2],
    collected: Collected,
}

impl Models {
    /// How many values, elements and entries may be gone.
    fn over(&self) -> [usize; 3] {
        let all = self.values.iter().flat_map(|model| model.0.values());
        let [elements, entries] = self.collected.over();
        [all.filter(|last| last.maybe).count(), elements, entries]
    }
}

/// Two states that expire: one hides what is over, the other may show it once more; and a list and a map.
struct States {
    backend: KeyedBackend<u64>,
    hidden: ValueState<u64, (u64, String)>,
    shown: ReducingState<u64, u64>,
    collections: Collections,
    ttl: StateTtl,
}

impl States {
    fn declare(mut backend: KeyedBackend<u64>, ttl: StateTtl) -> States {
        let hidden = StateDescriptor::value::<(u64, String)>("hidden").with_ttl(ttl);
        let shown = StateDescriptor::reducing::<u64>("shown").with_ttl(Self::showing(ttl));
        let last: fn(&mut u64, u64) = |last, number| *last = number;
        States {
            hidden: backend.value_state_of(hidden).unwrap(),
            shown: backend.reducing_state_of(shown, last).unwrap(),
            collections: Collections::declare(&mut backend, ttl),
            backend,
            ttl,
        }
    }

    fn showing(ttl: StateTtl) -> StateTtl {
        ttl.with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp)
    }

    /// Reads what a key has in both, and holds it against the models.
    fn check(&self, key: u64, models: &mut Models, now: i64, what: &str) {
        self.backend.context().set_current(hash(key), &key);
        self.collections
            .check(key, &mut models.collected, now, what);
        let [hidden, shown] = &mut models.values;
        let read = self.hidden.get().unwrap().map(|(number, _)| number);
        hidden.check(key, read, (self.ttl, now), what);
        let read = self.shown.get().unwrap();
        shown.check(key, read, (Self::showing(self.ttl), now), what);
    }

    fn each(&mut self, mut work: impl FnMut(&StateDescriptor, &mut dyn Snapshot)) {
        let mut visit = |descriptor: &StateDescriptor, state: &mut dyn Snapshot| {
            work(descriptor, state);
            Ok(())
        };
        let visitor: &mut dyn StateVisitor = &mut visit;
        self.backend.visit_states(visitor).unwrap();
    }

    /// Gives both states back what a copy holds, by its runs where that can be.
    fn give_back(&mut self, links: &[Link], files: &Simulation) {
        let open = |link: &Link| {
            let bytes = files.disk().content(link.file.path()).unwrap();
            RunReader::open(link.file.path().display().to_string(), bytes).unwrap()
        };
        let readers: Vec<_> = links.iter().map(open).collect();
        let runs: Vec<_> = (links.iter().zip(&readers))
            .map(|(link, run)| CountingRun {
                run,
                groups: GROUPS,
                only: link.only,
            })
            .collect();
        self.each(|descriptor, state| {
            let (parts, _) = crate::run::counting(&runs, descriptor.name());
            let in_place = state.adopts(0) == Adopts::Runs;
            if in_place {
                let adopted = parts.iter().map(|part| {
                    let (link, reader) = (&links[part.run], &readers[part.run]);
                    let about = (link.file.path().to_owned(), link.bytes, link.checksum);
                    AdoptedRun::new(about, reader, part.state, vec![part.groups.clone()])
                });
                state.adopt(adopted.map(Result::unwrap).collect()).unwrap();
            }
            for part in parts.iter().rev().filter(|_| !in_place) {
                let clip = || Clip::all().of_state(part.state);
                for clip in [clip().tombstones(), clip().puts()] {
                    let mut walk = readers[part.run].walk(clip);
                    while let Some((_, row)) = walk.next_row().unwrap() {
                        state.restore(row).unwrap();
                    }
                }
            }
            state.restored().unwrap();
        });
    }
}

/// A file of a chain of cuts.
#[derive(Clone)]
struct Link {
    file: SpillFile,
    bytes: u64,
    checksum: u32,
    only: Option<StateNumber>,
    /// Keeps a cold run's file.
    _carried: Option<Rc<CarriedRun>>,
}

/// A cut that became durable, newest link first, and what the states were at its barrier.
#[derive(Clone)]
struct Copy {
    links: Vec<Link>,
    was: Models,
    now: i64,
}

struct Cutting {
    kind: CutKind,
    full: bool,
    writer: RunWriter,
    /// The state whose rows come next.
    state: usize,
    carried: Vec<CarriedRun>,
    was: Models,
}

/// One subtask.
struct Program {
    states: States,
    /// For the rows of cuts.
    queue: IoQueue,
    models: Models,
    now: i64,
    draws: Draws,
    batches: usize,
    batch: Vec<u64>,
    /// Of which so many were applied.
    applied: usize,
    number: usize,
    waiting: bool,
    /// Turns since something was applied.
    idle: usize,
    epoch: u64,
    cutting: Option<Cutting>,
    chain: Vec<Link>,
    /// All copies, and whether it came to its end.
    left: Rc<RefCell<(Vec<Copy>, bool)>>,
}

fn overflowing(manager: &IoManager, budget: Budget) -> KeyedBackend<u64> {
    let make = stage::overflows(manager, &budget, 1 << 40);
    let backend = KeyedBackend::in_memory(GROUPS, MaxParallelism::default(), budget);
    backend.overflowing(Box::new(make))
}

impl Program {
    fn new(seed: u64, batches: usize, ttl: StateTtl, manager: &IoManager) -> Program {
        let backend = overflowing(manager, Budget::new("slot", 2 << 20));
        Program {
            states: States::declare(backend, ttl),
            queue: manager.queue(4),
            models: Models::default(),
            now: 0,
            draws: Draws(seed),
            batches,
            batch: Vec::new(),
            applied: 0,
            number: 0,
            waiting: false,
            idle: 0,
            epoch: 0,
            cutting: None,
            chain: Vec::new(),
            left: Rc::default(),
        }
    }

    /// Applies batches until one has to wait.
    fn work(&mut self) -> Result<(), StateError> {
        for _ in 0..4 {
            if self.number == self.batches {
                return Ok(());
            }
            if self.batch.is_empty() {
                self.now += 1;
                let backend = &mut self.states.backend;
                backend.set_processing_time(Timestamp(self.now));
                let draws = &mut self.draws;
                let key = |_| match draws.once_in(3) {
                    true => draws.below(50),
                    false => draws.below(KEYS),
                };
                self.batch = (0..BATCH).map(key).collect();
                let from = self.number * BATCH % WINDOW;
                let hashes: Vec<_> = self.batch.iter().map(|key| hash(*key)).collect();
                backend.residency(from as u8, &hashes)?;
            }
            let there = self.seek();
            while self.applied < there {
                self.apply(self.batch[self.applied])?;
                self.applied += 1;
                self.idle = 0;
            }
            if there < BATCH {
                self.waiting = true;
                return Ok(());
            }
            self.batch.clear();
            self.applied = 0;
            self.number += 1;
        }
        Ok(())
    }

    /// Seeks all that the rest of the batch needs; the place in it up to which that is there. Where memory is little
    /// that may be the first of them alone.
    fn seek(&self) -> usize {
        let (from, backend) = (self.number * BATCH % WINDOW, &self.states.backend);
        if !backend.has_room(BATCH) {
            return 0;
        }
        let mut there = BATCH;
        for (at, key) in self.batch.iter().enumerate().skip(self.applied) {
            if !backend.seek(from + at, hash(*key), key) {
                there = there.min(at);
            }
        }
        match there - self.applied {
            0 => there,
            ready => self.applied + backend.let_in(ready),
        }
    }

    fn apply(&mut self, key: u64) -> Result<(), StateError> {
        let (states, now) = (&mut self.states, self.now);
        let (what, number) = (self.draws.below(8), self.draws.below(1_000));
        // Not all are read: to read what is over removes it.
        if what < 4 {
            states.check(key, &mut self.models, now, "while it goes on");
        }
        states.backend.context().set_current(hash(key), &key);
        let collected = (&mut self.models.collected, now);
        states.collections.change(key, &mut self.draws, collected)?;
        let [hidden, shown] = &mut self.models.values;
        match what {
            0 => {
                states.hidden.clear()?;
                hidden.0.remove(&key);
            }
            1 => {
                states.shown.clear()?;
                shown.0.remove(&key);
            }
            2 | 3 => {}
            _ => {
                states.hidden.set((number, format!("{key:0>60}")))?;
                hidden.set(key, number, now);
                states.shown.add(number)?;
                shown.set(key, number, now);
            }
        }
        Ok(())
    }

    /// Begins, writes or ends a cut.
    fn cut(&mut self) -> Result<(), StateError> {
        let Some(cutting) = &mut self.cutting else {
            if self.number < self.batches && self.draws.once_in(12) {
                self.freeze();
            }
            return Ok(());
        };
        let (mut states, mut emitted, at) = (0, Ok(Scan::Done), cutting.state);
        self.states.each(|_, state| {
            if states == at {
                let mut rows = cutting.writer.rows_of(StateNumber(at as u16)).unwrap();
                emitted = state.emit(64, &mut rows);
            }
            states += 1;
        });
        cutting.state += usize::from(at < states && emitted? == Scan::Done);
        let written = cutting.carried.iter().all(CarriedRun::is_written);
        if cutting.state == states && written {
            self.end_cut();
        }
        Ok(())
    }

    fn freeze(&mut self) {
        let mut kind = match self.draws.below(8) {
            0 => CutKind::Copy,
            1 => CutKind::Everything,
            _ => CutKind::Changes,
        };
        let mut anew = false;
        self.states.each(|_, state| anew |= state.begins_anew());
        if anew && kind == CutKind::Changes {
            kind = CutKind::Everything;
        }
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        let mut cutting = Cutting {
            kind,
            full: true,
            writer: RunWriter::new(RunOptions::default().with_section_bytes(4_096)),
            state: 0,
            carried: Vec::new(),
            was: self.models.clone(),
        };
        self.states.each(|descriptor, state| {
            let full = state.freeze(epoch, kind).is_full();
            let carried = state.carried();
            let mut described = Vec::new();
            descriptor.encode(&mut described);
            let header = StateHeader {
                name: descriptor.name().to_owned(),
                descriptor: described,
                full: full && carried.is_empty(),
            };
            cutting.full &= full;
            cutting.carried.extend(carried);
            cutting.writer.declare(header).unwrap();
        });
        self.cutting = Some(cutting);
    }

    fn end_cut(&mut self) {
        let Some(mut cutting) = self.cutting.take() else {
            return;
        };
        if self.draws.once_in(5) {
            self.states.each(|_, state| state.cut_failed());
            return;
        }
        self.states.each(|_, state| state.cut_durable());
        let (bytes, summary) = cutting.writer.finish().unwrap();
        let file = self.queue.files().file();
        self.queue.write(&file, 0, bytes).unwrap();
        let mut links = vec![Link {
            file,
            bytes: summary.bytes,
            checksum: summary.checksum,
            only: None,
            _carried: None,
        }];
        links.extend(cutting.carried.into_iter().map(|run| Link {
            file: run.file().clone(),
            bytes: run.bytes(),
            checksum: run.checksum(),
            only: run.only(),
            _carried: Some(Rc::new(run)),
        }));
        if !cutting.full {
            links.extend(self.chain.iter().cloned());
        }
        if cutting.kind != CutKind::Copy {
            self.chain.clone_from(&links);
        }
        // Rows are those of what was alive when they were written.
        let Models { values, collected } = &mut cutting.was;
        let [hidden, shown] = values;
        collected.age(self.states.ttl, self.now);
        hidden.age(self.states.ttl, self.now);
        shown.age(self.states.ttl, self.now);
        let (was, now) = (cutting.was, self.now);
        self.left.borrow_mut().0.push(Copy { links, was, now });
    }

    fn restore(&mut self, copy: &Copy, files: &Simulation) {
        self.states.give_back(&copy.links, files);
        self.chain.clone_from(&copy.links);
        (self.models, self.now) = (copy.was.clone(), copy.now);
        self.epoch = 1_000_000;
    }
}

impl Step for Program {
    fn name(&self) -> &str {
        "program"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.states.backend.begin_turn(context)?;
        self.waiting = false;
        while let Some((_, answer)) = self.queue.next_done() {
            answer?;
        }
        self.idle += 1;
        assert!(self.idle < IDLE, "it waits for ever at {}", self.now);
        self.work()?;
        self.cut()?;
        self.queue.poll(context);
        let pressure = self.states.backend.end_turn(context, self.waiting)?;
        let over = self.number == self.batches && self.cutting.is_none();
        let done = over && self.queue.pending() == 0;
        self.left.borrow_mut().1 |= done;
        let made = !done && pressure != Pressure::Disk || self.cutting.is_some();
        Ok(Progress { made, done })
    }
}

fn lives(milliseconds: u64) -> StateTtl {
    StateTtl::new(Duration::from_millis(milliseconds))
}

/// How many values, elements and entries that were over are gone, and how many are still there.
#[derive(Default)]
struct Over {
    gone: [usize; 3],
    there: [usize; 3],
}

impl Over {
    fn add(&mut self, other: &Over) {
        for kind in 0..3 {
            self.gone[kind] += other.gone[kind];
            self.there[kind] += other.there[kind];
        }
    }
}

/// Reads all of a copy by states in memory that live long; answers how much of what was over is gone and how much
/// is still there.
fn check(copy: &Copy, files: &Simulation, what: &str) -> Over {
    let budget = Budget::new("check", 1 << 30);
    let backend = KeyedBackend::in_memory(GROUPS, MaxParallelism::default(), budget);
    let mut states = States::declare(backend, lives(1 << 40));
    states.give_back(&copy.links, files);
    states
        .backend
        .set_processing_time(Timestamp(copy.now + 1_000));
    let mut was = copy.was.clone();
    (0..KEYS).for_each(|key| states.check(key, &mut was, copy.now + 1_000, what));
    let (before, there) = (copy.was.over(), was.over());
    let gone = std::array::from_fn(|kind| before[kind] - there[kind]);
    Over { gone, there }
}

/// A drawn program that is restored again and again, each time with another time to live; answers how much of what
/// was over its copies had lost, and how much not.
fn program(seed: u64) -> Over {
    let mut over = Over::default();
    let (mut simulation, manager) = spilling(seed, SimOptions::default());
    let mut kept: Vec<Copy> = Vec::new();
    let mut newest: Option<Copy> = None;
    for (generation, ttl) in (0_u64..).zip([300, 300, 2_000, 150, 900, 300]) {
        let batches = if newest.is_none() { 900 } else { 400 };
        let draws = seed * 1_000 + generation;
        let mut program = Program::new(draws, batches, lives(ttl), &manager);
        if let Some(copy) = &newest {
            program.restore(copy, &simulation);
        }
        let left = Rc::clone(&program.left);
        run(&mut simulation, program).unwrap();
        let (copies, ended) = left.take();
        let what = format!("seed {seed}, generation {generation}");
        assert!(ended, "{what} hangs");
        for copy in copies.iter().rev().take(3) {
            over.add(&check(copy, &simulation, &what));
        }
        newest = copies.last().cloned().or(newest);
        // Files of old copies are files of new ones.
        kept.extend(copies);
    }
    over
}

#[test]
fn what_expires_on_disk_brings_nothing_back_whatever_the_time_to_live_becomes() {
    let mut over = Over::default();
    (0..6).for_each(|seed| over.add(&program(seed)));
    for (kind, what) in ["values", "elements", "entries"].into_iter().enumerate() {
        let (gone, there) = (over.gone[kind], over.there[kind]);
        assert!(gone > 1_000, "{gone} {what} that were over went");
        assert!(there > 1_000, "{there} {what} that were over were left");
    }
}

#[test]
fn planted_mistakes_of_expiry_on_disk_are_found() {
    for bug in [
        Bug::ExpiredWithoutTombstone,
        Bug::CutsBuildOnExpired,
        Bug::ExpiredDropped,
    ] {
        let finds = |seed: u64| {
            failures(bug, seed..seed + 1, |seed| {
                program(seed);
            }) > 0
        };
        assert!((0..20).any(finds), "{bug:?} was not found");
    }
}

/// Sets something long of ever new keys, and reads some of those before that are alive and some that are not.
struct Fading {
    backend: KeyedBackend<u64>,
    kept: ValueState<u64, String>,
    expires: bool,
    /// Keys between two cuts, if there are cuts.
    cuts: Option<u64>,
    next: u64,
    epoch: u64,
    waiting: bool,
    /// Bytes on disk, in the end.
    disk: Rc<Cell<u64>>,
}

impl Fading {
    /// Keys that come in the time that a value lives.
    const LIFETIME: u64 = 6_000;
    const LIFETIMES: u64 = 8;

    fn new(expires: bool, cuts: Option<u64>, manager: &IoManager) -> Fading {
        let mut backend = overflowing(manager, Budget::new("slot", 1 << 20));
        let mut kept = StateDescriptor::value::<String>("kept");
        if expires {
            kept = kept.with_ttl(lives(Self::LIFETIME));
        }
        Fading {
            kept: backend.value_state_of(kept).unwrap(),
            backend,
            expires,
            cuts,
            next: 0,
            epoch: 0,
            waiting: false,
            disk: Rc::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.next == Self::LIFETIME * Self::LIFETIMES
    }

    fn work(&mut self) -> Result<(), StateError> {
        let now = self.next;
        self.backend.set_processing_time(Timestamp(now as i64));
        let old = now.saturating_sub(Self::LIFETIME / 2);
        // Few: one that is found to have expired is removed by that.
        let gone = match now.is_multiple_of(50) {
            true => now.saturating_sub(3 * Self::LIFETIME / 2),
            false => now,
        };
        let keys = [now, old, gone];
        let there = keys.iter().enumerate().filter(|(at, key)| {
            let place = (now as usize * 3 + at) % WINDOW;
            self.backend.seek(place, hash(**key), key)
        });
        self.waiting = there.count() < keys.len() || !self.backend.has_room(1);
        if self.waiting {
            return Ok(());
        }
        let read = |key: u64| {
            self.backend.context().set_current(hash(key), &key);
            self.kept.get()
        };
        if old > 0 {
            assert_eq!(read(old)?, Some(format!("{old:0>100}")), "alive at {now}");
        }
        if gone > 0 && gone < now {
            let expected = (!self.expires).then(|| format!("{gone:0>100}"));
            assert_eq!(read(gone)?, expected, "at {now}");
        }
        self.backend.context().set_current(hash(now), &now);
        self.kept.set(format!("{now:0>100}"))?;
        self.next += 1;
        if self.cuts.is_some_and(|keys| self.next.is_multiple_of(keys)) {
            self.cut()?;
        }
        Ok(())
    }

    /// A cut of changes, of which all but the runs it carries is done with at once.
    fn cut(&mut self) -> Result<(), StateError> {
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        self.backend
            .visit_states(&mut |_: &StateDescriptor, state: &mut dyn Snapshot| {
                let kind = match state.begins_anew() {
                    true => CutKind::Everything,
                    false => CutKind::Changes,
                };
                let kind = state.freeze(epoch, kind);
                let mut rows = Level::new(kind);
                finish(state, 1 << 20, &mut rows);
                state.cut_durable();
                Ok(())
            })
    }
}

impl Step for Fading {
    fn name(&self) -> &str {
        "fading"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.backend.begin_turn(context)?;
        self.waiting = false;
        for _ in 0..64 {
            if !self.is_over() && !self.waiting {
                self.work()?;
            }
        }
        let pressure = self.backend.end_turn(context, self.waiting)?;
        let mut bytes = 0;
        (self.backend).show_overflow(|overflow| bytes += overflow.disk_bytes());
        self.disk.set(bytes);
        let done = self.is_over();
        let made = !done && pressure != Pressure::Disk;
        Ok(Progress { made, done })
    }
}

#[test]
fn what_has_expired_goes_where_runs_are_merged() {
    let disk_bytes = |expires: bool, cuts: Option<u64>| {
        let (mut simulation, manager) = spilling(1, SimOptions::default());
        let program = Fading::new(expires, cuts, &manager);
        let disk = Rc::clone(&program.disk);
        run(&mut simulation, program).unwrap();
        disk.get()
    };
    let all = Fading::LIFETIME * Fading::LIFETIMES * 100;
    for cuts in [None, Some(1_500)] {
        let (lasting, expiring) = (disk_bytes(false, cuts), disk_bytes(true, cuts));
        assert!(lasting > all * 9 / 10, "{lasting} bytes of what lasts");
        assert!(
            expiring < lasting / 2,
            "{expiring} bytes of what expires, {lasting} of what lasts, cuts: {cuts:?}"
        );
    }
}
