//! The tests of a program once more, in a process that is denied io_uring.
//!
//! Entered by one test of each program. Invariant: what runs there can only have run on epoll, because the
//! filter is inherited and was seen to hold before the process was started.

use std::process::Command;

use thalweg_core::seam::probe::probe;
use thalweg_core::seam::seccomp::forbid_io_uring_for_tests;

/// Runs the tests with these words in their names, and those without `skipped`, in a process that is denied
/// io_uring, with these variables; there must be `fewest` of them or more, and all pass.
pub(crate) fn pass_where_io_uring_is_denied(
    named: &[&str],
    skipped: &[&str],
    variables: &[(&str, &str)],
    fewest: u32,
) {
    let skips = skipped.iter().flat_map(|name| ["--skip", name]);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(named)
        .args(skips)
        .arg("--test-threads=2")
        .envs(variables.iter().copied());
    // The filter holds for the thread that sets it and for what that thread starts.
    let denied = move || {
        if let Err(error) = forbid_io_uring_for_tests() {
            println!("SKIPPED: this kernel takes no seccomp filter: {error}");
            return None;
        }
        assert!(probe().io_uring.is_err(), "the filter does not hold");
        Some(command.output().unwrap())
    };
    let denied = super::thread(denied);
    let Some(ended) = denied.join().unwrap() else {
        return;
    };
    let said = String::from_utf8_lossy(&ended.stdout);
    let complained = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}\n{complained}");
    let passed = said
        .split(" passed")
        .next()
        .and_then(|told| told.rsplit(' ').next());
    let passed: u32 = passed.unwrap_or_default().parse().unwrap_or_default();
    assert!(passed >= fewest, "only {passed} were run: {said}");
    println!("{passed} tests passed where io_uring is denied");
}
