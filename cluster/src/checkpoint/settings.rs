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
    /// After how long barriers overtake records; none if they never do.
    pub overtakes_after_ms: Option<u64>,
    /// What becomes of them when the job ends.
    pub retention: CheckpointRetention,
    /// Whether the end of the job is marked, so that whoever starts it again learns of it.
    pub marks_end: bool,
    /// Where they are kept.
    pub directory: Option<Location>,
    /// Where savepoints go that name no place.
    pub savepoints: Option<Location>,
    /// What the job starts from.
    pub recovery: Option<Location>,
    /// Whether state nobody claims is dropped.
    pub ignore_unclaimed: bool,
    /// Whether an older checkpoint may be taken for one that is damaged.
    pub fall_back: bool,
}

impl CheckpointSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a directory is no place that can be used, or settings exclude each other.
    pub fn of(configuration: &Configuration) -> Result<CheckpointSettings, SettingsError> {
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
            overtakes_after_ms: overtakes_after_ms(configuration)?,
            retention: configuration.get(&options::CHECKPOINT_RETENTION),
            marks_end: false,
            directory: place(&options::CHECKPOINT_DIRECTORY)?,
            savepoints: place(&options::SAVEPOINT_DIRECTORY)?,
            recovery: place(&options::RECOVERY_PATH)?,
            ignore_unclaimed: configuration.get(&options::IGNORE_UNCLAIMED_STATE),
            fall_back: configuration.get(&options::FALL_BACK_TO_OLDER),
        })
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A directory is no place that can be used.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// Barriers cannot overtake if nobody waits for them.
    #[error(
        "execution.checkpointing.unaligned.enabled needs execution.checkpointing.mode EXACTLY_ONCE: with \
         AT_LEAST_ONCE no barrier waits for another, so there is nothing to gain; set one of them otherwise"
    )]
    UnalignedAtLeastOnce,
    /// A barrier that overtakes must not meet another.
    #[error(
        "execution.checkpointing.unaligned.enabled needs execution.checkpointing.max-concurrent-checkpoints 1, \
         not {0}: records in flight are part of one checkpoint at a time; set one of them otherwise"
    )]
    UnalignedConcurrent(u32),
}

/// After how long barriers overtake, if they do.
fn overtakes_after_ms(configuration: &Configuration) -> Result<Option<u64>, SettingsError> {
    if !configuration.get(&options::UNALIGNED_CHECKPOINTS) {
        return Ok(None);
    }
    if configuration.get(&options::CHECKPOINTING_MODE) == CheckpointingMode::AtLeastOnce {
        return Err(SettingsError::UnalignedAtLeastOnce);
    }
    match configuration.get(&options::MAX_CONCURRENT_CHECKPOINTS) {
        1 => Ok(Some(ms(
            configuration.get(&options::ALIGNED_CHECKPOINT_TIMEOUT)
        ))),
        more => Err(SettingsError::UnalignedConcurrent(more)),
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

    #[test]
    fn unaligned_checkpoints_need_one_at_a_time_exactly_once() {
        let settings = |changes: &[(&str, &str)]| {
            let mut configuration = Configuration::new();
            let enabled = [("execution.checkpointing.unaligned.enabled", "true")];
            for (key, value) in enabled.iter().chain(changes) {
                configuration.set_str(key, value).unwrap();
            }
            CheckpointSettings::of(&configuration).map(|settings| settings.overtakes_after_ms)
        };
        let timeout = "execution.checkpointing.aligned-checkpoint-timeout";
        assert_eq!(settings(&[]).unwrap(), Some(0));
        assert_eq!(settings(&[(timeout, "1500us")]).unwrap(), Some(2));
        let at_least_once = settings(&[("execution.checkpointing.mode", "AT_LEAST_ONCE")]);
        assert!(matches!(
            at_least_once,
            Err(SettingsError::UnalignedAtLeastOnce)
        ));
        let most = "execution.checkpointing.max-concurrent-checkpoints";
        let concurrent = settings(&[(most, "2")]);
        assert!(matches!(
            concurrent,
            Err(SettingsError::UnalignedConcurrent(2))
        ));
    }
}
