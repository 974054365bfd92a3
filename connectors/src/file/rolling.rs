//! When a part of a bucket is complete and the next one begins.
//!
//! Plain data, asked on the shard of the writer.

use std::time::Duration;

/// When a file sink begins a new file. The first rule that holds counts; a checkpoint and the end of the
/// input always end a file.
///
/// ```
/// use std::time::Duration;
/// use thalweg_connectors::RollingPolicy;
/// let policy = RollingPolicy::default().at_bytes(1 << 30).every(Duration::from_secs(3600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollingPolicy {
    pub(crate) bytes: u64,
    pub(crate) interval_ns: u64,
    pub(crate) inactivity_ns: u64,
    pub(crate) most_open: usize,
}

impl Default for RollingPolicy {
    /// 128 MiB; a minute after the file was begun; a minute without a record; 256 open files.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            bytes: 128 << 20,
            interval_ns: 0,
            inactivity_ns: 0,
            most_open: 256,
        }
        .every(minute)
        .after_inactivity(minute)
    }
}

impl RollingPolicy {
    /// At checkpoints and at the end only.
    pub fn at_checkpoints() -> Self {
        Self {
            bytes: u64::MAX,
            interval_ns: u64::MAX,
            inactivity_ns: u64::MAX,
            ..Self::default()
        }
    }

    /// When a file has so many bytes; the record that reaches them is its last.
    pub fn at_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes.max(1);
        self
    }

    /// So long after a file was begun.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval_ns = nanoseconds(interval);
        self
    }

    /// When no record has come for a file for so long.
    pub fn after_inactivity(mut self, quiet: Duration) -> Self {
        self.inactivity_ns = nanoseconds(quiet);
        self
    }

    /// Keeps at most so many files open in each subtask: for one more, the one that has waited longest
    /// for a record is ended. For sinks of very many buckets.
    pub fn at_most_open(mut self, files: usize) -> Self {
        self.most_open = files.max(1);
        self
    }

    /// When a file that was begun and last written to at these times is due.
    pub(crate) fn due(&self, begun: u64, written: u64) -> u64 {
        let interval = begun.saturating_add(self.interval_ns);
        interval.min(written.saturating_add(self.inactivity_ns))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
