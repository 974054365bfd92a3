//! What became of a job's checkpoints: told in its summary.
//!
//! Kept by whoever coordinates them, over all attempts of the job. Plain data.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use thalweg_core::ids::CheckpointId;

/// A checkpoint that was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedCheckpoint {
    /// Which.
    pub checkpoint: CheckpointId,
    /// From the moment it was triggered to the moment it would survive a loss of power.
    pub duration: Duration,
    /// Bytes its tasks wrote for it: of state that did not change since the one before, none.
    pub bytes_written: u64,
    /// Of these, bytes of records that its barriers overtook.
    pub bytes_in_flight: u64,
}

/// The checkpoints and savepoints of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStatistics {
    /// How many were completed.
    pub completed: u64,
    /// How many were given up.
    pub given_up: u64,
    /// Bytes written for all that were completed.
    pub bytes_written: u64,
    /// Of these, bytes of records that barriers overtook.
    pub bytes_in_flight: u64,
    /// The newest that were completed, oldest first: at most [`CheckpointStatistics::RECENT`].
    pub recent: VecDeque<CompletedCheckpoint>,
}

impl CheckpointStatistics {
    /// How many of the completed ones are kept one by one.
    pub const RECENT: usize = 1_000;

    /// One was completed.
    pub fn note_completed(&mut self, completed: CompletedCheckpoint) {
        self.completed += 1;
        self.bytes_written += completed.bytes_written;
        self.bytes_in_flight += completed.bytes_in_flight;
        if self.recent.len() == Self::RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(completed);
    }

    /// One was given up.
    pub fn note_given_up(&mut self) {
        self.given_up += 1;
    }

    /// Half of the recent ones took no longer; none where there are none.
    #[must_use]
    pub fn median_duration(&self) -> Option<Duration> {
        middle(self.recent.iter().map(|completed| completed.duration))
    }

    /// Half of the recent ones wrote no more bytes; none where there are none.
    #[must_use]
    pub fn median_bytes(&self) -> Option<u64> {
        middle(self.recent.iter().map(|completed| completed.bytes_written))
    }

    /// The longest of the recent ones; none where there are none.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        let durations = self.recent.iter().map(|completed| completed.duration);
        durations.max()
    }
}

fn middle<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let half = values.len().saturating_sub(1) / 2;
    values.into_iter().nth(half)
}

impl fmt::Display for CheckpointStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes_written as f64 / f64::from(1 << 20);
        write!(
            f,
            "{} checkpoints, {} given up, {mib:.1} MiB written",
            self.completed, self.given_up
        )?;
        if self.bytes_in_flight > 0 {
            let mib = self.bytes_in_flight as f64 / f64::from(1 << 20);
            write!(f, ", {mib:.1} MiB of them in flight")?;
        }
        if let (Some(median), Some(longest)) = (self.median_duration(), self.longest()) {
            write!(f, ", half within {median:.1?}, all within {longest:.1?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(number: u64) -> CompletedCheckpoint {
        CompletedCheckpoint {
            checkpoint: CheckpointId(number),
            duration: Duration::from_millis(number),
            bytes_written: number << 10,
            bytes_in_flight: number,
        }
    }

    #[test]
    fn all_are_counted_and_the_newest_kept() {
        let mut statistics = CheckpointStatistics::default();
        assert_eq!(statistics.median_duration(), None);
        assert_eq!(
            statistics.to_string(),
            "0 checkpoints, 0 given up, 0.0 MiB written"
        );
        (1..=2_000).for_each(|number| statistics.note_completed(completed(number)));
        statistics.note_given_up();
        assert_eq!((statistics.completed, statistics.given_up), (2_000, 1));
        assert_eq!(statistics.bytes_in_flight, 2_000 * 2_001 / 2);
        assert_eq!(statistics.recent.len(), CheckpointStatistics::RECENT);
        assert_eq!(
            statistics.recent.front().map(|it| it.checkpoint.0),
            Some(1_001)
        );
        let half = Duration::from_millis(1_500);
        assert_eq!(statistics.median_duration(), Some(half));
        assert_eq!(statistics.median_bytes(), Some(1_500 << 10));
        assert_eq!(statistics.longest(), Some(Duration::from_secs(2)));
        let told = statistics.to_string();
        assert!(
            told.ends_with("half within 1.5s, all within 2.0s"),
            "{told}"
        );
    }
}
