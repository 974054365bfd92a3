//! Drawn programs over several states of one operator, all of them larger than their memory, lists and maps among
//! them, and one kept per window: changes and removals, cuts of every kind that become durable or fail, restores again
//! and again at changing parallelism, on a simulated disk, against a map.
//!
//! Invariant: whatever a key is asked is what the map says, and what a chain of cuts says by the reading rule is
//! what the map was at the barrier.

#[path = "collections_tests.rs"]
mod collections;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use thalweg_core::seam::simulated::{SimOptions, Simulation};
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_core::{Epoch, KeyHash, MaxParallelism, Timestamp};
use thalweg_memory::spill::IoQueue;
use thalweg_memory::{Budget, IoManager, SpillFile};

use self::collections::{Both, Collections};
use super::super::facade::KeyedBackend;
use crate::lsm::stage::{self, spilling};
use crate::lsm::{AdoptedRun, CarriedRun, LayeredTable, Overflow, Pressure};
use crate::run::{
    Clip, CountingRun, RunOptions, RunReader, RunWriter, StateHeader, StateNumber, counting,
};
use crate::snapshot::Adopts;
use crate::snapshot::reading::Draws;
use crate::snapshot::{CutKind, Snapshot};
use crate::{
    AggregatingState, Aggregation, KeyedTable, ReducingState, Scan, StateDescriptor, StateError,
    StateTtl, ValueState, WINDOW,
};

const BATCH: usize = 16;
const BUDGET: u64 = 3 << 20;
const KEYS: u64 = 16_000;
/// Windows that a key may have.
const WINDOWS: u64 = 2;

/// What a key has in each state.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    text: Option<(u64, String)>,
    sum: Option<u64>,
    mean: Option<(u64, u64)>,
    both: Both,
    windows: BTreeMap<u64, Pane>,
}

/// A window, as states see it.
type Span = (Timestamp, Timestamp);
/// What is kept of a window: a sum, beside something long.
type Pane = (u64, String);

fn window(number: u64) -> Span {
    let start = number as i64 * 10;
    (Timestamp(start), Timestamp(start + 10))
}

type Model = BTreeMap<u64, Held>;

/// The states of an operator.
struct States {
    backend: KeyedBackend<u64>,
    text: ValueState<u64, (u64, String)>,
    sum: ReducingState<u64, u64>,
    mean: AggregatingState<u64, u64, (u64, u64), (u64, u64)>,
    collections: Collections,
    /// As an operator keeps windows: it says itself which of a key are sought.
    windows: LayeredTable<u64, Pane, Span>,
}

impl States {
    fn windows() -> StateDescriptor {
        StateDescriptor::value::<Pane>("windows").of_keys::<u64, Span>()
    }

    /// The states; windows overflow there.
    fn declare(
        mut backend: KeyedBackend<u64>,
        budget: Budget,
        windows: Option<Box<Overflow>>,
    ) -> States {
        let table = KeyedTable::new(backend.groups(), MaxParallelism::default(), budget).unwrap();
        let add: fn(&mut u64, u64) = |sum, number| *sum += number;
        let mean = Aggregation::new(
            || (0, 0),
            |(sum, count): &mut (u64, u64), number| (*sum, *count) = (*sum + number, *count + 1),
            |mean| *mean,
        );
        let year = StateTtl::new(Duration::from_secs(365 * 86_400));
        let aging = StateDescriptor::aggregating::<(u64, u64)>("mean").with_ttl(year);
        States {
            text: backend.value_state("text").unwrap(),
            sum: backend.reducing_state("sum", add).unwrap(),
            collections: Collections::declare(&mut backend),
            mean: backend.aggregating_state_of(aging, mean).unwrap(),
            windows: LayeredTable::new(table, windows),
            backend,
        }
    }

    fn turn_to(&self, key: u64) {
        self.backend.context().set_current(hash(key), &key);
    }

    /// What the key in work has.
    fn held(&mut self, key: u64) -> Result<Held, StateError> {
        let pane = |number| {
            let pane = (self.windows.hot()).get_in(hash(key), &key, &window(number));
            pane.map(|pane| (number, pane.clone()))
        };
        Ok(Held {
            windows: (0..WINDOWS).filter_map(pane).collect(),
            text: self.text.get()?,
            sum: self.sum.get()?,
            mean: self.mean.get()?,
            both: self.collections.held()?,
        })
    }

