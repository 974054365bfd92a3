//! The settings of what lets a job outlive its failures: checkpoints, recovery, restarts.
//!
//! Keys and meanings are Flink's, spelled as in its version 2. Lives on any thread. Invariant: as for
//! [`options`](super::options), which lists these with all others and whose tests hold them.

use super::option::ConfigOption;
use super::value::{CheckpointRetention, CheckpointingMode, FailoverStrategy, RestartStrategyKind};
use std::time::Duration;

/// `execution.checkpointing.interval`
pub const CHECKPOINT_INTERVAL: ConfigOption<Option<Duration>> = ConfigOption::new(
    "execution.checkpointing.interval",
    || None,
    "How often a checkpoint is started; none takes none but those asked for. A checkpoint may start later \
     where the pause between two or the number at once says so.",
)
.within(
    |value| value.is_none_or(|interval| interval >= Duration::from_millis(1)),
    "a duration of at least 1ms, or none",
);

/// `execution.checkpointing.min-pause`
pub const CHECKPOINT_MIN_PAUSE: ConfigOption<Duration> = ConfigOption::new(
    "execution.checkpointing.min-pause",
    || Duration::ZERO,
    "The least time from the end of one checkpoint to the start of the next that is taken by itself; one that is asked for does not wait for it.",
);

/// `execution.checkpointing.timeout`
pub const CHECKPOINT_TIMEOUT: ConfigOption<Duration> = ConfigOption::new(
    "execution.checkpointing.timeout",
    || Duration::from_secs(600),
    "A checkpoint that takes longer is given up and counts as failed.",
)
.within(
    |value| *value >= Duration::from_millis(10),
    "a duration of at least 10ms",
);

/// `execution.checkpointing.max-concurrent-checkpoints`
pub const MAX_CONCURRENT_CHECKPOINTS: ConfigOption<u32> = ConfigOption::new(
    "execution.checkpointing.max-concurrent-checkpoints",
    || 1,
    "How many checkpoints may be under way at once. Savepoints count, and go before periodic checkpoints.",
)
.within(
    |value| (1..=64).contains(value),
    "a whole number from 1 to 64",
);

/// `execution.checkpointing.tolerable-failed-checkpoints`
pub const TOLERABLE_FAILED_CHECKPOINTS: ConfigOption<u32> = ConfigOption::new(
    "execution.checkpointing.tolerable-failed-checkpoints",
    || 0,
    "How many checkpoints may fail in a row before the job does. With 0 the first failure restarts the job.",
);

/// `execution.checkpointing.mode`
pub const CHECKPOINTING_MODE: ConfigOption<CheckpointingMode> = ConfigOption::new(
    "execution.checkpointing.mode",
    || CheckpointingMode::ExactlyOnce,
    "EXACTLY_ONCE waits at a barrier until it has arrived on all inputs, so that every record is in the \
     state once; AT_LEAST_ONCE does not wait, and after a failure may apply a record twice.",
);

/// `execution.checkpointing.dir`
pub const CHECKPOINT_DIRECTORY: ConfigOption<Option<String>> = ConfigOption::new(
    "execution.checkpointing.dir",
    || None,
    "Where checkpoints are kept: a path or a `file:` address that every process of the job reaches, or, in \
     programs built with the cargo feature `s3`, `s3://bucket/name`. Each job has a directory of its own in it, \
     named by its id. What goes to `s3:` is written to the first of `io.tmp.dirs` before.",
);

/// `execution.checkpointing.savepoint-dir`
pub const SAVEPOINT_DIRECTORY: ConfigOption<Option<String>> = ConfigOption::new(
    "execution.checkpointing.savepoint-dir",
    || None,
    "Where savepoints go when the one who asks for one names no place.",
);

/// `execution.checkpointing.num-retained`
pub const RETAINED_CHECKPOINTS: ConfigOption<u32> = ConfigOption::new(
    "execution.checkpointing.num-retained",
    || 1,
    "How many completed checkpoints are kept; older ones are deleted.",
)
.within(
    |value| (1..=1_024).contains(value),
    "a whole number from 1 to 1024",
);

/// `execution.checkpointing.externalized-checkpoint-retention`
pub const CHECKPOINT_RETENTION: ConfigOption<CheckpointRetention> = ConfigOption::new(
    "execution.checkpointing.externalized-checkpoint-retention",
    || CheckpointRetention::NoExternalizedCheckpoints,
    "What becomes of the checkpoints of a job that ends. All are deleted when it finishes. \
     RETAIN_ON_CANCELLATION keeps them when it is cancelled or fails, DELETE_ON_CANCELLATION when it fails, \
     NO_EXTERNALIZED_CHECKPOINTS never. A process that is killed, or told to end by Ctrl-C or SIGTERM, deletes \
     nothing. With \
     execution.state-recovery.path: latest and nothing said here, they are kept as with RETAIN_ON_CANCELLATION.",
);

