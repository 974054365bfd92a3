//! Drawn programs over a table far larger than its memory, against a map: batches that change and remove, cuts
//! that become durable or fail, merges, restores at the same and at another parallelism, on a simulated disk.
//!
//! Invariant: what a batch is answered is what the map says, and what a chain of cuts says is what the map
//! was at the barrier.

mod crowding;
mod few_keys;
mod forgotten;
mod late;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;

use thalweg_core::seam::simulated::{DiskFaults, SimOptions, Simulation};
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_core::{Epoch, KeyHash, MaxParallelism};
use thalweg_memory::spill::IoQueue;
use thalweg_memory::{Budget, IoManager, Share};

use super::stage::{self, Link, spilling};
use super::*;
use crate::run::{Clip, RunOptions, RunWriter, StateHeader, StateNumber};
use crate::snapshot::reading::Draws;
use crate::snapshot::{CutKind, Row, RowSink, Snapshot};
use crate::{KeyedTable, Scan, ScanCursor, StateDescriptor, StateError, WINDOW};

const BATCH: usize = 16;
const BUDGET: u64 = 1 << 20;

type Values = BTreeMap<u64, (u64, u64)>;

/// A cut that became durable, newest link first, and what the state was at its barrier.
#[derive(Clone, Default)]
struct Copy {
    chain: Vec<Link>,
    was: Values,
}

/// What a program leaves behind.
#[derive(Default)]
struct Left {
    copies: Vec<Copy>,
    ended: bool,
    reads: u64,
    runs: usize,
    most_held: u64,
    /// Entries that were forgotten while they were on disk.
    forgotten: u64,
    /// Buckets that a search for what is absent goes through in the end.
    searched: f64,
    /// What is in memory in the end, and what should be in the state.
    entries: Values,
    model: Values,
    /// Turns in which rows of a copy were still on their way.
    meanwhile: usize,
}

struct Cutting {
    full: bool,
    writer: RunWriter,
    carried: Vec<CarriedRun>,
    was: Values,
    done: bool,
}

/// One task: a table, its overflow, a map that is right, and dice.
struct Program {
    table: LayeredTable<u64, (u64, u64)>,
    /// One record in so many removes its entry.
    removes: u64,
    /// Entries that are forgotten before each batch, wherever they are.
    forgets: usize,
    budget: Budget,
    /// For the rows of cuts.
    queue: IoQueue,
    model: Values,
    draws: Draws,
    keys: u64,
    groups: Range<u16>,
    batches: usize,
    batch: Vec<u64>,
    number: usize,
    waiting: bool,
    epoch: u64,
    cutting: Option<Cutting>,
    chain: Vec<Link>,
    left: Rc<RefCell<Left>>,
}

fn hash(key: u64) -> KeyHash {
    KeyHash::of_u64(key)
}

fn descriptor() -> StateDescriptor {
    StateDescriptor::aggregating::<(u64, u64)>("sums").of_keys::<u64, ()>()
}

/// What is in memory.
fn entries_of(table: &mut KeyedTable<u64, (u64, u64)>) -> Values {
    let (mut entries, mut cursor) = (Values::new(), ScanCursor::new());
    let mut visit = |entry: crate::ScanEntry<'_, u64, (u64, u64), ()>| {
        entries.insert(entry.key, *entry.value);
        ControlFlow::Continue(())
    };
    while table.scan(&mut cursor, 1 << 20, &mut visit).unwrap() == Scan::More {}
    entries
}

impl Program {
    fn new(
        drawn: (u64, u64, usize),
        groups: Range<u16>,
        manager: &IoManager,
        left: Rc<RefCell<Left>>,
    ) -> Program {
        Program::with_budget(BUDGET, drawn, groups, manager, left)
    }

    fn with_budget(
        bytes: u64,
        drawn: (u64, u64, usize),
        groups: Range<u16>,
        manager: &IoManager,
        left: Rc<RefCell<Left>>,
    ) -> Program {
        Program::of_slot(&Budget::new("slot", bytes), drawn, groups, manager, left)
    }

