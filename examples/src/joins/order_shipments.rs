//! How do I put records of two streams together that belong to one thing and are close in time?
//!
//! Orders and shipments are keyed by the number of the order. An interval join pairs an order with the
//! shipments that leave within a day of it, whichever of the two is read first, and keeps each record
//! only as long as a partner of it may still come.
//!
//! ```text
//! cargo run --bin order_shipments
//! ```

use std::process::ExitCode;
use std::time::Duration;

use thalweg::prelude::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

#[record]
#[derive(Clone)]
struct Order {
    number: u64,
    goods: String,
    placed_ms: i64,
}

#[record]
#[derive(Clone)]
struct Shipment {
    order: u64,
    left_ms: i64,
}

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    environment.set_parallelism(2);
    let order = |number, goods: &str, hour| Order {
        number,
        goods: goods.to_owned(),
        placed_ms: hour * HOUR_MS,
    };
    let shipment = |order, hour| Shipment {
        order,
        left_ms: hour * HOUR_MS,
    };
    let orders = [
        order(1, "tea", 0),
        order(2, "milk", 3),
        order(3, "honey", 2),
    ];
    let shipments = [
        shipment(1, 5),
        shipment(3, 27),
        shipment(2, 4),
        shipment(1, 24),
    ];
    let two_hours = Duration::from_secs(7_200);
    let orders = environment
        .from_collection(orders)
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::<Order>::for_bounded_out_of_orderness(two_hours)
                .with_timestamp_assigner(|order, _previous| Timestamp(order.placed_ms)),
        );
    let shipments = environment
        .from_collection(shipments)
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::<Shipment>::for_bounded_out_of_orderness(Duration::from_millis(
                DAY_MS as u64,
            ))
            .with_timestamp_assigner(|shipment, _previous| Timestamp(shipment.left_ms)),
        );
    let orders = orders.key_by(|order: &Order| order.number);
    let shipments = shipments.key_by(|shipment: &Shipment| shipment.order);
    let shipped = orders.interval_join(shipments).between(0, DAY_MS);
    let shipped = shipped.apply(|order: &Order, shipment: &Shipment| {
        let hours = (shipment.left_ms - order.placed_ms) / HOUR_MS;
        format!("{} left after {hours} h", order.goods)
    });
    shipped
        .name("shipped")
        .print_with(|line, text| text.push_str(line.as_str()));
    environment.execute("order shipments")?;
    Ok(())
}
