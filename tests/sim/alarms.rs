//! Many timers for each number, most of which fire much later, and some are deleted before.
//!
//! Invariant: which timers fire follows from the numbers alone, whatever comes first: no two numbers have a time in
//! common, and what deletes timers fires before all of them.

use std::collections::BTreeSet;

use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, FunctionError, ProcessContext};

use super::program::mix;

/// The times at which a number is told of: no two numbers have one in common.
#[derive(Clone, Copy)]
pub(super) struct Alarms {
    /// Numbers are told of at multiples of so many numbers after them.
    block: u64,
}

/// How often each number is told of.
const TOLD_AGAIN: u64 = 16;
/// So many of these are deleted when its first timer fires.
const DELETED: u64 = 6;
/// A number is told of so many blocks after it, at most.
const LATEST: u64 = 12;
/// Blocks there are.
const BLOCKS: u64 = 8;
/// The times of each number: of its record, then of its timers by block, then of its first timer by block.
const TIMES: u64 = 2 * BLOCKS + 1;

impl Alarms {
    pub(super) fn of(records: u64) -> Alarms {
        let block = records.div_ceil(BLOCKS).max(2);
        Alarms { block }
    }

    /// The time of the record of a number.
    pub(super) fn time_of(self, number: u64) -> Timestamp {
        Timestamp((number * TIMES) as i64)
    }

    /// When its first timer fires, which is not told of.
    fn first(self, number: u64) -> Timestamp {
        let at = (number + self.block / 2) * TIMES + 1 + BLOCKS + number / self.block;
        Timestamp(at as i64)
    }

    fn nth(self, number: u64, nth: u64) -> Timestamp {
        let blocks = 1 + mix(number * TOLD_AGAIN + nth) % LATEST;
        let at = (number + blocks * self.block) * TIMES + 1 + number / self.block;
        Timestamp(at as i64)
    }

    /// The number whose first timer fires then.
    fn number_of(self, at: Timestamp) -> Option<u64> {
        let at = at.0 as u64;
        (at % TIMES > BLOCKS).then(|| at / TIMES - self.block / 2)
    }

    /// When a number is told of in the end.
    pub(super) fn told(self, number: u64) -> BTreeSet<i64> {
        let mut told = BTreeSet::from_iter((0..TOLD_AGAIN).map(|nth| self.nth(number, nth).0));
        for nth in 0..DELETED {
            told.remove(&self.nth(number, nth).0);
        }
        told
    }
}

/// Tells of each number when its timers fire.
pub(super) struct Waking(pub(super) Alarms);

impl KeyedProcessFunction<u64, u64, String> for Waking {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let timers = context.timers();
        timers.register_event_time(self.0.first(number))?;
        (0..TOLD_AGAIN).try_for_each(|nth| timers.register_event_time(self.0.nth(number, nth)))
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        if let Some(number) = self.0.number_of(timer.at) {
            let timers = context.timers();
            return (0..DELETED)
                .try_for_each(|nth| timers.delete_event_time(self.0.nth(number, nth)));
        }
        let key = context.key().unwrap_or_default();
        out.emit(format!("timer {key} {}", timer.at.0));
        Ok(())
    }
}
