//! Metadata of checkpoints and savepoints: any bytes as the body of a file whose header and checksums are right.
#![no_main]

#[path = "../bodies/metadata.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
