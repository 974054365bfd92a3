//! Connected streams in the harness: who sees which record, state, accumulator and end.

use thalweg_core::event_time::Timestamp;
use thalweg_state::ValueState;

use super::CoProcessFunction;
use crate::function::{Collector, FunctionError, OpenContext, ProcessContext};
use crate::harness::TwoInputHarness;
use crate::time::FiredTimer;

/// Keeps the sum of both inputs per key.
struct Sums(ValueState<u64, i64>);

type Change = (u64, i64);

impl CoProcessFunction<u64, Change, u64, (u64, i64)> for Sums {
    fn process_first(
        &mut self,
        (key, change): Change,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, (u64, i64)>,
    ) -> Result<(), FunctionError> {
        assert_eq!(context.with_key(|key| *key), Some(key));
        self.0.update(|sum| *sum += change)?;
        out.emit((key, self.0.get()?.unwrap_or_default()));
        Ok(())
    }

    fn process_second(
        &mut self,
        key: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, (u64, i64)>,
    ) -> Result<(), FunctionError> {
        assert_eq!(context.with_key(|key| *key), Some(key));
        out.emit((key, self.0.get()?.unwrap_or_default()));
        self.0.clear()?;
        Ok(())
    }

    fn close(&mut self, out: &mut Collector<'_, (u64, i64)>) -> Result<(), FunctionError> {
        out.emit((u64::MAX, 0));
        Ok(())
    }
}

#[test]
fn both_inputs_share_the_state_of_a_key_and_of_no_other() {
    let mut harness = TwoInputHarness::<Change, u64, (u64, i64)>::new(|changes, resets| {
        let changes = changes.key_by(|change: &Change| change.0);
        let resets = resets.key_by(|key: &u64| *key);
        (changes.connect(resets)).process(|open: &mut OpenContext<u64>| {
            let sum = open.value_state("sum");
            Sums(sum)
        })
    });
    for (key, change) in [(1, 5), (2, 7), (1, 1)] {
        harness.push_first((key, change));
    }
    harness.push_second(1);
    harness.push_first((1, 2));
    harness.push_second(3);
    let rows = [(1, 5), (2, 7), (1, 6), (1, 6), (1, 2), (3, 0)];
    assert_eq!(harness.output(), rows);
    harness.finish_first();
    assert_eq!(harness.output(), [], "one stream goes on");
    harness.push_second(2);
    harness.finish_second();
    assert_eq!(harness.output(), [(2, 7), (u64::MAX, 0)]);
    assert_eq!(harness.failure(), None);
}

/// Says the time of each record.
struct Times;

impl CoProcessFunction<(), u8, char, (bool, i64)> for Times {
    fn process_first(
        &mut self,
        _item: u8,
        context: &ProcessContext,
        out: &mut Collector<'_, (bool, i64)>,
    ) -> Result<(), FunctionError> {
        out.emit((true, context.timestamp().0));
        Ok(())
    }

    fn process_second(
        &mut self,
        item: char,
        context: &ProcessContext,
        out: &mut Collector<'_, (bool, i64)>,
    ) -> Result<(), FunctionError> {
        if item == 'x' {
            return Err(FunctionError::new("x is no letter of this text"));
        }
        out.emit((false, context.timestamp().0));
        Ok(())
    }
}

#[test]
fn each_record_has_its_own_time_and_an_error_names_the_operator() {
    let mut harness = TwoInputHarness::<u8, char, (bool, i64)>::new(|bytes, letters| {
        (bytes.connect(letters)).process(|_open: &mut OpenContext| Times)
    });
    harness.push_first_at(1, Timestamp(10));
    harness.push_second_at('a', Timestamp(-3));
    assert_eq!(harness.output(), [(true, 10), (false, -3)]);
    harness.push_second('x');
    let failure = harness.failure().unwrap_or_default();
    assert!(
        failure.contains("co_process") && failure.contains("x is no letter"),
        "{failure}"
    );
}

/// Says who did not answer within ten: asked in the first stream, answered in the second.
struct Unanswered(ValueState<u64, i64>);

impl CoProcessFunction<u64, u64, u64, (u64, i64)> for Unanswered {
    fn process_first(
        &mut self,
        _key: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, (u64, i64)>,
    ) -> Result<(), FunctionError> {
        let until = context.timestamp().plus_ms(10);
        self.0.update(|waiting| *waiting = until.0)?;
        context.timers().register_event_time(until)
    }

    fn process_second(
        &mut self,
        _key: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, (u64, i64)>,
    ) -> Result<(), FunctionError> {
        if let Some(until) = self.0.get()? {
            context.timers().delete_event_time(Timestamp(until))?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, (u64, i64)>,
    ) -> Result<(), FunctionError> {
        assert_eq!(
            self.0.get()?,
            Some(timer.at.0),
            "the state of the timer's key"
        );
        out.emit((context.key().unwrap_or_default(), context.watermark().0));
        Ok(())
    }
}

#[test]
fn timers_of_either_input_belong_to_the_key_and_wait_for_both_watermarks() {
    let mut harness = TwoInputHarness::<u64, u64, (u64, i64)>::new(|asked, answered| {
        let (asked, answered) = (asked.key_by(|key| *key), answered.key_by(|key| *key));
        (asked.connect(answered))
            .process(|open: &mut OpenContext<u64>| Unanswered(open.value_state("until")))
    });
    for (key, at) in [(1, 5), (2, 3), (3, 0)] {
        harness.push_first_at(key, Timestamp(at));
    }
    harness.push_second_at(2, Timestamp(12));
    harness.advance_first(Timestamp(20));
    assert_eq!(harness.output(), [], "the other input holds the watermark");
    harness.advance_second(Timestamp(14));
    assert_eq!(harness.output_at(), [((3, 14), Timestamp(10))]);
    assert_eq!(harness.watermark(), Timestamp(14));
    harness.finish();
    assert_eq!(harness.output_at(), [((1, i64::MAX), Timestamp(15))]);
    assert_eq!(harness.failure(), None);
}
