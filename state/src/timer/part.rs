//! A part of the order taken out of a queue, as those timers go to disk.
//!
//! Entered between turns, while no cut of the queue is being written. Invariant: what was taken out stays accounted as
//! the queue's until it is let go. Lives on one shard's thread.

use std::collections::VecDeque;

use thalweg_core::Timestamp;
use thalweg_memory::Key;

use super::order::{Order, Timer};
use super::queue::{BYTES_OF_ENTRY, TimerQueue};
use super::stretch::Stretch;
use crate::table::Namespace;

impl<K: Key, N: Namespace> TimerQueue<K, N> {
    /// The first timer, if it is due at `upto`: its place in the order, and its time.
    pub(super) fn first_due(&mut self, upto: Timestamp) -> Option<(Order, Timestamp)> {
        let first = self.due_ahead(upto).next();
        first.map(|timer| (timer.order(), timer.at))
    }

    /// Counts the timers between the ends of parts of the order, the last first: for each number of them at one place,
    /// one or several, which part has it is known from that place. Timers that are sorted already are not among them.
    pub(super) fn count(&self, parts: &[Order], mut to: impl FnMut(Order, usize)) {
        let mut reach = None;
        for (start, stretch) in self.stretches.iter().rev() {
            let beyond = parts.partition_point(|part| part <= start);
            let next = parts.get(beyond);
            // Most stretches lie in one part, and need not be looked through.
            if next.is_none_or(|part| reach.is_some_and(|reach| reach <= *part)) {
                to(*start, stretch.len());
            } else {
                let first = |timer: &Timer<K, N>| next.is_some_and(|part| timer.order() < *part);
                let within = stretch.iter().filter(|timer| first(timer)).count();
                let others = stretch.iter().filter(|timer| !first(timer));
                others.for_each(|timer| to(timer.order(), 1));
                to(*start, within);
            }
            reach = Some(*start);
        }
    }

    /// Takes out all timers from `from` on that lie before `end`.
    pub(super) fn take_part(&mut self, from: Order, end: Option<Order>) -> VecDeque<Stretch<K, N>> {
        debug_assert!(self.cut.is_none(), "a cut has still to write them");
        let within = |order| order >= from && end.is_none_or(|end| order < end);
        let mut taken = VecDeque::new();
        let mut take = |stretch: Stretch<K, N>| {
            if stretch.len() > 0 {
                taken.push_back(stretch);
            }
        };
        let due = self.due.take_some(&mut self.account, within);
        take(Stretch::of(&mut self.account, due));
        for start in self.starts_over(from, end) {
            let next = self.stretches.range(start..).nth(1);
            let reach = next.map(|(next, _)| *next);
            let ends_within = end.is_none_or(|end| reach.is_some_and(|reach| reach <= end));
            if start >= from && ends_within {
                self.stretches
                    .remove(&start)
                    .into_iter()
                    .for_each(&mut take);
                match start == Order::FIRST {
                    true => drop(self.stretches.insert(start, Stretch::new())),
                    false => self.account.release(BYTES_OF_ENTRY),
                }
            } else if let Some(stretch) = self.stretches.get_mut(&start) {
                let some = stretch.take_some(within);
                take(Stretch::of(&mut self.account, some));
            }
        }
        self.len -= taken.iter().map(Stretch::len).sum::<usize>();
        taken
    }

    /// Where the stretches begin that have a share in a part of the order.
    fn starts_over(&self, from: Order, end: Option<Order>) -> Vec<Order> {
        let first = self.stretches.range(..=from).next_back();
        let first = first.map_or(from, |(start, _)| *start);
        let starts = self.stretches.range(first..).map(|(start, _)| *start);
        starts
            .take_while(|start| end.is_none_or(|end| *start < end))
            .collect()
    }

    /// What was taken out is done with.
    pub(super) fn let_go(&mut self, stretch: Stretch<K, N>) {
        let heap = stretch.iter().map(Timer::heap_bytes).sum();
        self.account.release(heap);
        stretch.release(&mut self.account);
    }
}
