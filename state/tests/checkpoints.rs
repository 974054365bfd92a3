//! Cuts into runs and back: states of several subtasks, cut while they change, written as runs, restored by
//! the reading rule at another parallelism, over and over, against a map.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use thalweg_core::{Epoch, KeyHash, MaxParallelism, Timestamp};
use thalweg_memory::{Budget, Key, Str};
use thalweg_state::run::{
    Clip, CountingRun, RunOptions, RunReader, RunWriter, StateHeader, counting,
};
use thalweg_state::{
    CutKind, KeyedBackend, MapState, Scan, Snapshot, StateDescriptor, TimerQueue, ValueState,
};

const MAX: u16 = 12;

fn max() -> MaxParallelism {
    MaxParallelism::new(MAX.into()).unwrap()
}

/// A run and the key groups for which it counts.
type Run = (Rc<RunReader<Vec<u8>>>, Range<u16>);

#[derive(Clone, Default, PartialEq)]
struct Model {
    value: BTreeMap<String, u64>,
    map: BTreeMap<String, BTreeMap<u64, u64>>,
    timers: BTreeSet<(String, i64)>,
}

struct Subtask {
    groups: Range<u16>,
    backend: KeyedBackend<Str>,
    value: ValueState<Str, u64>,
    map: MapState<Str, u64, u64>,
    timers: TimerQueue<Str>,
    /// Newest first.
    runs: Vec<Run>,
    writer: Option<RunWriter>,
}

impl Subtask {
    fn new(groups: Range<u16>, budget: &Budget) -> Subtask {
        let mut backend = KeyedBackend::in_memory(groups.clone(), max(), budget.clone());
        Subtask {
            value: backend.value_state("value").unwrap(),
            map: backend.map_state("map").unwrap(),
            timers: TimerQueue::new(groups.clone(), max(), budget.clone()),
            backend,
            groups,
            runs: Vec::new(),
            writer: None,
        }
    }

    /// Shows all states, as an operator does.
    fn visit(&mut self, mut work: impl FnMut(usize, &StateDescriptor, &mut dyn Snapshot)) {
        let mut number = 0;
        let visitor = &mut |descriptor: &StateDescriptor, state: &mut dyn Snapshot| {
            work(number, descriptor, state);
            number += 1;
            Ok(())
        };
        self.backend.visit_states(visitor).unwrap();
        let timers = StateDescriptor::timers("timers").of_keys::<Str, ()>();
        work(2, &timers, &mut self.timers);
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) {
        let mut writer = RunWriter::new(RunOptions::default().with_section_bytes(2_000));
        self.visit(|_, descriptor, state| {
            assert!(!state.is_cutting());
            let full = state.freeze(epoch, kind).is_full();
            let (name, mut bytes) = (descriptor.name().to_owned(), Vec::new());
            descriptor.encode(&mut bytes);
            let header = StateHeader {
                name,
                descriptor: bytes,
                full,
            };
            writer.declare(header).unwrap();
        });
        self.writer = Some(writer);
    }

    /// Writes a slice of each state; whether that was all.
    fn emit(&mut self, budget: usize) -> bool {
        let Some(mut writer) = self.writer.take() else {
            return true;
        };
        let mut done = true;
        self.visit(|number, _, state| {
            let state_number = thalweg_state::run::StateNumber(number as u16);
            let mut rows = writer.rows_of(state_number).unwrap();
            done &= state.emit(budget, &mut rows).unwrap() == Scan::Done;
        });
        if !done {
            self.writer = Some(writer);
            return false;
        }
        let (bytes, _) = writer.finish().unwrap();
        let run = RunReader::open("run", bytes).unwrap();
        self.runs.insert(0, (Rc::new(run), self.groups.clone()));
        true
    }

    /// Takes back what others wrote, newest first, and builds on it.
    fn restore(&mut self, runs: &[&Run]) {
        let own = runs.iter().map(|(run, groups)| {
            let groups = groups.start.max(self.groups.start)..groups.end.min(self.groups.end);
            (Rc::clone(run), groups)
        });
        self.runs = own.filter(|(_, groups)| !groups.is_empty()).collect();
        let own = self.runs.clone();
        let runs: Vec<_> = own
            .iter()
            .map(|(run, groups)| CountingRun {
                run,
                groups: groups.clone(),
                only: None,
            })
            .collect();
        self.visit(|_, declared, state| {
            let (parts, _) = counting(&runs, declared.name());
            for part in parts.into_iter().rev() {
                let run = runs[part.run].run;
                let header = &run.states()[usize::from(part.state.0)];
                let written = StateDescriptor::decode(&mut &header.descriptor[..]).unwrap();
                written.check_restore(declared).unwrap();
                let clip = || Clip::all().of_state(part.state).within(part.groups.clone());
                for clip in [clip().tombstones(), clip().puts()] {
                    let mut walk = run.walk(clip);
                    while let Some((_, row)) = walk.next_row().unwrap() {
                        state.restore(row).unwrap();
                    }
                }
            }
            state.restored().unwrap();
        });
    }

