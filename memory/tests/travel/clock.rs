//! A field that is no record.
#[thalweg_memory::record(crate = thalweg_memory)]
struct Session {
    user: u64,
    started: std::time::Instant,
}

fn main() {}
