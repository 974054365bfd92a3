//! How many bytes a process may have in spill files.
//!
//! Shared by all shards: counted when a file grows and when one goes, never per record. Invariant: no more is
//! counted than the limit. Lives on any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::SpillError;

/// A limit on the bytes of all spill files. Clones share it.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    limit: u64,
    used: AtomicU64,
}

impl Quota {
    /// At most `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Quota {
        let used = AtomicU64::new(0);
        Quota(Arc::new(Counts { limit, used }))
    }

    /// As much as the disks hold.
    #[must_use]
    pub fn unlimited() -> Quota {
        Quota::new(u64::MAX)
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, asked: u64) -> Result<(), SpillError> {
        let limit = self.0.limit;
        let more = |used: u64| used.checked_add(asked).filter(|sum| *sum <= limit);
        let counts = &self.0.used;
        counts
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map(drop)
            .map_err(|used| SpillError::OverQuota { asked, used, limit })
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let quota = Quota::new(10);
        quota.take(7).unwrap();
        let (asked, used, limit) = (4, 7, 10);
        assert_eq!(
            quota.take(4),
            Err(SpillError::OverQuota { asked, used, limit })
        );
        quota.give_back(1);
        quota.take(4).unwrap();
        assert_eq!(quota.used(), 10);
        assert!(Quota::unlimited().take(u64::MAX).is_ok());
    }
}