    fn change(&mut self, draws: &mut Draws, word: &str, model: &mut Model) {
        let hash = Str::hash(&word);
        self.backend.context().set_current(hash, &word);
        let (user, item) = (draws.below(9), draws.below(1_000));
        match draws.below(10) {
            0..2 => {
                self.value.set(item).unwrap();
                model.value.insert(word.to_owned(), item);
            }
            2 => {
                self.value.clear().unwrap();
                model.value.remove(word);
            }
            3..5 => {
                self.map.put(user, item).unwrap();
                model
                    .map
                    .entry(word.to_owned())
                    .or_default()
                    .insert(user, item);
            }
            5 => {
                self.map.remove(&user).unwrap();
                model.map.entry(word.to_owned()).or_default().remove(&user);
            }
            6..9 => {
                let at = draws.below(500) as i64;
                self.timers
                    .register(hash, &word, &(), Timestamp(at))
                    .unwrap();
                model.timers.insert((word.to_owned(), at));
            }
            _ => {
                let upto = draws.below(500) as i64;
                for _ in 0..20 {
                    let Some(timer) = self.timers.pop_due(Timestamp(upto)) else {
                        break;
                    };
                    model.timers.remove(&(timer.key.to_string(), timer.at.0));
                }
            }
        }
    }

    fn read(&mut self, into: &mut Model) {
        for word in words() {
            let hash = Str::hash(&word.as_str());
            if !self.groups.contains(&max().key_group(hash).0) {
                continue;
            }
            self.backend.context().set_current(hash, &word.as_str());
            into.value
                .extend(self.value.get().unwrap().map(|value| (word.clone(), value)));
            let entries = self.map.entries().unwrap();
            if !entries.is_empty() {
                into.map.insert(word, entries.into_iter().collect());
            }
        }
        while let Some(timer) = self.timers.pop_due(Timestamp(i64::MAX)) {
            into.timers.insert((timer.key.to_string(), timer.at.0));
        }
    }
}

/// Numbers that depend on a seed alone.
struct Draws(u64);

impl Draws {
    fn below(&mut self, below: u64) -> u64 {
        self.0 += 1;
        (KeyHash::of_u64(self.0).0 >> 16) % below
    }
}

fn words() -> impl Iterator<Item = String> {
    (0..200).map(|number| format!("a word with a zero \0 in it, number {number}"))
}

fn subtasks(draws: &mut Draws, budget: &Budget) -> Vec<Subtask> {
    let count = 1 + draws.below(4) as u16;
    let groups = (0..count).map(|i| MAX * i / count..MAX * (i + 1) / count);
    groups.map(|groups| Subtask::new(groups, budget)).collect()
}

fn change_some(draws: &mut Draws, subtasks: &mut [Subtask], model: &mut Model, most: u64) {
    let words: Vec<_> = words().collect();
    for _ in 0..draws.below(most) {
        let word = &words[draws.below(words.len() as u64) as usize];
        let group = max().key_group(Str::hash(&word.as_str())).0;
        let own = subtasks
            .iter_mut()
            .find(|subtask| subtask.groups.contains(&group));
        own.unwrap().change(draws, word, model);
    }
}

/// The job fails and goes on as other subtasks: those that read what the old ones wrote.
fn rescale(
    draws: &mut Draws,
    old: Vec<Subtask>,
    budget: &Budget,
    expected: &Model,
) -> Vec<Subtask> {
    let (mut new, mut twins) = (subtasks(draws, budget), Vec::new());
    for subtask in &mut new {
        // Newest first: those of one age come from different subtasks, and count for other key groups.
        let deepest = old.iter().map(|old| old.runs.len()).max().unwrap_or(0);
        let of_age = |age: usize| old.iter().filter_map(move |old| old.runs.get(age));
        let runs: Vec<&Run> = (0..deepest).flat_map(of_age).collect();
        subtask.restore(&runs);
        let mut twin = Subtask::new(subtask.groups.clone(), budget);
        twin.restore(&runs);
        twins.push(twin);
    }
    let mut read = Model::default();
    twins.iter_mut().for_each(|twin| twin.read(&mut read));
    let mut expected = expected.clone();
    expected.map.retain(|_, map| !map.is_empty());
    assert!(read.value == expected.value, "values");
    assert!(read.map == expected.map, "maps");
    assert!(read.timers == expected.timers, "timers");
    new
}

fn program(seed: u64) {
    let budget = Budget::new("slot", 1 << 30);
    let mut draws = Draws(seed << 32);
    let mut job = subtasks(&mut draws, &budget);
    let (mut model, mut epoch) = (Model::default(), Epoch(0));
    for _ in 0..12 {
        for _ in 0..1 + draws.below(3) {
            change_some(&mut draws, &mut job, &mut model, 400);
            epoch = epoch.next();
            let kind = match draws.below(6) {
                0 => CutKind::Everything,
                _ => CutKind::Changes,
            };
            job.iter_mut()
                .for_each(|subtask| subtask.freeze(epoch, kind));
            let expected = model.clone();
            let mut done = false;
            while !done {
                change_some(&mut draws, &mut job, &mut model, 20);
                let budget = 1 + draws.below(40) as usize;
                let cutting = job.iter_mut().map(|subtask| !subtask.emit(budget));
                done = cutting.filter(|cutting| *cutting).count() == 0;
            }
            if draws.below(3) == 0 {
                // What changed since the cut is lost, as when a job fails.
                job = rescale(&mut draws, job, &budget, &expected);
                model = expected;
            }
        }
    }
    drop(job);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_is_restored_from_runs_is_what_was_cut() {
    (0..25).for_each(program);
}