    fn of_slot(
        budget: &Budget,
        (seed, keys, batches): (u64, u64, usize),
        groups: Range<u16>,
        manager: &IoManager,
        left: Rc<RefCell<Left>>,
    ) -> Program {
        let table = KeyedTable::new(groups.clone(), MaxParallelism::default(), budget.clone());
        let queue = manager.queue(8);
        let share = budget.share();
        let overflow = Overflow::new(descriptor(), groups.clone(), share, queue, 1 << 40);
        Program {
            table: LayeredTable::new(table.unwrap(), Some(Box::new(overflow))),
            removes: [5, 2, u64::MAX][seed as usize % 3],
            forgets: 0,
            budget: budget.clone(),
            queue: manager.queue(4),
            model: Values::new(),
            draws: Draws(seed),
            keys,
            groups,
            batches,
            batch: Vec::new(),
            number: 0,
            waiting: false,
            epoch: 0,
            cutting: None,
            chain: Vec::new(),
            left,
        }
    }

    /// A key of this subtask, some more often than others.
    fn draw_key(&mut self) -> u64 {
        loop {
            let most = if self.draws.once_in(3) { 50 } else { self.keys };
            let key = self.draws.below(most);
            let group = self.table.hot().group_of(hash(key)).0;
            if self.groups.contains(&group) {
                return key;
            }
        }
    }

    /// Applies batches until one has to wait.
    fn work(&mut self) -> Result<(), StateError> {
        for _ in 0..4 {
            if self.batch.is_empty() {
                if self.number == self.batches {
                    return Ok(());
                }
                self.batch = (0..BATCH).map(|_| self.draw_key()).collect();
                let from = self.number * BATCH % WINDOW;
                let hashes: Vec<_> = self.batch.iter().map(|key| hash(*key)).collect();
                self.table.hot_mut().approach(from as u8, &hashes);
                for at in 0..BATCH {
                    self.seek(at);
                }
            }
            if !self.forget() || !self.apply()? {
                self.waiting = true;
                return Ok(());
            }
            self.number += 1;
            self.batch.clear();
        }
        Ok(())
    }

    fn seek(&mut self, at: usize) -> bool {
        let place = self.number * BATCH % WINDOW + at;
        let key = self.batch[at];
        self.table.seek(place, hash(key), &key, &())
    }

    fn apply(&mut self) -> Result<bool, StateError> {
        if self.table.is_active() {
            if !self.table.has_room(BATCH) {
                return Ok(false);
            }
            // All of them are sought before the first is missed.
            let there = (0..BATCH).filter(|at| self.seek(*at)).count();
            if there < BATCH {
                return Ok(false);
            }
        }
        for at in 0..BATCH {
            let key = self.batch[at];
            let number = self.draws.below(1_000);
            if self.draws.once_in(self.removes) {
                let gone = self.table.remove_in(hash(key), &key, &());
                assert_eq!(gone, self.model.remove(&key), "key {key} is removed");
                continue;
            }
            let add = |(sum, count): &mut (u64, u64), number: u64| {
                *sum += number;
                *count += 1;
            };
            let expected = self.model.entry(key).or_default();
            add(expected, number);
            let first = |number| (number, 1);
            let now = self
                .table
                .hot_mut()
                .fold(hash(key), &key, number, first, add)?;
            assert_eq!(now, expected, "key {key} in batch {}", self.number);
        }
        Ok(true)
    }

    /// Begins, writes or ends a cut.
    fn cut(&mut self) -> Result<(), StateError> {
        let Some(cutting) = &mut self.cutting else {
            if self.number < self.batches && self.draws.once_in(40) {
                self.freeze()?;
            }
            return Ok(());
        };
        let state = &mut self.table;
        if state.is_coming_back() {
            return Ok(());
        }
        if !cutting.done {
            let mut rows = cutting.writer.rows_of(StateNumber(0))?;
            cutting.done = state.emit(64, &mut rows)? == Scan::Done;
            return Ok(());
        }
        if !cutting.carried.iter().all(CarriedRun::is_written) {
            return Ok(());
        }
        let Some(cutting) = self.cutting.take() else {
            return Ok(());
        };
        if self.draws.once_in(3) {
            state.cut_failed();
            return Ok(());
        }
        state.cut_durable();
        self.end_cut(cutting);
        Ok(())
    }

