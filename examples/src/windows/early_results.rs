//! How do I see what a long window holds before it ends?
//!
//! A trigger says when a window speaks. This one speaks at every third record and once more at the end
//! of the window; results accumulate.
//!
//! ```text
//! cargo run --bin early_results
//! ```

use std::process::ExitCode;
use std::time::Duration;

use thalweg::prelude::*;
use thalweg::window::trigger::{CountTrigger, EventTimeTrigger};

/// An amount and its minute.
type Sale = (u64, i64);

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let sales: Vec<Sale> = (0..8).map(|number| (1 << number, number)).collect();
    let in_time = WatermarkStrategy::<Sale>::for_monotonous_timestamps()
        .with_timestamp_assigner(|sale, _| Timestamp(sale.1 * 60_000));
    let totals = environment
        .from_collection(sales)
        .assign_timestamps_and_watermarks(in_time)
        .window_all(TumblingWindows::event_time(Duration::from_secs(3600)))
        .trigger(EventTimeTrigger::new().with_early(CountTrigger::new(3)))
        .sum(|sale: &Sale| sale.0);
    totals.print_with(|((), total), text| text.push_str(&format!("{total} so far")));
    environment.execute("early results")?;
    Ok(())
}
