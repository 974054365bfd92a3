//! How do I sum the last 100 elements, again at every tenth?
//!
//! A sliding count window holds the last so many records of a key; `count_window_all_sliding` is the
//! same over the whole stream. The first windows hold fewer.
//!
//! ```text
//! cargo run --bin last_hundred
//! ```

use std::process::ExitCode;

use thalweg::prelude::*;

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let sums = environment
        .sequence(1..=200)
        .count_window_all_sliding(100, 10)
        .sum(|number: &u64| *number);
    sums.print_with(|((), sum), text| text.push_str(&sum.to_string()));
    environment.execute("last hundred")?;
    Ok(())
}
