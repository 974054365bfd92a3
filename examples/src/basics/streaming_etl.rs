//! How do I clean a stream on its way from one place to another?
//!
//! Lines are parsed, what is no order goes to a side output with its reason, doubles are dropped, prices
//! converted, and what is left goes to files that appear when they are whole.
//!
//! ```text
//! cargo run --bin streaming_etl -- --output out
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use thalweg::prelude::*;

/// Lines that are no orders, with the reason.
const BROKEN: OutputTag<(String, String)> = OutputTag::new("broken");

/// Cleans orders.
#[derive(Parser)]
struct Arguments {
    /// The file to write.
    #[arg(long)]
    output: PathBuf,
}

#[record]
#[derive(Clone)]
struct Order {
    number: u64,
    item: String,
    cents: u64,
}

impl Order {
    fn parse(line: &str) -> Result<Order, String> {
        let mut fields = line.split(';').map(str::trim);
        let mut next = |name: &str| {
            let field = fields.next().filter(|field| !field.is_empty());
            field.ok_or_else(|| format!("no {name}"))
        };
        let number = next("number")?;
        let (item, cents) = (next("item")?, next("price")?);
        let number_of = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
        Ok(Order {
            number: number_of(number)?,
            item: item.to_lowercase(),
            cents: number_of(cents)?,
        })
    }
}

fn main() -> ExitCode {
    thalweg::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let lines = [
        "1;Tea;250",
        "2; Milk ;99",
        "oops",
        "1;Tea;250",
        "3;Bread;x",
        "4;Bread;310",
    ];
    let orders = environment
        .from_collection(lines.map(str::to_owned))
        .flat_map(
            |line: String, out: &mut Collector<Order>| match Order::parse(&line) {
                Ok(order) => out.emit(order),
                Err(reason) => out.side(&BROKEN, (line, reason)),
            },
        )
        .name("parse");
    let broken = orders.side_output(&BROKEN);
    broken.print_with(|(line, reason), text| text.push_str(&format!("broken: {line} ({reason})")));
    orders
        .key_by(|order: &Order| order.number)
        .deduplicate()
        .map(|order: Order| {
            let Order {
                number,
                item,
                cents,
            } = order;
            format!("{number},{item},{}.{:02}", cents / 100, cents % 100)
        })
        .write_text(&arguments.output);
    environment.execute("streaming etl")?;
    Ok(())
}
