//! A turn that has written enough is over, however much room and time is left: who reads it on the same shard comes
//! next, and finds it in the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_connectors::{Discard, Generator};
use thalweg_core::seam::simulated::SimOptions;

use crate::stage::{self, Settings};

/// Room for 16 MiB between the two tasks.
const SETTINGS: Settings<'static> = &[
    ("parallelism.default", "1"),
    (
        "taskmanager.network.memory.floating-buffers-per-gate",
        "512",
    ),
];
const RECORD_BYTES: usize = 1_000;
/// What a turn writes, what a burst of the source may come to beyond it, and open segments.
const MOST_BETWEEN: u64 = (64 << 10) + 64 * 1_024 + 3 * (32 << 10);

#[test]
fn what_a_turn_has_written_is_read_before_much_more_is() {
    let (environment, _) = stage::simulation(1, SimOptions::default(), SETTINGS);
    let (made, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (seen, highest, read) = (made.clone(), most.clone(), AtomicU64::new(0));
    let read = Arc::new(read);
    environment
        .source(Generator::new(20_000, |i| vec![i as u8; RECORD_BYTES]))
        .inspect(move |_| {
            made.fetch_add(1, Ordering::Relaxed);
        })
        .rebalance()
        .inspect(move |_| {
            let read = read.fetch_add(1, Ordering::Relaxed);
            highest.fetch_max(seen.load(Ordering::Relaxed) - read, Ordering::Relaxed);
        })
        .sink(Discard);
    environment.execute("turns").unwrap();
    let most = most.load(Ordering::Relaxed) * RECORD_BYTES as u64;
    assert!(
        (RECORD_BYTES as u64 * 64..=MOST_BETWEEN).contains(&most),
        "{most} bytes were made and not read"
    );
}