    /// Changes what the key in work has, and what the map says of it.
    fn change(&mut self, key: u64, draws: &mut Draws, held: &mut Held) -> Result<(), StateError> {
        let (what, number) = (draws.below(10), draws.below(1_000));
        if what == 0 || what == 3 {
            self.text.clear()?;
            held.text = None;
        }
        if what == 1 || what == 3 {
            self.sum.clear()?;
            held.sum = None;
        }
        if what == 2 || what == 3 {
            self.mean.clear()?;
            held.mean = None;
        }
        if what > 3 && what != 4 {
            let first = || (number, format!("{key:0>80}"));
            self.text.upsert(first, |(last, _)| *last = number)?;
            held.text = Some((number, format!("{key:0>80}")));
        }
        if what > 3 && what != 5 {
            self.sum.add(number)?;
            held.sum = Some(held.sum.unwrap_or(0) + number);
        }
        if what > 3 && what != 6 {
            self.mean.add(number)?;
            let (sum, count) = held.mean.unwrap_or_default();
            held.mean = Some((sum + number, count + 1));
        }
        self.collections.change(key, draws, &mut held.both)
    }

    /// The same of its windows: one gathers something, is closed, or becomes a part of another.
    fn change_window(
        &mut self,
        key: u64,
        draws: &mut Draws,
        held: &mut Held,
    ) -> Result<(), StateError> {
        let (what, number) = (draws.below(8), draws.below(1_000));
        let (one, other) = (draws.below(WINDOWS), draws.below(WINDOWS));
        let mut more = 0;
        if what < 3 {
            let gone = (self.windows).remove_in(hash(key), &key, &window(one));
            let expected = held.windows.remove(&one);
            assert_eq!(gone, expected, "window {one} of key {key}");
            more = gone.map_or(0, |(sum, _)| sum);
        }
        if what == 2 && more > 0 || what > 3 {
            let add = |(sum, _): &mut Pane, more| *sum += more;
            let more = more + number;
            let first = |sum| (sum, format!("{key:0>60}"));
            (self.windows.hot_mut()).fold_in(hash(key), &key, &window(other), more, first, add)?;
            let pane = held.windows.entry(other).or_insert_with(|| first(0));
            pane.0 += more;
        }
        Ok(())
    }

    /// Whether entries have to be sought.
    fn overflows(&self) -> bool {
        self.backend.overflows() || self.windows.is_active()
    }

    /// Whether there is room for what a batch may add.
    fn has_room(&mut self) -> bool {
        let windows = self.windows.has_room(BATCH);
        self.backend.has_room(BATCH) && windows
    }

    /// Seeks all that a key has; whether it is there.
    fn seek(&mut self, place: usize, key: u64) -> bool {
        let mut there = self.backend.seek(place, hash(key), &key);
        for number in 0..WINDOWS {
            there &= (self.windows).seek(place, hash(key), &key, &window(number));
        }
        there
    }

    fn each(&mut self, mut work: impl FnMut(&StateDescriptor, &mut dyn Snapshot)) {
        let mut visit = |descriptor: &StateDescriptor, state: &mut dyn Snapshot| {
            work(descriptor, state);
            Ok(())
        };
        self.backend.visit_states(&mut visit).unwrap();
        visit(&Self::windows(), &mut self.windows).unwrap();
    }

    /// Gives each state back what counts for it, by its runs or by its rows.
    fn give_back(&mut self, links: &[Link], files: &Simulation, keeps: bool) {
        let groups = self.backend.groups();
        let open = |link: &Link| {
            let bytes = files.disk().content(link.file.path()).unwrap();
            assert_eq!(bytes.len() as u64, link.bytes);
            RunReader::open(link.file.path().display().to_string(), bytes).unwrap()
        };
        let readers: Vec<_> = links.iter().map(open).collect();
        let runs: Vec<_> = (links.iter().zip(&readers))
            .map(|(link, run)| CountingRun {
                run,
                groups: link.groups.start.max(groups.start)..link.groups.end.min(groups.end),
                only: link.only,
            })
            .collect();
        self.each(|descriptor, state| {
            let (parts, _) = counting(&runs, descriptor.name());
            if state.adopts(0) == Adopts::Runs {
                let adopted = parts
                    .chunk_by(|one, next| one.run == next.run)
                    .map(|parts| {
                        let link = &links[parts[0].run];
                        let about = (link.file.path().to_owned(), link.bytes, link.checksum);
                        let groups = parts.iter().map(|part| part.groups.clone()).collect();
                        AdoptedRun::new(about, &readers[parts[0].run], parts[0].state, groups)
                    });
                state.adopt(adopted.map(Result::unwrap).collect()).unwrap();
            } else {
                for part in parts.iter().rev() {
                    let clip = || {
                        let of_state = Clip::all().of_state(part.state);
                        of_state.within(part.groups.clone())
                    };
                    for clip in [clip().tombstones(), clip().puts()] {
                        let mut walk = readers[part.run].walk(clip);
                        while let Some((_, row)) = walk.next_row().unwrap() {
                            state.restore(row).unwrap();
                        }
                    }
                }
            }
            state.restored().unwrap();
            if !keeps {
                state.forget_copies();
            }
        });
    }
}

