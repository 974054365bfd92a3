//! Waking a thread by hand: what a lone record's way to another, sleeping core takes at least.
//!
//! Entered by the workload `lone`, which states this beside the engine's latency. Two pinned threads
//! and the standard library's `park` and `unpark`, which is one system call on each side.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use thalweg_core::seam::clock::monotonic_ns;

use super::on_threads;

/// What the two threads share.
#[derive(Default)]
struct Between {
    /// Who sleeps.
    sleeper: OnceLock<Thread>,
    /// When the wake-up under way began, in ns; 0 when there is none.
    sent: AtomicU64,
}

/// Wakes a thread on another core `times` times, `gap` apart; how long each took, in ns.
#[must_use]
pub fn wake(times: u64, gap: Duration) -> Vec<u64> {
    let between = Between::default();
    let mut taken = on_threads(2, |thread| {
        if thread == 0 {
            rouse(&between, times, gap);
            Vec::new()
        } else {
            sleep(&between, times)
        }
    });
    taken.pop().unwrap_or_default()
}

fn rouse(between: &Between, times: u64, gap: Duration) {
    for _ in 0..times {
        pause(gap);
        while between.sleeper.get().is_none() || between.sent.load(Ordering::Acquire) != 0 {
            thread::yield_now();
        }
        between.sent.store(monotonic_ns(), Ordering::Release);
        if let Some(sleeper) = between.sleeper.get() {
            sleeper.unpark();
        }
    }
}

fn sleep(between: &Between, times: u64) -> Vec<u64> {
    let told = between.sleeper.set(thread::current());
    debug_assert!(told.is_ok(), "one thread sleeps");
    let mut taken = Vec::with_capacity(times as usize);
    for _ in 0..times {
        let sent = loop {
            match between.sent.swap(0, Ordering::AcqRel) {
                0 => thread::park(),
                sent => break sent,
            }
        };
        taken.push(monotonic_ns().saturating_sub(sent));
    }
    taken
}

#[allow(clippy::disallowed_methods, reason = "nothing runs here but this")]
fn pause(gap: Duration) {
    thread::sleep(gap);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wake_up_is_timed() {
        let taken = wake(50, Duration::from_micros(20));
        assert_eq!(taken.len(), 50);
        assert!(taken.iter().all(|ns| *ns > 0 && *ns < 10_000_000_000));
    }
}
