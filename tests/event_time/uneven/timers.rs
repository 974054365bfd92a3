//! Timers judged by what each key saw: every registering, deleting and firing in its order, with the
//! watermark of that moment. Whatever order records and watermarks came in, that must follow the rules.

use std::collections::BTreeMap;

use thalweg_connectors::{Collected, Collects};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::{CoProcessFunction, KeyedProcessFunction};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_state::ValueState;

use super::run;
use super::script::Script;
use crate::event_time::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

/// Key, what to do, when.
type Ask = (u64, u8, i64);
/// Key, the how manieth event of it, what happened, the timer's time, the watermark.
type Told = (u64, u64, u8, i64, i64);

const REGISTER: u8 = 0;
const DELETE: u8 = 1;
const FIRED: u8 = 2;
/// Registered by a timer that fires.
const CHAINED: u8 = 3;

/// What a firing timer registers; no step leads to another such time.
fn registered_by(at: i64) -> Option<i64> {
    let step = [-3, 5][at.rem_euclid(2) as usize];
    (at.rem_euclid(7) == 0).then_some(at + step)
}

/// Does as it is asked and tells everything.
struct Diary {
    told: ValueState<u64, u64>,
}

impl Diary {
    fn open(open: &mut OpenContext<u64>) -> Self {
        Self {
            told: open.value_state("told"),
        }
    }

    fn tell(
        &mut self,
        what: u8,
        at: i64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.told.update(|told| *told += 1)?;
        let told = self.told.get()?.unwrap_or_default();
        let key = context.key().unwrap_or(u64::MAX);
        out.emit((key, told, what, at, context.watermark().0));
        Ok(())
    }

    fn ask(
        &mut self,
        (_, what, at): Ask,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.tell(what, at, context, out)?;
        match what {
            REGISTER => context.timers().register_event_time(Timestamp(at)),
            _ => context.timers().delete_event_time(Timestamp(at)),
        }
    }

    fn fired(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.tell(FIRED, timer.at.0, context, out)?;
        // It is gone already: this does nothing.
        context.timers().delete_event_time(timer.at)?;
        if let Some(at) = registered_by(timer.at.0) {
            self.tell(CHAINED, at, context, out)?;
            context.timers().register_event_time(Timestamp(at))?;
        }
        Ok(())
    }
}

impl KeyedProcessFunction<u64, Ask, Told> for Diary {
    fn process(
        &mut self,
        ask: Ask,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.ask(ask, context, out)
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.fired(timer, context, out)
    }
}

impl CoProcessFunction<u64, Ask, Ask, Told> for Diary {
    fn process_first(
        &mut self,
        ask: Ask,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.ask(ask, context, out)
    }

    fn process_second(
        &mut self,
        ask: Ask,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.ask(ask, context, out)
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.fired(timer, context, out)
    }
}

/// The timers of one key: by time, the watermark at which each became one, if a record registered it.
#[derive(Default)]
struct Timers {
    set: BTreeMap<i64, Option<i64>>,
    /// How many were registered for a time that had passed.
    past: usize,
}

impl Timers {
    /// A record has come at this watermark: nothing that it made due may be left.
    fn none_is_overdue(&self, watermark: i64) -> Result<(), String> {
        let due = self.set.range(..=watermark);
        let mut overdue = due.filter(|(_, since)| **since != Some(watermark));
        match overdue.next() {
            Some((at, _)) => Err(format!("the timer of {at} has not fired at {watermark}")),
            None => Ok(()),
        }
    }

    fn hear(&mut self, what: u8, at: i64, watermark: i64) -> Result<(), String> {
        match what {
            REGISTER => {
                self.none_is_overdue(watermark)?;
                self.past += usize::from(at <= watermark);
                self.set.entry(at).or_insert(Some(watermark));
            }
            DELETE => {
                self.none_is_overdue(watermark)?;
                self.set.remove(&at);
            }
            CHAINED => {
                self.set.entry(at).or_insert(None);
            }
            _ => return self.fire(at, watermark),
        }
        Ok(())
    }

    fn fire(&mut self, at: i64, watermark: i64) -> Result<(), String> {
        let first = self.set.first_key_value();
        if first.map(|(first, _)| *first) != Some(at) {
            return Err(format!("the timer of {at} fired, the first is {first:?}"));
        }
        let since = self.set.remove(&at).flatten();
        if at > watermark || since.is_some_and(|since| since == watermark) {
            return Err(format!(
                "the timer of {at}, registered at {since:?}, fired at {watermark}"
            ));
        }
        Ok(())
    }
}