/// `execution.checkpointing.unaligned.enabled`
pub const UNALIGNED_CHECKPOINTS: ConfigOption<bool> = ConfigOption::new(
    "execution.checkpointing.unaligned.enabled",
    || false,
    "Whether barriers may overtake records, which then are part of the checkpoint: quicker checkpoints under \
     back-pressure. Needs EXACTLY_ONCE and one checkpoint at a time.",
);

/// `execution.checkpointing.aligned-checkpoint-timeout`
pub const ALIGNED_CHECKPOINT_TIMEOUT: ConfigOption<Duration> = ConfigOption::new(
    "execution.checkpointing.aligned-checkpoint-timeout",
    || Duration::ZERO,
    "With unaligned checkpoints: how long barriers wait in line before they overtake. 0 lets them overtake \
     at once.",
);

/// `execution.checkpointing.checkpoints-after-tasks-finish`
pub const CHECKPOINTS_AFTER_TASKS_FINISH: ConfigOption<bool> = ConfigOption::new(
    "execution.checkpointing.checkpoints-after-tasks-finish",
    || true,
    "Whether checkpoints go on when some tasks have finished. Without, none starts after the first end.",
);

/// `execution.state-recovery.path`
pub const RECOVERY_PATH: ConfigOption<Option<String>> = ConfigOption::new(
    "execution.state-recovery.path",
    || None,
    "The savepoint or checkpoint a job starts from: its directory, its `_metadata` file, or the directory \
     of a job's checkpoints, of which the newest is taken. What is restored from is never deleted, and not \
     needed any more once the first checkpoint has completed. Or `latest`: the newest checkpoint in \
     execution.checkpointing.dir, if there is one, with which its job goes on as itself: it takes over the directory \
     of its checkpoints, and a former process of it that still runs can complete none any more. When it finishes, or is \
     stopped with a savepoint, a mark of that is all that stays, and a later start with `latest` says so and runs \
     nothing.",
);

/// `thalweg.job.identity`
pub const JOB_IDENTITY: ConfigOption<Option<String>> = ConfigOption::new(
    "thalweg.job.identity",
    || None,
    "Which job this is, in words of its user's own, such as `clicks` or, for one run each day, \
     `clicks-2026-11-29`: whoever starts with the same identity and the same execution.checkpointing.dir is the \
     same job. Its checkpoints are in the directory of that identity, `latest` is of it alone, and who starts \
     later leads it: a former process makes nothing true any more, also before a first checkpoint has completed. \
     A start without `latest` is refused while there is a checkpoint to go on from. Without an identity each \
     start is a job of its own, until it goes on with another's checkpoints.",
)
.within(
    |identity| {
        let sane = |text: &String| (1..=256).contains(&text.len()) && text.trim() == text;
        identity.as_ref().is_none_or(sane)
    },
    "text of 1 to 256 bytes without white space around it, or none",
);

/// `thalweg.job.begin-anew-when-finished`
pub const BEGIN_ANEW_WHEN_FINISHED: ConfigOption<bool> = ConfigOption::new(
    "thalweg.job.begin-anew-when-finished",
    || false,
    "Whether a start with execution.state-recovery.path: latest begins anew where the job has finished. Without, \
     nothing is run and the start ends with exit code 4, so that a process that was killed between the end of its \
     job and its own, and is started again, does not do all of it twice. One that was stopped with a savepoint is \
     never begun anew by `latest`.",
);

/// `execution.state-recovery.ignore-unclaimed-state`
pub const IGNORE_UNCLAIMED_STATE: ConfigOption<bool> = ConfigOption::new(
    "execution.state-recovery.ignore-unclaimed-state",
    || false,
    "Whether state of operators the program has no more is dropped. Without, such state refuses the start, \
     by name.",
);

/// `execution.state-recovery.fallback-to-older-checkpoint`
pub const FALL_BACK_TO_OLDER: ConfigOption<bool> = ConfigOption::new(
    "execution.state-recovery.fallback-to-older-checkpoint",
    || false,
    "Whether a job whose checkpoint is damaged may start from the next older one of the same job that is whole \
     (execution.checkpointing.num-retained says how many there are), with a warning. What the job did since the older \
     one is done again: output that was committed since then appears twice. Every byte of the checkpoint is read and \
     checked before the job starts. Without, damage refuses the start, by name.",
);

/// `execution.state-recovery.from-local`
pub const RECOVERY_FROM_LOCAL: ConfigOption<bool> = ConfigOption::new(
    "execution.state-recovery.from-local",
    || false,
    "Whether a job whose checkpoints are in an object store keeps a copy of their files on this host too, and begins \
     again from it after a failure instead of fetching them. It is as large as the checkpoints that are kept, lies in the \
     first directory of io.tmp.dirs beside the quota, and goes with the process. A copy that is not there or damaged is \
     fetched. Checkpoints in a directory are read where they are, whatever this says.",
);

