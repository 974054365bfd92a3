//! How do I group what a user does into visits?
//!
//! A session window goes on as long as records come within the gap of one another; sessions that meet
//! are merged. `process` sees a whole session at once.
//!
//! ```text
//! cargo run --bin sessions
//! ```

use std::process::ExitCode;
use std::time::Duration;

use thalweg::prelude::*;

/// A user, a page, and when: minutes since midnight.
type Click = (String, String, i64);

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let clicks = [
        ("ada", "home", 60),
        ("bob", "home", 61),
        ("ada", "shop", 75),
        ("ada", "home", 200),
        ("bob", "news", 85),
        ("ada", "cart", 99),
    ];
    let clicks = clicks.map(|(user, page, minute)| (user.to_owned(), page.to_owned(), minute));
    let in_time =
        WatermarkStrategy::<Click>::for_bounded_out_of_orderness(Duration::from_secs(7200))
            .with_timestamp_assigner(|click, _| Timestamp(click.2 * 60_000));
    let visits = environment
        .from_collection(clicks)
        .assign_timestamps_and_watermarks(in_time)
        .key_by(|click: &Click| click.0.clone())
        .window(SessionWindows::event_time(Duration::from_secs(30 * 60)))
        .process(|_open: &mut WindowOpenContext<String>| {
            |clicks: &WindowElements<Click>,
             context: &WindowContext<String>,
             out: &mut Collector<String>| {
                let mut clicks: Vec<&Click> = clicks.iter().collect();
                clicks.sort_by_key(|click| click.2);
                let pages: Vec<&str> = clicks.iter().map(|click| click.1.as_str()).collect();
                let user = context.with_key(|user| (*user).clone());
                out.emit(format!("{user}: {}", pages.join(", ")));
                Ok(())
            }
        });
    visits.print();
    environment.execute("sessions")?;
    Ok(())
}