fn hash(key: u64) -> KeyHash {
    KeyHash::of_u64(key)
}

fn group_of(key: u64) -> u16 {
    MaxParallelism::default().key_group(hash(key)).0
}

/// A file of a chain, with that for which it counts.
#[derive(Clone)]
struct Link {
    file: SpillFile,
    bytes: u64,
    checksum: u32,
    groups: Range<u16>,
    only: Option<StateNumber>,
    /// Keeps a cold run's file.
    _carried: Option<Rc<CarriedRun>>,
}

/// A cut that became durable, newest link first, and what the states were at its barrier.
#[derive(Clone, Default)]
struct Copy {
    links: Vec<Link>,
    was: Model,
}

/// What a program leaves behind.
#[derive(Default)]
struct Left {
    copies: Vec<Copy>,
    ended: bool,
    /// Blocks read, by state.
    reads: BTreeMap<String, u64>,
}

struct Cutting {
    kind: CutKind,
    full: bool,
    any_full: bool,
    writer: RunWriter,
    /// The state whose rows come next.
    state: usize,
    carried: Vec<CarriedRun>,
    was: Model,
}

/// One subtask: its states, a map that is right, and dice.
struct Program {
    states: States,
    groups: Range<u16>,
    /// For the rows of cuts.
    queue: IoQueue,
    model: Model,
    draws: Draws,
    batches: usize,
    batch: Vec<u64>,
    /// Of which so many were applied.
    applied: usize,
    number: usize,
    waiting: bool,
    epoch: u64,
    cutting: Option<Cutting>,
    /// The last cut is durable.
    ended: bool,
    chain: Vec<Link>,
    left: Rc<RefCell<Left>>,
}

impl Program {
    fn new(
        (seed, batches): (u64, usize),
        groups: Range<u16>,
        merge_rate: u64,
        manager: &IoManager,
    ) -> Program {
        let budget = Budget::new("slot", BUDGET);
        let (whole, make) = (
            budget.clone(),
            stage::overflows(manager, &budget, merge_rate),
        );
        let backend = KeyedBackend::in_memory(groups.clone(), MaxParallelism::default(), budget)
            .overflowing(Box::new(make.clone()));
        let windows = make(&States::windows(), groups.clone());
        Program {
            states: States::declare(backend, whole, Some(windows)),
            groups,
            queue: manager.queue(4),
            model: Model::new(),
            draws: Draws(seed),
            batches,
            batch: Vec::new(),
            applied: 0,
            number: 0,
            waiting: false,
            epoch: 0,
            cutting: None,
            ended: false,
            chain: Vec::new(),
            left: Rc::default(),
        }
    }

    fn draw_key(&mut self) -> u64 {
        loop {
            let most = if self.draws.once_in(3) { 50 } else { KEYS };
            let key = self.draws.below(most);
            if self.groups.contains(&group_of(key)) {
                return key;
            }
        }
    }

    /// Applies batches until one has to wait.
    fn work(&mut self) -> Result<(), StateError> {
        for _ in 0..4 {
            if self.number == self.batches {
                return Ok(());
            }
            if self.batch.is_empty() {
                self.batch = (0..BATCH).map(|_| self.draw_key()).collect();
                let from = self.number * BATCH % WINDOW;
                let hashes: Vec<_> = self.batch.iter().map(|key| hash(*key)).collect();
                self.states.backend.residency(from as u8, &hashes)?;
                self.seek();
            }
            let mut there = self.batch.len();
            if self.states.overflows() {
                there = match self.states.has_room() {
                    true => self.let_in(),
                    false => 0,
                };
            }
            while self.applied < there {
                self.apply(self.batch[self.applied])?;
                self.applied += 1;
            }
            if there < self.batch.len() {
                self.waiting = true;
                return Ok(());
            }
            self.batch.clear();
            self.applied = 0;
            self.number += 1;
        }
        Ok(())
    }

