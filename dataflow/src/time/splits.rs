//! The splits of one input and what each of them holds back.
//!
//! Entered by the stage that assigns timestamps: when the reader turns to another split, when a turn
//! ends, and when a period has passed; never per record. Invariant: the lowest of what the active splits
//! promise is what the input promises; a split that is idle or has ended holds nothing. Lives on one
//! shard's thread.

use std::collections::BTreeMap;

use thalweg_core::event_time::Timestamp;

/// Where a split stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No split: the place is free.
    Free,
    /// Its watermark counts.
    Active,
    /// It has no records and holds nothing back.
    Idle,
}

/// One split, or the whole input where the reader tells of none.
struct Slot<G> {
    /// Which split; none before the reader tells.
    split: Option<u64>,
    /// Taken out while the split is the one in work.
    generator: Option<G>,
    watermark: Timestamp,
    standing: Standing,
    /// Records came since its generator was asked.
    touched: bool,
    /// When its last record came, on the clock of quiet time.
    last_record: u64,
}

/// All splits of one input. The generator of the one in work is with the stage.
pub(crate) struct Splits<G> {
    slots: Vec<Slot<G>>,
    /// By slot: what it holds back, [`Timestamp::MAX`] if nothing. Dense, for the minimum.
    holding: Vec<Timestamp>,
    active: usize,
    by_split: BTreeMap<u64, usize>,
    current: usize,
}

