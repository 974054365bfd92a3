//! Questions to running jobs and answers: any bytes out of a socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg::control::fuzz::lines(bytes));
