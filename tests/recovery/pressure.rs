//! Checkpoints of a job whose sinks take nothing for a while: those that overtake complete, others do not.
//!
//! In simulation, where a second is as long as it is called.

use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::checkpoint::CheckpointStatistics;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
use thalweg_memory::record::Item;

use crate::stage::simulation;

/// For how long sinks take nothing more, virtual ns.
const CLOSED_NS: u64 = 1_000_000_000;
/// How often they look whether that is over, virtual ns.
const LOOK_NS: u64 = 5_000_000;
/// How many records each takes before.
const FIRST: u64 = 20;
/// When a checkpoint is given up.
const TIMEOUT: Duration = Duration::from_millis(100);
const RECORDS: u64 = 20_000;

/// A sink that takes a few records, then none until its time comes.
#[derive(Clone)]
struct Dam;

struct DamWriter {
    taken: u64,
    /// When it takes everything, virtual ns; 0 before its first turn.
    opens_at: u64,
    /// When it looks again whether that time has come.
    looks_at: u64,
    is_open: bool,
}

impl<I: Item> Sink<I> for Dam {
    type Writer = DamWriter;

    fn name(&self) -> String {
        "dam".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<DamWriter, SinkError> {
        Ok(DamWriter {
            taken: 0,
            opens_at: 0,
            looks_at: 0,
            is_open: false,
        })
    }
}

impl<I: Item> SinkWriter<I> for DamWriter {
    fn write(&mut self, _item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        self.taken += 1;
        Ok(())
    }

    fn ready(&self) -> bool {
        self.taken < FIRST || self.is_open
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        _input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        let now = context.now();
        if self.opens_at == 0 {
            self.opens_at = now + CLOSED_NS;
        }
        self.is_open = now >= self.opens_at;
        if !self.is_open && now >= self.looks_at {
            self.looks_at = now + LOOK_NS;
            context.wake_at(self.looks_at);
        }
        Ok(SinkStatus::Done)
    }
}

/// Runs the job with these settings besides.
fn run(settings: &[(&str, &str)]) -> Result<CheckpointStatistics, JobError> {
    let timeout = format!("{}ms", TIMEOUT.as_millis());
    let mut all = vec![
        ("parallelism.default", "2"),
        ("thalweg.shard.count", "2"),
        ("taskmanager.memory.segment-size", "512b"),
        ("taskmanager.network.memory.buffers-per-channel", "1"),
        ("taskmanager.network.memory.floating-buffers-per-gate", "0"),
        ("execution.checkpointing.interval", "10ms"),
        ("execution.checkpointing.timeout", timeout.as_str()),
        (
            "execution.checkpointing.tolerable-failed-checkpoints",
            "1000",
        ),
        ("execution.checkpointing.dir", "/checkpoints"),
    ];
    all.extend(settings);
    let (environment, _) = simulation(7, SimOptions::default(), &all);
    environment
        .source(thalweg_connectors::Generator::new(RECORDS, |number| number))
        .key_by(|number: &u64| number % 64)
        .fold(0_u64, |count, _number: u64| *count += 1)
        .sink(Dam);
    let result = environment.execute("pressure")?;
    assert_eq!(result.summary.records_out, RECORDS);
    Ok(result.summary.checkpoints)
}

const UNALIGNED: (&str, &str) = ("execution.checkpointing.unaligned.enabled", "true");

#[test]
fn barriers_that_wait_in_line_do_not_come_through_while_sinks_take_nothing() {
    let aligned = run(&[]).unwrap();
    // One after the other is given up, and none completes in time.
    assert!(aligned.given_up >= 8, "{aligned}");
    assert_eq!(aligned.bytes_in_flight, 0);
}

#[test]
fn barriers_that_overtake_come_through_while_sinks_take_nothing() {
    let unaligned = run(&[UNALIGNED]).unwrap();
    assert_eq!(unaligned.given_up, 0, "{unaligned}");
    assert!(unaligned.completed >= 50, "{unaligned}");
    assert!(unaligned.bytes_in_flight > 0, "{unaligned}");
    assert!(unaligned.longest().unwrap() < TIMEOUT / 2, "{unaligned}");
}

#[test]
fn barriers_overtake_when_they_have_waited_long_enough() {
    let timeout = ("execution.checkpointing.aligned-checkpoint-timeout", "40ms");
    let late = run(&[UNALIGNED, timeout]).unwrap();
    assert_eq!(late.given_up, 0, "{late}");
    assert!(late.completed >= 10 && late.bytes_in_flight > 0, "{late}");
    let longest = late.longest().unwrap();
    assert!(
        longest >= Duration::from_millis(40) && longest < TIMEOUT,
        "{late}"
    );
}

#[test]
fn barriers_cannot_overtake_where_nobody_waits_for_them_or_several_are_under_way() {
    for excluded in [
        ("execution.checkpointing.mode", "AT_LEAST_ONCE"),
        ("execution.checkpointing.max-concurrent-checkpoints", "2"),
    ] {
        let refused = run(&[UNALIGNED, excluded]).unwrap_err();
        assert!(matches!(refused, JobError::Rejected { .. }), "{refused}");
        assert!(refused.to_string().contains(excluded.0), "{refused}");
    }
}
