//! How do I send some records elsewhere: good orders on, broken ones to a stream of their own?
//!
//! A function emits to a tag what does not belong into the main stream; `side_output` of the same tag
//! is the stream of it. A tag without a reader costs nothing.
//!
//! ```text
//! cargo run --bin side_outputs
//! ```

use std::process::ExitCode;

use thalweg::prelude::*;

/// Lines that are no orders, with the reason.
const BROKEN: OutputTag<(String, String)> = OutputTag::new("broken");

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let lines = ["apples 3", "pears", "plums four", "apples 4", "cherries 70"];
    let orders = environment
        .from_collection(lines.map(str::to_owned))
        .flat_map(|line: String, out: &mut Collector<(String, u64)>| {
            let Some((fruit, amount)) = line.split_once(' ') else {
                return out.side(&BROKEN, (line, "no amount".to_owned()));
            };
            match amount.parse() {
                Ok(amount) => out.emit((fruit.to_owned(), amount)),
                Err(error) => out.side(&BROKEN, (line.clone(), error.to_string())),
            }
        })
        .name("parse");
    let broken = orders.side_output(&BROKEN);
    broken
        .print_with(|(line, reason), text| text.push_str(&format!("broken: {line:?} ({reason})")));
    let totals = orders
        .key_by(|(fruit, _)| fruit.clone())
        .sum(|(_, amount)| *amount);
    totals.print_with(|(fruit, amount), text| text.push_str(&format!("{fruit}: {amount} so far")));
    environment.execute("side outputs")?;
    Ok(())
}
