//! All settings of the engine. One constant each, and [`ALL`] lists them; those of checkpoints and restarts
//! are written down in `fault_tolerance`.
//!
//! Keys are Flink's where the meaning is the same, else they start with `thalweg.`. Lives on any thread.
//! Invariant, held by tests: every constant is in [`ALL`], in the order of the keys' sections; no key is
//! a prefix of another; every default is accepted by its own option.

use super::option::{AnyOption, ConfigOption};
use super::value::{IoDriver, MemorySize, Profile, RuntimeMode, StateBackendKind};
use crate::key_group::MaxParallelism;
use std::net::SocketAddr;
use std::time::Duration;

pub use super::fault_tolerance::{
    ALIGNED_CHECKPOINT_TIMEOUT, ATTEMPTS_BEFORE_RESET, BACKOFF_MULTIPLIER,
    BEGIN_ANEW_WHEN_FINISHED, CHECKPOINT_DIRECTORY, CHECKPOINT_INTERVAL, CHECKPOINT_MIN_PAUSE,
    CHECKPOINT_RETENTION, CHECKPOINT_TIMEOUT, CHECKPOINTING_MODE, CHECKPOINTS_AFTER_TASKS_FINISH,
    FAILOVER_STRATEGY, FAILURE_RATE_DELAY, FAILURE_RATE_INTERVAL, FALL_BACK_TO_OLDER, FIXED_DELAY,
    FIXED_DELAY_ATTEMPTS, IGNORE_UNCLAIMED_STATE, INITIAL_BACKOFF, JITTER_FACTOR, JOB_IDENTITY,
    MAX_BACKOFF, MAX_CONCURRENT_CHECKPOINTS, MAX_FAILURES_PER_INTERVAL, RECOVERY_FROM_LOCAL,
    RECOVERY_PATH, RESET_BACKOFF_THRESHOLD, RESTART_STRATEGY, RETAINED_CHECKPOINTS,
    SAVEPOINT_DIRECTORY, TOLERABLE_FAILED_CHECKPOINTS, UNALIGNED_CHECKPOINTS,
};

/// `parallelism.default`
pub const PARALLELISM_DEFAULT: ConfigOption<u32> = ConfigOption::new(
    "parallelism.default",
    || 1,
    "How many subtasks an operator gets when neither the job nor the operator says otherwise.",
)
.within(
    |value| (1..=MaxParallelism::LIMIT).contains(value),
    "a whole number from 1 to 32768",
);

/// `pipeline.max-parallelism`
pub const MAX_PARALLELISM: ConfigOption<u32> = ConfigOption::new(
    "pipeline.max-parallelism",
    || 128,
    "How many key groups keyed state is cut into: the highest parallelism a keyed operator of the job can \
     ever have. Fixed for the life of the job's state.",
)
.within(|value| (1..=MaxParallelism::LIMIT).contains(value), "a whole number from 1 to 32768");

/// `execution.runtime-mode`
pub const RUNTIME_MODE: ConfigOption<RuntimeMode> = ConfigOption::new(
    "execution.runtime-mode",
    || RuntimeMode::Streaming,
    "STREAMING emits results as they change; BATCH emits final results of bounded input at its end; \
     AUTOMATIC is BATCH if all sources are bounded. What waits for the processing time, timers and windows, is done at \
     the end of the input in BATCH, and not at all in STREAMING. In each mode inputs are read as they come, broadcast ones \
     not before others: what a batch needs so is done in event time.",
);

/// `execution.buffer-timeout.interval`
pub const BUFFER_TIMEOUT: ConfigOption<Duration> = ConfigOption::new(
    "execution.buffer-timeout.interval",
    || Duration::ZERO,
    "How long a buffer that is not full waits for more records before it leaves. 0 sends it as soon as \
     its task has nothing more to do and the one before it was consumed, which is the least latency, and \
     every 10 ms while the task always has more to do; more trades latency for fewer, fuller buffers.",
)
.within(
    |value| *value <= Duration::from_secs(3_600),
    "a duration up to 1h",
);

