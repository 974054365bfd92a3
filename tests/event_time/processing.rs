//! Windows and timers of processing time, on the simulated clock and on that of this machine.
//!
//! When a record is handled is not known beforehand, so there is no model of what comes out, but what
//! must hold is known: each record is in as many windows as it should be (the source waits until all
//! have spoken), windows stand where the clock says, and nothing speaks or fires before its time, nor, on
//! the simulated clock, long after it. On the machine's clock "long" is as long as a test may take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use thalweg_connectors::{Collected, Collects};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::window::assigner::{
    SessionWindows, SlidingWindows, TumblingWindows, WindowAssigner,
};
use thalweg_dataflow::window::{WindowContext, WindowElements, WindowOpenContext};
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};

use super::paced::Paced;
use super::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

const KEYS: u64 = 3;
/// The most by which the simulated clock may be ahead of what speaks, ms.
const SOON: i64 = 100;
/// The same on the machine's clock, which runs on while this process does not.
const EVENTUALLY: i64 = 120_000;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// How many numbers, and the pauses before them: bursts up to 40 ms apart.
fn pauses(dice: &mut Dice) -> (u64, Vec<Duration>) {
    let many = 20 + dice.below(200);
    let pauses = (0..many)
        .map(|_| match dice.below(8) {
            0 => ms(1 + dice.below(40)),
            1 => Duration::from_micros(dice.below(2_000)),
            _ => Duration::ZERO,
        })
        .collect();
    (many, pauses)
}

/// What a window said: its key, beginning and end, the numbers in it, and when it spoke.
type Said = (u64, i64, i64, Vec<u64>, i64);

/// What the windows of so many numbers say, `times` for each number.
fn windows<W: WindowAssigner<u64>>(
    environment: &Environment,
    (many, pauses): (u64, Vec<Duration>),
    times: u64,
    assigner: W,
) -> Collected<Said> {
    let said = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&said);
    let enough = move || seen.load(Ordering::Acquire) >= many * times;
    let numbers = environment.source(Paced::new(pauses, enough));
    let keyed = numbers.key_by(|number: &u64| number % KEYS);
    let windows = keyed.window(assigner);
    let told = windows.process(|_: &mut WindowOpenContext<u64>| {
        |numbers: &WindowElements<u64>,
         context: &WindowContext<u64>,
         out: &mut Collector<'_, Said>| {
            let window = context.window();
            out.emit((
                context.with_key(|key| *key),
                window.start.0,
                window.end.0,
                numbers.iter().copied().collect(),
                context.processing_time().0,
            ));
            Ok(())
        }
    });
    let counted = told.inspect(move |window: &Said| {
        said.fetch_add(window.3.len() as u64, Ordering::Release);
    });
    counted.collect()
}

/// What must hold of what windows said: every number `times` times, nobody too early or too late, the
/// windows of a key in the order of their ends.
fn check(said: &[Said], many: u64, times: usize, late: i64) -> Result<(), String> {
    let mut counted = BTreeMap::<u64, usize>::new();
    let mut ends = BTreeMap::<u64, i64>::new();
    for (key, start, end, numbers, at) in said {
        let wrong = |what: &str| {
            Err(format!(
                "{what}: window {start}..{end} of key {key} spoke at {at}: {numbers:?}"
            ))
        };
        if at < end {
            return wrong("too early");
        }
        if at - end > late {
            return wrong("too late");
        }
        if numbers.is_empty() || numbers.iter().any(|number| number % KEYS != *key) {
            return wrong("not its numbers");
        }
        if ends.insert(*key, *end).is_some_and(|before| before >= *end) {
            return wrong("out of order");
        }
        for number in numbers {
            *counted.entry(*number).or_default() += 1;
        }
    }
    match counted.len() as u64 == many && counted.values().all(|count| *count == times) {
        true => Ok(()),
        false => Err(format!(
            "{many} numbers, each {times} times, but {counted:?}"
        )),
    }
}

fn tumbling(trial: &mut Trial, late: i64) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let size = dice.pick(&[1, 7, 20]);
    let (many, pauses) = pauses(&mut dice);
    let assigner = TumblingWindows::processing_time(ms(size));
    let said = trial.run(|environment| windows(environment, (many, pauses), 1, assigner))?;
    let size = size as i64;
    match said
        .iter()
        .find(|said| said.1.rem_euclid(size) != 0 || said.2 - said.1 != size)
    {
        Some(said) => Err(format!("not where the clock says: {said:?}")),
        None => check(&said, many, 1, late),
    }
}

fn sliding(trial: &mut Trial, late: i64) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let (slide, times) = (dice.pick(&[3, 10]), 1 + dice.below(4));
    let (many, pauses) = pauses(&mut dice);
    let assigner = SlidingWindows::processing_time(ms(slide * times), ms(slide));
    let said = trial.run(|environment| windows(environment, (many, pauses), times, assigner))?;
    check(&said, many, times as usize, late)
}

