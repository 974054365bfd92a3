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
fn all_of_this_but_the_longest_where_io_uring_is_denied() {
    let longest = [
        "recovery::larger::state_larger_than_memory_goes_on_at_another_parallelism",
        "recovery::functions_on_disk::what_a_function_keeps_on_disk_goes_on_at_another_parallelism",
        "recovery::functions_on_disk::what_a_function_of_two_streams_keeps_on_disk_goes_on_at_another_parallelism",
        "recovery::joins_on_disk::interval_joins_on_disk_go_on_at_another_parallelism",
        "recovery::joins_on_disk::temporal_joins_on_disk_go_on_at_another_parallelism",
        "recovery::windows_on_disk::windows_on_disk_go_on_at_another_parallelism",
        "recovery::windows_on_disk::sessions_on_disk_go_on_at_another_parallelism",
    ];
    stage::pass_where_io_uring_is_denied(&["recovery::"], &longest, &[], 15);
}
