//! State that is to be in memory and comes back while the job is at work: the same results, after failures and at any
//! parallelism, from what either backend has left.

use super::functions_on_disk::{BOTH, SUMS};
use super::larger::{COUNTS, LATE, Large};

const IN_MEMORY: (&str, &str) = ("state.backend.type", "hashmap");
const ENOUGH: (&str, &str) = ("taskmanager.memory.managed.size", "256mb");
/// State stays on disk, as it does where nothing else is said.
const ON_DISK: [(&str, &str); 0] = [];

impl Large {
    fn comes_back_late(&self, rate: f64, runs: &[(&str, u64)]) {
        for run in runs {
            self.survives_failures_with(rate, *run, &[IN_MEMORY, ENOUGH, LATE]);
        }
        let late = [IN_MEMORY, ENOUGH, LATE];
        let at_once = [IN_MEMORY, ENOUGH];
        self.goes_on(rate / 3.0, &[&late, &late, &ON_DISK, &late, &at_once]);
    }
}

#[test]
fn counts_that_come_back_late_are_right() {
    COUNTS.comes_back_late(300_000.0, &[("1", 70_001), ("2", 50_021)]);
}

#[test]
fn what_a_function_keeps_and_clears_is_right_when_it_comes_back_late() {
    SUMS.comes_back_late(150_000.0, &[("2", 19_011)]);
}

#[test]
fn what_a_function_of_two_streams_keeps_is_right_when_it_comes_back_late() {
    BOTH.comes_back_late(150_000.0, &[("1", 19_011)]);
}