/// Sessions of a key do not touch: between two of them there is nothing for the length of the gap.
fn sessions(trial: &mut Trial, late: i64) -> Result<(), String> {
    const GAP: i64 = 15;
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let (many, pauses) = pauses(&mut dice);
    let assigner = SessionWindows::processing_time(ms(GAP as u64));
    let said = trial.run(|environment| windows(environment, (many, pauses), 1, assigner))?;
    let mut ends = BTreeMap::<u64, i64>::new();
    for session in &said {
        let touches = ends
            .insert(session.0, session.2)
            .is_some_and(|end| session.1 < end);
        if touches || session.2 - session.1 < GAP {
            return Err(format!("not a session: {session:?}"));
        }
    }
    check(&said, many, 1, late)
}

#[test]
fn windows_of_processing_time_hold_on_the_simulated_clock() {
    let test = "windows_of_processing_time_hold_on_the_simulated_clock";
    trial::simulate(200, test, |trial| match trial.seed % 3 {
        0 => tumbling(trial, SOON),
        1 => sliding(trial, SOON),
        _ => sessions(trial, SOON),
    });
}

#[test]
fn windows_of_processing_time_hold_on_shards() {
    let test = "windows_of_processing_time_hold_on_shards";
    trial::on_shards(9, test, |trial| match trial.seed % 3 {
        0 => tumbling(trial, EVENTUALLY),
        1 => sliding(trial, EVENTUALLY),
        _ => sessions(trial, EVENTUALLY),
    });
}

/// What became of a timer: its key, its time, when that was said; set, taken back or fired.
type Told = (u64, i64, i64, u8);
const SET: u8 = 0;
const TAKEN_BACK: u8 = 1;
const FIRED: u8 = 2;

/// Sets a timer for each number; every fifth takes back the one its key set last instead.
struct Alarms {
    delay: i64,
    last: BTreeMap<u64, i64>,
}

impl KeyedProcessFunction<u64, u64, Told> for Alarms {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        let (key, now) = (number % KEYS, context.processing_time());
        if number % 5 == 4 {
            let last = self.last.get(&key).copied().unwrap_or(0);
            context.timers().delete_processing_time(Timestamp(last))?;
            out.emit((key, last, now.0, TAKEN_BACK));
            return Ok(());
        }
        let at = now.plus_ms(self.delay + number as i64 % 7);
        context.timers().register_processing_time(at)?;
        self.last.insert(key, at.0);
        out.emit((key, at.0, now.0, SET));
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or(u64::MAX);
        out.emit((key, timer.at.0, context.processing_time().0, FIRED));
        Ok(())
    }
}

/// The timers of each key, as they are told of.
#[derive(Clone, Default)]
struct Pending(BTreeMap<u64, BTreeSet<i64>>);

impl Pending {
    /// Takes in what was told; answers by how much the number of timers changed, or what is wrong: a
    /// timer fires once, the earliest of its key first, not before its time and not when it was taken
    /// back.
    fn take(&mut self, told: &Told, late: i64) -> Result<i64, String> {
        let (key, at, now, what) = told;
        let pending = self.0.entry(*key).or_default();
        match *what {
            SET => Ok(i64::from(pending.insert(*at))),
            TAKEN_BACK => Ok(-i64::from(pending.remove(at))),
            _ if pending.first() != Some(at) || now < at || now - at > late => Err(format!(
                "the timer of key {key} at {at} fired at {now}: {pending:?}"
            )),
            _ => Ok(-i64::from(pending.remove(at))),
        }
    }
}

/// What was told of one key is in its order.
fn timers(trial: &mut Trial, late: i64) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let delay = dice.pick(&[0, 3, 40]);
    let (many, pauses) = pauses(&mut dice);
    let (heard, left) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicI64::new(0)));
    let (seen, open) = (Arc::clone(&heard), Arc::clone(&left));
    let enough = move || seen.load(Ordering::Acquire) == many && open.load(Ordering::Acquire) == 0;
    let told: Vec<Told> = trial.run(|environment| {
        let numbers = environment.source(Paced::new(pauses, enough));
        let keyed = numbers.key_by(|number: &u64| number % KEYS);
        let told = keyed.process_function(move |_: &mut OpenContext<u64>| Alarms {
            delay,
            last: BTreeMap::new(),
        });
        let mut pending = Pending::default();
        let told = told.inspect(move |told: &Told| {
            let change = pending.take(told, i64::MAX).unwrap_or(0);
            left.fetch_add(change, Ordering::AcqRel);
            heard.fetch_add(u64::from(told.3 != FIRED), Ordering::AcqRel);
        });
        told.collect()
    })?;
    let mut pending = Pending::default();
    for told in &told {
        pending.take(told, late)?;
    }
    let told_of_numbers = told.iter().filter(|told| told.3 != FIRED).count();
    match pending.0.values().all(BTreeSet::is_empty) && told_of_numbers as u64 == many {
        true => Ok(()),
        false => Err(format!(
            "{told_of_numbers} of {many}, left over: {:?}",
            pending.0
        )),
    }
}

#[test]
fn timers_of_processing_time_fire_once_on_the_simulated_clock() {
    let test = "timers_of_processing_time_fire_once_on_the_simulated_clock";
    trial::simulate(200, test, |trial| timers(trial, SOON));
}

#[test]
fn timers_of_processing_time_fire_once_on_shards() {
    let test = "timers_of_processing_time_fire_once_on_shards";
    trial::on_shards(5, test, |trial| timers(trial, EVENTUALLY));
}