/// `pipeline.auto-watermark-interval`
pub const AUTO_WATERMARK_INTERVAL: ConfigOption<Duration> = ConfigOption::new(
    "pipeline.auto-watermark-interval",
    || Duration::from_millis(200),
    "How often watermarks go out, unless the strategy says otherwise; where event time runs faster than the clock, one \
     goes out also when it has advanced by as much. 0 makes none periodically: only those that records themselves cause.",
);

/// `taskmanager.numberOfTaskSlots`
pub const NUMBER_OF_TASK_SLOTS: ConfigOption<u32> = ConfigOption::new(
    "taskmanager.numberOfTaskSlots",
    || 0,
    "How many slots a process offers. 0 means one for each core it may use.",
);

/// `taskmanager.memory.managed.size`
pub const MANAGED_MEMORY_SIZE: ConfigOption<MemorySize> = ConfigOption::new(
    "taskmanager.memory.managed.size",
    || MemorySize::mib(512),
    "Memory of a process for keyed state and for buffers sent beyond their credit, shared evenly by its \
     slots.",
)
.within(|value| value.0 >= 1 << 20, "a size of at least 1mb");

/// `taskmanager.memory.network.size`
pub const NETWORK_MEMORY_SIZE: ConfigOption<MemorySize> = ConfigOption::new(
    "taskmanager.memory.network.size",
    || MemorySize::gib(1),
    "Address space of a process for segments, in which records travel between subtasks. Only what is used \
     takes memory.",
)
.within(|value| value.0 >= 64 << 10, "a size of at least 64kb");

/// `taskmanager.memory.segment-size`
pub const SEGMENT_SIZE: ConfigOption<MemorySize> = ConfigOption::new(
    "taskmanager.memory.segment-size",
    || MemorySize::kib(32),
    "Size of one segment, hence of a full buffer.",
)
.within(
    |value| value.0.is_power_of_two() && (512..=128 << 10).contains(&value.0),
    "a power of two from 512b to 128kb",
);

/// `taskmanager.memory.max-record-size`
pub const MAX_RECORD_SIZE: ConfigOption<MemorySize> = ConfigOption::new(
    "taskmanager.memory.max-record-size",
    || MemorySize::mib(64),
    "The largest record that may travel. Records longer than a segment take a buffer of their own.",
)
.within(
    |value| (512..=1 << 30).contains(&value.0),
    "a size from 512b to 1gb",
);

/// `taskmanager.network.memory.buffers-per-channel`
pub const BUFFERS_PER_CHANNEL: ConfigOption<u32> = ConfigOption::new(
    "taskmanager.network.memory.buffers-per-channel",
    || 2,
    "Exclusive credits: how many buffers of each channel may always be in flight.",
)
.within(
    |value| (1..=1_024).contains(value),
    "a whole number from 1 to 1024",
);

/// `taskmanager.network.memory.floating-buffers-per-gate`
pub const FLOATING_BUFFERS_PER_GATE: ConfigOption<u32> = ConfigOption::new(
    "taskmanager.network.memory.floating-buffers-per-gate",
    || 8,
    "Floating credits: how many more buffers the channels of one input gate may have in flight. Where there are as many \
     as channels, and segments for it, each has an even share of them for good; what is left they share among those \
     with the longest queues.",
)
.within(|value| *value <= 65_536, "a whole number from 0 to 65536");

/// `thalweg.profile`
pub const PROFILE: ConfigOption<Profile> = ConfigOption::new(
    "thalweg.profile",
    || Profile::Default,
    "A set of defaults for a purpose. What is set explicitly goes before what the profile says.",
);

