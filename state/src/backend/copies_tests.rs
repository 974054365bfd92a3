//! Tests of copies of all kinds of state, with and without a time to live: drawn programs against maps.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use thalweg_core::Epoch;

use super::*;
use crate::snapshot::reading::{Draws, Level, counting, finish, take_back};
use crate::snapshot::{CutKind, Snapshot};
use crate::table::Scan;
use crate::{
    AggregatingState, Aggregation, ListState, MapState, ReducingState, StateTtl, ValueState,
};

const MAX: u16 = 8;
const KEYS: u64 = 40;
const STATES: usize = 5;
const TIME_TO_LIVE: i64 = 1_000;

/// A value and when it was touched.
type Aged<T> = (T, i64);

/// User keys with their values.
type Entries = Vec<(String, Aged<u64>)>;

/// What the states should hold; keys and namespaces without anything have no entry.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    value: BTreeMap<u64, Aged<String>>,
    sum: BTreeMap<u64, Aged<u64>>,
    mean: BTreeMap<u64, Aged<(u64, u64)>>,
    list: BTreeMap<(u64, u64), Vec<Aged<u64>>>,
    /// In the order in which a walk shows them, where nothing expires.
    map: BTreeMap<(u64, u64), Entries>,
}

impl Model {
    /// What is alive of it, for comparing: lists and maps that are empty are absent.
    fn alive(&self, ages: bool, now: i64) -> Model {
        let alive = |at: i64| !ages || now - at < TIME_TO_LIVE;
        let mut model = self.clone();
        model.value.retain(|_, value| alive(value.1));
        model.sum.retain(|_, value| alive(value.1));
        model.mean.retain(|_, value| alive(value.1));
        for list in model.list.values_mut() {
            list.retain(|element| alive(element.1));
        }
        for map in model.map.values_mut() {
            map.retain(|(_, value)| alive(value.1));
            if ages {
                map.sort();
            }
        }
        model.list.retain(|_, list| !list.is_empty());
        model.map.retain(|_, map| !map.is_empty());
        model
    }
}

/// The states of one subtask, and the cuts of them that count.
struct Subtask {
    groups: Range<u16>,
    backend: KeyedBackend<u64>,
    value: ValueState<u64, String>,
    sum: ReducingState<u64, u64>,
    mean: AggregatingState<u64, u64, (u64, u64), (u64, u64)>,
    list: ListState<u64, u64, u64>,
    map: MapState<u64, String, u64, u64>,
    chains: Vec<Vec<Level>>,
    cut: Vec<Level>,
}

fn max() -> MaxParallelism {
    MaxParallelism::new(MAX.into()).unwrap()
}

impl Subtask {
    fn new(groups: Range<u16>, ages: bool, budget: &Budget) -> Subtask {
        let mut backend = KeyedBackend::in_memory(groups.clone(), max(), budget.clone());
        let with = |state: StateDescriptor| match ages {
            true => {
                let time = Duration::from_millis(TIME_TO_LIVE.unsigned_abs());
                state.with_ttl(StateTtl::new(time))
            }
            false => state,
        };
        let add: fn(&mut u64, u64) = |sum, value| *sum += value;
        let mean = Aggregation::new(
            || (0, 0),
            |mean: &mut (u64, u64), value| *mean = (mean.0 + value, mean.1 + 1),
            |mean| *mean,
        );
        let value = backend.value_state_of(with(StateDescriptor::value::<String>("value")));
        let sum = backend.reducing_state_of(with(StateDescriptor::reducing::<u64>("sum")), add);
        let of_mean = with(StateDescriptor::aggregating::<(u64, u64)>("mean"));
        let mean = backend.aggregating_state_of(of_mean, mean);
        let list = backend.list_state_of(with(StateDescriptor::list::<u64>("list")));
        let map = backend.map_state_of(with(StateDescriptor::map::<String, u64>("map")));
        Subtask {
            groups,
            value: value.unwrap(),
            sum: sum.unwrap(),
            mean: mean.unwrap(),
            list: list.unwrap(),
            map: map.unwrap(),
            backend,
            chains: vec![Vec::new(); STATES],
            cut: Vec::new(),
        }
    }

