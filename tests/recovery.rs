//! Jobs that fail, are stopped and begin again, proved from outside on real shards.
//!
//! A test program of its own beside `engine`, so that the two are compiled at the same time. `recovery`
//! holds the tests; `stage` sets up and runs one job.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and may say what it saw"
)]

#[path = "recovery/mod.rs"]
mod recovery;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "stage/mod.rs"]
mod stage;

#[test]
fn what_differs_by_driver_where_io_uring_is_denied() {
    // Whatever is on disk goes there the same way: of that, counts and timers.
    let on_disk = [
        "recovery::larger::state_larger_than_memory_survives",
        "recovery::timers_on_disk::",
    ];
    let others = [
        "changes",
        "counting",
        "damaged",
        "ends",
        "lists",
        "objects",
        "pressure",
        "regions",
        "requests",
        "restarts",
        "restores",
        "savepoints",
        "watched",
    ];
    let others = others.map(|module| format!("recovery::{module}::"));
    let named: Vec<&str> = on_disk
        .into_iter()
        .chain(others.iter().map(String::as_str))
        .collect();
    let skipped = ["recovery::objects::state_larger_than_memory"];
    stage::pass_where_io_uring_is_denied(&named, &skipped, &[], 60);
}