/// `thalweg.execution.local-aggregation`
pub const LOCAL_AGGREGATION: ConfigOption<bool> = ConfigOption::new(
    "thalweg.execution.local-aggregation",
    || true,
    "Whether windows with an incremental aggregate gather records by key in the producing subtasks, before \
     the exchange, where the program allows it: far fewer records cross, and one busy key does not sink one \
     shard. Where it does not pay, because keys hardly repeat, producers notice and let records pass.",
);

/// `thalweg.shard.count`
pub const SHARD_COUNT: ConfigOption<u32> = ConfigOption::new(
    "thalweg.shard.count",
    || 0,
    "How many shards (threads, one for each core) a process runs. 0 means one for each core it may use, \
     but no more than the job's highest parallelism.",
)
.within(|value| *value <= 4_096, "a whole number from 0 to 4096");

/// `thalweg.shard.pin`
pub const SHARD_PIN: ConfigOption<bool> = ConfigOption::new(
    "thalweg.shard.pin",
    || true,
    "Whether each shard is bound to a core of its own. Never done when there are more shards than cores.",
);

/// `thalweg.shard.turn-budget`
pub const TURN_BUDGET: ConfigOption<Duration> = ConfigOption::new(
    "thalweg.shard.turn-budget",
    || Duration::from_micros(200),
    "How long a task may work before the next one has its turn.",
)
.within(
    |value| (Duration::from_micros(1)..=Duration::from_secs(1)).contains(value),
    "a duration from 1us to 1s",
);

/// `thalweg.shard.spin`
pub const SHARD_SPIN: ConfigOption<Duration> = ConfigOption::new(
    "thalweg.shard.spin",
    || Duration::ZERO,
    "How long an idle shard looks for work before it sleeps. Spinning takes a whole core and saves the \
     time of a wake-up.",
)
.in_low_latency(|| Duration::from_micros(50))
.within(|value| *value <= Duration::from_secs(10), "a duration up to 10s");

/// `thalweg.connector.threads`
pub const CONNECTOR_THREADS: ConfigOption<u32> = ConfigOption::new(
    "thalweg.connector.threads",
    || 1,
    "How many threads of a worker run the futures of asynchronous functions. They are not bound to the \
     cores of the shards.",
)
.within(|value| (1..=64).contains(value), "1 to 64 threads");

/// `thalweg.shard.stall-threshold`
pub const STALL_THRESHOLD: ConfigOption<Duration> = ConfigOption::new(
    "thalweg.shard.stall-threshold",
    || Duration::from_millis(100),
    "A turn that takes longer is reported with the names of its task and of the operator in work. 0 reports none.",
);

/// `thalweg.io.driver`
pub const IO_DRIVER: ConfigOption<IoDriver> = ConfigOption::new(
    "thalweg.io.driver",
    || IoDriver::Auto,
    "What shards wait in and do their input and output with. auto takes io_uring where the host allows it.",
);

/// `thalweg.io.require-io-uring`
pub const REQUIRE_IO_URING: ConfigOption<bool> = ConfigOption::new(
    "thalweg.io.require-io-uring",
    || false,
    "Refuses to start where io_uring is not allowed, instead of falling back to epoll with a warning.",
);

/// `thalweg.metrics.address`
pub const METRICS_ADDRESS: ConfigOption<Option<String>> = ConfigOption::new(
    "thalweg.metrics.address",
    || None,
    "Where the metrics of the running job are served over HTTP, at `/metrics`. Nothing asks who reads them: \
     keep to an address of this host alone. Port 0 takes any free port.",
)
.within(
    |address| {
        let parsed = address.as_ref().map(|text| text.parse::<SocketAddr>());
        parsed.is_none_or(|parsed| parsed.is_ok())
    },
    "an IP address with a port, for instance 127.0.0.1:9249",
);

