//! Pointers to the newest checkpoint: any bytes as a file, and as what stands between its version and its checksum.
#![no_main]

#[path = "../bodies/pointer.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
