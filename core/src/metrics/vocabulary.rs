//! All metrics of the engine: what each is called, where it is shown, in which unit, and what it means.
//!
//! Whoever counts registers by a [`Definition`] of this list, so that nothing is shown that is not
//! documented. Names are Flink's where the meaning is the same; the Prometheus name has the base unit.
//! Plain data. Invariant: names occur once, in both spellings.

/// What a metric can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A level that goes up and down.
    Gauge,
    /// How a value is spread.
    Histogram,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// What a metric is shown of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A job, over all its attempts.
    Job,
    /// A CPU core with all it owns.
    Shard,
    /// A slot: a share of a shard's managed memory.
    Slot,
    /// One subtask of a vertex.
    Task,
    /// One input of a task.
    Input,
    /// One operator of a task.
    Operator,
    /// One state of an operator.
    State,
}

impl Level {
    /// All of them, outermost first.
    pub const ALL: [Level; 7] = [
        Level::Job,
        Level::Shard,
        Level::Slot,
        Level::Task,
        Level::Input,
        Level::Operator,
        Level::State,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Job => "job",
            Level::Shard => "shard",
            Level::Slot => "slot",
            Level::Task => "task",
            Level::Input => "input",
            Level::Operator => "operator",
            Level::State => "state",
        }
    }

    /// The labels its metrics have.
    #[must_use]
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Level::Job => &["job"],
            Level::Shard => &["job", "shard"],
            Level::Slot => &["job", "shard", "slot"],
            Level::Task => &["job", "shard", "vertex", "task", "subtask"],
            Level::Input => &["job", "shard", "vertex", "task", "subtask", "input"],
            Level::Operator => &["job", "shard", "vertex", "task", "subtask", "operator"],
            Level::State => &[
                "job", "shard", "vertex", "task", "subtask", "operator", "state",
            ],
        }
    }
}

/// One metric of the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// What it is called in snapshots and over REST.
    pub name: &'static str,
    /// What it is called for Prometheus.
    pub prometheus: &'static str,
    /// What it shows.
    pub kind: Kind,
    /// Of what.
    pub level: Level,
    /// In which unit.
    pub unit: &'static str,
    /// What a value is multiplied by for Prometheus, which wants base units.
    pub factor: f64,
    /// What it means, in a sentence.
    pub help: &'static str,
}

/// Declares the definitions and the list of them.
macro_rules! vocabulary {
    ($($constant:ident = $name:literal, $prometheus:literal, $kind:ident of $level:ident,
       $unit:literal * $factor:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: &Definition = &Definition {
                name: $name,
                prometheus: $prometheus,
                kind: Kind::$kind,
                level: Level::$level,
                unit: $unit,
                factor: $factor,
                help: $help,
            };
        )*

        /// All of them, in the order of the reference page.
        pub const ALL: &[&Definition] = &[$($constant),*];
    };
}

