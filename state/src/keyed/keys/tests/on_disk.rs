//! Drawn programs over states larger than their memory, all of whose keys are visited now and then, against a map:
//! values, lists and maps, with and without a time to live; entries that were removed, that were written several times,
//! that come and go while keys are visited, and visits that change and remove what their key has.
//!
//! Invariant: the keys that are visited are those that have something in the state when the visits begin, each once,
//! and a visit sees all that its key has. Only where all is in memory keys whose time has passed are visited too.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_core::{KeyHash, MaxParallelism, Timestamp};

use super::*;
use crate::lsm::stage::{self, spilling};
use crate::lsm::{DUE, Pressure};
use crate::snapshot::reading::Draws;
use crate::{KeyedBackend, StateDescriptor, StateTtl, WINDOW};

const BATCH: usize = 16;
const KEYS: u64 = 12_000;
const LIFE_MS: i64 = 10_000;
/// Names of the states, in the order of their numbers.
const STATES: [&str; 6] = ["value", "list", "map", "aged", "aged list", "aged map"];

/// What a key has: of what ages when each was touched.
#[derive(Clone, Debug, Default)]
struct Has {
    value: Option<u64>,
    list: Vec<u64>,
    map: BTreeMap<u64, u64>,
    aged: Option<i64>,
    aged_list: Vec<i64>,
    aged_map: BTreeMap<u64, i64>,
}

fn alive(touched: &i64, now: i64) -> bool {
    touched + LIFE_MS > now
}

impl Has {
    /// What has not expired.
    fn at(&self, now: i64) -> Has {
        let alive = |touched: &i64| alive(touched, now);
        let map = self.aged_map.iter().filter(|(_, touched)| alive(touched));
        Has {
            aged: self.aged.filter(alive),
            aged_list: self.aged_list.iter().copied().filter(alive).collect(),
            aged_map: map.map(|(key, touched)| (*key, *touched)).collect(),
            ..self.clone()
        }
    }

    fn has(&self, state: usize) -> bool {
        match state {
            0 => self.value.is_some(),
            1 => !self.list.is_empty(),
            2 => !self.map.is_empty(),
            3 => self.aged.is_some(),
            4 => !self.aged_list.is_empty(),
            _ => !self.aged_map.is_empty(),
        }
    }

    fn clear(&mut self, state: usize) {
        match state {
            0 => self.value = None,
            1 => self.list.clear(),
            2 => self.map.clear(),
            3 => self.aged = None,
            4 => self.aged_list.clear(),
            _ => self.aged_map.clear(),
        }
    }
}

struct States {
    backend: KeyedBackend<u64>,
    value: ValueState<u64, (u64, String)>,
    list: ListState<u64, (u64, String)>,
    map: MapState<u64, u64, (u64, String)>,
    aged: ValueState<u64, i64>,
    aged_list: ListState<u64, i64>,
    aged_map: MapState<u64, u64, i64>,
}

fn long(number: u64) -> (u64, String) {
    (number, format!("{number:0>70}"))
}

impl States {
    fn declare(mut backend: KeyedBackend<u64>) -> States {
        let life = StateTtl::new(Duration::from_millis(LIFE_MS as u64));
        let aged = StateDescriptor::value::<i64>(STATES[3]).with_ttl(life);
        let aged_list = StateDescriptor::list::<i64>(STATES[4]).with_ttl(life);
        let aged_map = StateDescriptor::map::<u64, i64>(STATES[5]).with_ttl(life);
        States {
            value: backend.value_state(STATES[0]).unwrap(),
            list: backend.list_state(STATES[1]).unwrap(),
            map: backend.map_state(STATES[2]).unwrap(),
            aged: backend.value_state_of(aged).unwrap(),
            aged_list: backend.list_state_of(aged_list).unwrap(),
            aged_map: backend.map_state_of(aged_map).unwrap(),
            backend,
        }
    }

    fn keys(&self, state: usize, budget: Budget) -> KeysOfState<u64> {
        match state {
            0 => KeysOfState::new(&self.value, budget),
            1 => KeysOfState::new(&self.list, budget),
            2 => KeysOfState::new(&self.map, budget),
            3 => KeysOfState::new(&self.aged, budget),
            4 => KeysOfState::new(&self.aged_list, budget),
            _ => KeysOfState::new(&self.aged_map, budget),
        }
    }

    /// What the key in work has is what the map says.
    fn check(&self, key: u64, has: &Has, now: i64) -> Result<(), StateError> {
        let has = has.at(now);
        let what = format!("key {key} at {now}");
        assert_eq!(self.value.get()?.map(|it| it.0), has.value, "{what}");
        let list = self.list.with(|all| all.map(|it| it.0).collect::<Vec<_>>());
        assert_eq!(list?, has.list, "{what}");
        let mut map = BTreeMap::new();
        self.map.for_each(|key, it| {
            map.insert(*key, it.0);
        })?;
        assert_eq!(map, has.map, "{what}");
        assert_eq!(self.aged.get()?, has.aged, "{what}");
        assert_eq!(self.aged_list.get()?, has.aged_list, "{what}");
        let mut aged_map = BTreeMap::new();
        (self.aged_map).for_each(|key, it| {
            aged_map.insert(*key, *it);
        })?;
        assert_eq!(aged_map, has.aged_map, "{what}");
        Ok(())
    }