    /// Does something with each state.
    fn each(&mut self, mut work: impl FnMut(usize, &mut dyn Snapshot, &mut Subtaskless<'_>)) {
        let (mut number, mut rest) = (
            0,
            Subtaskless {
                cut: &mut self.cut,
                chains: &mut self.chains,
            },
        );
        let mut visit = |_: &StateDescriptor, state: &mut dyn Snapshot| {
            work(number, state, &mut rest);
            number += 1;
            Ok(())
        };
        self.backend.visit_states(&mut visit).unwrap();
        assert_eq!(number, STATES);
    }

    fn holds(&self, key: u64) -> bool {
        self.groups
            .contains(&max().key_group(KeyHash::of_u64(key)).0)
    }

    /// What the states hold, read by their handles.
    fn read(&mut self, now: i64) -> Model {
        self.backend.set_processing_time(Timestamp(now));
        let mut model = Model::default();
        for key in (0..KEYS).filter(|key| self.holds(*key)) {
            self.backend
                .context()
                .set_current(KeyHash::of_u64(key), &key);
            model
                .value
                .extend(self.value.get().unwrap().map(|value| (key, (value, 0))));
            model
                .sum
                .extend(self.sum.get().unwrap().map(|sum| (key, (sum, 0))));
            model
                .mean
                .extend(self.mean.get().unwrap().map(|mean| (key, (mean, 0))));
            for namespace in 0..2 {
                let list = self.list.get_in(&namespace).unwrap();
                let map = self.map.entries_in(&namespace).unwrap();
                assert_eq!(self.map.len_in(&namespace).unwrap(), map.len() as u64);
                if !list.is_empty() {
                    let aged = list.into_iter().map(|element| (element, 0)).collect();
                    model.list.insert((key, namespace), aged);
                }
                if !map.is_empty() {
                    let aged = map
                        .into_iter()
                        .map(|(user, value)| (user, (value, 0)))
                        .collect();
                    model.map.insert((key, namespace), aged);
                }
            }
        }
        model
    }
}

/// A change of the states of one key and of the model.
struct Change<'m> {
    at: (u64, u64),
    item: u64,
    now: i64,
    ages: bool,
    model: &'m mut Model,
}

impl Change<'_> {
    fn is_alive(&self, at: i64) -> bool {
        !self.ages || self.now - at < TIME_TO_LIVE
    }

    fn values(&mut self, subtask: &mut Subtask, what: u64) {
        let (key, item, now) = (self.at.0, self.item, self.now);
        match what {
            0..2 => {
                let value = format!("a value that is long enough for the heap: {item}");
                self.model.value.insert(key, (value.clone(), now));
                subtask.value.set(value).unwrap();
            }
            2 => {
                self.model.value.remove(&key);
                subtask.value.clear().unwrap();
            }
            3..5 => {
                let before = self.model.sum.get(&key).filter(|sum| self.is_alive(sum.1));
                let sum = before.map_or(0, |sum| sum.0) + item;
                self.model.sum.insert(key, (sum, now));
                subtask.sum.add(item).unwrap();
            }
            5 => {
                self.model.sum.remove(&key);
                subtask.sum.clear().unwrap();
            }
            _ => {
                let before = self
                    .model
                    .mean
                    .get(&key)
                    .filter(|mean| self.is_alive(mean.1));
                let (sum, count) = before.map_or((0, 0), |mean| mean.0);
                self.model.mean.insert(key, ((sum + item, count + 1), now));
                subtask.mean.add(item).unwrap();
            }
        }
    }

    fn list(&mut self, subtask: &mut Subtask, what: u64) {
        let (namespace, item, now) = (self.at.1, self.item, self.now);
        let mut list = self.model.list.remove(&self.at).unwrap_or_default();
        match what {
            8..11 => {
                let items: Vec<u64> = (0..item % 300).collect();
                list.extend(items.iter().map(|item| (*item, now)));
                subtask.list.add_all_in(&namespace, items).unwrap();
            }
            11 => {
                // What has expired is not counted among the first.
                list.retain(|element| self.is_alive(element.1));
                subtask.list.len_in(&namespace).unwrap();
                let count = (item as usize).min(list.len());
                list.drain(..count);
                subtask.list.remove_first_in(&namespace, item).unwrap();
            }
            _ => {
                list.clear();
                subtask.list.clear_in(&namespace).unwrap();
            }
        }
        self.model.list.insert(self.at, list);
    }

    fn map(&mut self, subtask: &mut Subtask, what: u64) {
        let (namespace, item, now) = (self.at.1, self.item, self.now);
        let (map, user) = (
            self.model.map.entry(self.at).or_default(),
            (item % 50).to_string(),
        );
        match what {
            13..17 => {
                match map.iter_mut().find(|(there, _)| *there == user) {
                    Some(there) => there.1 = (item, now),
                    None => map.push((user.clone(), (item, now))),
                }
                subtask.map.put_in(&namespace, user, item).unwrap();
            }
            17..19 => {
                if let Some(at) = map.iter().position(|(there, _)| *there == user) {
                    map.swap_remove(at);
                }
                subtask.map.remove_in(&namespace, &user).unwrap();
            }
            _ => {
                map.clear();
                subtask.map.clear_in(&namespace).unwrap();
            }
        }
    }
}

