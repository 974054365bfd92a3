//! Packed texts: any bytes as a gzip or Zstandard file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_connectors::fuzz::packed(bytes));
