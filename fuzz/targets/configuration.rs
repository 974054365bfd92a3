//! Settings as a user writes them: any text as the value of any key, any line as `key: value`.
#![no_main]

#[path = "../bodies/configuration.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
