//! `execution.buffer-timeout.interval`, in virtual time: a half-full buffer waits as long and no longer,
//! a full one not at all, and without the setting nothing waits.

use std::sync::{Arc, Mutex};

use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};

use crate::stage;

const MS: u64 = 1_000_000;
/// What clocks, lanes and turns of the simulation may take.
const SLACK: u64 = MS;

/// Emits a burst every so often, each record the time of its emission, and never ends.
#[derive(Clone, Copy)]
struct Bursts {
    bursts: u64,
    records: u64,
    pause_ns: u64,
}

struct BurstsReader {
    left: Bursts,
    next: u64,
}

impl Source for Bursts {
    type Item = u64;
    type Split = ();
    type Reader = BurstsReader;

    fn name(&self) -> String {
        "bursts".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }
    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }
    fn splits(&self, _: u32) -> Result<Vec<()>, SourceError> {
        Ok(vec![()])
    }
    fn open(&self, _: Vec<()>, _: &SubtaskInfo) -> Result<BurstsReader, SourceError> {
        let (left, next) = (*self, 0);
        Ok(BurstsReader { left, next })
    }
}

impl SourceReader for BurstsReader {
    type Item = u64;
    type Split = ();

    fn poll<O: SourceOutput<u64>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        if self.left.bursts > 0 && context.now() >= self.next {
            self.left.bursts -= 1;
            for _ in 0..self.left.records {
                out.emit(context.now(), Timestamp::NONE);
            }
            self.next = context.now() + self.left.pause_ns;
            context.wake_at(self.next);
        }
        Ok(SourceStatus::Waiting)
    }
    fn snapshot(&self) -> Vec<()> {
        vec![()]
    }
}

/// When each record was emitted and when the turn ended in which it arrived.
type Arrivals = Arc<Mutex<Vec<(u64, u64)>>>;

#[derive(Clone, Default)]
struct Clocked(Arrivals);

struct ClockedWriter {
    turn: Vec<u64>,
    arrivals: Arrivals,
}

impl Sink<u64> for Clocked {
    type Writer = ClockedWriter;

    fn name(&self) -> String {
        "clocked".to_owned()
    }
    fn open(&self, _: &SubtaskInfo) -> Result<ClockedWriter, SinkError> {
        let (turn, arrivals) = (Vec::new(), Arc::clone(&self.0));
        Ok(ClockedWriter { turn, arrivals })
    }
}

impl SinkWriter<u64> for ClockedWriter {
    fn write(&mut self, sent: u64, _: Timestamp) -> Result<(), SinkError> {
        self.turn.push(sent);
        Ok(())
    }
    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        _: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        let now = context.now();
        let mut arrivals = self.arrivals.lock().unwrap();
        arrivals.extend(self.turn.drain(..).map(|sent| (sent, now)));
        Ok(SinkStatus::Done)
    }
}

/// Runs the bursts through one exchange; how long each record took, and in how many turns they came.
fn run(seed: u64, bursts: Bursts, settings: &[(&str, &str)]) -> (Vec<u64>, usize) {
    let settings = [&[("thalweg.shard.count", "2")], settings].concat();
    let (environment, _) = stage::simulation(seed, SimOptions::default(), &settings);
    let sink = Clocked::default();
    let arrivals = Arc::clone(&sink.0);
    environment.source(bursts).rebalance().sink(sink);
    let error = environment.execute("bursts").unwrap_err();
    // It never ends; that everything sleeps is how a simulation can tell.
    assert!(error.to_string().contains("every shard sleeps"), "{error}");
    let arrivals = arrivals.lock().unwrap();
    let mut turns: Vec<u64> = arrivals.iter().map(|(_, at)| *at).collect();
    turns.dedup();
    let taken = arrivals.iter().map(|(sent, at)| at - sent).collect();
    (taken, turns.len())
}

const LONE: Bursts = Bursts {
    bursts: 1,
    records: 1,
    pause_ns: 0,
};

/// A record every millisecond.
const STEADY: Bursts = Bursts {
    bursts: 200,
    records: 1,
    pause_ns: MS,
};

#[test]
fn a_lone_record_waits_for_the_interval_and_no_longer() {
    for seed in 0..20 {
        let (taken, _) = run(seed, LONE, &[]);
        assert!(taken[0] <= SLACK, "seed {seed}: {taken:?}");
        let (taken, _) = run(seed, LONE, &[("execution.buffer-timeout.interval", "50ms")]);
        let waited = 50 * MS..=50 * MS + SLACK;
        assert!(waited.contains(&taken[0]), "seed {seed}: {taken:?}");
    }
}

#[test]
fn a_slow_stream_travels_in_fewer_buffers_and_none_waits_longer() {
    for seed in 0..20 {
        let (taken, turns) = run(seed, STEADY, &[]);
        assert_eq!((taken.len(), turns), (200, 200), "seed {seed}");
        assert!(taken.iter().all(|taken| *taken <= SLACK), "seed {seed}");
        let settings = [("execution.buffer-timeout.interval", "50ms")];
        let (taken, turns) = run(seed, STEADY, &settings);
        assert_eq!(taken.len(), 200, "seed {seed}");
        assert!((3..=5).contains(&turns), "seed {seed}: {turns}");
        let longest = taken.iter().max().unwrap();
        assert!(*longest <= 50 * MS + SLACK, "seed {seed}: {longest}");
    }
}

#[test]
fn a_full_buffer_does_not_wait() {
    let burst = Bursts {
        records: 1000,
        ..LONE
    };
    let settings = [
        ("execution.buffer-timeout.interval", "50ms"),
        ("taskmanager.memory.segment-size", "512b"),
    ];
    for seed in 0..20 {
        let (taken, _) = run(seed, burst, &settings);
        assert_eq!(taken.len(), 1000, "seed {seed}");
        let waited = taken.iter().filter(|taken| **taken > SLACK).count();
        assert!((1..=64).contains(&waited), "seed {seed}: {waited} waited");
    }
}
