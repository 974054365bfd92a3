//! The end of the job's process by itself, as if it had been killed.
//!
//! Come to from the control thread, from shards and from committers. Invariant: without a point in its arguments the
//! process has none.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::oracle::point::Point;

/// What the argument begins with that names a point.
pub(in crate::oracle) const CRASH: &str = "crash=";

/// Ends the process when it comes to a point for the nth time.
pub(super) struct Crash {
    point: Point,
    left: AtomicU64,
}

impl Crash {
    /// What `POINT:NTH` says.
    pub(super) fn of(said: &str) -> Result<Crash, String> {
        let named = said.split_once(':').and_then(|(name, nth)| {
            let mut points = Point::all();
            let point = points.find(|point| point.to_string() == name)?;
            Some((point, nth.parse::<u64>().ok()?))
        });
        let (point, nth) = named.ok_or(format!("{CRASH}{said} is no {CRASH}POINT:NTH"))?;
        Ok(Crash {
            point,
            left: AtomicU64::new(nth),
        })
    }

    /// Whether it waits for this point.
    pub(super) fn is_at(&self, point: Point) -> bool {
        self.point == point
    }

    /// Nothing is unwound, flushed or told: the process is no more.
    pub(super) fn passes(&self, point: Point) {
        if self.is_at(point) && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }
}
