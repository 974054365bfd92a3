//! The slices of one key in the sliding window, so that a slide costs a few combines whatever the
//! number of slices.
//!
//! One slice alone lies in the table itself, several in two stacks beside it: of the `older` slices each
//! entry holds what it and all newer ones of `older` come to, the oldest on top; `newer` ones are kept as
//! they are, with their sum beside. A window's value is the top of the one merged with the sum of the
//! other. When `older` runs out, `newer` is turned over: every slice is merged a fixed number of times in
//! its life. Where an accumulator can be subtracted, nothing is turned over: what leaves is taken off the
//! sum.
//!
//! Invariants: ends rise from the top of `older` to its bottom and on through `newer`; `sum` is there
//! exactly when `newer` holds something. Lives in the keyed table of its operator.

use std::collections::VecDeque;

use thalweg_memory::record::{Record, record};

/// Makes accumulators and puts them together.
pub(super) trait Combine<A> {
    /// The accumulator of no record.
    fn create(&self) -> A;
    /// Makes `other` a part of `into`.
    fn merge(&self, into: &mut A, other: &A);
    /// Takes `other` out of `from`, if that can be done.
    fn subtract(&self, from: &mut A, other: &A) -> bool;

    /// A copy.
    fn copy(&self, of: &A) -> A {
        let mut copy = self.create();
        self.merge(&mut copy, of);
        copy
    }
}

/// The slices of one key in the window, by their ends in ms.
#[record(crate = thalweg_memory)]
pub(super) enum Panes<A> {
    /// No slice.
    Empty,
    /// One. Where keys come and go, most have no more at a time, and need no memory beside the table.
    One(i64, A),
    /// Several, sooner or later.
    Many(Box<Stacks<A>>),
}

impl<A: Record> Panes<A> {
    pub(super) fn new() -> Self {
        Self::Empty
    }

    /// Bytes that one more slice may take beside the table, about.
    pub(super) const fn most_bytes() -> usize {
        size_of::<Stacks<A>>() + 4 * size_of::<(i64, A)>()
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::One(..) => false,
            Self::Many(stacks) => stacks.is_empty(),
        }
    }

    /// Adds what a slice holds; also a slice that is there already or older than others.
    pub(super) fn push(&mut self, by: &impl Combine<A>, end: i64, held: &A) {
        match self {
            Self::Empty => *self = Self::One(end, by.copy(held)),
            Self::One(only, there) if *only == end => by.merge(there, held),
            Self::One(only, there) => {
                let mut stacks = Stacks::new();
                stacks.push(by, *only, there);
                stacks.push(by, end, held);
                *self = Self::Many(Box::new(stacks));
            }
            Self::Many(stacks) => stacks.push(by, end, held),
        }
    }

    /// Forgets the slices that end at or before `start`.
    #[inline]
    pub(super) fn evict(&mut self, by: &impl Combine<A>, start: i64) {
        let emptied = match self {
            Self::Empty => return,
            Self::One(end, _) => *end <= start,
            Self::Many(stacks) => {
                stacks.evict(by, start);
                stacks.is_empty()
            }
        };
        if emptied {
            *self = Self::Empty;
        }
    }

    /// What all slices come to.
    #[inline]
    pub(super) fn value(&self, by: &impl Combine<A>) -> A {
        match self {
            Self::Empty => by.create(),
            Self::One(_, held) => by.copy(held),
            Self::Many(stacks) => stacks.value(by),
        }
    }
}

/// The two stacks.
#[record(crate = thalweg_memory)]
pub(super) struct Stacks<A> {
    older: Vec<(i64, A)>,
    newer: VecDeque<(i64, A)>,
    sum: Option<A>,
}

