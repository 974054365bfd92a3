//! What two-phase sinks keep in checkpoints, of files and of prepared transactions, and ids that a server lists: any
//! bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    thalweg_connectors::fuzz::file_sink(bytes);
    thalweg_connectors::fuzz::transactions(bytes);
});
