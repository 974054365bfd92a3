//! The functions of the job, each with states of several kinds.
//!
//! They live on the shards of the job's process. Invariant: what they emit depends on the input alone, and not on
//! when anything comes.

use thalweg_dataflow::operator::{
    BroadcastContext, BroadcastOpenContext, KeyedBroadcastProcessFunction, KeyedProcessFunction,
    ProcessFunction,
};
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::window::{TimeWindow, WindowAggregate};
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext, SubtaskList};
use thalweg_state::{
    AggregatingState, Aggregation, BroadcastState, ListState, MapState, ReducingState,
    StateDescriptor, StateTtl, ValueState,
};

use crate::oracle::input::{LATER, RULED, TOLD, seal_of};

/// A key, a number and the seal of both.
pub(super) type Sealed = (u64, u64, u64);

type Add = fn(&mut u64, u64);
/// How many there were, and their sum.
type Mean = (u64, u64);

/// Time for which the aggregate lives: far longer than a run, so that only its time stamps are at work.
const LASTING: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// Counts a key in every kind of keyed state.
pub(super) struct Telling {
    count: ValueState<u64, u64>,
    sum: ReducingState<u64, u64, Add>,
    recent: ListState<u64, u64>,
    by_digit: MapState<u64, u64, u64>,
    mean: AggregatingState<u64, u64, Mean, u64>,
}

fn add(sum: &mut u64, number: u64) {
    *sum += number;
}

fn nothing() -> Mean {
    (0, 0)
}

fn add_to_mean(mean: &mut Mean, number: u64) {
    *mean = (mean.0 + 1, mean.1 + number);
}

fn mean_of(mean: &Mean) -> u64 {
    mean.1 / mean.0
}

impl Telling {
    pub(super) fn open(open: &mut OpenContext<u64>) -> Telling {
        let aggregation = Aggregation::new(
            nothing as fn() -> Mean,
            add_to_mean as fn(&mut Mean, u64),
            mean_of as fn(&Mean) -> u64,
        );
        let mean = StateDescriptor::aggregating::<Mean>("mean").with_ttl(StateTtl::new(LASTING));
        Telling {
            count: open.value_state("count"),
            sum: open.reducing_state("sum", add as Add),
            recent: open.list_state("recent"),
            by_digit: open.map_state("by digit"),
            mean: open.aggregating_state_with(mean, aggregation),
        }
    }
}

impl KeyedProcessFunction<u64, Sealed, String> for Telling {
    fn process(
        &mut self,
        (key, number, seal): Sealed,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        if seal != seal_of(key, number) {
            let what = format!("{number} of key {key} arrives with the seal {seal}");
            return Err(FunctionError::new(what));
        }
        self.count.update(|count| *count += 1)?;
        self.sum.add(number)?;
        self.recent.add(number)?;
        self.mean.add(number)?;
        let digit = number % 3;
        let same = self.by_digit.get(&digit)?.unwrap_or(0) + 1;
        self.by_digit.put(digit, same)?;
        let count = self.count.get()?.unwrap_or(0);
        let sum = self.sum.get()?.unwrap_or(0);
        out.emit(format!("seen {number} {key} {count} {sum}"));
        if count.is_multiple_of(TOLD) {
            let recent = self.recent.get()?;
            let mean = self.mean.get()?.unwrap_or(0);
            let last = recent.iter().sum::<u64>();
            out.emit(format!(
                "told {key} {count} {} {last} {same} {mean}",
                recent.len()
            ));
            self.recent.clear()?;
            let at = context.timestamp().plus_ms(LATER);
            context.timers().register_event_time(at)?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or(u64::MAX);
        out.emit(format!("timer {key} {}", timer.at.0));
        Ok(())
    }
}

/// Puts each number together with the rule of its row. Whichever comes first waits for the other.
pub(super) struct Ruled {
    rules: BroadcastState<u64, u64>,
    waiting: ListState<u64, u64>,
}

impl Ruled {
    pub(super) fn open(open: &mut BroadcastOpenContext<'_, u64>) -> Ruled {
        Ruled {
            rules: open.broadcast_state("rules"),
            waiting: open.list_state("waiting"),
        }
    }
}

impl KeyedBroadcastProcessFunction<u64, Sealed, (u64, u64), String> for Ruled {
    fn process(
        &mut self,
        (_, number, _): Sealed,
        _context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        match self.rules.get(&(number / RULED)) {
            Some(rule) => out.emit(format!("ruled {number} {rule}")),
            None => self.waiting.add(number)?,
        }
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        (row, rule): (u64, u64),
        context: &BroadcastContext<'_, u64>,
        _out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.rules.put(context, row, rule)?;
        context.apply_to_each_key(&self.waiting);
        Ok(())
    }

    fn apply_to_key(
        &mut self,
        _state: &str,
        _context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let mut left = Vec::new();
        for number in self.waiting.get()? {
            match self.rules.get(&(number / RULED)) {
                Some(rule) => out.emit(format!("ruled {number} {rule}")),
                None => left.push(number),
            }
        }
        Ok(self.waiting.update(left)?)
    }
}

/// Gathers numbers in a list of its subtask, and lets them go many at a time.
pub(super) struct Gathering {
    waiting: SubtaskList<u64>,
}

/// How many are let go at once.
const GATHERED: usize = 97;

impl Gathering {
    pub(super) fn open(open: &mut OpenContext) -> Gathering {
        Gathering {
            waiting: open.list_of_subtask("waiting"),
        }
    }

    fn let_go(&self, out: &mut Collector<'_, String>) {
        for number in self.waiting.take() {
            out.emit(format!("gathered {number}"));
        }
    }
}

impl ProcessFunction<Sealed, String> for Gathering {
    fn process(
        &mut self,
        (_, number, _): Sealed,
        _context: &ProcessContext,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.waiting.add(number);
        if self.waiting.len() >= GATHERED {
            self.let_go(out);
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Collector<'_, String>) -> Result<(), FunctionError> {
        self.let_go(out);
        Ok(())
    }
}

/// How many numbers a sliding window has, and their sum.
#[derive(Clone)]
pub(super) struct Sums;

impl WindowAggregate<u64, Sealed> for Sums {
    type Accumulator = (u64, u64);
    type Row = String;

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, so_far: &mut (u64, u64), (_, number, _): Sealed) {
        *so_far = (so_far.0 + 1, so_far.1 + number);
    }

    fn merge(&self, into: &mut (u64, u64), other: &(u64, u64)) {
        *into = (into.0 + other.0, into.1 + other.1);
    }

    fn row(&self, key: u64, window: TimeWindow, (count, sum): &(u64, u64)) -> String {
        format!("slide {key} {} {count} {sum}", window.start.0)
    }
}
