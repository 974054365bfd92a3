//! The engine proved from outside: whole jobs on real shards and in simulation.
//!
//! One test program for nearly all of it, because linking the engine takes longer than most of its tests;
//! recovery has its own.
//! `random_graphs` compares drawn programs with a reference over vectors; `end_to_end` holds the
//! promises of back-pressure, extremes, trouble and WordCount; `loops` compares loops with models that
//! work one record after the other; `event_time` compares what depends on time with naive models;
//! `stage` sets up and runs one job.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and may say what it saw"
)]

#[path = "end_to_end/mod.rs"]
mod end_to_end;
#[path = "event_time/mod.rs"]
mod event_time;
#[path = "loops/mod.rs"]
mod loops;
#[path = "random_graphs/mod.rs"]
mod random_graphs;
#[path = "stage/mod.rs"]
mod stage;

#[test]
fn all_of_this_where_io_uring_is_denied() {
    let named = ["end_to_end::", "event_time::", "loops::"];
    // Simulation knows no driver; the many windows take long and do nothing on a driver.
    let skipped = ["in_simulation", "event_time::windows::many::"];
    // The models are seen to hold on more of them where io_uring is not denied.
    let seeds = [(event_time::trial::MOST_SEEDS, "40")];
    stage::pass_where_io_uring_is_denied(&named, &skipped, &seeds, 80);
}
