//! What the settings say about checkpoints, as plain values.
//!
//! Entered once when a job starts. Plain data, lives on any thread. Times are in ms.

use std::time::Duration;

use thalweg_core::config::{
    CheckpointRetention, CheckpointingMode, ConfigOption, Configuration, options,
};

use super::storage::{Location, LocationError};

/// The settings of checkpoints of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// How often a checkpoint starts, if any does by itself.
    pub interval_ms: Option<u64>,
    /// From the end of one to the start of the next, at least.
    pub min_pause_ms: u64,
    /// After how long one is given up.
    pub timeout_ms: u64,
    /// How many may be under way at once.
    pub max_concurrent: usize,
    /// How many may fail in a row before the job does.
    pub tolerable_failures: u32,
    /// How many completed ones are kept.
    pub retained: usize,
    /// Whether they go on when some tasks have finished.
    pub after_tasks_finish: bool,
    /// Whether barriers are aligned.
    pub mode: CheckpointingMode,
    /// What becomes of them when the job ends.
    pub retention: CheckpointRetention,
    /// Where they are kept.
    pub directory: Option<Location>,
    /// Where savepoints go that name no place.
    pub savepoints: Option<Location>,
    /// What the job starts from.
    pub recovery: Option<Location>,
    /// Whether state nobody claims is dropped.
    pub ignore_unclaimed: bool,
}

impl CheckpointSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a directory is no place that can be used.
    pub fn of(configuration: &Configuration) -> Result<CheckpointSettings, LocationError> {
        let place = |option: &ConfigOption<Option<String>>| {
            let written = configuration.get(option);
            written.as_deref().map(Location::parse).transpose()
        };
        Ok(CheckpointSettings {
            interval_ms: configuration.get(&options::CHECKPOINT_INTERVAL).map(ms),
            min_pause_ms: ms(configuration.get(&options::CHECKPOINT_MIN_PAUSE)),
            timeout_ms: ms(configuration.get(&options::CHECKPOINT_TIMEOUT)),
            max_concurrent: configuration.get(&options::MAX_CONCURRENT_CHECKPOINTS) as usize,
            tolerable_failures: configuration.get(&options::TOLERABLE_FAILED_CHECKPOINTS),
            retained: configuration.get(&options::RETAINED_CHECKPOINTS) as usize,
            after_tasks_finish: configuration.get(&options::CHECKPOINTS_AFTER_TASKS_FINISH),
            mode: configuration.get(&options::CHECKPOINTING_MODE),
            retention: configuration.get(&options::CHECKPOINT_RETENTION),
            directory: place(&options::CHECKPOINT_DIRECTORY)?,
            savepoints: place(&options::SAVEPOINT_DIRECTORY)?,
            recovery: place(&options::RECOVERY_PATH)?,
            ignore_unclaimed: configuration.get(&options::IGNORE_UNCLAIMED_STATE),
        })
    }
}

/// Whole ms, rounded up, so that no time that was asked for becomes none.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_plain_values() {
        let mut configuration = Configuration::new();
        let settings = CheckpointSettings::of(&configuration).unwrap();
        assert_eq!((settings.interval_ms, settings.timeout_ms), (None, 600_000));
        assert_eq!((settings.retained, settings.max_concurrent), (1, 1));
        let set = |configuration: &mut Configuration, key, value| {
            configuration.set_str(key, value).unwrap();
        };
        set(
            &mut configuration,
            "execution.checkpointing.interval",
            "1500us",
        );
        set(
            &mut configuration,
            "execution.checkpointing.dir",
            "file:///var/checkpoints",
        );
        let settings = CheckpointSettings::of(&configuration).unwrap();
        assert_eq!(settings.interval_ms, Some(2));
        assert_eq!(settings.directory.unwrap().to_string(), "/var/checkpoints");
        set(
            &mut configuration,
            "execution.checkpointing.dir",
            "gs://b/c",
        );
        assert!(CheckpointSettings::of(&configuration).is_err());
    }
}
