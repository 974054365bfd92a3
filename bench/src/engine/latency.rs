//! `lat_rec` and `lat_win`: how long rows take at a given rate.
//!
//! The clock of a row of `lat_rec` starts when its record was due, that of a row of `lat_win` at the end
//! of its window; both stop in the sink. Lives on the thread of the program and on the shards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg::prelude::*;
use thalweg::record::Item;
use thalweg::sink::{
    InputStatus, Sink, SinkError, SinkStatus, SinkWriter, SubtaskInfo, Timestamp, TurnContext,
};
use thalweg::time::{WatermarkGenerator, WatermarkOutput};
use thalweg_core::seam::clock::monotonic_ns;

use super::paced::Paced;
use super::{EngineError, Settings};
use crate::spread::{Latency, LatencyWork, Spread};
use crate::workload::pace::{LATENCY_WINDOW_MS, MS, Pace, Start, Watermarks};

/// Runs a latency workload on the engine.
///
/// # Errors
/// A setting that is not accepted, or a job that failed.
pub fn latency(
    work: LatencyWork,
    pace: &Pace,
    settings: &Settings,
) -> Result<Latency, EngineError> {
    let environment = settings.environment()?;
    let timing = Timing {
        pace: *pace,
        start: Arc::default(),
        due: (),
        spread: Arc::default(),
    };
    match work {
        LatencyWork::Record => per_record(&environment, &timing),
        LatencyWork::Window(Watermarks::Millisecond) => {
            let strategy = WatermarkStrategy::<(u64, u64)>::for_generator(|| EachMillisecond {
                reached: Timestamp::NONE,
            });
            let records = environment.source_with(timing.paced(true), strategy);
            per_window(records, &timing);
        }
        LatencyWork::Window(Watermarks::Periodic) => {
            let strategy = WatermarkStrategy::<(u64, u64)>::for_monotonous_timestamps();
            let records = environment.source_with(timing.paced(true), strategy);
            per_window(records, &timing);
        }
    }
    environment.execute(work.name())?;
    let spread = timing.spread.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Latency::new(
        "thalweg",
        work,
        settings.parallelism,
        pace,
        &spread,
    ))
}

/// Records to their key's running count.
fn per_record(environment: &Environment, timing: &Timing<()>) {
    environment
        .source(timing.paced(false))
        .key_by(|record: &(u64, u64)| record.0)
        .process(|open| {
            let mut count = open.value_state::<u64>("count");
            move |(key, due): (u64, u64), _context, out: &mut Collector<(u64, u64, u64)>| {
                let mut now = 0;
                count.update(|count| {
                    *count += 1;
                    now = *count;
                })?;
                out.emit((key, now, due));
                Ok(())
            }
        })
        .sink(timing.of(|row: &(u64, u64, u64)| row.2));
}

/// Records to the counts of their keys in windows.
fn per_window<P: Pipe<Out = (u64, u64)>>(records: DataStream<(u64, u64), P>, timing: &Timing<()>) {
    records
        .key_by(|record: &(u64, u64)| record.0)
        .window(TumblingWindows::event_time(Duration::from_millis(
            LATENCY_WINDOW_MS,
        )))
        .aggregate(Count)
        .sink(timing.of(|row: &(u64, i64, u64)| row.1.cast_unsigned() * MS));
}

/// Counts the records of a key in a window; a row is the key, the window's end in ms and the count.
#[derive(Clone)]
struct Count;

impl WindowAggregate<u64, (u64, u64)> for Count {
    type Accumulator = u64;
    type Row = (u64, i64, u64);

    fn create(&self) -> u64 {
        0
    }
    #[inline]
    fn add(&self, count: &mut u64, _record: (u64, u64)) {
        *count += 1;
    }
    #[inline]
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    #[inline]
    fn row(&self, key: u64, window: TimeWindow, count: &u64) -> (u64, i64, u64) {
        (key, window.end.0, *count)
    }
}

/// Says how far the times are whenever they come to another millisecond; they only rise.
#[derive(Clone, Copy)]
struct EachMillisecond {
    reached: Timestamp,
}

impl WatermarkGenerator<(u64, u64)> for EachMillisecond {
    #[inline(always)]
    fn on_event(&mut self, _record: &(u64, u64), at: Timestamp, out: &mut WatermarkOutput) {
        if at > self.reached {
            self.reached = at;
            out.emit(at.plus_ms(-1));
        }
    }

    fn on_periodic(&mut self, _now: Timestamp, _out: &mut WatermarkOutput) {}

    fn speaks_by_itself(&self) -> bool {
        false
    }
}

/// Measures rows from the time at which each was due.
#[derive(Clone)]
struct Timing<F> {
    pace: Pace,
    start: Arc<Start>,
    due: F,
    spread: Arc<Mutex<Spread>>,
}

impl Timing<()> {
    /// The source whose rows are measured.
    fn paced(&self, timed: bool) -> Paced {
        Paced {
            pace: self.pace,
            start: Arc::clone(&self.start),
            timed,
        }
    }

    /// A sink that asks `due` when a row was due, in ns of the monotonic clock.
    fn of<F>(&self, due: F) -> Timing<F> {
        Timing {
            pace: self.pace,
            start: Arc::clone(&self.start),
            due,
            spread: Arc::clone(&self.spread),
        }
    }
}

impl<I, F> Sink<I> for Timing<F>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> u64 + Clone + Send + 'static,
{
    type Writer = TimingWriter<F>;

    fn name(&self) -> String {
        "timing".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<TimingWriter<F>, SinkError> {
        Ok(TimingWriter {
            timing: self.clone(),
            taken: Spread::default(),
        })
    }
}

/// The latencies of one subtask.
struct TimingWriter<F> {
    timing: Timing<F>,
    taken: Spread,
}

impl<I, F> SinkWriter<I> for TimingWriter<F>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> u64 + 'static,
{
    #[inline(always)]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        let due = (self.timing.due)(&item);
        let from_start = due.saturating_sub(self.timing.start.get());
        if self.timing.pace.measures(from_start) {
            self.taken.record(monotonic_ns().saturating_sub(due));
        }
        Ok(())
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        if input == InputStatus::Ended {
            let mut spread = self
                .timing
                .spread
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            spread.add(&std::mem::take(&mut self.taken));
        }
        Ok(SinkStatus::Done)
    }
}