/// What a subtask has besides its states.
struct Subtaskless<'a> {
    cut: &'a mut Vec<Level>,
    chains: &'a mut Vec<Vec<Level>>,
}

struct World {
    draws: Draws,
    ages: bool,
    budget: Budget,
    subtasks: Vec<Subtask>,
    model: Model,
    now: i64,
    epoch: Epoch,
    /// What the cut that is being written should say.
    expected: Option<Model>,
    kept: Model,
}

impl World {
    fn new(seed: u64, ages: bool) -> World {
        let budget = Budget::new("slot", 1 << 30);
        World {
            draws: Draws(seed),
            ages,
            subtasks: vec![Subtask::new(0..MAX, ages, &budget)],
            budget,
            model: Model::default(),
            now: 0,
            epoch: Epoch(0),
            expected: None,
            kept: Model::default(),
        }
    }

    fn change(&mut self) {
        let (key, namespace) = (self.draws.below(KEYS), self.draws.below(2));
        let (item, what) = (self.draws.below(1_000), self.draws.below(20));
        let Some(subtask) = self.subtasks.iter_mut().find(|subtask| subtask.holds(key)) else {
            panic!("every key has a subtask");
        };
        subtask.backend.set_processing_time(Timestamp(self.now));
        subtask
            .backend
            .context()
            .set_current(KeyHash::of_u64(key), &key);
        let mut change = Change {
            at: (key, namespace),
            item,
            now: self.now,
            ages: self.ages,
            model: &mut self.model,
        };
        match what {
            0..8 => change.values(subtask, what),
            8..13 => change.list(subtask, what),
            _ => change.map(subtask, what),
        }
    }

    fn freeze(&mut self) {
        if self.expected.is_some() {
            return;
        }
        self.epoch = self.epoch.next();
        let asked = match self.draws.below(5) {
            0 => CutKind::Everything,
            _ => CutKind::Changes,
        };
        let epoch = self.epoch;
        for subtask in &mut self.subtasks {
            subtask.cut.clear();
            subtask.each(|_, state, rest| {
                assert!(!state.is_cutting());
                rest.cut.push(Level::new(state.freeze(epoch, asked)));
            });
        }
        self.expected = Some(self.model.clone());
    }