    fn freeze(&mut self) -> Result<(), StateError> {
        self.epoch += 1;
        let kind = match self.draws.once_in(4) {
            true => CutKind::Everything,
            false => CutKind::Changes,
        };
        let state = &mut self.table;
        let full = state.freeze(Epoch(self.epoch), kind).is_full();
        let carried = state.carried();
        let mut writer = RunWriter::new(RunOptions::default().with_section_bytes(4_096));
        let mut described = Vec::new();
        descriptor().encode(&mut described);
        writer.declare(StateHeader {
            name: "sums".to_owned(),
            descriptor: described,
            full: full && carried.is_empty(),
        })?;
        self.cutting = Some(Cutting {
            full,
            writer,
            carried,
            was: self.model.clone(),
            done: false,
        });
        Ok(())
    }

    fn end_cut(&mut self, cutting: Cutting) {
        let (queue, groups) = (&mut self.queue, self.groups.clone());
        let mut chain = vec![Link::written(queue, cutting.writer, groups)];
        chain.extend(cutting.carried.into_iter().map(Link::carried));
        if !cutting.full {
            chain.extend(self.chain.iter().cloned());
        }
        self.chain = chain.clone();
        let was = cutting.was;
        self.left.borrow_mut().copies.push(Copy { chain, was });
    }

    fn adopt(&mut self, copy: &Copy, files: &Simulation, keeps: bool) {
        let adopted = copy.chain.iter();
        let adopted = adopted.map(|link| link.adopted(files, &self.groups));
        let state = &mut self.table;
        state.adopt(adopted.collect()).unwrap();
        state.restored().unwrap();
        if keeps {
            self.chain.clone_from(&copy.chain);
        } else {
            state.forget_copies();
        }
        let groups = self.groups.clone();
        let mine = |key: &u64| groups.contains(&self.table.hot().group_of(hash(*key)).0);
        let was = copy.was.iter().filter(|(key, _)| mine(key));
        self.model = was.map(|(key, value)| (*key, *value)).collect();
        self.epoch = 1_000;
    }
}

impl Step for Program {
    fn name(&self) -> &str {
        "program"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.table.begin_turn(context)?;
        self.waiting = false;
        while let Some((_, answer)) = self.queue.next_done() {
            answer?;
        }
        self.work()?;
        self.cut()?;
        self.queue.poll(context);
        let pressure = self.table.end_turn(context, self.waiting)?;
        let mut left = self.left.borrow_mut();
        let held = self.table.memory_bytes();
        left.most_held = left.most_held.max(held).max(self.budget.used());
        left.meanwhile += usize::from(self.table.is_coming_back());
        let done = self.number == self.batches
            && self.cutting.is_none()
            && self.queue.pending() == 0
            && !self.table.is_coming_back();
        if done {
            left.ended = true;
            left.searched = self.table.hot().searched_for_absent();
            if let Some(overflow) = self.table.overflow() {
                (left.reads, left.runs) = (overflow.reads(), overflow.runs());
            }
            left.entries = entries_of(self.table.hot_mut());
            left.model = std::mem::take(&mut self.model);
        }
        let made = !done && pressure != Pressure::Disk || self.cutting.is_some();
        Ok(Progress { made, done })
    }
}

fn simulation(seed: u64, disk: DiskFaults) -> (Simulation, IoManager) {
    let options = SimOptions {
        disk,
        ..SimOptions::default()
    };
    spilling(seed, options)
}

/// Runs a program to its end; answers what it left, or why it failed.
fn run(simulation: &mut Simulation, program: Program) -> Result<Left, String> {
    let left = Rc::clone(&program.left);
    stage::run(simulation, program)?;
    Ok(left.take())
}

/// Where the key groups of the subtasks end that go on from a copy.
fn ends_of_groups(seed: u64) -> &'static [u16] {
    match seed % 3 {
        0 => &[0, 128],
        1 => &[0, 50, 128],
        _ => &[0, 1, 100, 128],
    }
}

/// What a chain says by the reading rule.
fn read(files: &Simulation, copy: &Copy) -> Values {
    let mut values = Values::new();
    let readers: Vec<_> = copy.chain.iter().map(|link| link.open(files)).collect();
    let last = readers.iter().position(|run| run.states()[0].full);
    let counting = &readers[..last.map_or(readers.len(), |last| last + 1)];
    let mut saved = thalweg_memory::SavedRecord::new();
    for reader in counting.iter().rev() {
        let mut walk = reader.walk(Clip::all());
        while let Some((_, row)) = walk.next_row().unwrap() {
            let mut key = row.key;
            let key = <u64 as thalweg_memory::Key>::decode(&mut key).unwrap();
            match row.value {
                Some(value) => values.insert(key, saved.revive(value).unwrap()),
                None => values.remove(&key),
            };
        }
    }
    values
}

