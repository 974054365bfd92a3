//! A function with broadcast state that keeps rows per key until a rule takes them, and notices when a rule has missed
//! a key or taken one twice.
//!
//! Entered by the programs of tests whose state is larger than its memory. Invariant: after a rule has been there, all
//! that a key has says so, or has come since; and each row is told of once, when it is taken or at the end.

use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::{
    BroadcastContext, BroadcastOpenContext, KeyedBroadcastProcessFunction,
};
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, FunctionError, ProcessContext};
use thalweg_state::{BroadcastState, ListState, MapState, ValueState};

/// Key, number, some text.
pub(crate) type Row = (u64, u64, String);

/// Later than every record.
const AT_THE_END: Timestamp = Timestamp(1_000_000_000);

/// Keeps the rows of each key, in three kinds of states.
pub(crate) struct Taking {
    /// The numbers, beside some text.
    rows: ListState<u64, (u64, String)>,
    /// How many there are of each last digit.
    digits: MapState<u64, u64, (u64, String)>,
    /// How many rules had come when this key was visited last, or began.
    since: ValueState<u64, u64>,
    /// How many rules have come.
    rules: BroadcastState<(), u64>,
}

impl Taking {
    pub(crate) fn open(open: &mut BroadcastOpenContext<'_, u64>) -> Taking {
        Taking {
            rows: open.list_state("rows"),
            digits: open.map_state("digits"),
            since: open.value_state("since"),
            rules: open.broadcast_state("rules"),
        }
    }

    fn rules(&self) -> u64 {
        self.rules.get(&()).unwrap_or(0)
    }

    /// What the key in work has was seen by as many rules as have come, but for so many.
    fn check(&self, key: u64, but: u64) -> Result<(), FunctionError> {
        let (since, now) = (self.since.get()?, self.rules());
        let kept = self.rows.len()?;
        let mut counted = 0;
        self.digits.for_each(|_, (count, _)| counted += count)?;
        let fits = since.is_none_or(|since| since + but == now);
        if fits && counted == kept && since.is_some() == (kept > 0) {
            return Ok(());
        }
        Err(FunctionError::new(format!(
            "key {key} has {kept} rows, {counted} by digits, since rule {since:?}, and {now} have come"
        )))
    }

    /// Tells of all rows of the key in work, and forgets them.
    fn take(&mut self, out: &mut Collector<'_, u64>) -> Result<(), FunctionError> {
        let numbers =
            (self.rows).with(|rows| rows.map(|(number, _)| *number).collect::<Vec<_>>())?;
        numbers.into_iter().for_each(|number| out.emit(number));
        self.rows.clear()?;
        self.digits.clear()?;
        self.since.clear()?;
        Ok(())
    }
}

impl KeyedBroadcastProcessFunction<u64, Row, u64, u64> for Taking {
    fn process(
        &mut self,
        (key, number, text): Row,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        self.check(key, 0)?;
        self.since.set(self.rules())?;
        self.digits.upsert(
            number % 10,
            || (1, format!("{number:0>20}")),
            |(count, _)| *count += 1,
        )?;
        self.rows.add((number, text))?;
        context.timers().register_event_time(AT_THE_END)
    }

    /// Every rule visits all keys, by one of the states.
    fn process_broadcast(
        &mut self,
        rule: u64,
        context: &BroadcastContext<'_, u64>,
        _out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        let rules = self.rules() + 1;
        self.rules.put(context, (), rules)?;
        match rule % 3 {
            0 => context.apply_to_each_key(&self.rows),
            1 => context.apply_to_each_key(&self.digits),
            _ => context.apply_to_each_key(&self.since),
        }
        Ok(())
    }

    /// Takes the rows of some keys, and leaves those of others.
    fn apply_to_key(
        &mut self,
        state: &str,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or_default();
        self.check(key, 1)?;
        if self.rows.len()? == 0 {
            let what = format!("key {key} is visited by '{state}' and has nothing");
            return Err(FunctionError::new(what));
        }
        if (key + self.rules()).is_multiple_of(8) {
            self.take(out)?;
            return Ok(());
        }
        self.since.set(self.rules())?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        _timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        self.check(context.key().unwrap_or_default(), 0)?;
        self.take(out)
    }
}
