//! How do I join two streams whose records belong together within some time?
//!
//! An interval join pairs each order with the shipments of the same number that leave within four hours
//! after it. What can find no partner any more is forgotten as the watermark goes on.
//!
//! ```text
//! cargo run --bin orders_and_shipments
//! ```

use std::process::ExitCode;

use thalweg::prelude::*;

/// A number, what it is about, and when: minutes since midnight.
type Note = (u64, String, i64);

const FOUR_HOURS_MS: i64 = 4 * 3_600_000;

fn main() -> ExitCode {
    thalweg::report(run())
}

fn notes<const N: usize>(notes: [(u64, &str, i64); N]) -> [Note; N] {
    notes.map(|(number, what, minute)| (number, what.to_owned(), minute))
}

fn in_time() -> WatermarkStrategy<Note> {
    WatermarkStrategy::for_monotonous_timestamps()
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    let orders = notes([(1, "tea", 10), (2, "milk", 20), (3, "bread", 30)]);
    let shipments = notes([
        (1, "by bike", 100),
        (3, "by train", 269),
        (2, "by ship", 400),
    ]);
    let minute = |note: &Note, _| Timestamp(note.2 * 60_000);
    let orders = environment
        .from_collection(orders)
        .assign_timestamps_and_watermarks(in_time().with_timestamp_assigner(minute))
        .key_by(|order: &Note| order.0);
    let shipments = environment
        .from_collection(shipments)
        .assign_timestamps_and_watermarks(in_time().with_timestamp_assigner(minute))
        .key_by(|shipment: &Note| shipment.0);
    let shipped = orders
        .interval_join(shipments)
        .between(0, FOUR_HOURS_MS)
        .apply(|order: &Note, shipment: &Note| {
            let minutes = shipment.2 - order.2;
            format!("{} went {} after {minutes} minutes", order.1, shipment.1)
        });
    shipped.print();
    environment.execute("orders and shipments")?;
    Ok(())
}
