//! How do I count over the last five minutes, anew every minute?
//!
//! Sliding windows of event time overlap; what they share is kept once. Clicks may come up to ten
//! seconds out of order here: the watermark stays that far behind, so none is late.
//!
//! ```text
//! cargo run --bin last_five_minutes
//! ```

use std::process::ExitCode;
use std::time::Duration;

use thalweg::prelude::*;

/// A page, and when it was looked at: seconds since the first click.
type Click = (String, i64);

/// Counts the clicks on a page, and says for which window.
#[derive(Clone)]
struct Clicks;

impl WindowAggregate<String, Click> for Clicks {
    type Accumulator = u64;
    type Row = (i64, String, u64);

    fn create(&self) -> u64 {
        0
    }
    fn add(&self, clicks: &mut u64, _click: Click) {
        *clicks += 1;
    }
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    fn row(&self, page: String, window: TimeWindow, clicks: &u64) -> (i64, String, u64) {
        (window.end.0 / 60_000, page, *clicks)
    }
}

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let clicks = [("home", 5), ("news", 70), ("home", 65), ("home", 250)];
    let clicks = clicks.map(|(page, second)| (page.to_owned(), second));
    let in_time = WatermarkStrategy::<Click>::for_bounded_out_of_orderness(Duration::from_secs(10))
        .with_timestamp_assigner(|click, _| Timestamp(click.1 * 1000));
    let counts = environment
        .from_collection(clicks)
        .assign_timestamps_and_watermarks(in_time)
        .key_by(|click: &Click| click.0.clone())
        .window(SlidingWindows::event_time(
            Duration::from_secs(5 * 60),
            Duration::from_secs(60),
        ))
        .aggregate(Clicks);
    counts.print_with(|(minute, page, clicks), text| {
        text.push_str(&format!("up to minute {minute}: {clicks} on {page}"));
    });
    environment.execute("last five minutes")?;
    Ok(())
}
