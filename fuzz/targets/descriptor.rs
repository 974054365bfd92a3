//! Descriptions of states as runs keep them: what is read is written as the same bytes.
#![no_main]

#[path = "../bodies/descriptor.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