/// `restart-strategy.type`
pub const RESTART_STRATEGY: ConfigOption<RestartStrategyKind> = ConfigOption::new(
    "restart-strategy.type",
    || RestartStrategyKind::Auto,
    "Whether and when a failed job is started again. auto is exponential-delay for jobs that take \
     checkpoints and none for others. disable and off are other words for none.",
);

/// `jobmanager.execution.failover-strategy`
pub const FAILOVER_STRATEGY: ConfigOption<FailoverStrategy> = ConfigOption::new(
    "jobmanager.execution.failover-strategy",
    || FailoverStrategy::Region,
    "What of a job starts again when a task of it fails: region, the tasks that exchanges connect with it, while the \
     others run on; full, all. Where a region cannot start again alone, all does: the sinks of it that commit must be \
     able to take back what some of their subtasks wrote, as FileSink is; in a job without checkpoints every sink of \
     it must; and checkpoints in an object store are for all.",
);

/// `restart-strategy.fixed-delay.attempts`
pub const FIXED_DELAY_ATTEMPTS: ConfigOption<u32> = ConfigOption::new(
    "restart-strategy.fixed-delay.attempts",
    || 1,
    "fixed-delay: how often a job is started again before it fails for good.",
);

/// `restart-strategy.fixed-delay.delay`
pub const FIXED_DELAY: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.fixed-delay.delay",
    || Duration::from_secs(1),
    "fixed-delay: how long after a failure the job starts again.",
);

/// `restart-strategy.failure-rate.max-failures-per-interval`
pub const MAX_FAILURES_PER_INTERVAL: ConfigOption<u32> = ConfigOption::new(
    "restart-strategy.failure-rate.max-failures-per-interval",
    || 1,
    "failure-rate: how many failures within the interval are followed by a restart; one more fails the job \
     for good.",
);

/// `restart-strategy.failure-rate.failure-rate-interval`
pub const FAILURE_RATE_INTERVAL: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.failure-rate.failure-rate-interval",
    || Duration::from_secs(60),
    "failure-rate: the interval over which failures are counted.",
);

/// `restart-strategy.failure-rate.delay`
pub const FAILURE_RATE_DELAY: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.failure-rate.delay",
    || Duration::from_secs(1),
    "failure-rate: how long after a failure the job starts again.",
);

/// `restart-strategy.exponential-delay.initial-backoff`
pub const INITIAL_BACKOFF: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.exponential-delay.initial-backoff",
    || Duration::from_secs(1),
    "exponential-delay: how long after the first failure the job starts again.",
)
.within(
    |value| *value >= Duration::from_millis(1),
    "a duration of at least 1ms",
);

/// `restart-strategy.exponential-delay.max-backoff`
pub const MAX_BACKOFF: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.exponential-delay.max-backoff",
    || Duration::from_secs(60),
    "exponential-delay: the longest time between a failure and the next start.",
)
.within(
    |value| *value >= Duration::from_millis(1),
    "a duration of at least 1ms",
);

/// `restart-strategy.exponential-delay.backoff-multiplier`
pub const BACKOFF_MULTIPLIER: ConfigOption<f64> = ConfigOption::new(
    "restart-strategy.exponential-delay.backoff-multiplier",
    || 1.5,
    "exponential-delay: by how much the delay grows with every further failure.",
)
.within(
    |value| (1.0..=100.0).contains(value),
    "a number from 1 to 100",
);

/// `restart-strategy.exponential-delay.jitter-factor`
pub const JITTER_FACTOR: ConfigOption<f64> = ConfigOption::new(
    "restart-strategy.exponential-delay.jitter-factor",
    || 0.1,
    "exponential-delay: the part of the delay by which it is drawn longer or shorter, so that jobs that \
     failed together do not come back together.",
)
.within(
    |value| (0.0..=1.0).contains(value),
    "a number from 0 to 1",
);

/// `restart-strategy.exponential-delay.reset-backoff-threshold`
pub const RESET_BACKOFF_THRESHOLD: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.exponential-delay.reset-backoff-threshold",
    || Duration::from_secs(3_600),
    "exponential-delay: a job that ran this long without failure is treated as if it had never failed.",
);

/// `restart-strategy.exponential-delay.attempts-before-reset-backoff`
pub const ATTEMPTS_BEFORE_RESET: ConfigOption<Option<u32>> = ConfigOption::new(
    "restart-strategy.exponential-delay.attempts-before-reset-backoff",
    || None,
    "exponential-delay: how often a job is started again, without having run well in between, before it \
     fails for good; none is without end.",
);
