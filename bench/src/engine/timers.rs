//! `timers`: a timer of event time per record and key, all of them registered before the first fires.
//!
//! The source says nothing of its times, so the end of the input is the watermark at which they fire: as
//! many are pending at once as there are records. Invariant: a run that did not fire each of them once, in
//! the order of their times, is an error and never a figure. Lives on the thread of the program and on the
//! shards.

use thalweg::Timestamp;
use thalweg::connectors::Generator;
use thalweg::prelude::*;

use super::checksum::{Checksum, Total};
use super::{EngineError, Settings, measure};
use crate::report::Report;
use crate::workload::definitions::{h2, timer_of};

/// Fires each timer into a row, and fails the job when one comes behind a later one.
struct InOrder {
    last: Timestamp,
}

impl KeyedProcessFunction<u64, u64, (u64, u64)> for InOrder {
    #[inline]
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, (u64, u64)>,
    ) -> Result<(), FunctionError> {
        let at = Timestamp(timer_of(number).cast_signed());
        context.timers().register_event_time(at)
    }

    #[inline]
    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, (u64, u64)>,
    ) -> Result<(), FunctionError> {
        let (at, last) = (timer.at, self.last);
        if at < last {
            let message = format!("the timer for {at} fired behind that for {last}");
            return Err(FunctionError::new(message));
        }
        self.last = at;
        let key = context.key().unwrap_or(u64::MAX);
        out.emit((key, at.0.cast_unsigned()));
        Ok(())
    }
}

/// Runs it, and makes sure that each timer fired once.
///
/// # Errors
/// A setting that is not accepted, a job that failed, or timers that did not fire once each.
pub fn timers(records: u64, settings: &Settings) -> Result<Report, EngineError> {
    let environment = settings.environment()?;
    let total = Total::default();
    environment
        .source(Generator::new(records, |number| number))
        .key_by(|number: &u64| *number)
        .process_function(|_| InOrder {
            last: Timestamp::MIN,
        })
        .sink(Checksum::new(|row: &(u64, u64)| h2(row.0, row.1), &total));
    let (_, report) = measure(&environment, "timers", records, &total, settings)?;
    let fired = (0..records).map(|number| h2(number, timer_of(number)));
    let expected = format!("{:016x}", fired.fold(0, u64::wrapping_add));
    if (report.rows_out, &report.checksum) != (records, &expected) {
        return Err(EngineError::Fired {
            records,
            expected,
            report: Box::new(report),
        });
    }
    Ok(report)
}