impl<A: Record> Stacks<A> {
    fn new() -> Self {
        Self {
            older: Vec::new(),
            newer: VecDeque::new(),
            sum: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.older.is_empty() && self.newer.is_empty()
    }

    /// Adds what a slice holds; also a slice that is there already or older than others.
    fn push(&mut self, by: &impl Combine<A>, end: i64, held: &A) {
        if self.older.first().is_some_and(|(newest, _)| end <= *newest) {
            return self.push_older(by, end, held);
        }
        match self.newer.binary_search_by_key(&end, |(end, _)| *end) {
            Ok(at) => by.merge(&mut self.newer[at].1, held),
            Err(at) => self.newer.insert(at, (end, by.copy(held))),
        }
        match &mut self.sum {
            Some(sum) => by.merge(sum, held),
            None => self.sum = Some(by.copy(held)),
        }
    }

    #[cold]
    fn push_older(&mut self, by: &impl Combine<A>, end: i64, held: &A) {
        let at = self.older.partition_point(|(other, _)| *other > end);
        if self.older.get(at).is_none_or(|(other, _)| *other != end) {
            let mut begun = by.create();
            if let Some((_, newer)) = at.checked_sub(1).and_then(|at| self.older.get(at)) {
                by.merge(&mut begun, newer);
            }
            self.older.insert(at, (end, begun));
        }
        for (_, suffix) in &mut self.older[at..] {
            by.merge(suffix, held);
        }
    }

    /// Forgets the slices that end at or before `start`.
    fn evict(&mut self, by: &impl Combine<A>, start: i64) {
        while self.older.last().is_some_and(|(end, _)| *end <= start) {
            self.older.pop();
        }
        while let Some((end, _)) = self.newer.front()
            && *end <= start
        {
            debug_assert!(self.older.is_empty(), "older slices leave first");
            let Some((_, gone)) = self.newer.pop_front() else {
                unreachable!("there is a first one");
            };
            let Some(sum) = &mut self.sum else {
                unreachable!("slices have a sum");
            };
            if !by.subtract(sum, &gone) {
                return self.turn_over(by, start);
            }
        }
        if self.newer.is_empty() {
            self.sum = None;
        }
    }

    /// Makes the newer slices that are still in the window the older ones.
    #[inline(never)]
    fn turn_over(&mut self, by: &impl Combine<A>, start: i64) {
        self.sum = None;
        while let Some((end, mut held)) = self.newer.pop_back() {
            if end <= start {
                self.newer.clear();
                return;
            }
            if let Some((_, suffix)) = self.older.last() {
                by.merge(&mut held, suffix);
            }
            self.older.push((end, held));
        }
    }

    /// What all slices come to.
    fn value(&self, by: &impl Combine<A>) -> A {
        let mut value = by.create();
        if let Some((_, suffix)) = self.older.last() {
            by.merge(&mut value, suffix);
        }
        if let Some(sum) = &self.sum {
            by.merge(&mut value, sum);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    /// Sums with or without an inverse, and the number of merges.
    struct Sums {
        inverse: bool,
        merges: Cell<u64>,
    }

    impl Combine<u64> for Sums {
        fn create(&self) -> u64 {
            0
        }
        fn merge(&self, into: &mut u64, other: &u64) {
            self.merges.set(self.merges.get() + 1);
            *into += other;
        }
        fn subtract(&self, from: &mut u64, other: &u64) -> bool {
            if self.inverse {
                *from -= other;
            }
            self.inverse
        }
    }

    #[test]
    fn a_window_is_the_sum_of_its_slices_in_whatever_order_they_came() {
        for inverse in [false, true] {
            let by = Sums {
                inverse,
                merges: Cell::new(0),
            };
            let (mut panes, mut plain) = (Panes::new(), BTreeMap::<i64, u64>::new());
            let mut dice = 1_u64;
            for now in 0..2_000_i64 {
                for _ in 0..3 {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let end = now - (dice >> 33) as i64 % 30;
                    if dice >> 60 > 2 {
                        panes.push(&by, end, &(dice >> 40));
                        *plain.entry(end).or_default() += dice >> 40;
                    }
                }
                let start = now - 25 - (now % 3);
                panes.evict(&by, start);
                plain.retain(|end, _| *end > start);
                assert_eq!(panes.is_empty(), plain.is_empty(), "at {now}");
                assert_eq!(panes.value(&by), plain.values().sum::<u64>(), "at {now}");
            }
        }
    }

    #[test]
    fn a_slide_takes_a_few_merges_whatever_the_size() {
        for inverse in [false, true] {
            for size in [10, 1_000] {
                let by = Sums {
                    inverse,
                    merges: Cell::new(0),
                };
                let mut panes = Panes::new();
                let slides = 20_000;
                for end in 0..slides {
                    panes.push(&by, end, &1);
                    panes.evict(&by, end - size);
                    assert_eq!(panes.value(&by), (end + 1).min(size) as u64);
                }
                let each = by.merges.get() as f64 / slides as f64;
                assert!(each < 6.0, "{each} merges a slide of {size} slices");
            }
        }
    }
}