#[test]
fn a_table_far_larger_than_its_memory_is_what_a_map_is_and_so_are_its_cuts() {
    let mut reads = 0;
    for seed in 0..3 {
        let (mut simulation, manager) = simulation(seed, DiskFaults::NONE);
        let left = Rc::new(RefCell::new(Left::default()));
        let keys = [20_000, 60_000, 150_000][seed as usize % 3];
        let program = Program::new((seed, keys, 5_000), 0..128, &manager, left);
        let left = run(&mut simulation, program).unwrap();
        assert!(left.ended, "seed {seed} hangs");
        // Beside the table are indexes and blocks in flight, which do not shrink with so little memory.
        let most = BUDGET + BUDGET / 3;
        assert!(left.most_held <= most, "{} bytes held", left.most_held);
        assert!(left.runs <= 48, "{} runs: merges keep them few", left.runs);
        reads += left.reads;
        assert!(!left.copies.is_empty(), "seed {seed} was never cut");
        for copy in &left.copies {
            assert!(read(&simulation, copy) == copy.was, "seed {seed}");
        }
    }
    assert!(reads > 2_000, "{reads} reads: entries come back from disk");
}

#[test]
fn a_copy_is_taken_over_without_reading_it_at_any_parallelism() {
    for seed in 0..3 {
        let (mut first, manager) = simulation(seed, DiskFaults::NONE);
        let left = Rc::new(RefCell::new(Left::default()));
        let program = Program::new((seed, 80_000, 4_000), 0..128, &manager, left);
        let left = run(&mut first, program).unwrap();
        let copy = left.copies.last().unwrap().clone();
        for (number, ends) in ends_of_groups(seed).windows(2).enumerate() {
            let groups = ends[0]..ends[1];
            let left = Rc::new(RefCell::new(Left::default()));
            let draws = (seed * 100 + number as u64, 80_000, 1_500);
            let mut program = Program::new(draws, groups.clone(), &manager, left);
            program.adopt(&copy, &first, seed % 2 == 0);
            let left = run(&mut first, program).unwrap();
            assert!(left.ended && left.reads > 0, "seed {seed}");
            for later in &left.copies {
                let mut says = read(&first, later);
                let max = MaxParallelism::default();
                says.retain(|key, _| groups.contains(&max.key_group(hash(*key)).0));
                assert!(says == later.was, "seed {seed}, groups {groups:?}");
            }
        }
    }
}

#[test]
fn however_little_memory_there_is_what_records_ahead_need_finds_its_place() {
    for kilobytes in (48..=128).step_by(4) {
        let (mut simulation, manager) = simulation(kilobytes, DiskFaults::NONE);
        let left = Rc::new(RefCell::new(Left::default()));
        let draws = (kilobytes, 20_000, 600);
        let program = Program::with_budget(kilobytes << 10, draws, 0..128, &manager, left);
        let left = run(&mut simulation, program).unwrap();
        assert!(left.ended, "it hangs with {kilobytes} kB");
    }
}

#[test]
fn memory_that_a_merge_holds_is_waited_for() {
    let options = SimOptions {
        max_latency_ns: 3_000_000,
        ..SimOptions::default()
    };
    let (mut simulation, manager) = spilling(0, options);
    let left = Rc::new(RefCell::new(Left::default()));
    let program = Program::with_budget(64 << 10, (0, 20_000, 3_000), 0..128, &manager, left);
    let left = run(&mut simulation, program).unwrap();
    assert!(left.ended, "it hangs");
}

/// A program beside another state of its slot, which holds all that is left there for so many turns.
struct Crowded {
    program: Program,
    other: Option<(Share, u64)>,
    turns: u32,
}

impl Step for Crowded {
    fn name(&self) -> &str {
        "crowded"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.turns = self.turns.saturating_sub(1);
        if let Some((share, bytes)) = self.other.take_if(|_| self.turns == 0) {
            share.budget().release(bytes);
        }
        self.program.turn(context)
    }
}

