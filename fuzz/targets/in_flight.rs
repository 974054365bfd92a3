//! Records in flight: any bytes as a section, and as a file; what is read of a section is revived as records.
#![no_main]

#[path = "../bodies/in_flight.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