/// `state.backend.type`
pub const STATE_BACKEND: ConfigOption<StateBackendKind> = ConfigOption::new(
    "state.backend.type",
    || StateBackendKind::Hashmap,
    "Where keyed state is kept: `hashmap` keeps all of it in memory, `lsm` what the managed memory of the slot \
     holds and the rest in the directories of `io.tmp.dirs`. So far streaming aggregates (`sum`, \
     `count`, `reduce`, `fold` and their kin), `deduplicate`, windows, joins, timers, and the states of process \
     functions, on one stream or two or beside broadcast state, and of window functions overflow to disk, but not \
     broadcast state itself. Of lists and maps all that a key has is in memory while a record of that key is in work. \
     Other state stays in memory \
     under `lsm` too, and fails its job where that does not suffice.",
);

/// `thalweg.state.restore-late-from`
pub const RESTORE_LATE_FROM: ConfigOption<MemorySize> = ConfigOption::new(
    "thalweg.state.restore-late-from",
    || MemorySize::mib(32),
    "State in memory (`hashmap`) of which a task takes back as much as this, or more, comes there while the task is at \
     work already; what a record needs is read first. It holds for streaming aggregates and for the values, and \
     reducing and aggregating states, of process functions. A checkpoint that begins meanwhile is complete only when \
     all is back. State of fewer bytes is there before the first record.",
);

/// `thalweg.state.merge-rate`
pub const STATE_MERGE_RATE: ConfigOption<MemorySize> = ConfigOption::new(
    "thalweg.state.merge-rate",
    || MemorySize::mib(256),
    "How many bytes per second each state of each subtask may read to merge its files under `lsm`. Less \
     leaves more of the disk to records, and more files to look through.",
)
.within(|value| value.0 >= 1 << 20, "a size of at least 1mb");

/// `io.tmp.dirs`
pub const TMP_DIRECTORIES: ConfigOption<Option<String>> = ConfigOption::new(
    "io.tmp.dirs",
    || None,
    "Directories into which state and buffers overflow that memory does not hold, separated by commas or \
     colons; best one on each disk. What a process puts there goes with it; what a killed one left goes when \
     the next starts. Without it the system's directory for temporary files is taken.",
);

/// `thalweg.spill.quota`
pub const SPILL_QUOTA: ConfigOption<MemorySize> = ConfigOption::new(
    "thalweg.spill.quota",
    || MemorySize(0),
    "How many bytes a process may have in the directories of `io.tmp.dirs`. 0 means as many as the disks \
     hold.",
);

/// `thalweg.spill.direct-reads`
pub const DIRECT_READS: ConfigOption<bool> = ConfigOption::new(
    "thalweg.spill.direct-reads",
    || false,
    "Whether what is read back of state on disk goes past the page cache of the system (O_DIRECT), through 2 MiB of \
     buffers of each shard, registered with io_uring where the limit of locked memory allows it. For state much larger \
     than the memory of the host, of which the cache would hold little. With epoll, and where a file system refuses, reads \
     are as ever.",
);

/// `thalweg.text.max-line-length`
pub const MAX_LINE_LENGTH: ConfigOption<MemorySize> = ConfigOption::new(
    "thalweg.text.max-line-length",
    || MemorySize::mib(16),
    "The longest line a text source accepts; a longer one fails the job with file and position.",
)
.within(
    |value| (1..=1 << 30).contains(&value.0),
    "a size from 1b to 1gb",
);