    /// Changes what the key in work has in one state.
    fn change(
        &mut self,
        state: usize,
        (draws, now): (&mut Draws, i64),
        has: &mut Has,
    ) -> Result<(), StateError> {
        *has = has.at(now);
        let number = draws.below(40);
        if draws.once_in(3) {
            has.clear(state);
            return match state {
                0 => self.value.clear(),
                1 => self.list.clear(),
                2 => self.map.clear(),
                3 => self.aged.clear(),
                4 => self.aged_list.clear(),
                _ => self.aged_map.clear(),
            };
        }
        match state {
            0 => self.value.set(long(number))?,
            1 => self.list.add(long(number))?,
            2 => drop(self.map.put(number, long(number))?),
            3 => self.aged.set(now)?,
            4 => self.aged_list.add(now)?,
            _ => drop(self.aged_map.put(number, now)?),
        }
        match state {
            0 => has.value = Some(number),
            1 => has.list.push(number),
            2 => has.map.extend([(number, number)]),
            3 => has.aged = Some(now),
            4 => has.aged_list.push(now),
            _ => has.aged_map.extend([(number, now)]),
        }
        Ok(())
    }
}

/// Keys that are being visited.
struct Visiting {
    state: usize,
    keys: KeysOfState<u64>,
    expected: BTreeSet<u64>,
    visited: BTreeSet<u64>,
}

/// What a program tells.
#[derive(Default)]
struct Told {
    ended: bool,
    /// Walks over states on disk, by state.
    on_disk: [u64; STATES.len()],
    in_memory: u64,
    visits: u64,
    reads: u64,
    runs: usize,
}

struct Program {
    states: States,
    groups: Range<u16>,
    budget: Budget,
    model: BTreeMap<u64, Has>,
    draws: Draws,
    now: i64,
    batches: usize,
    number: usize,
    batch: Vec<u64>,
    applied: usize,
    visiting: Option<Visiting>,
    waiting: bool,
    told: Rc<RefCell<Told>>,
}

fn group_of(key: u64) -> u16 {
    MaxParallelism::default().key_group(KeyHash::of_u64(key)).0
}

impl Program {
    fn draw_key(&mut self) -> u64 {
        loop {
            let most = if self.draws.once_in(4) { 40 } else { KEYS };
            let key = self.draws.below(most);
            if self.groups.contains(&group_of(key)) {
                return key;
            }
        }
    }

    /// Applies a batch; whether it waits.
    fn work(&mut self) -> Result<(), StateError> {
        if self.batch.is_empty() {
            self.batch = (0..BATCH).map(|_| self.draw_key()).collect();
            self.applied = 0;
            self.now += 7;
            self.states.backend.set_processing_time(Timestamp(self.now));
            self.states.backend.clean_expired(2 * BATCH)?;
        }
        let from = self.number * BATCH % WINDOW;
        let mut there = self.batch.len();
        if self.states.backend.overflows() {
            there = self.applied;
            if self.states.backend.has_room(BATCH) {
                let mut all = true;
                for (at, key) in self.batch.iter().enumerate().skip(self.applied) {
                    all &= (self.states.backend).seek(from + at, KeyHash::of_u64(*key), key);
                    there += usize::from(all);
                }
                let ready = there - self.applied;
                if ready > 0 {
                    there = self.applied + self.states.backend.let_in(ready);
                }
            }
        }
        while self.applied < there {
            let (key, state) = (self.batch[self.applied], self.draws.below(6) as usize);
            let has = self.model.entry(key).or_default();
            (self.states.backend.context()).set_current(KeyHash::of_u64(key), &key);
            self.states.check(key, has, self.now)?;
            (self.states).change(state, (&mut self.draws, self.now), has)?;
            self.applied += 1;
        }
        self.waiting = there < self.batch.len();
        if !self.waiting {
            self.batch.clear();
            self.number += 1;
        }
        Ok(())
    }

    fn begin_visits(&mut self) {
        let state = self.draws.below(6) as usize;
        let has = |has: &Has| has.at(self.now).has(state);
        let expected = self.model.iter().filter(|(_, it)| has(it));
        self.visiting = Some(Visiting {
            state,
            keys: self.states.keys(state, self.budget.clone()),
            expected: expected.map(|(key, _)| *key).collect(),
            visited: BTreeSet::new(),
        });
    }

