//! The settings of one process: those that are drawn for the seed, and those of the moment.
//!
//! Plain functions.

use std::time::Duration;

use thalweg_core::config::Configuration;

use super::knobs::Knobs;

/// When checkpoints of a host that is well are given up: no job takes so long.
pub(super) const CALM_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Memory for state that is to fit.
const MUCH_MEMORY: &str = "64mb";

/// What is not the same for all processes of a seed.
pub(super) struct Start {
    pub(super) parallelism: u32,
    /// Nothing goes wrong any more: the job must come to its end.
    pub(super) is_calm: bool,
    pub(super) at_least_once: bool,
    /// How often the job was stopped with a savepoint.
    pub(super) stops: u32,
    /// Where checkpoints go.
    pub(super) checkpoints: String,
    /// A savepoint, or `latest`.
    pub(super) begins_with: String,
}

fn ms(ms: u64) -> String {
    format!("{ms}ms")
}

/// All of them.
pub(super) fn configuration(knobs: &Knobs, start: Start) -> Result<Configuration, String> {
    let state = state(knobs, start.stops);
    let settings = of_checkpoints(knobs, start).into_iter().chain(state);
    let mut configuration = Configuration::new();
    for (key, value) in settings {
        let set = configuration.set_str(key, &value);
        set.map_err(|error| format!("{key}={value}: {error}"))?;
    }
    Ok(configuration)
}

fn of_checkpoints(knobs: &Knobs, start: Start) -> Vec<(&'static str, String)> {
    let (timeout, tolerable) = match start.is_calm {
        true => (CALM_TIMEOUT.as_millis() as u64, 1_000_000),
        false => (knobs.timeout_ms, knobs.tolerable),
    };
    let mode = match start.at_least_once {
        true => "AT_LEAST_ONCE",
        false => "EXACTLY_ONCE",
    };
    let mut settings = vec![
        ("parallelism.default", start.parallelism.to_string()),
        ("execution.checkpointing.interval", ms(knobs.interval_ms)),
        ("execution.checkpointing.min-pause", ms(knobs.pause_ms)),
        ("execution.checkpointing.timeout", ms(timeout)),
        (
            "execution.checkpointing.max-concurrent-checkpoints",
            knobs.concurrent.to_string(),
        ),
        (
            "execution.checkpointing.num-retained",
            knobs.retained.to_string(),
        ),
        (
            "execution.checkpointing.tolerable-failed-checkpoints",
            tolerable.to_string(),
        ),
        ("execution.checkpointing.mode", mode.to_owned()),
        ("execution.checkpointing.dir", start.checkpoints),
        (
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION".to_owned(),
        ),
        ("execution.state-recovery.path", start.begins_with),
    ];
    if let Some(after) = knobs.overtakes_after {
        settings.extend([
            (
                "execution.checkpointing.unaligned.enabled",
                "true".to_owned(),
            ),
            (
                "execution.checkpointing.aligned-checkpoint-timeout",
                ms(after),
            ),
        ]);
    }
    settings
}

/// Those of memory, state and restarts.
fn state(knobs: &Knobs, stops: u32) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("thalweg.shard.count", knobs.shards.to_string()),
        ("taskmanager.memory.segment-size", knobs.segment.to_owned()),
        (
            "taskmanager.network.memory.buffers-per-channel",
            knobs.exclusive.to_string(),
        ),
        (
            // Shared out they would be many for each channel: few where few are wanted.
            "taskmanager.network.memory.floating-buffers-per-gate",
            if knobs.exclusive == 1 { "0" } else { "8" }.to_owned(),
        ),
        ("restart-strategy.type", "fixed-delay".to_owned()),
        ("restart-strategy.fixed-delay.attempts", "8".to_owned()),
        ("restart-strategy.fixed-delay.delay", ms(1)),
    ];
    if knobs.late {
        settings.push(("thalweg.state.restore-late-from", "1b".to_owned()));
    }
    // After each savepoint the other backend takes the state over.
    let backend = match (knobs.memory, stops.is_multiple_of(2)) {
        (Some(memory), true) => Some(("lsm", knobs.larger.memory(memory))),
        (Some(_), false) => Some(("hashmap", MUCH_MEMORY)),
        (None, even) if knobs.on_disk == even => Some(("lsm", MUCH_MEMORY)),
        (None, _) => None,
    };
    if let Some((backend, memory)) = backend {
        settings.extend([
            ("state.backend.type", backend.to_owned()),
            ("taskmanager.memory.managed.size", memory.to_owned()),
        ]);
    }
    settings
}
