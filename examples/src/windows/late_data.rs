//! What becomes of records that come too late for their window?
//!
//! A window waits `allowed_lateness` after its end: what comes by then makes it speak again. What comes
//! later goes to the late output instead of being lost. Each reading says here what is complete, so the
//! order below decides what is late.
//!
//! ```text
//! cargo run --bin late_data
//! ```

use std::process::ExitCode;
use std::time::Duration;

use thalweg::prelude::*;

/// A value and its second.
type Reading = (u64, i64);

const LATE: OutputTag<Reading> = OutputTag::new("late");

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let readings: [Reading; 6] = [(1, 1), (2, 5), (4, 12), (8, 7), (16, 25), (32, 9)];
    let complete = WatermarkStrategy::<Reading>::for_punctuated(|reading, _| {
        Some(Timestamp(reading.1 * 1000 - 1))
    })
    .with_timestamp_assigner(|reading, _| Timestamp(reading.1 * 1000));
    let sums = environment
        .from_collection(readings)
        .assign_timestamps_and_watermarks(complete)
        .window_all(TumblingWindows::event_time(Duration::from_secs(10)))
        .allowed_lateness(Duration::from_secs(5))
        .late_output(&LATE)
        .sum(|reading: &Reading| reading.0);
    let late = sums.side_output(&LATE);
    sums.print_with(|((), sum), text| text.push_str(&format!("sum {sum}")));
    late.print_with(|(value, second), text| {
        text.push_str(&format!("too late: {value} of second {second}"));
    });
    environment.execute("late data")?;
    Ok(())
}