vocabulary! {
    NUM_RESTARTS = "numRestarts", "thalweg_job_restarts_total", Counter of Job,
        "restarts" * 1.0, "Times the job began again after a failure, all of it or a region.";
    FULL_RESTARTS = "fullRestarts", "thalweg_job_full_restarts_total", Counter of Job,
        "restarts" * 1.0, "Of these, times all of the job began again.";
    RUNNING_TIME = "runningTime", "thalweg_job_uptime_seconds", Gauge of Job,
        "ms" * 1e-3, "How long all tasks of the job have been running without interruption; 0 while they are not.";
    RUNNING_TIME_TOTAL = "runningTimeTotal", "thalweg_job_running_seconds_total", Counter of Job,
        "ms" * 1e-3, "How long all tasks of the job have been running, since its start.";
    RESTARTING_TIME = "restartingTime", "thalweg_job_downtime_seconds", Gauge of Job,
        "ms" * 1e-3, "How long ago a failure was from which the job, or a region of it, has not begun again; 0 while all tasks run.";
    RESTARTING_TIME_TOTAL = "restartingTimeTotal", "thalweg_job_restarting_seconds_total", Counter of Job,
        "ms" * 1e-3, "How long tasks of the job have not been running after failures, since its start.";
    TOTAL_NUMBER_OF_CHECKPOINTS = "totalNumberOfCheckpoints", "thalweg_job_checkpoints_total", Counter of Job,
        "checkpoints" * 1.0, "Checkpoints and savepoints that were started: completed, failed, or under way.";
    NUMBER_OF_COMPLETED_CHECKPOINTS = "numberOfCompletedCheckpoints", "thalweg_job_checkpoints_completed_total", Counter of Job,
        "checkpoints" * 1.0, "Checkpoints and savepoints that were completed.";
    NUMBER_OF_FAILED_CHECKPOINTS = "numberOfFailedCheckpoints", "thalweg_job_checkpoints_failed_total", Counter of Job,
        "checkpoints" * 1.0, "Checkpoints and savepoints that failed or were given up.";
    NUMBER_OF_IN_PROGRESS_CHECKPOINTS = "numberOfInProgressCheckpoints", "thalweg_job_checkpoints_in_progress", Gauge of Job,
        "checkpoints" * 1.0, "Checkpoints and savepoints that are under way.";
    LAST_CHECKPOINT_DURATION = "lastCheckpointDuration", "thalweg_job_last_checkpoint_duration_seconds", Gauge of Job,
        "ms" * 1e-3, "How long the last completed one took, from its start until it would survive a loss of power; not shown before the first.";
    LAST_CHECKPOINT_SIZE = "lastCheckpointSize", "thalweg_job_last_checkpoint_size_bytes", Gauge of Job,
        "bytes" * 1.0, "Bytes that tasks wrote for the last completed one: of state that did not change since the one before, none; not shown before the first.";
    LAST_CHECKPOINT_FULL_SIZE = "lastCheckpointFullSize", "thalweg_job_last_checkpoint_full_size_bytes", Gauge of Job,
        "bytes" * 1.0, "Bytes of all files that the last completed one consists of, those of former ones among them; not shown before the first.";
    LAST_CHECKPOINT_COMPLETED_TIMESTAMP = "lastCheckpointCompletedTimestamp", "thalweg_job_last_checkpoint_completed_timestamp_seconds", Gauge of Job,
        "ms since 1970" * 1e-3, "When the last one was completed; not shown before the first.";
    LAST_CHECKPOINT_RESTORE_TIMESTAMP = "lastCheckpointRestoreTimestamp", "thalweg_job_last_checkpoint_restore_timestamp_seconds", Gauge of Job,
        "ms since 1970" * 1e-3, "When the job, or a region of it, last went on from a checkpoint or savepoint; not shown before.";
    NUM_STALLED_TURNS = "numStalledTurns", "thalweg_shard_stalled_turns_total", Counter of Shard,
        "turns" * 1.0, "Turns that took longer than `thalweg.shard.stall-threshold`.";
    USES_IO_URING = "usesIoUring", "thalweg_shard_io_uring", Gauge of Shard,
        "1 or 0" * 1.0, "Whether the shard runs on io_uring (1) or without it (0).";
    TOTAL_MEMORY_SEGMENTS = "totalMemorySegments", "thalweg_shard_memory_segments", Gauge of Shard,
        "segments" * 1.0, "Segments of network memory the shard has.";
    USED_MEMORY_SEGMENTS = "usedMemorySegments", "thalweg_shard_memory_segments_used", Gauge of Shard,
        "segments" * 1.0, "Segments of network memory in use: open, queued, on their way, or being read.";
    MANAGED_MEMORY_TOTAL = "managedMemoryTotal", "thalweg_slot_managed_memory_bytes", Gauge of Slot,
        "bytes" * 1.0, "Managed memory the slot may use for state, timers and overdrafts.";
    MANAGED_MEMORY_USED = "managedMemoryUsed", "thalweg_slot_managed_memory_used_bytes", Gauge of Slot,
        "bytes" * 1.0, "Managed memory the slot has in use.";
    NUM_RECORDS_IN = "numRecordsIn", "thalweg_task_records_in_total", Counter of Task,
        "records" * 1.0, "Records that entered the task's chain at its head; of a source, those it read.";
    NUM_RECORDS_OUT = "numRecordsOut", "thalweg_task_records_out_total", Counter of Task,
        "records" * 1.0, "Records that left the task's chain at its end; of a sink, those it took.";
    NUM_RECORDS_IN_PER_SECOND = "numRecordsInPerSecond", "thalweg_task_records_in_per_second", Gauge of Task,
        "records/s" * 1.0, "Records in per second, over about the last minute.";
    NUM_RECORDS_OUT_PER_SECOND = "numRecordsOutPerSecond", "thalweg_task_records_out_per_second", Gauge of Task,
        "records/s" * 1.0, "Records out per second, over about the last minute.";
    NUM_BYTES_IN = "numBytesIn", "thalweg_task_in_bytes_total", Counter of Task,
        "bytes" * 1.0, "Bytes of records in the buffers the task has read.";
    NUM_BYTES_OUT = "numBytesOut", "thalweg_task_out_bytes_total", Counter of Task,
        "bytes" * 1.0, "Bytes of records in the buffers the task has sealed.";
    NUM_BUFFERS_IN = "numBuffersIn", "thalweg_task_buffers_in_total", Counter of Task,
        "buffers" * 1.0, "Buffers the task has read.";
    NUM_BUFFERS_OUT = "numBuffersOut", "thalweg_task_buffers_out_total", Counter of Task,
        "buffers" * 1.0, "Buffers the task has sealed.";
    CURRENT_INPUT_WATERMARK = "currentInputWatermark", "thalweg_task_input_watermark_seconds", Gauge of Task,
        "ms since 1970" * 1e-3, "The watermark of all inputs together; not shown before the first.";
    CURRENT_INPUT_N_WATERMARK = "currentInputNWatermark", "thalweg_input_watermark_seconds", Gauge of Input,
        "ms since 1970" * 1e-3, "The watermark of one input; not shown before the first.";
    CURRENT_OUTPUT_WATERMARK = "currentOutputWatermark", "thalweg_task_output_watermark_seconds", Gauge of Task,
        "ms since 1970" * 1e-3, "The watermark the task has told; not shown before the first.";
    BUSY_TIME = "busyTimeMsPerSecond", "thalweg_task_busy_ratio", Gauge of Task,
        "ms/s" * 1e-3, "Time at work or ready to be, over about the last minute.";
    BACK_PRESSURED_TIME = "backPressuredTimeMsPerSecond", "thalweg_task_back_pressured_ratio", Gauge of Task,
        "ms/s" * 1e-3, "Time without room for results, over about the last minute.";
    IDLE_TIME = "idleTimeMsPerSecond", "thalweg_task_idle_ratio", Gauge of Task,
        "ms/s" * 1e-3, "Time without anything to do, over about the last minute.";
    BUSY_TIME_TOTAL = "accumulateBusyTimeMs", "thalweg_task_busy_seconds_total", Counter of Task,
        "ms" * 1e-3, "Time at work or ready to be, since the start.";
    BACK_PRESSURED_TIME_TOTAL = "accumulateBackPressuredTimeMs", "thalweg_task_back_pressured_seconds_total", Counter of Task,
        "ms" * 1e-3, "Time without room for results, since the start.";
    IDLE_TIME_TOTAL = "accumulateIdleTimeMs", "thalweg_task_idle_seconds_total", Counter of Task,
        "ms" * 1e-3, "Time without anything to do, since the start.";
    LONGEST_TURN = "longestTurnMs", "thalweg_task_longest_turn_seconds", Gauge of Task,
        "ms" * 1e-3, "The longest turn since the start: for so long the task has held up all others of its shard.";
    INPUT_BUFFER_TIME = "inputBufferTimeNs", "thalweg_task_input_buffer_seconds", Histogram of Task,
        "ns" * 1e-9, "From when a buffer of records is taken until all of it is applied.";
    INPUT_QUEUE_LENGTH = "inputQueueLength", "thalweg_task_input_queue_buffers", Gauge of Task,
        "buffers" * 1.0, "Buffers that have arrived and were not read yet.";
    OUTPUT_QUEUE_LENGTH = "outputQueueLength", "thalweg_task_output_queue_buffers", Gauge of Task,
        "buffers" * 1.0, "Sealed buffers that wait for credit: the backlog.";
    OUTPUT_CREDITS = "outputCredits", "thalweg_task_output_credits", Gauge of Task,
        "credits" * 1.0, "Buffers the task's channels may still send, over all of them.";
    OPERATOR_INPUT_WATERMARK = "operatorInputWatermark", "thalweg_operator_input_watermark_seconds", Gauge of Operator,
        "ms since 1970" * 1e-3, "The watermark the operator was told last, Flink's `currentInputWatermark` of an operator; not shown before the first.";
    OPERATOR_OUTPUT_WATERMARK = "operatorOutputWatermark", "thalweg_operator_output_watermark_seconds", Gauge of Operator,
        "ms since 1970" * 1e-3, "The watermark the operator told last, Flink's `currentOutputWatermark` of an operator: what it made due is out; not shown before the first.";
    NUM_LATE_RECORDS_DROPPED = "numLateRecordsDropped", "thalweg_operator_late_records_dropped_total", Counter of Operator,
        "records" * 1.0, "Records that came too late for any window and went to no side output.";
    STATE_MEMORY = "stateMemoryBytes", "thalweg_task_state_bytes", Gauge of Task,
        "bytes" * 1.0, "Managed memory of what the task remembers: states, windows, timers.";
    STATE_DISK = "stateDiskBytes", "thalweg_operator_state_disk_bytes", Gauge of Operator,
        "bytes" * 1.0, "Bytes on disk of state that memory does not hold.";
    NUM_STATE_READS = "numStateReads", "thalweg_operator_state_reads_total", Counter of Operator,
        "blocks" * 1.0, "Blocks read from disk for state that memory did not hold.";
    NUM_TIMERS = "numTimersRegistered", "thalweg_operator_timers", Gauge of Operator,
        "timers" * 1.0, "Timers that a function has registered and that have not fired; of those on disk some may count twice, or though they were deleted.";
    STATE_ENTRIES = "numStateEntries", "thalweg_state_entries", Gauge of State,
        "entries" * 1.0, "Entries of one state in memory: keys, entries of a map, chunks of a list, timers; what RocksDB's `estimate-num-keys` is in Flink.";
    STATE_BYTES = "stateBytes", "thalweg_state_memory_bytes", Gauge of State,
        "bytes" * 1.0, "Managed memory of one state.";
    STATE_DISK_ROWS = "numStateDiskRows", "thalweg_state_disk_rows", Gauge of State,
        "rows" * 1.0, "Rows of one state in its files on disk: an entry that was written several times has several, and may be in memory too.";
    STATE_DISK_BYTES = "stateFilesBytes", "thalweg_state_disk_bytes", Gauge of State,
        "bytes" * 1.0, "Bytes of the files on disk of one state; what RocksDB's `total-sst-files-size` is in Flink.";
}

/// The definition of an engine metric.
#[must_use]
pub fn find(name: &str) -> Option<&'static Definition> {
    ALL.iter().copied().find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_occur_once_and_follow_the_conventions() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        let exported: BTreeSet<_> = ALL.iter().map(|metric| metric.prometheus).collect();
        assert_eq!((names.len(), exported.len()), (ALL.len(), ALL.len()));
        for metric in ALL {
            let name = metric.prometheus;
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.starts_with("thalweg_"), "{name}");
            assert!(name.bytes().all(plain), "{name}");
            let total = name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
            assert_eq!(find(metric.name), Some(*metric));
        }
        assert_eq!(find("numRecords"), None);
    }
}
