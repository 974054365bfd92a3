//! Texts: any bytes, in any blocks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_connectors::fuzz::lines(bytes));
