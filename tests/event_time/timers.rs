//! Timers against a naive model: random registering, deleting, watermarks and keys.
//!
//! With one split the order of records and watermarks is known, so the model follows it step by step and
//! every firing of a key is compared in its order. With several splits it is not: there every record
//! registers timers at its own time or later, so that each fires once whatever the order.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use thalweg_connectors::{Collected, Collects, Generator, Sinks};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::{KeyedProcessFunction, ProcessFunction};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Accumulator, Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_state::ValueState;

use super::on_time::on_time;
use super::script::{Event, Script};
use super::trial::{self, Trial};
use crate::random_graphs::dice::Dice;
use crate::stage;

/// Key, what to do, when.
pub(super) type Ask = (u64, u8, i64);
/// Key, the how manieth firing of the key, the timer's time.
type Fired = (u64, u64, i64);

pub(super) const REGISTER: u8 = 0;
const DELETE: u8 = 1;
/// How often a timer that fires at such a time registers another, and how much later or earlier.
const CHAINED: i64 = 7;
const STEPS: [i64; 3] = [-3, 0, 5];

/// What a firing timer registers. It does not depend on the watermark, because watermarks without a
/// record between them become one; and it ends, because no step leads to another such time.
fn registered_by(at: i64) -> Option<i64> {
    let chained = at.rem_euclid(CHAINED) == 0;
    let step = STEPS[at.rem_euclid(STEPS.len() as i64) as usize];
    (chained && step != 0).then_some(at + step)
}

struct Asked {
    fired: ValueState<u64, u64>,
}

impl KeyedProcessFunction<u64, Ask, Fired> for Asked {
    fn process(
        &mut self,
        (_, action, at): Ask,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, Fired>,
    ) -> Result<(), FunctionError> {
        match action {
            REGISTER => context.timers().register_event_time(Timestamp(at)),
            _ => context.timers().delete_event_time(Timestamp(at)),
        }
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Fired>,
    ) -> Result<(), FunctionError> {
        if timer.at > context.watermark() {
            return Err(FunctionError::new("a timer fired ahead of its watermark"));
        }
        self.fired.update(|fired| *fired += 1)?;
        let fired = self.fired.get()?.unwrap_or_default();
        out.emit((context.key().unwrap_or(u64::MAX), fired, timer.at.0));
        match registered_by(timer.at.0) {
            Some(at) => context.timers().register_event_time(Timestamp(at)),
            None => Ok(()),
        }
    }
}

/// The timers of every key, without a queue.
#[derive(Default)]
struct Model {
    timers: BTreeMap<u64, BTreeSet<i64>>,
    fired: Vec<Fired>,
}

impl Model {
    fn ask(&mut self, (key, action, at): Ask) {
        let timers = self.timers.entry(key).or_default();
        match action {
            REGISTER => timers.insert(at),
            _ => timers.remove(&at),
        };
    }

    fn watermark(&mut self, to: i64) {
        for (key, timers) in &mut self.timers {
            while let Some(at) = timers.first().copied().filter(|at| *at <= to) {
                timers.pop_first();
                let before = self.fired.iter().filter(|fired| fired.0 == *key).count();
                self.fired.push((*key, before as u64 + 1, at));
                timers.extend(registered_by(at));
            }
        }
    }
}

fn asks(dice: &mut Dice) -> Vec<Event<Ask>> {
    let keys = dice.pick(&[1, 5, 60]);
    let span = dice.pick(&[30, 1_000]);
    let percent = dice.pick(&[2, 20, 50]);
    let mut reached = -(span as i64);
    // A watermark that is not above the one before does not go on, so none is drawn.
    let mut events = Vec::new();
    for _ in 0..dice.below(800) {
        if dice.chance(percent) {
            reached += 1 + dice.below(span / 10 + 1) as i64;
            events.push(Event::Watermark(reached));
            continue;
        }
        // A fifth of the times have passed.
        let at = reached + dice.below(span) as i64 - (span / 5) as i64;
        let action = if dice.chance(70) { REGISTER } else { DELETE };
        events.push(Event::Record((dice.below(keys), action, at), reached + 1));
    }
    events
}

fn fired(environment: &Environment, script: Script<Ask>) -> Collected<Fired> {
    let asks = environment.source(script);
    let fired = asks
        .key_by(|ask: &Ask| ask.0)
        .process_function(|open: &mut OpenContext<u64>| Asked {
            fired: open.value_state("fired"),
        });
    fired.collect()
}

fn follow_the_model(trial: &mut Trial) -> Result<(), String> {
    let events = asks(&mut trial.dice);
    let mut model = Model::default();
    for event in &events {
        match event {
            Event::Record(ask, _) => model.ask(*ask),
            Event::Watermark(to) => model.watermark(*to),
        }
    }
    model.watermark(i64::MAX);
    trial.compare(model.fired, |environment| {
        fired(environment, Script::of([events]))
    })
}

#[test]
fn timers_follow_the_model_in_simulation() {
    let test = "timers_follow_the_model_in_simulation";
    trial::simulate(250, test, follow_the_model);
}

#[test]
fn timers_follow_the_model_on_shards() {
    trial::on_shards(200, "timers_follow_the_model_on_shards", follow_the_model);
}

/// Registers a timer at the time of the record and later ones; tells what fires, once per key and time.
pub(super) struct Later;

impl KeyedProcessFunction<u64, Ask, (u64, i64)> for Later {
    fn process(
        &mut self,
        (_, _, at): Ask,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, (u64, i64)>,
    ) -> Result<(), FunctionError> {
        let timers = context.timers();
        timers.register_event_time(context.timestamp())?;
        timers.register_event_time(Timestamp(at))
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, (u64, i64)>,
    ) -> Result<(), FunctionError> {
        out.emit((context.key().unwrap_or(u64::MAX), timer.at.0));
        Ok(())
    }
}