    fn emit(&mut self) {
        let Some(expected) = &self.expected else {
            return;
        };
        let mut cutting = false;
        let draws = &mut self.draws;
        for subtask in &mut self.subtasks {
            subtask.each(|number, state, rest| {
                let budget = 1 + draws.below(60) as usize;
                state.emit(budget, &mut rest.cut[number]).unwrap();
                cutting |= state.is_cutting();
            });
        }
        if cutting {
            return;
        }
        self.kept = expected.clone();
        self.expected = None;
        for subtask in &mut self.subtasks {
            for (chain, level) in subtask.chains.iter_mut().zip(subtask.cut.drain(..)) {
                chain.push(level);
            }
        }
        let restored = self.restored();
        if self.draws.once_in(4) {
            self.subtasks = restored;
            self.model = self.kept.clone();
        }
    }

    /// The states of other subtasks, restored from the cuts that are kept.
    fn restored(&mut self) -> Vec<Subtask> {
        let (sorted, middle) = (
            self.draws.once_in(2),
            self.draws.below(u64::from(MAX) + 1) as u16,
        );
        let (ages, now, old) = (self.ages, self.now, &self.subtasks);
        let mut read = Model::default();
        let mut subtasks = Vec::new();
        for groups in [0..middle, middle..MAX] {
            let mut new = Subtask::new(groups.clone(), ages, &self.budget);
            new.backend.set_processing_time(Timestamp(now));
            new.each(|number, state, rest| {
                rest.chains[number].push(Level::new(CutKind::Everything));
                for old in old {
                    take_back(state, &old.chains[number], groups.clone(), sorted);
                    for level in counting(&old.chains[number]) {
                        let rows = level.rows.iter().filter(|row| groups.contains(&row.0));
                        let (full, rows) = (false, rows.cloned().collect());
                        rest.chains[number].push(Level { full, rows });
                    }
                }
            });
            let part = new.read(now);
            read.value.extend(part.value);
            read.sum.extend(part.sum);
            read.mean.extend(part.mean);
            read.list.extend(part.list);
            read.map.extend(part.map);
            subtasks.push(new);
        }
        let (read, kept) = (
            ageless(read, ages),
            ageless(self.kept.alive(ages, now), ages),
        );
        assert!(read.value == kept.value, "values");
        assert!(
            read.sum == kept.sum && read.mean == kept.mean,
            "reduced and aggregated values"
        );
        assert!(read.list == kept.list, "lists");
        assert!(read.map == kept.map, "maps");
        subtasks
    }

    fn step(&mut self) {
        match self.draws.below(60) {
            0..2 => self.freeze(),
            2 => {
                self.expected = None;
                for subtask in &mut self.subtasks {
                    subtask.each(|_, state, _| state.cut_failed());
                }
            }
            3..16 => self.emit(),
            16..19 => self.now += self.draws.below(300) as i64,
            19 => {
                for subtask in &mut self.subtasks {
                    subtask.backend.set_processing_time(Timestamp(self.now));
                    subtask.backend.clean_expired(20).unwrap();
                }
            }
            _ => (0..4).for_each(|_| self.change()),
        }
    }
}

/// Without the times, which handles do not show; maps sorted where what has expired mixes their order.
fn ageless(mut model: Model, ages: bool) -> Model {
    model.value.values_mut().for_each(|value| value.1 = 0);
    model.sum.values_mut().for_each(|value| value.1 = 0);
    model.mean.values_mut().for_each(|value| value.1 = 0);
    model
        .list
        .values_mut()
        .flatten()
        .for_each(|element| element.1 = 0);
    model
        .map
        .values_mut()
        .flatten()
        .for_each(|(_, value)| value.1 = 0);
    if ages {
        model.map.values_mut().for_each(|map| map.sort());
    }
    model
}

fn program(seed: u64, ages: bool) {
    let mut world = World::new(seed, ages);
    for _ in 0..400 {
        world.step();
    }
    while world.expected.is_some() {
        world.emit();
    }
    world.freeze();
    while world.expected.is_some() {
        world.emit();
    }
    let budget = world.budget.clone();
    let held: u64 = world
        .subtasks
        .iter()
        .map(|subtask| subtask.backend.memory_bytes())
        .sum();
    assert_eq!(held, budget.used());
    drop(world);
    assert_eq!(budget.used(), 0);
}

