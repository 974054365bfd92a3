//! Runs: any bytes as a file, and files that were well written and then changed in some places.
#![no_main]

#[path = "../bodies/run.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
