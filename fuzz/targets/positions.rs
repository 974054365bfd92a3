//! Positions of sources as a checkpoint holds them: any bytes as splits of each kind of source.
#![no_main]

#[path = "../bodies/positions.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
