//! Broadcast streams in the harness: who may see and change what.

use thalweg_core::event_time::Timestamp;
use thalweg_state::{BroadcastState, ValueState};

use super::{BroadcastContext, BroadcastOpenContext, KeyedBroadcastProcessFunction};
use crate::function::{Collector, FunctionError, ProcessContext};
use crate::harness::TwoInputHarness;
use crate::time::FiredTimer;

/// Tells the words of a key ten after a record, and touches a keyed state where there is no key.
struct Words {
    words: BroadcastState<u64, String>,
    seen: ValueState<u64, u64>,
}

impl KeyedBroadcastProcessFunction<u64, u64, (u64, String), String> for Words {
    fn process(
        &mut self,
        key: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.seen.update(|seen| *seen += 1)?;
        out.emit(format!("{key} {:?}", self.words.get(&key)));
        let timers = context.timers();
        timers.register_event_time(context.timestamp().plus_ms(10))
    }

    fn process_broadcast(
        &mut self,
        (key, word): (u64, String),
        context: &BroadcastContext<'_, u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        context.metrics().counter("words").inc();
        if word.is_empty() {
            self.words.remove(context, &key);
            return Ok(());
        }
        if word == "touch" {
            self.seen.get()?;
        }
        out.emit(format!("at {}", context.timestamp()));
        self.words.put(context, key, word)?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or_default();
        let (word, seen) = (self.words.get(&key), self.seen.get()?);
        out.emit(format!("{} {word:?} {seen:?}", timer.at));
        Ok(())
    }
}

fn harness() -> TwoInputHarness<u64, (u64, String), String> {
    TwoInputHarness::<u64, (u64, String), String>::new(|keys, words| {
        let connected = keys
            .key_by(|key: &u64| *key)
            .connect(words.broadcast_stream());
        connected.process(|open: &mut BroadcastOpenContext<'_, u64>| Words {
            words: open.broadcast_state("words"),
            seen: open.value_state("seen"),
        })
    })
}

fn word(word: &str) -> (u64, String) {
    (7, word.to_owned())
}

#[test]
fn records_and_timers_see_what_broadcast_records_changed() {
    let mut harness = harness();
    harness.push_first_at(7, Timestamp(0));
    harness.push_second_at(word("seven"), Timestamp(5));
    harness.push_first_at(7, Timestamp(1));
    assert_eq!(harness.output(), ["7 None", "at 5ms", "7 Some(\"seven\")"]);
    harness.advance_watermark(Timestamp(10));
    harness.push_second_at(word(""), Timestamp(20));
    assert_eq!(harness.metric("words"), Some(2.0));
    harness.finish();
    let fired = ["10ms Some(\"seven\") Some(2)", "11ms None Some(2)"];
    assert_eq!(harness.output(), fired);
}

#[test]
fn a_broadcast_record_has_no_key() {
    let mut harness = harness();
    harness.push_first_at(7, Timestamp(0));
    harness.push_second_at(word("touch"), Timestamp(5));
    let failure = harness.failure().unwrap_or_default();
    assert!(
        failure.contains("broadcast_process") && failure.contains("seen"),
        "{failure}"
    );
}

#[test]
fn two_states_of_one_name_are_refused() {
    let refused = std::panic::catch_unwind(|| {
        TwoInputHarness::<u64, (u64, String), String>::new(|keys, words| {
            let connected = keys
                .key_by(|key: &u64| *key)
                .connect(words.broadcast_stream());
            connected.process(|open: &mut BroadcastOpenContext<'_, u64>| {
                let _first = open.broadcast_state::<u64, u64>("words");
                Words {
                    words: open.broadcast_state("words"),
                    seen: open.value_state("seen"),
                }
            })
        })
    });
    let message = refused
        .err()
        .and_then(|text| text.downcast::<String>().ok());
    assert!(message.is_some_and(|text| text.contains("'words'")));
}

/// Counts records per key; a broadcast record tells and forgets the counts it is below.
struct Counts(ValueState<u64, u64>, u64);

impl KeyedBroadcastProcessFunction<u64, u64, u64, (u64, u64)> for Counts {
    fn process(
        &mut self,
        key: u64,
        _context: &ProcessContext<u64>,
        out: &mut Collector<'_, (u64, u64)>,
    ) -> Result<(), FunctionError> {
        self.0.update(|count| *count += 1)?;
        if key == u64::MAX {
            out.emit((key, 0));
        }
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        below: u64,
        context: &BroadcastContext<'_, u64>,
        _out: &mut Collector<'_, (u64, u64)>,
    ) -> Result<(), FunctionError> {
        self.1 = below;
        context.apply_to_each_key(&self.0);
        Ok(())
    }

    fn apply_to_key(
        &mut self,
        state: &str,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, (u64, u64)>,
    ) -> Result<(), FunctionError> {
        assert_eq!((state, context.timestamp()), ("counts", Timestamp(50)));
        let count = self.0.get()?.unwrap_or_default();
        if count > self.1 {
            out.emit((context.key().unwrap_or_default(), count));
            self.0.clear()?;
        }
        Ok(())
    }
}

#[test]
fn every_key_is_visited_before_the_next_record_whether_there_is_room_or_not() {
    const KEYS: u64 = 5_000;
    let mut harness = TwoInputHarness::<u64, u64, (u64, u64)>::new(|keys, tells| {
        let connected = keys
            .key_by(|key: &u64| *key)
            .connect(tells.broadcast_stream());
        let counts = connected.process(|open: &mut BroadcastOpenContext<'_, u64>| {
            Counts(open.value_state("counts"), 0)
        });
        counts.start_new_chain()
    });
    for key in 0..KEYS {
        harness.push_first(key);
        if key % 2 == 0 {
            harness.push_first(key);
        }
    }
    harness.push_second_at(1, Timestamp(50));
    harness.push_first(u64::MAX);
    let mut told = harness.output();
    assert_eq!(
        told.pop(),
        Some((u64::MAX, 0)),
        "the next record comes last"
    );
    told.sort_unstable();
    let even: Vec<_> = (0..KEYS).step_by(2).map(|key| (key, 2)).collect();
    assert_eq!(told, even);
    harness.push_second_at(0, Timestamp(50));
    assert_eq!(harness.output().len() as u64, KEYS / 2 + 1);
    assert_eq!(harness.failure(), None);
}
