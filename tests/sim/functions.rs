//! The functions of the job, each with states of several kinds.
//!
//! Invariant: what they emit depends on the input alone, and not on when anything comes.

use thalweg_dataflow::operator::{
    BroadcastContext, BroadcastOpenContext, KeyedBroadcastProcessFunction, KeyedProcessFunction,
};
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_state::{
    AggregatingState, Aggregation, BroadcastState, ListState, MapState, ReducingState, ValueState,
};

use super::program::{LATER, Poison, RULED, SELDOM, TOLD};

type Add = fn(&mut u64, u64);
/// How many there were, and their sum.
type Mean = (u64, u64);

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

/// Counts a key in every kind of state.
pub(super) struct Telling {
    count: ValueState<u64, u64>,
    sum: ReducingState<u64, u64, Add>,
    recent: ListState<u64, u64>,
    by_digit: MapState<u64, u64, u64>,
    mean: AggregatingState<u64, u64, Mean, u64>,
    poison: Poison,
}

impl Telling {
    pub(super) fn open(open: &mut OpenContext<u64>, poison: &Poison) -> Telling {
        let aggregation = Aggregation::new(
            nothing as fn() -> Mean,
            add_to_mean as fn(&mut Mean, u64),
            mean_of as fn(&Mean) -> u64,
        );
        Telling {
            count: open.value_state("count"),
            sum: open.reducing_state("sum", add as Add),
            recent: open.list_state("recent"),
            by_digit: open.map_state("by digit"),
            mean: open.aggregating_state("mean", aggregation),
            poison: poison.clone(),
        }
    }
}

impl KeyedProcessFunction<u64, (u64, u64), String> for Telling {
    fn process(
        &mut self,
        (key, number): (u64, u64),
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.poison.taste(number)?;
        self.count.update(|count| *count += 1)?;
        self.sum.add(number)?;
        self.recent.add(number)?;
        self.mean.add(number)?;
        let digit = number % 3;
        let same = self.by_digit.get(&digit)?.unwrap_or(0) + 1;
        self.by_digit.put(digit, same)?;
        let count = self.count.get()?.unwrap_or(0);
        if count.is_multiple_of(TOLD) {
            let recent = self.recent.get()?.len();
            let sum = self.sum.get()?.unwrap_or(0);
            let mean = self.mean.get()?.unwrap_or(0);
            out.emit(format!("told {key} {count} {sum} {recent} {same} {mean}"));
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
        let key = context.key().unwrap_or_default();
        out.emit(format!("timer {key} {}", timer.at.0));
        Ok(())
    }
}

/// Numbers beside each that is kept.
const BESIDE: usize = 15;

/// Counts a key by a list of its numbers, and by a map of how many of them end alike.
pub(super) struct Collecting {
    numbers: ListState<u64, (u64, [u64; BESIDE])>,
    by_end: MapState<u64, u64, (u64, [u64; BESIDE])>,
}

impl Collecting {
    pub(super) fn open(open: &mut OpenContext<u64>) -> Collecting {
        Collecting {
            numbers: open.list_state("numbers"),
            by_end: open.map_state("by end"),
        }
    }
}

impl KeyedProcessFunction<u64, u64, String> for Collecting {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let end = number % 7;
        self.numbers.add((number, [number; BESIDE]))?;
        self.by_end
            .upsert(end, || (1, [end; BESIDE]), |(count, _)| *count += 1)?;
        let (mut count, mut wrong) = (0, false);
        for (number, beside) in self.numbers.get()? {
            wrong |= beside != [number; BESIDE];
            count += 1;
        }
        let mut of_ends = 0;
        self.by_end.for_each(|end, (count, beside)| {
            wrong |= *beside != [*end; BESIDE];
            of_ends += count;
        })?;
        wrong |= count != of_ends;
        let key = context.key().unwrap_or_default();
        out.emit(format!("counted {key} {}", if wrong { 0 } else { count }));
        Ok(())
    }
}

/// Puts some numbers together with the rule of their row, which every subtask is told once. Whichever comes first
/// waits for the other.
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

    fn rule(&self, number: u64) -> Option<u64> {
        self.rules.get(&(number / RULED))
    }
}

impl KeyedBroadcastProcessFunction<u64, (u64, u64), (u64, u64), String> for Ruled {
    fn process(
        &mut self,
        (_, number): (u64, u64),
        _context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        if !number.is_multiple_of(SELDOM) {
            return Ok(());
        }
        match self.rule(number) {
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
            match self.rule(number) {
                Some(rule) => out.emit(format!("ruled {number} {rule}")),
                None => left.push(number),
            }
        }
        Ok(self.waiting.update(left)?)
    }
}
