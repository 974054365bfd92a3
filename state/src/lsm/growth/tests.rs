//! How many records are let in; and one key that has ever more, among many that have a little: it fails its job by
//! the name of the state when it is too large, and only then.

use std::cell::Cell;
use std::rc::Rc;

use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_core::{KeyHash, MaxParallelism};
use thalweg_memory::Budget;
use thalweg_memory::spill::IoQueue;

use super::super::stage::{run, spilling};
use super::super::{Overflow, Pressure};
use super::Growth;
use crate::backend::KeyedBackend;
use crate::{ListState, MapState, StateDescriptor, StateError, WINDOW};

const MEMORY: u64 = 2 << 20;
/// Bytes of an element or entry, about.
const EACH: usize = 200;
const KEYS: u64 = 4_000;

/// What of the key grows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grows {
    List,
    Map,
}

struct Growing {
    backend: KeyedBackend<u64>,
    list: ListState<u64, String>,
    map: MapState<u64, u64, String>,
    grows: Grows,
    next: u64,
    /// Up to how many.
    most: u64,
    waiting: bool,
    /// How many the key has.
    has: Rc<Cell<u64>>,
}

impl Growing {
    fn work(&mut self) -> Result<(), StateError> {
        // Every other record is of the key that grows.
        let (number, grows) = (self.next, self.next.is_multiple_of(2));
        let key = if grows { 0 } else { number % KEYS };
        let hash = KeyHash::of_u64(key);
        let place = self.next as usize % WINDOW;
        let there = self.backend.has_room(1) && self.backend.seek(place, hash, &key);
        self.waiting = !there;
        if !there {
            return Ok(());
        }
        self.backend.context().set_current(hash, &key);
        let text = format!("{number:0>EACH$}");
        if !grows {
            self.list.update([text.clone()])?;
            self.map.put(number % 3, text)?;
        } else if self.grows == Grows::List {
            self.list.add(text)?;
            self.has.set(self.list.len()?);
        } else {
            self.map.put(number, text)?;
            self.has.set(self.map.len()?);
        }
        self.next += 1;
        Ok(())
    }
}

impl Step for Growing {
    fn name(&self) -> &str {
        "growing"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.backend.begin_turn(context)?;
        self.waiting = false;
        for _ in 0..16 {
            if self.next < self.most && !self.waiting {
                self.work()?;
            }
        }
        let pressure = self.backend.end_turn(context, self.waiting)?;
        let done = self.next == self.most;
        let made = !done && pressure != Pressure::Disk;
        Ok(Progress { made, done })
    }
}

/// Lets one key grow to so much; answers how many it came to have.
fn grow(grows: Grows, most: u64) -> (Result<(), String>, u64) {
    let (mut simulation, manager) = spilling(7, SimOptions::default());
    let budget = Budget::new("slot", MEMORY);
    let (files, shared) = (manager.clone(), budget.clone());
    let make = move |descriptor: &StateDescriptor, groups: std::ops::Range<u16>| {
        let (share, queue): (_, IoQueue) = (shared.share(), files.queue(8));
        Box::new(Overflow::new(
            descriptor.clone(),
            groups,
            share,
            queue,
            1 << 40,
        ))
    };
    let backend = KeyedBackend::in_memory(0..128, MaxParallelism::default(), budget);
    let mut backend = backend.overflowing(Box::new(make));
    let program = Growing {
        list: backend.list_state("list").unwrap(),
        map: backend.map_state("map").unwrap(),
        backend,
        grows,
        next: 0,
        most,
        waiting: false,
        has: Rc::default(),
    };
    let has = Rc::clone(&program.has);
    let ended = run(&mut simulation, program);
    (ended, has.get())
}

#[test]
fn a_key_may_have_a_part_of_the_memory_and_what_is_too_large_is_named() {
    for (grows, name) in [(Grows::List, "list"), (Grows::Map, "map")] {
        let fits = MEMORY / (8 * EACH as u64);
        let (ended, has) = grow(grows, 2 * fits);
        assert_eq!(ended, Ok(()), "{has} in the {name} of one key");
        assert_eq!(has, fits);
        let (ended, has) = grow(grows, 100 * fits);
        let failure = ended.expect_err("it is more than the memory");
        let named = format!("state '{name}' on disk needs memory for all that one key has in it");
        assert!(failure.contains(&named), "{failure}");
        assert!(
            failure.contains("taskmanager.memory.managed.size"),
            "{failure}"
        );
        assert!(has > fits, "{has} in the {name} of one key");
    }
}

#[test]
fn as_many_are_let_in_as_what_the_last_have_added_says() {
    let mut growth = Growth::default();
    assert_eq!(
        growth.let_in(256, 64 << 10, (0, 0)),
        256,
        "nothing is known"
    );
    let held = 256 << 10;
    assert_eq!(growth.let_in(256, 64 << 10, (held, 1 << 20)), 64);
    let held = held + (64 << 10);
    assert_eq!(growth.let_in(256, 512, (held, 1 << 20)), 1, "one always is");
    growth.end(held);
    growth.end(held + (1 << 20));
    assert_eq!(
        growth.let_in(256, 64 << 10, (held, 1 << 20)),
        65,
        "a little is forgotten"
    );
    growth.end(0);
    assert_eq!(
        growth.let_in(256, 64 << 10, (16 << 20, 1 << 10)),
        16,
        "entries are large"
    );
}
