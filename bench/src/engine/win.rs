//! `win` and `slide`: counts per key and window of event time.

use std::time::Duration;

use thalweg::Timestamp;
use thalweg::connectors::Generator;
use thalweg::prelude::*;

use super::checksum::{Checksum, Total};
use crate::workload::definitions::{WIN_MS, h3, win_record};

/// The length of the windows of `slide`.
const SLIDE_SIZE: Duration = Duration::from_secs(3_600);

/// How often the source says how far it is.
const WATERMARKS: Duration = Duration::from_millis(1);

/// Counts the records of a key in a window.
#[derive(Clone)]
struct Count;

/// A key, the start of a window in ms, and how many records it has there.
type Counted = (u64, i64, u64);

impl WindowAggregate<u64, u64> for Count {
    type Accumulator = u64;
    type Row = Counted;

    fn create(&self) -> u64 {
        0
    }
    #[inline]
    fn add(&self, count: &mut u64, _key: u64) {
        *count += 1;
    }
    #[inline]
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    #[inline]
    fn subtract(&self, from: &mut u64, other: &u64) -> bool {
        *from -= other;
        true
    }
    #[inline]
    fn row(&self, key: u64, window: TimeWindow, count: &u64) -> Counted {
        (key, window.start.0, *count)
    }
}

/// The records of `win`, each its own key, with their event times; times only rise.
macro_rules! keyed {
    ($environment:expr, $records:expr) => {{
        let make = |number| {
            let (key, ms) = win_record(number);
            (key, Timestamp(ms.cast_signed()))
        };
        let strategy = WatermarkStrategy::<u64>::for_monotonous_timestamps();
        $environment
            .source_with(
                Generator::timed($records, make),
                strategy.with_interval(WATERMARKS),
            )
            .key_by(|key: &u64| *key)
    }};
}

/// Tumbling windows of a second.
pub(super) fn tumbling(environment: &Environment, records: u64) -> Total {
    let windows = TumblingWindows::event_time(Duration::from_millis(WIN_MS));
    summed(
        keyed!(environment, records)
            .window(windows)
            .aggregate(Count),
    )
}

/// Windows of an hour, a new one every second.
pub(super) fn sliding(environment: &Environment, records: u64) -> Total {
    let windows = SlidingWindows::event_time(SLIDE_SIZE, Duration::from_millis(WIN_MS));
    summed(
        keyed!(environment, records)
            .window(windows)
            .aggregate(Count),
    )
}

fn summed<P: Pipe<Out = Counted>>(counts: DataStream<Counted, P>) -> Total {
    let total = Total::default();
    counts.sink(Checksum::new(
        |row: &Counted| h3(row.0, row.1.cast_unsigned(), row.2),
        &total,
    ));
    total
}