impl<G> Splits<G> {
    /// An input whose reader has told of no split yet.
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![Slot {
                split: None,
                generator: None,
                watermark: Timestamp::MIN,
                standing: Standing::Active,
                touched: false,
                last_record: 0,
            }],
            holding: vec![Timestamp::MIN],
            active: 1,
            by_split: BTreeMap::new(),
            current: 0,
        }
    }

    /// Whether this split is the one in work.
    #[inline]
    pub(crate) fn is_current(&self, split: u64) -> bool {
        self.slots[self.current].split == Some(split)
    }

    fn set_standing(&mut self, slot: usize, standing: Standing) {
        let before = std::mem::replace(&mut self.slots[slot].standing, standing);
        self.active += usize::from(standing == Standing::Active);
        self.active -= usize::from(before == Standing::Active);
        self.holding[slot] = match standing {
            #[cfg(test)]
            Standing::Idle if tests::IDLE_HOLDS.get() => self.slots[slot].watermark,
            Standing::Active => self.slots[slot].watermark,
            Standing::Free | Standing::Idle => Timestamp::MAX,
        };
    }

    /// Turns to another split, at this quiet time; `generator` is that of the one in work and becomes
    /// that of the other, which `make` makes for a new split.
    pub(crate) fn turn_to(
        &mut self,
        split: u64,
        now: u64,
        generator: &mut G,
        make: impl FnOnce() -> G,
    ) {
        let (slot, new) = match self.by_split.get(&split) {
            Some(slot) => (*slot, false),
            None => (self.place_for(split, now), true),
        };
        let next = match self.slots[slot].generator.take() {
            Some(next) => next,
            None => make(),
        };
        debug_assert!(new || slot != self.current, "asked before");
        let before = std::mem::replace(generator, next);
        if slot != self.current {
            self.slots[self.current].generator = Some(before);
            self.current = slot;
        }
    }

    /// A place for a new split: that of the input as a whole, if nothing was read there.
    fn place_for(&mut self, split: u64, now: u64) -> usize {
        let unused = |slot: &Slot<G>| {
            let untold = slot.split.is_none() && slot.watermark == Timestamp::MIN && !slot.touched;
            slot.standing == Standing::Free || untold
        };
        let slot = match self.slots.iter().position(unused) {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot {
                    split: None,
                    generator: None,
                    watermark: Timestamp::MIN,
                    standing: Standing::Free,
                    touched: false,
                    last_record: now,
                });
                self.holding.push(Timestamp::MAX);
                self.slots.len() - 1
            }
        };
        let place = &mut self.slots[slot];
        place.split = Some(split);
        place.watermark = Timestamp::MIN;
        place.touched = false;
        place.last_record = now;
        if slot != self.current {
            place.generator = None;
        }
        self.set_standing(slot, Standing::Active);
        self.by_split.insert(split, slot);
        slot
    }

    /// No record of this split will come any more. Answers whether it was the one in work.
    pub(crate) fn end(&mut self, split: u64) -> bool {
        let Some(slot) = self.by_split.remove(&split) else {
            return false;
        };
        self.set_standing(slot, Standing::Free);
        let ended = &mut self.slots[slot];
        ended.split = None;
        ended.watermark = Timestamp::MIN;
        ended.touched = false;
        ended.generator = None;
        slot == self.current
    }

    /// Records of the split in work have come.
    pub(crate) fn touch(&mut self, now: u64) {
        let slot = &mut self.slots[self.current];
        slot.touched = true;
        slot.last_record = now;
        if slot.standing != Standing::Active {
            self.set_standing(self.current, Standing::Active);
        }
    }

    /// The split in work promises this much, or what it promised before if that is more.
    pub(crate) fn raise(&mut self, to: Timestamp) {
        self.raise_slot(self.current, to);
    }

    fn raise_slot(&mut self, slot: usize, to: Timestamp) {
        let place = &mut self.slots[slot];
        place.watermark = place.watermark.max(to);
        if place.standing == Standing::Active {
            self.holding[slot] = place.watermark;
        }
    }

    /// The split in work says itself whether it is idle.
    pub(crate) fn set_idle(&mut self, idle: bool, now: u64) {
        self.slots[self.current].last_record = now;
        let standing = match idle {
            true => Standing::Idle,
            false => Standing::Active,
        };
        self.set_standing(self.current, standing);
    }

    /// What the split in work promises.
    pub(crate) fn current_watermark(&self) -> Timestamp {
        self.slots[self.current].watermark
    }

    /// What the input promises; none if no split is active.
    pub(crate) fn lowest(&self) -> Option<Timestamp> {
        if self.active == 0 {
            return None;
        }
        self.holding.iter().copied().min()
    }

    /// Whether every active split is beyond `limit`.
    pub(crate) fn all_beyond(&self, limit: Timestamp) -> bool {
        self.active > 0 && self.holding.iter().all(|held| *held > limit)
    }

    /// Whether some active split is beyond `limit`.
    pub(crate) fn any_beyond(&self, limit: Timestamp) -> bool {
        let mut holding = self.holding.iter();
        holding.any(|held| *held > limit && *held < Timestamp::MAX)
    }

    /// A period has passed in which nobody asks the generators.
    pub(crate) fn skip(&mut self) {
        for slot in &mut self.slots {
            slot.touched = false;
        }
    }

    /// A period has passed: asks the generators of active splits with new records, or of all active ones
    /// if they `speak` by themselves, what they promise. `generator` is that of the split in work.
    pub(crate) fn ask(
        &mut self,
        generator: &mut G,
        speak: bool,
        mut ask: impl FnMut(&mut G) -> (Option<Timestamp>, bool),
    ) {
        for slot in 0..self.slots.len() {
            let place = &mut self.slots[slot];
            if place.standing != Standing::Active || !(place.touched || speak) {
                continue;
            }
            place.touched = false;
            let answer = match &mut place.generator {
                Some(generator) => ask(generator),
                None => ask(generator),
            };
            self.raise_slot(slot, answer.0.unwrap_or(Timestamp::MIN));
            if answer.1 {
                self.set_standing(slot, Standing::Idle);
            }
        }
    }

    /// Makes idle what had no record for `timeout` of quiet time and is not beyond `limit`, where it is
    /// made to wait.
    pub(crate) fn find_idle(&mut self, now: u64, timeout: u64, limit: Timestamp) {
        for slot in 0..self.slots.len() {
            let place = &mut self.slots[slot];
            if place.standing != Standing::Active {
                continue;
            }
            // A record of this very turn was stamped before the turn's time was counted.
            if place.touched || place.watermark > limit {
                place.last_record = now;
            } else if now - place.last_record >= timeout {
                self.set_standing(slot, Standing::Idle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// A mistake that is planted to see it found: an idle split still holds what it promised.
        pub(super) static IDLE_HOLDS: Cell<bool> = const { Cell::new(false) };
    }

    fn splits() -> (Splits<u64>, u64) {
        (Splits::new(), 0)
    }

    #[test]
    fn the_slowest_active_split_decides() {
        let (mut splits, mut generator) = splits();
        assert_eq!(splits.lowest(), Some(Timestamp::MIN), "nothing is known");
        for (split, to) in [(7, 30), (8, 20), (9, 40)] {
            splits.turn_to(split, 0, &mut generator, || split);
            splits.touch(0);
            splits.raise(Timestamp(to));
        }
        assert_eq!(splits.lowest(), Some(Timestamp(20)));
        assert!(splits.end(9), "it was in work");
        assert!(!splits.end(8));
        assert_eq!(splits.lowest(), Some(Timestamp(30)));
        splits.end(7);
        assert_eq!(splits.lowest(), None);
    }

    #[test]
    fn each_split_keeps_its_generator() {
        let (mut splits, mut generator) = splits();
        for split in [1, 2, 3, 2, 1, 3] {
            splits.turn_to(split, 0, &mut generator, || split * 10);
            assert!(splits.is_current(split));
            assert_eq!(generator, split * 10);
        }
    }

    #[test]
    fn a_silent_split_holds_until_the_timeout_and_counts_again_with_its_next_record() {
        let (mut splits, mut generator) = splits();
        for (split, to) in [(1, 10), (2, 20)] {
            splits.turn_to(split, 0, &mut generator, || split);
            splits.touch(0);
            splits.raise(Timestamp(to));
        }
        splits.ask(&mut generator, false, |_| (None, false));
        splits.touch(50);
        splits.find_idle(100, 100, Timestamp::MAX);
        assert_eq!(
            splits.lowest(),
            Some(Timestamp(20)),
            "the other has a new record"
        );
        splits.turn_to(1, 150, &mut generator, || 1);
        splits.touch(150);
        assert_eq!(splits.lowest(), Some(Timestamp(10)));
    }

    #[test]
    fn a_split_that_is_made_to_wait_is_not_idle() {
        let (mut splits, mut generator) = splits();
        splits.turn_to(1, 0, &mut generator, || 1);
        splits.raise(Timestamp(10));
        splits.find_idle(500, 100, Timestamp(9));
        assert!(splits.all_beyond(Timestamp(9)) && !splits.all_beyond(Timestamp(10)));
        assert!(splits.any_beyond(Timestamp(9)) && !splits.any_beyond(Timestamp(10)));
        splits.find_idle(550, 100, Timestamp(10));
        assert_eq!(splits.lowest(), Some(Timestamp(10)));
        splits.find_idle(600, 100, Timestamp(10));
        assert_eq!(splits.lowest(), None);
        assert!(
            !splits.any_beyond(Timestamp(9)),
            "an idle one waits for nobody"
        );
    }

    const TIMEOUT: u64 = 100;

    /// A split as it is looked at from outside.
    #[derive(Clone, Copy)]
    struct Seen {
        watermark: i64,
        last_record: u64,
        idle: bool,
    }

    /// Records of some splits at drawn times, some of which end: the first seed at which the input promises
    /// something other than the lowest of what the splits do that were not silent for the timeout.
    fn first_difference(seeds: u64) -> Option<u64> {
        (0..seeds).find(|seed| {
            let mut state = *seed;
            let mut below = |bound: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) % bound
            };
            let (mut splits, mut generator) = splits();
            let mut seen = BTreeMap::<u64, Seen>::new();
            let mut now = 0;
            (0..100).any(|_| {
                now += below(40);
                let split = below(5);
                if seen.contains_key(&split) && below(10) == 0 {
                    splits.end(split);
                    seen.remove(&split);
                } else {
                    if !splits.is_current(split) {
                        splits.turn_to(split, now, &mut generator, || split);
                    }
                    let to = below(1_000).cast_signed();
                    splits.touch(now);
                    splits.raise(Timestamp(to));
                    let before = seen.get(&split).map_or(to, |seen| seen.watermark);
                    let now_seen = Seen {
                        watermark: before.max(to),
                        last_record: now,
                        idle: false,
                    };
                    seen.insert(split, now_seen);
                }
                splits.skip();
                splits.find_idle(now, TIMEOUT, Timestamp::MAX);
                let promises = seen.values_mut().filter_map(|seen| {
                    seen.idle |= now - seen.last_record >= TIMEOUT;
                    (!seen.idle).then_some(Timestamp(seen.watermark))
                });
                splits.lowest() != promises.min()
            })
        })
    }

    #[test]
    fn an_idle_split_that_holds_the_watermark_is_found_and_without_it_nothing() {
        IDLE_HOLDS.set(true);
        assert!(first_difference(100).is_some());
        IDLE_HOLDS.set(false);
        assert_eq!(first_difference(300), None);
    }
}
