//! How do I find the items sold most in each hour?
//!
//! Two windows in a row: sales per item and hour, then the greatest of the hour. A result of a window
//! has the window's last time, so the second window of an hour holds just the results of the first.
//!
//! ```text
//! cargo run --bin top_items
//! ```

use std::process::ExitCode;
use std::time::Duration;

use thalweg::prelude::*;

/// How many items are shown of each hour.
const TOP: usize = 2;
const HOUR: Duration = Duration::from_secs(3600);

/// An item, how many were sold, and when: minutes since midnight.
type Sale = (String, u64, i64);

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let sales = [
        ("tea", 3, 5),
        ("milk", 7, 10),
        ("bread", 4, 30),
        ("tea", 2, 59),
        ("bread", 1, 61),
        ("milk", 1, 70),
        ("tea", 2, 119),
    ];
    let sales = sales.map(|(item, sold, minute)| (item.to_owned(), sold, minute));
    let in_time = WatermarkStrategy::<Sale>::for_monotonous_timestamps()
        .with_timestamp_assigner(|sale, _| Timestamp(sale.2 * 60_000));
    let tops = environment
        .from_collection(sales)
        .assign_timestamps_and_watermarks(in_time)
        .key_by(|sale: &Sale| sale.0.clone())
        .window(TumblingWindows::event_time(HOUR))
        .sum(|sale: &Sale| sale.1)
        .map(|(item, sold): (String, u64)| (item, sold))
        .window_all(TumblingWindows::event_time(HOUR))
        .process(|_open: &mut WindowOpenContext<()>| {
            |items: &WindowElements<(String, u64)>,
             context: &WindowContext<()>,
             out: &mut Collector<String>| {
                let mut items: Vec<_> = items.iter().collect();
                items.sort_by_key(|(item, sold)| (std::cmp::Reverse(*sold), item.clone()));
                let hour = context.window().start.0 / 3_600_000;
                let top: Vec<String> = (items.iter().take(TOP))
                    .map(|(item, sold)| format!("{item} {sold}"))
                    .collect();
                out.emit(format!("hour {hour}: {}", top.join(", ")));
                Ok(())
            }
        });
    tops.print();
    environment.execute("top items")?;
    Ok(())
}