/// Whether what was told follows the rules, and all that was asked is in it. Answers how many timers were
/// registered for a time that had passed.
fn judge(mut told: Vec<Told>, asked: &[(Ask, i64)]) -> Result<usize, String> {
    told.sort_unstable();
    let mut keys = BTreeMap::<u64, (u64, Timers)>::new();
    let mut heard: Vec<Ask> = Vec::new();
    for (key, number, what, at, watermark) in told {
        let (last, timers) = keys.entry(key).or_default();
        *last += 1;
        if *last != number {
            return Err(format!(
                "key {key}: event {number} comes after {}",
                *last - 1
            ));
        }
        let heeded = timers.hear(what, at, watermark);
        heeded.map_err(|wrong| format!("key {key}, event {number}: {wrong}"))?;
        if matches!(what, REGISTER | DELETE) {
            heard.push((key, what, at));
        }
    }
    for (key, (_, timers)) in &keys {
        if let Some((at, _)) = timers.set.first_key_value() {
            return Err(format!("key {key}: the timer of {at} never fired"));
        }
    }
    let mut asked: Vec<Ask> = asked.iter().map(|(ask, _)| *ask).collect();
    asked.sort_unstable();
    heard.sort_unstable();
    match heard == asked {
        true => Ok(keys.values().map(|(_, timers)| timers.past).sum()),
        false => Err(format!(
            "asked {} times, heard {}",
            asked.len(),
            heard.len()
        )),
    }
}

fn asks(dice: &mut Dice) -> Vec<(Ask, i64)> {
    let (keys, span) = (dice.pick(&[1, 5, 60]), dice.pick(&[30, 1_000]));
    let count = dice.below(400);
    let ask = |_| {
        let at = dice.below(span) as i64 - span as i64 / 3;
        let timer = at + dice.below(span / 3) as i64 - span as i64 / 10;
        let what = if dice.chance(75) { REGISTER } else { DELETE };
        ((dice.below(keys), what, timer), at)
    };
    (0..count).map(ask).collect()
}

fn kept(environment: &Environment, asks: Script<Ask>) -> Collected<Told> {
    let keyed = environment.source(asks).key_by(|ask: &Ask| ask.0);
    keyed.process_function(Diary::open).collect()
}

fn kept_of_two(environment: &Environment, one: Script<Ask>, other: Script<Ask>) -> Collected<Told> {
    let one = environment.source(one).key_by(|ask: &Ask| ask.0);
    let other = environment.source(other).key_by(|ask: &Ask| ask.0);
    one.connect(other).process(Diary::open).collect()
}

/// One input or two of them, which share the timers of a key.
fn diaries(trial: &mut Trial) -> Result<usize, String> {
    let mut dice = trial.dice.clone();
    let asks = asks(&mut dice);
    let told = match dice.chance(50) {
        true => {
            let script = Script::draw(&mut dice, &asks);
            trial.run(|environment| kept(environment, script))
        }
        false => {
            let (one, other) = asks.split_at(asks.len() / 2);
            let one = Script::draw(&mut dice, one);
            let other = Script::draw(&mut dice, other);
            trial.run(|environment| kept_of_two(environment, one, other))
        }
    };
    judge(told?, &asks)
}

both!(diaries: timers_of_uneven_splits_follow_the_rules_in_simulation, timers_of_uneven_splits_follow_the_rules_on_shards);

/// The judge finds a timer that is forgotten, fires twice, early, late or out of order.
#[test]
fn a_diary_that_breaks_the_rules_is_found() {
    let asked = [
        ((0, REGISTER, 5), 0),
        ((0, REGISTER, 9), 0),
        ((0, REGISTER, 2), 0),
    ];
    type Heard = (u8, i64, i64);
    let kept: [Heard; 6] = [
        (REGISTER, 5, 0),
        (REGISTER, 9, 0),
        (FIRED, 5, 6),
        (REGISTER, 2, 6),
        (FIRED, 2, 7),
        (FIRED, 9, i64::MAX),
    ];
    let judged = |events: &[Heard]| {
        let told = (1..).zip(events);
        let told = told.map(|(number, (what, at, watermark))| (0, number, *what, *at, *watermark));
        judge(told.collect(), &asked)
    };
    assert_eq!(judged(&kept), Ok(1));
    let forgotten = kept[..5].to_vec();
    let twice = [&kept[..5], &kept[4..]].concat();
    let mut early = kept;
    early[2].2 = 4;
    let mut late = kept;
    late[2..4].swap(0, 1);
    let mut at_once = kept;
    at_once[4].2 = 6;
    let mut out_of_order = kept;
    (out_of_order[4], out_of_order[5]) = ((FIRED, 9, 9), (FIRED, 2, 9));
    let broken: [&[Heard]; 6] = [&forgotten, &twice, &early, &late, &at_once, &out_of_order];
    for broken in broken {
        assert!(judged(broken).is_err(), "{broken:?}");
    }
}