#[test]
fn every_kind_of_state_comes_back_as_it_was() {
    (0..25).for_each(|seed| program(seed, false));
}

#[test]
fn every_kind_of_state_with_a_time_to_live_comes_back_as_it_was() {
    (0..25).for_each(|seed| program(seed, true));
}

#[test]
fn what_has_expired_is_not_written() {
    let budget = Budget::new("slot", 1 << 30);
    let mut subtask = Subtask::new(0..MAX, true, &budget);
    let mut cut = |now: i64, epoch: u64| {
        subtask.backend.set_processing_time(Timestamp(now));
        let mut counts = Vec::new();
        for key in 0..epoch * 10 {
            subtask
                .backend
                .context()
                .set_current(KeyHash::of_u64(key), &key);
            if now == 0 {
                subtask.value.set(key.to_string()).unwrap();
            } else {
                subtask.sum.add(1).unwrap();
            }
        }
        subtask.each(|_, state, _| {
            let mut level = Level::new(state.freeze(Epoch(epoch), CutKind::Changes));
            finish(state, 7, &mut level);
            let puts = level.rows.iter().filter(|row| row.3.is_some()).count();
            counts.push((level.full, puts, level.rows.len() - puts));
            assert_eq!(state.emit(1, &mut level), Ok(Scan::Done));
        });
        counts[..2].to_vec()
    };
    assert_eq!(cut(0, 1), [(true, 10, 0), (true, 0, 0)]);
    assert_eq!(cut(500, 2), [(false, 0, 0), (false, 20, 0)]);
    // The values have expired, unchanged: nobody needs to hear of it.
    assert_eq!(cut(1_499, 3), [(false, 0, 0), (false, 30, 0)]);
    subtask.backend.set_processing_time(Timestamp(9_000));
    let mut rows = 0;
    subtask.each(|_, state, _| {
        let mut level = Level::new(state.freeze(Epoch(9), CutKind::Everything));
        finish(state, 7, &mut level);
        rows += level.rows.len();
    });
    assert_eq!(rows, 0);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn rows_are_the_stored_ones() {
    let budget = Budget::new("slot", 1 << 30);
    let mut subtask = Subtask::new(0..MAX, false, &budget);
    subtask
        .backend
        .context()
        .set_current(KeyHash::of_u64(5), &5);
    subtask.value.set("five".to_owned()).unwrap();
    subtask.sum.add(6).unwrap();
    subtask.mean.add(7).unwrap();
    subtask.list.add_all_in(&3, [8, 9]).unwrap();
    subtask.map.put_in(&4, "u".to_owned(), 10).unwrap();
    let mut rows = Vec::new();
    subtask.each(|_, state, _| {
        let mut level = Level::new(state.freeze(Epoch(1), CutKind::Changes));
        finish(state, 10, &mut level);
        for (group, key, namespace, value) in level.rows {
            let value = hex(&value.unwrap());
            rows.push(format!("{group} {} {} {value}", hex(&key), hex(&namespace)));
        }
    });
    let golden = [
        "3 0000000000000005  66697665ffffffff",
        "3 0000000000000005  0600000000000000",
        "3 0000000000000005  07000000000000000100000000000000",
        "3 0000000000000005 00000000000000030000000000000000 \
         0800000000000000090000000000000000000000000000000200000000000000e0ffffff02000000",
        "3 0000000000000005 0000000000000004de101753ed181b9b \
         75ffffffffffffff0a000000000000000000000000000000",
    ];
    assert_eq!(
        rows, golden,
        "other bytes need another version of the format"
    );
    let mut descriptor = Vec::new();
    subtask.backend.states()[1].encode(&mut descriptor);
    let types = b"u64\0\x01()\0\x01u64\0\x01";
    let golden = [
        &[2, 1][..],
        b"sum\0\x01",
        types,
        &[0, 0, 0, 1, 0],
        // What they are made of.
        types,
    ];
    assert_eq!(
        descriptor,
        golden.concat(),
        "other bytes need another version of the format"
    );
}