/// Every option, in the order of the reference page.
pub const ALL: &[&dyn AnyOption] = &[
    &PARALLELISM_DEFAULT,
    &MAX_PARALLELISM,
    &RUNTIME_MODE,
    &BUFFER_TIMEOUT,
    &AUTO_WATERMARK_INTERVAL,
    &CHECKPOINT_INTERVAL,
    &CHECKPOINT_MIN_PAUSE,
    &CHECKPOINT_TIMEOUT,
    &MAX_CONCURRENT_CHECKPOINTS,
    &TOLERABLE_FAILED_CHECKPOINTS,
    &CHECKPOINTING_MODE,
    &CHECKPOINT_DIRECTORY,
    &SAVEPOINT_DIRECTORY,
    &RETAINED_CHECKPOINTS,
    &CHECKPOINT_RETENTION,
    &UNALIGNED_CHECKPOINTS,
    &ALIGNED_CHECKPOINT_TIMEOUT,
    &CHECKPOINTS_AFTER_TASKS_FINISH,
    &RECOVERY_PATH,
    &IGNORE_UNCLAIMED_STATE,
    &FALL_BACK_TO_OLDER,
    &RECOVERY_FROM_LOCAL,
    &RESTART_STRATEGY,
    &FAILOVER_STRATEGY,
    &FIXED_DELAY_ATTEMPTS,
    &FIXED_DELAY,
    &MAX_FAILURES_PER_INTERVAL,
    &FAILURE_RATE_INTERVAL,
    &FAILURE_RATE_DELAY,
    &INITIAL_BACKOFF,
    &MAX_BACKOFF,
    &BACKOFF_MULTIPLIER,
    &JITTER_FACTOR,
    &RESET_BACKOFF_THRESHOLD,
    &ATTEMPTS_BEFORE_RESET,
    &NUMBER_OF_TASK_SLOTS,
    &MANAGED_MEMORY_SIZE,
    &NETWORK_MEMORY_SIZE,
    &SEGMENT_SIZE,
    &MAX_RECORD_SIZE,
    &BUFFERS_PER_CHANNEL,
    &FLOATING_BUFFERS_PER_GATE,
    &PROFILE,
    &JOB_IDENTITY,
    &BEGIN_ANEW_WHEN_FINISHED,
    &LOCAL_AGGREGATION,
    &SHARD_COUNT,
    &SHARD_PIN,
    &TURN_BUDGET,
    &SHARD_SPIN,
    &CONNECTOR_THREADS,
    &STALL_THRESHOLD,
    &IO_DRIVER,
    &REQUIRE_IO_URING,
    &METRICS_ADDRESS,
    &STATE_BACKEND,
    &RESTORE_LATE_FROM,
    &STATE_MERGE_RATE,
    &TMP_DIRECTORIES,
    &SPILL_QUOTA,
    &DIRECT_READS,
    &MAX_LINE_LENGTH,
];

/// The option with exactly this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static dyn AnyOption> {
    ALL.iter().copied().find(|option| option.key() == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_accepted_by_its_option() {
        for option in ALL {
            let text = option.default_text();
            assert_eq!(option.check(&text), Ok(text), "{}", option.key());
            if let Some(text) = option.low_latency_text() {
                assert_eq!(option.check(&text), Ok(text), "{}", option.key());
            }
        }
    }

    #[test]
    fn every_constant_of_this_file_is_listed() {
        let files = [
            include_str!("options.rs"),
            include_str!("fault_tolerance.rs"),
        ];
        let constants: usize = (files.iter())
            .map(|source| source.matches(": ConfigOption<").count())
            .sum();
        // One match is this test's own pattern.
        assert_eq!(ALL.len(), constants - 1);
    }

    #[test]
    fn keys_are_distinct_and_none_is_the_section_of_another() {
        for (place, one) in ALL.iter().enumerate() {
            for other in &ALL[..place] {
                let (one, other) = (one.key(), other.key());
                assert_ne!(
                    one.to_lowercase().replace('-', "_"),
                    other.to_lowercase().replace('-', "_")
                );
                assert!(
                    !one.starts_with(&format!("{other}.")),
                    "{other} is a section of {one}"
                );
                assert!(
                    !other.starts_with(&format!("{one}.")),
                    "{one} is a section of {other}"
                );
            }
        }
    }

    #[test]
    fn every_doc_is_a_sentence() {
        for option in ALL {
            let doc = option.doc();
            assert!(
                doc.ends_with('.') && !doc.contains("  "),
                "{}: {doc}",
                option.key()
            );
        }
    }
}