    /// Visits some keys; whether that was all.
    fn visit(&mut self, visiting: &mut Visiting) -> Result<bool, StateError> {
        for _ in 0..100 {
            match visiting.keys.gather(64)? {
                Gathered::More => continue,
                Gathered::Waiting => {
                    self.waiting = true;
                    return Ok(false);
                }
                Gathered::Next => {}
            }
            if !self.seek_visits(&visiting.keys) {
                self.waiting = true;
                return Ok(false);
            }
            let Some(found) = visiting.keys.next_key() else {
                return Ok(true);
            };
            if !visiting.keys.has(&found) {
                continue;
            }
            let key = found.1;
            assert!(visiting.visited.insert(key), "key {key} is visited twice");
            self.told.borrow_mut().visits += 1;
            let has = self.model.entry(key).or_default();
            self.states.backend.context().set_current(found.0, &key);
            self.states.check(key, has, self.now)?;
            if self.draws.once_in(3) {
                let state = match self.draws.once_in(2) {
                    true => visiting.state,
                    false => self.draws.below(6) as usize,
                };
                (self.states).change(state, (&mut self.draws, self.now), has)?;
            }
        }
        Ok(false)
    }

    fn seek_visits(&self, keys: &KeysOfState<u64>) -> bool {
        let backend = &self.states.backend;
        if !backend.overflows() {
            return true;
        }
        if !backend.has_room(1) {
            return false;
        }
        let mut none = true;
        for (nth, (hash, key)) in keys.coming().take(DUE).enumerate() {
            let found = backend.seek(WINDOW + nth, *hash, key);
            if nth == 0 && found {
                return true;
            }
            none = false;
        }
        none
    }

    fn end_visits(&mut self, visiting: Visiting) {
        let what = format!("{} at {}", STATES[visiting.state], self.now);
        let missed: Vec<_> = visiting.expected.difference(&visiting.visited).collect();
        assert!(missed.is_empty(), "{what}: not visited are {missed:?}");
        let mut told = self.told.borrow_mut();
        match visiting.keys.way {
            Way::ByGroups(_) => {
                assert_eq!(visiting.visited, visiting.expected, "{what}");
                told.on_disk[visiting.state] += 1;
            }
            Way::AtOnce(..) | Way::InLine => told.in_memory += 1,
        }
    }
}

impl Step for Program {
    fn name(&self) -> &str {
        "program"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.states.backend.begin_turn(context)?;
        self.waiting = false;
        if self.visiting.is_none() && self.batch.is_empty() && self.draws.once_in(30) {
            self.begin_visits();
        }
        match self.visiting.take() {
            Some(mut visiting) => match self.visit(&mut visiting)? {
                true => self.end_visits(visiting),
                false => self.visiting = Some(visiting),
            },
            None => self.work()?,
        }
        let pressure = self.states.backend.end_turn(context, self.waiting)?;
        let done = self.number >= self.batches && self.visiting.is_none();
        if done {
            let mut told = self.told.borrow_mut();
            told.ended = true;
            self.states.backend.show_overflow(|overflow| {
                told.reads += overflow.reads();
                told.runs += overflow.runs();
            });
        }
        let made = !done && (pressure != Pressure::Disk || !self.waiting);
        Ok(Progress { made, done })
    }
}

/// Runs a program in so much memory.
fn run(seed: u64, memory: u64, merge_rate: u64) -> Told {
    let (mut simulation, manager) = spilling(seed, SimOptions::default());
    let (budget, max) = (Budget::new("slot", memory), MaxParallelism::default());
    let make = stage::overflows(&manager, &budget, merge_rate);
    let groups = [0..128, 0..43, 100..101][seed as usize % 3].clone();
    let backend = KeyedBackend::in_memory(groups.clone(), max, budget.clone());
    let told = Rc::default();
    let program = Program {
        states: States::declare(backend.overflowing(Box::new(make))),
        groups,
        budget,
        model: BTreeMap::new(),
        draws: Draws(seed),
        now: 0,
        batches: 1_600,
        number: 0,
        batch: Vec::new(),
        applied: 0,
        visiting: None,
        waiting: false,
        told: Rc::clone(&told),
    };
    stage::run(&mut simulation, program).unwrap();
    let told = told.take();
    assert!(told.ended, "seed {seed} hangs");
    told
}

#[test]
fn keys_on_disk_are_visited_once_each_with_all_they_have() {
    let mut all = Told::default();
    for seed in 0..6 {
        // Merged at once, or as time goes by.
        let merge_rate = [1 << 40, 8 << 20][seed as usize / 3];
        let told = run(seed, 2 << 20, merge_rate);
        for (sum, more) in all.on_disk.iter_mut().zip(told.on_disk) {
            *sum += more;
        }
        (all.in_memory, all.visits) = (all.in_memory + told.in_memory, all.visits + told.visits);
        (all.reads, all.runs) = (all.reads + told.reads, all.runs + told.runs);
    }
    assert!(
        all.on_disk.iter().all(|walks| *walks > 3),
        "walks by state: {:?}",
        all.on_disk
    );
    assert!(
        all.in_memory > 5 && all.reads > 10_000,
        "{} in memory, {} reads",
        all.in_memory,
        all.reads
    );
}

#[test]
fn keys_of_states_that_did_not_leave_memory_are_visited_once_each() {
    let told = run(30, 256 << 20, 1 << 40);
    assert_eq!((told.on_disk, told.runs), ([0; STATES.len()], 0));
    assert!(told.in_memory > 5 && told.visits > 10_000);
}
