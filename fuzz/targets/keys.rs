//! Canonical keys: any bytes as keys of a run.
#![no_main]

#[path = "../bodies/keys.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