#[test]
fn memory_that_another_state_holds_beyond_its_share_is_waited_for_while_that_one_shrinks() {
    let crowded = |shrinks: bool| {
        let (mut simulation, manager) = simulation(3, DiskFaults::NONE);
        let left = Rc::new(RefCell::new(Left::default()));
        let program = Program::new((3, 20_000, 1_000), 0..128, &manager, Rc::clone(&left));
        let (other, bytes) = (program.budget.share(), program.budget.left() - 1_000);
        program.budget.reserve(bytes).unwrap();
        other.holds(bytes);
        other.shrinks(shrinks);
        let other = Some((other, bytes));
        let turns = 5_000;
        let crowded = Crowded {
            program,
            other,
            turns,
        };
        stage::run(&mut simulation, crowded).map(|()| left.take().ended)
    };
    assert_eq!(crowded(true), Ok(true));
    // All there is, not what this one has of it, is too little.
    let said = crowded(false).unwrap_err();
    assert!(
        said.contains("raise taskmanager.memory.managed.size to 10"),
        "{said}"
    );
}

/// A program among others that come to share its memory, and go.
struct Sharing {
    program: Program,
    others: Vec<Share>,
    turns: u64,
    /// Shares of others, one after the other.
    come: &'static [usize],
    /// What the table has held at the end of each time.
    held: Rc<RefCell<Vec<u64>>>,
}

/// Turns of each time.
const TIME: u64 = 3_000;

impl Step for Sharing {
    fn name(&self) -> &str {
        "sharing"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.turns += 1;
        if self.turns.is_multiple_of(TIME) {
            self.held
                .borrow_mut()
                .push(self.program.table.hot().memory_bytes());
            let now = self.come.get((self.turns / TIME) as usize);
            let budget = &self.program.budget;
            self.others = (0..*now.unwrap_or(&0)).map(|_| budget.share()).collect();
            self.others.iter().for_each(|other| other.claims(true));
        }
        self.program.turn(context)
    }
}

#[test]
fn arrays_shrink_when_others_come_to_share_the_memory_and_grow_when_they_go() {
    for seed in 0..2 {
        let (mut simulation, manager) = simulation(seed, DiskFaults::NONE);
        let left = Rc::new(RefCell::new(Left::default()));
        let draws = (seed, 40_000, 8_000);
        let program = Program::with_budget(2 * BUDGET, draws, 0..128, &manager, Rc::clone(&left));
        let held = Rc::new(RefCell::new(Vec::new()));
        let come = &[0, 2, 5, 0, 4, 0];
        let sharing = Sharing {
            program,
            others: Vec::new(),
            turns: 0,
            come,
            held: Rc::clone(&held),
        };
        stage::run(&mut simulation, sharing).unwrap();
        let left = left.take();
        assert!(left.ended, "seed {seed} hangs");
        let held = held.take();
        assert!(held.len() >= come.len(), "{} times", held.len());
        let mut before = 0;
        for (others, held) in come.iter().zip(held) {
            let share = 2 * BUDGET / 8 * 7 / (1 + *others as u64);
            assert!(held <= share, "{held} of {share} beside {others}");
            assert!(
                *others > 0 || held > before,
                "{held} of {share}: it grows again"
            );
            before = held;
        }
        for copy in &left.copies {
            assert!(read(&simulation, copy) == copy.was, "seed {seed}");
        }
    }
}

/// A program that begins some turns late, and does not end when its batches do but sleeps, as one without input.
struct Drowsy {
    program: Program,
    late: u64,
    /// The most that its table has held, and what it holds.
    held: Rc<Cell<(u64, u64)>>,
}

impl Step for Drowsy {
    fn name(&self) -> &str {
        "drowsy"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        if self.late > 0 {
            self.late -= 1;
            let (made, done) = (true, false);
            return Ok(Progress { made, done });
        }
        let mut progress = self.program.turn(context)?;
        let now = self.program.table.hot().memory_bytes();
        self.held.set((self.held.get().0.max(now), now));
        progress.done = false;
        Ok(progress)
    }
}