fn fire_once_before_the_watermark(trial: &mut Trial) -> Result<(), String> {
    let dice = &mut trial.dice;
    let (keys, span) = (dice.pick(&[1, 5, 60]), dice.pick(&[30, 1_000]));
    let records: Vec<(Ask, i64)> = (0..dice.below(1_000))
        .map(|_| {
            let at = dice.below(span) as i64 - 100;
            let later = at + dice.below(span / 3) as i64;
            ((dice.below(keys), REGISTER, later), at)
        })
        .collect();
    let disorder = dice.pick(&[0, 10, 300]);
    let splits = 1 + dice.below(6) as u32;
    let script = Script::draw(dice, &records, splits, disorder);
    let expected: BTreeSet<(u64, i64)> = records
        .iter()
        .flat_map(|((key, _, later), at)| [(*key, *at), (*key, *later)])
        .collect();
    trial.compare(expected.into_iter().collect(), |environment| {
        let asks = environment.source(script).key_by(|ask: &Ask| ask.0);
        on_time(asks.process_function(|_: &mut OpenContext<u64>| Later)).collect()
    })
}

#[test]
fn timers_of_many_splits_fire_once_before_the_watermark_in_simulation() {
    let test = "timers_of_many_splits_fire_once_before_the_watermark_in_simulation";
    trial::simulate(250, test, fire_once_before_the_watermark);
}

#[test]
fn timers_of_many_splits_fire_once_before_the_watermark_on_shards() {
    let test = "timers_of_many_splits_fire_once_before_the_watermark_on_shards";
    trial::on_shards(200, test, fire_once_before_the_watermark);
}

/// The model against a program that never deletes: as if the engine forgot to.
#[test]
fn a_timer_that_is_not_deleted_is_found() {
    let mut found = 0;
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let events = asks(&mut dice);
        let follow = |ignore: u8| {
            let mut model = Model::default();
            for event in &events {
                match event {
                    Event::Record(ask, _) if ask.1 == ignore => {}
                    Event::Record(ask, _) => model.ask(*ask),
                    Event::Watermark(to) => model.watermark(*to),
                }
            }
            model.watermark(i64::MAX);
            model.fired
        };
        found += usize::from(follow(DELETE) != follow(u8::MAX));
    }
    assert!(found >= 10, "deleting matters in {found} of 20 inputs only");
}

/// Registers a timer per record at a scattered time; counts what fires and fails when it is out of order.
struct Scattered {
    last: Timestamp,
    fired: Accumulator,
}

impl KeyedProcessFunction<u64, u64, u64> for Scattered {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 34;
        context
            .timers()
            .register_event_time(Timestamp(scattered as i64))
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        _context: &ProcessContext<u64>,
        _out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        if timer.at < self.last {
            return Err(FunctionError::new("a timer fired behind a later one"));
        }
        self.last = timer.at;
        self.fired.add(1);
        Ok(())
    }
}

/// Ten million timers in one subtask, fewer where the engine was built to be debugged.
#[test]
fn millions_of_timers_fire_in_order() {
    let timers: u64 = if cfg!(debug_assertions) {
        300_000
    } else {
        10_000_000
    };
    let settings = [("taskmanager.memory.managed.size", "4gb")];
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    environment
        .source(Generator::new(timers, |number| number))
        .key_by(|number: &u64| *number)
        .process_function(|open: &mut OpenContext<u64>| Scattered {
            last: Timestamp::MIN,
            fired: open.accumulator("fired"),
        })
        .discard();
    let result = environment.execute("timers").unwrap();
    assert_eq!(result.accumulator("fired"), Some(timers as i64));
}

/// Holds records back in a buffer of its own while watermarks pass: what no operator may do.
struct HoldsBack(Vec<Ask>);

impl ProcessFunction<Ask, Ask> for HoldsBack {
    fn process(
        &mut self,
        ask: Ask,
        _context: &ProcessContext,
        out: &mut Collector<'_, Ask>,
    ) -> Result<(), FunctionError> {
        self.0.push(ask);
        if self.0.len() == 4 {
            self.0.drain(..).for_each(|ask| out.emit(ask));
        }
        Ok(())
    }
}

/// A watermark that is forwarded ahead of records still held is found by looking behind the operator.
#[test]
fn a_watermark_ahead_of_held_records_is_found() {
    let found = |hold: bool| {
        let found = Cell::new(0);
        trial::simulate(20, "a_watermark_ahead_of_held_records_is_found", |trial| {
            trial.batch = false;
            let times = (0..400).map(|_| trial.dice.below(1_000) as i64);
            let records: Vec<(Ask, i64)> = times.map(|at| ((0, REGISTER, at), at)).collect();
            let script = Script::draw(&mut trial.dice, &records, 2, 10);
            let ran = trial.run(|environment: &Environment| {
                let asks = environment.source(script).boxed();
                let asks = match hold {
                    true => asks
                        .process_function(|_: &mut OpenContext| HoldsBack(Vec::new()))
                        .boxed(),
                    false => asks,
                };
                let late =
                    |_: &mut OpenContext| {
                        |ask: Ask, context: &ProcessContext, _: &mut Collector<'_, u64>| {
                            match Timestamp(ask.2) <= context.watermark() {
                                true => Err(FunctionError::new("behind its watermark")),
                                false => Ok(()),
                            }
                        }
                    };
                asks.process(late).collect()
            });
            let ran: Result<Vec<u64>, String> = ran;
            found.set(found.get() + usize::from(ran.is_err()));
            Ok(())
        });
        found.get()
    };
    assert_eq!(found(false), 0, "nothing is held");
    assert!(found(true) >= 1);
}
