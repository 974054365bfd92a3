//! Rows of a copy on their way back into a state: any bytes as keys, namespaces and values of each kind of state.
#![no_main]

#[path = "../bodies/rows.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
