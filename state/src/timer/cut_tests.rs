//! Tests of the cut of timers: drawn programs against a set.

use std::collections::BTreeSet;
use std::ops::Range;

use super::*;
use crate::snapshot::reading::{Draws, Level, lend, read};

/// Key, namespace, time.
type At = (u64, u64, i64);

const MAX: u16 = 16;

fn queue(groups: Range<u16>, budget: &Budget) -> TimerQueue<u64, u64> {
    let max = MaxParallelism::new(MAX.into()).unwrap();
    TimerQueue::new(groups, max, budget.clone())
}

fn bytes_of(timers: &BTreeSet<At>) -> BTreeMap<(Vec<u8>, Vec<u8>), Vec<u8>> {
    let bytes = |(key, namespace, at): &At| {
        let (mut key_bytes, mut rest) = (Vec::new(), Vec::new());
        <u64 as Key>::encode(key, &mut key_bytes);
        Timestamp(*at).encode(&mut rest);
        Namespace::encode(namespace, &mut rest);
        ((key_bytes, rest), Vec::new())
    };
    timers.iter().map(bytes).collect()
}

struct World {
    draws: Draws,
    queue: TimerQueue<u64, u64>,
    model: BTreeSet<At>,
    now: i64,
    cut: Option<(Level, BTreeSet<At>)>,
    cuts: u64,
    /// How many keys and times there are.
    keys: u64,
    times: u64,
}

impl World {
    fn change(&mut self) {
        let (key, namespace) = (self.draws.below(self.keys), self.draws.below(2));
        let at = self.now + self.draws.below(self.times) as i64;
        let hash = KeyHash::of_u64(key);
        if self.draws.once_in(4) {
            let deleted = self.queue.delete(hash, &key, &namespace, Timestamp(at));
            assert_eq!(deleted, self.model.remove(&(key, namespace, at)));
        } else {
            let new = self.queue.register(hash, &key, &namespace, Timestamp(at));
            assert_eq!(new, Ok(self.model.insert((key, namespace, at))));
        }
    }

    fn fire(&mut self) {
        let upto = self.now + self.draws.below(self.times) as i64 / 8;
        let most = self.draws.below(300);
        for _ in 0..most {
            let Some(timer) = self.queue.pop_due(Timestamp(upto)) else {
                self.now = upto;
                return;
            };
            assert!(self.model.remove(&(timer.key, timer.namespace, timer.at.0)));
        }
    }

    fn emit(&mut self, budget: usize) {
        let Some((level, expected)) = &mut self.cut else {
            assert!(!self.queue.is_cutting());
            return;
        };
        if self.queue.emit(budget, level).unwrap() == Scan::Done {
            assert_eq!(level.rows.len(), expected.len(), "each is written once");
            assert_eq!(read(std::slice::from_ref(level)), bytes_of(expected));
            self.restore();
        }
    }

    /// Goes on with queues of other key groups, joined again.
    fn restore(&mut self) {
        let Some((level, expected)) = self.cut.take() else {
            return;
        };
        if !self.draws.once_in(3) {
            return;
        }
        let middle = self.draws.below(u64::from(MAX)) as u16;
        let budget = self.queue.account.budget().clone();
        let mut parts = [0..middle, middle..MAX].map(|groups| queue(groups, &budget));
        for row in &level.rows {
            let part = usize::from(row.0 >= middle);
            parts[part].restore(lend(row)).unwrap();
            assert!(parts[1 - part].restore(lend(row)).is_err());
        }
        self.queue = queue(0..MAX, &budget);
        for part in &mut parts {
            let mut level = Level::new(CutKind::Everything);
            part.freeze(Epoch(1), CutKind::Changes);
            while part.emit(100, &mut level).unwrap() == Scan::More {}
            level
                .rows
                .iter()
                .for_each(|row| self.queue.restore(lend(row)).unwrap());
        }
        self.model = expected;
    }

    fn step(&mut self) {
        match self.draws.below(100) {
            0..4 => {
                self.cuts += 1;
                let asked = if self.draws.once_in(3) {
                    CutKind::Copy
                } else {
                    CutKind::Changes
                };
                let kind = self.queue.freeze(Epoch(self.cuts), asked);
                assert!(kind.is_full());
                self.cut = Some((Level::new(kind), self.model.clone()));
            }
            4 => {
                self.queue.cut_failed();
                self.cut = None;
            }
            5..30 => {
                let budget = 1 + self.draws.below(200) as usize;
                self.emit(budget);
            }
            30..40 => self.fire(),
            _ => (0..20).for_each(|_| self.change()),
        }
    }
}

fn program(seed: u64) {
    let budget = Budget::new("slot", 1 << 30);
    let mut draws = Draws(seed);
    let (keys, times) = (1 + draws.below(3_000), 8 + draws.below(2_000));
    let mut world = World {
        draws,
        queue: queue(0..MAX, &budget),
        model: BTreeSet::new(),
        now: -500,
        cut: None,
        cuts: 1,
        keys,
        times,
    };
    for _ in 0..400 {
        world.step();
    }
    assert_eq!(world.queue.len(), world.model.len());
    assert_eq!(world.queue.memory_bytes(), budget.used());
    world.queue.cut_failed();
    while world.queue.pop_due(Timestamp(i64::MAX)).is_some() {}
    drop(world);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_cut_has_the_timers_that_were_there_and_no_others() {
    (0..80).for_each(program);
}

#[test]
fn a_new_timer_in_a_cut_is_found() {
    let found = planted::failures(Bug::NewTimersWritten, 0..20, program);
    assert!(found >= 10, "found for {found} of 20 seeds");
}