    /// Seeks all that the rest of the batch needs; the place in it up to which that is there.
    fn seek(&mut self) -> usize {
        let from = self.number * BATCH % WINDOW;
        let mut there = self.batch.len();
        for (at, key) in self.batch.iter().enumerate().skip(self.applied) {
            if !self.states.seek(from + at, *key) {
                there = there.min(at);
            }
        }
        there
    }

    /// The same, of records for whose changes there is memory.
    fn let_in(&mut self) -> usize {
        match self.seek() - self.applied {
            0 => self.applied,
            there => self.applied + self.states.backend.let_in(there),
        }
    }

    fn apply(&mut self, key: u64) -> Result<(), StateError> {
        self.states.turn_to(key);
        let expected = self.model.entry(key).or_default();
        let held = self.states.held(key)?;
        assert_eq!(&held, expected, "key {key} in batch {}", self.number);
        self.states.change(key, &mut self.draws, expected)?;
        (self.states).change_window(key, &mut self.draws, expected)
    }

    /// Begins, writes or ends a cut; the last one when all batches are done.
    fn cut(&mut self) -> Result<(), StateError> {
        let last = self.number == self.batches;
        let Some(cutting) = &mut self.cutting else {
            if !self.ended && (last || self.draws.once_in(20)) {
                self.freeze();
            }
            return Ok(());
        };
        let mut states = 0;
        let (mut emitted, at) = (Ok(Scan::Done), cutting.state);
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
            self.end_cut(last);
        }
        Ok(())
    }

    fn freeze(&mut self) {
        let mut kind = match self.draws.below(6) {
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
        let knows_keys = self.draws.below(4) > 0;
        let options = RunOptions::default().with_section_bytes(4_096);
        let mut cutting = Cutting {
            kind,
            full: true,
            any_full: false,
            writer: RunWriter::new(options),
            state: 0,
            carried: Vec::new(),
            was: self.model.clone(),
        };
        self.states.each(|descriptor, state| {
            let full = state.freeze(epoch, kind).is_full();
            let carried = state.carried();
            let alone = full && carried.is_empty();
            cutting.full &= full;
            cutting.any_full |= alone;
            cutting.carried.extend(carried);
            let mut described = Vec::new();
            descriptor.encode(&mut described);
            let header = StateHeader {
                name: descriptor.name().to_owned(),
                descriptor: described,
                full: alone,
            };
            // Runs of version 1 do not know keys.
            match descriptor.is_sought_by_key() && knows_keys {
                true => cutting.writer.declare_known_by_key(header).unwrap(),
                false => cutting.writer.declare(header).unwrap(),
            };
        });
        self.cutting = Some(cutting);
    }

    fn end_cut(&mut self, last: bool) {
        let Some(cutting) = self.cutting.take() else {
            return;
        };
        if !last && self.draws.once_in(4) {
            self.states.each(|_, state| state.cut_failed());
            return;
        }
        self.states.each(|_, state| state.cut_durable());
        let (bytes, summary) = cutting.writer.finish().unwrap();
        let says_nothing = summary.rows() == 0 && (cutting.full || !cutting.any_full);
        let mut links = Vec::new();
        if !says_nothing {
            let file = self.queue.files().file();
            self.queue.write(&file, 0, bytes).unwrap();
            links.push(Link {
                file,
                bytes: summary.bytes,
                checksum: summary.checksum,
                groups: self.groups.clone(),
                only: None,
                _carried: None,
            });
        }
        links.extend(cutting.carried.into_iter().map(|run| Link {
            file: run.file().clone(),
            bytes: run.bytes(),
            checksum: run.checksum(),
            groups: run.groups(),
            only: run.only(),
            _carried: Some(Rc::new(run)),
        }));
        if !cutting.full {
            links.extend(self.chain.iter().cloned());
        }
        if cutting.kind != CutKind::Copy {
            self.chain.clone_from(&links);
        }
        let was = cutting.was;
        self.left.borrow_mut().copies.push(Copy { links, was });
        self.ended = last;
    }

    /// Goes on from the copies of all former subtasks.
    fn restore(&mut self, copies: &[Copy], files: &Simulation, keeps: bool) {
        let groups = self.groups.clone();
        let links = copies.iter().flat_map(|copy| &copy.links);
        let meets =
            |link: &&Link| link.groups.start.max(groups.start) < link.groups.end.min(groups.end);
        let clip = |link: Link| Link {
            groups: link.groups.start.max(groups.start)..link.groups.end.min(groups.end),
            ..link
        };
        let links: Vec<Link> = links.filter(meets).cloned().map(clip).collect();
        self.states.give_back(&links, files, keeps);
        if keeps {
            self.chain = links;
        }
        let was = copies.iter().flat_map(|copy| &copy.was);
        let mine = was.filter(|(key, _)| groups.contains(&group_of(**key)));
        self.model = mine.map(|(key, held)| (*key, held.clone())).collect();
        self.epoch = 1_000_000;
    }
}

