//! Functions with state on disk that watch over it themselves: each record says what its key has to hold, after
//! failures too, whether barriers wait in line or overtake. In simulation.

use thalweg_connectors::{Discard, Generator};
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::{Collector, Environment, FunctionError, OpenContext, ProcessContext};
use thalweg_state::ValueState;

use super::counting::Poison;
use crate::stage;

/// Beside each number there is so much text.
const LONG: usize = 250;

/// What a record asks of its key.
#[derive(Clone, Copy)]
enum Ask {
    /// It holds this many now, and one more from now on.
    Count(u64),
    Clear,
    /// It holds nothing.
    Nothing,
}

/// The key of a number.
type Keyed = fn(u64) -> u64;
/// What a number asks.
type Asked = fn(u64) -> Ask;

struct Watching {
    ask: Asked,
    held: ValueState<u64, (u64, String)>,
    asked: ValueState<u64, u64>,
}

impl KeyedProcessFunction<u64, u64, u64> for Watching {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        // A state beside the other, of which nothing is removed.
        self.asked.update(|asked| *asked += 1)?;
        let held = self.held.with(|held| held.map_or(0, |(count, _)| *count))?;
        let wanted = match (self.ask)(number) {
            Ask::Clear => return Ok(self.held.clear()?),
            Ask::Count(wanted) => wanted,
            Ask::Nothing => 0,
        };
        if held != wanted {
            let key = context.key().unwrap_or_default();
            return Err(FunctionError::new(format!(
                "number {number}: key {key} holds {held} and not {wanted}"
            )));
        }
        if let Ask::Count(_) = (self.ask)(number) {
            let first = || (1, "x".repeat(LONG));
            self.held.upsert(first, |(count, _)| *count += 1)?;
        }
        Ok(())
    }
}

/// Runs so many records through it in little memory, with failures every so many.
fn watch(
    seed: u64,
    records: u64,
    (every, times): (u64, u32),
    (key, ask): (Keyed, Asked),
    settings: &[(&str, &str)],
) {
    let mut all = vec![
        ("parallelism.default", "2"),
        ("thalweg.shard.count", "2"),
        ("state.backend.type", "lsm"),
        ("taskmanager.memory.managed.size", "4mb"),
        ("execution.checkpointing.interval", "20ms"),
        ("execution.checkpointing.dir", "/checkpoints"),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "4"),
        ("restart-strategy.fixed-delay.delay", "1ms"),
    ];
    all.extend(settings);
    let (environment, _) = stage::simulation(seed, SimOptions::default(), &all);
    let poison = Poison::new(every, times);
    program(&environment, records, poison.clone(), key, ask);
    let result = environment.execute("watched");
    let summary = result.map_err(|error| error.to_string()).unwrap().summary;
    let left = poison.left.load(std::sync::atomic::Ordering::Acquire);
    assert_eq!(left, 0, "it has failed");
    assert!(summary.checkpoints.completed > 1);
}

fn program(environment: &Environment, records: u64, poison: Poison, key: Keyed, ask: Asked) {
    environment
        .source(Generator::new(records, |number| number).rate(200_000.0))
        .uid("numbers")
        .parallelism(1)
        .map(move |number: u64| {
            poison.taste(number);
            number
        })
        .key_by(move |number: &u64| key(*number))
        .process_function(move |open: &mut OpenContext<u64>| Watching {
            ask,
            held: open.value_state("held"),
            asked: open.value_state("asked"),
        })
        .uid("watching")
        .sink(Discard);
}

const KEYS: u64 = 20_000;

#[test]
fn what_is_on_disk_is_counted_once_though_barriers_overtake() {
    let key = |number: u64| number % KEYS;
    let ask = |number: u64| Ask::Count(number / KEYS);
    let unaligned = ("execution.checkpointing.unaligned.enabled", "true");
    for seed in 0..2 {
        for settings in [&[][..], &[unaligned]] {
            watch(seed, 4 * KEYS, (17_011, 4), (key, ask), settings);
        }
    }
}

/// Keys that are set, and then cleared while all is in memory.
const CLEARED: u64 = 1_000;
/// When they are: after some checkpoints, and before the many keys that do not fit.
const CLEARS: u64 = 12_000;
const MANY: u64 = 30_000;

#[test]
fn what_was_cleared_before_anything_went_to_disk_does_not_come_back() {
    let key = |number: u64| match number {
        _ if number < CLEARS + CLEARED => number % CLEARED,
        _ if number < MANY => number,
        _ => number % CLEARED,
    };
    let ask = |number: u64| match number {
        _ if number < CLEARS => Ask::Count(number / CLEARED),
        _ if number < CLEARS + CLEARED => Ask::Clear,
        _ if number < MANY => Ask::Count(0),
        _ => Ask::Nothing,
    };
    for seed in 0..3 {
        // The second checkpoint is that of a state that has just begun to overflow.
        let rarely = ("execution.checkpointing.interval", "50ms");
        let settings = [rarely, ("taskmanager.memory.managed.size", "3mb")];
        watch(seed, MANY + CLEARED, (25_001, 1), (key, ask), &settings);
    }
}