#[test]
fn one_state_has_what_the_others_leave_and_gives_it_back_when_they_want_it() {
    const SLOT: u64 = 4 * BUDGET;
    let (mut simulation, manager) = simulation(5, DiskFaults::NONE);
    let budget = Budget::new("slot", SLOT);
    let drowsy = |late: u64, batches: usize| {
        let left = Rc::new(RefCell::new(Left::default()));
        // Nothing is removed.
        let drawn = (2 + 3 * late, 60_000, batches);
        let program = Program::of_slot(&budget, drawn, 0..128, &manager, Rc::clone(&left));
        let held = Rc::new(Cell::default());
        let drowsy = Drowsy {
            program,
            late,
            held: Rc::clone(&held),
        };
        (Box::new(drowsy) as Box<dyn Step>, held, left)
    };
    let (first, of_first, first_left) = drowsy(0, 4_000);
    let (second, of_second, second_left) = drowsy(20_000, 6_000);
    stage::run_all(&mut simulation, vec![first, second]).unwrap();
    assert!(
        first_left.take().ended && second_left.take().ended,
        "it hangs"
    );
    let even = SLOT / 8 * 7 / 2;
    let ((most, last), (most_of_second, _)) = (of_first.get(), of_second.get());
    assert!(most > even, "{most} bytes: all the time it had {even}");
    assert!(
        last <= even,
        "{last} bytes: it has not given back what is more than {even}"
    );
    assert!(most_of_second > even / 2, "{most_of_second} of {even}");
}

#[test]
fn what_the_disk_cannot_do_fails_the_task_by_name() {
    let failure = |disk: DiskFaults| {
        let (mut simulation, manager) = simulation(7, disk);
        let left = Rc::new(RefCell::new(Left::default()));
        let program = Program::new((7, 150_000, 8_000), 0..128, &manager, left);
        run(&mut simulation, program).err().unwrap()
    };
    let full = failure(DiskFaults {
        capacity: 300_000,
        ..DiskFaults::NONE
    });
    assert!(
        full.contains("is full") && full.contains("io.tmp.dirs"),
        "{full}"
    );
    let broken = failure(DiskFaults {
        error_per_million: 20_000,
        ..DiskFaults::NONE
    });
    assert!(
        broken.contains("/spill") && broken.contains("io.tmp.dirs"),
        "{broken}"
    );
}

#[test]
fn while_there_is_room_nothing_is_sought_and_nothing_written() {
    let (mut simulation, manager) = simulation(1, DiskFaults::NONE);
    let left = Rc::new(RefCell::new(Left::default()));
    let program = Program::new((1, 3_000, 2_000), 0..128, &manager, left);
    let left = run(&mut simulation, program).unwrap();
    assert_eq!((left.ended, left.reads, left.runs), (true, 0, 0));
}

#[test]
fn rows_that_are_taken_in_twice_do_not_hide_newer_ones() {
    let (_, manager) = simulation(1, DiskFaults::NONE);
    let left = Rc::new(RefCell::new(Left::default()));
    let mut program = Program::new((1, 300, 1), 0..128, &manager, left);
    let table = program.table.hot_mut();
    table.upsert(hash(5), &5, || (9, 9), |_| {}).unwrap();
    let mut saved = thalweg_memory::SavedRecord::new();
    let old = saved.archive(&(1_u64, 1_u64)).to_vec();
    let mut key = Vec::new();
    <u64 as thalweg_memory::Key>::encode(&5, &mut key);
    let row = Row {
        group: table.group_of(hash(5)),
        key: &key,
        namespace: &[],
        value: Some(&old),
    };
    let mut rows = crate::table::OverflowRows::new();
    table.admit(&row, &mut rows).unwrap();
    assert_eq!(table.get(hash(5), &5), Some(&(9, 9)));
    // And a changed entry is not dropped, whatever a cold run holds of it.
    let mut sink = |_: Row<'_>| {};
    assert_eq!(
        table.flush_buckets(0..4, &mut rows, |_| true, &mut sink as &mut dyn RowSink),
        1
    );
    table.update(hash(5), &5, |value| value.0 += 1).unwrap();
    assert_eq!(
        table.drop_buckets(0..4, &mut rows, |_| true, &mut |_, _| {}),
        0
    );
    assert_eq!(
        table.flush_buckets(0..4, &mut rows, |_| true, &mut sink as &mut dyn RowSink),
        1
    );
    assert_eq!(
        table.drop_buckets(0..4, &mut rows, |_| true, &mut |_, _| {}),
        1
    );
    assert!(table.is_empty());
}