impl Step for Program {
    fn name(&self) -> &str {
        "program"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.states.backend.begin_turn(context)?;
        self.states.windows.begin_turn(context)?;
        self.waiting = false;
        while let Some((_, answer)) = self.queue.next_done() {
            answer?;
        }
        self.work()?;
        self.cut()?;
        self.queue.poll(context);
        let pressure = self.states.backend.end_turn(context, self.waiting)?;
        let pressure = pressure.max(self.states.windows.end_turn(context, self.waiting)?);
        let done = self.ended && self.queue.pending() == 0;
        if done {
            let mut left = self.left.borrow_mut();
            left.ended = true;
            let mut show = |overflow: &Overflow| {
                let name = overflow.descriptor().name().to_owned();
                *left.reads.entry(name).or_default() += overflow.reads();
            };
            self.states.backend.show_overflow(&mut show);
            self.states.windows.overflow().into_iter().for_each(show);
        }
        let made = !done && pressure != Pressure::Disk || self.cutting.is_some();
        Ok(Progress { made, done })
    }
}

/// Runs a program to its end; answers what it left.
fn run(simulation: &mut Simulation, program: Program) -> Left {
    let left = Rc::clone(&program.left);
    stage::run(simulation, program).unwrap();
    left.take()
}

/// What a copy says, by its rows alone, is what the states were.
fn check(copy: &Copy, groups: &Range<u16>, files: &Simulation, what: &str) {
    let budget = Budget::new("check", 1 << 30);
    let max = MaxParallelism::default();
    let backend = KeyedBackend::in_memory(groups.clone(), max, budget.clone());
    let mut states = States::declare(backend, budget, None);
    states.give_back(&copy.links, files, true);
    for key in (0..KEYS).filter(|key| groups.contains(&group_of(*key))) {
        states.turn_to(key);
        let was = copy.was.get(&key).cloned().unwrap_or_default();
        assert_eq!(states.held(key).unwrap(), was, "key {key}: {what}");
    }
}

/// The key groups of each of some subtasks.
fn ranges(parallelism: u32) -> Vec<Range<u16>> {
    let max = MaxParallelism::default();
    (0..parallelism)
        .map(|index| max.range(index, parallelism))
        .collect()
}

#[test]
fn states_on_disk_side_by_side_go_on_from_copies_again_and_again_at_any_parallelism() {
    let mut reads: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..2_u64 {
        let (mut simulation, manager) = spilling(seed, SimOptions::default());
        // Merged at once, or as time goes by.
        let merge_rate = [1 << 40, 32 << 20][seed as usize % 2];
        // Files of old copies are files of new ones.
        let mut kept: Vec<Copy> = Vec::new();
        let mut copies: Vec<Copy> = Vec::new();
        for (generation, parallelism) in (0_u64..).zip([1, 1, 1, 3, 1, 2, 2, 1]) {
            let mut next = Vec::new();
            for groups in ranges(parallelism) {
                let draws = seed * 1_000 + generation * 10 + u64::from(groups.start);
                let batches = if generation == 0 { 1_200 } else { 300 };
                let draws = (draws, batches);
                let mut program = Program::new(draws, groups.clone(), merge_rate, &manager);
                let keeps = (seed + generation) % 3 > 0;
                if generation > 0 {
                    program.restore(&copies, &simulation, keeps);
                }
                let left = run(&mut simulation, program);
                let what = format!("seed {seed}, generation {generation}, groups {groups:?}");
                assert!(left.ended, "{what} hangs");
                for (state, more) in &left.reads {
                    *reads.entry(state.clone()).or_default() += more;
                }
                for copy in left.copies.iter().rev().take(3) {
                    check(copy, &groups, &simulation, &what);
                }
                next.extend(left.copies.last().cloned());
                kept.extend(left.copies);
            }
            copies = next;
        }
    }
    let states: Vec<&str> = reads.keys().map(String::as_str).collect();
    assert_eq!(states, ["list", "map", "mean", "sum", "text", "windows"]);
    for (state, reads) in &reads {
        assert!(
            *reads > 1_000,
            "{state}: {reads} reads: entries come back from disk"
        );
    }
}
