//! Splits that one reader reads side by side, in an alignment group: none runs away from the slowest, and
//! none waits for longer than it has to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use thalweg_connectors::{Generator, Sinks};
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_dataflow::time::WatermarkStrategy;

use crate::stage;

const FAST: u64 = 0;
const SLOW: u64 = 1;
/// Records the fast split has: one for each ms of event time, all there from the beginning.
const RECORDS: i64 = 20_000;
/// How many of them are read in one go.
const AT_ONCE: i64 = 50;
const DRIFT: i64 = 500;

/// A split with more than is wanted, and one that has a record for each ms while that passes.
#[derive(Clone)]
struct Braid {
    /// Until when the slow split goes on, and when it ends, ms.
    slow: (i64, i64),
    /// How far the fast one was ahead at most.
    ahead: Arc<AtomicI64>,
    /// How far it was when the slow one ended.
    reached: Arc<AtomicI64>,
}

impl Braid {
    fn new(slow: (i64, i64)) -> Self {
        Self {
            slow,
            ahead: Arc::default(),
            reached: Arc::default(),
        }
    }
}

impl Source for Braid {
    type Item = i64;
    type Split = ();
    type Reader = Braided;

    fn name(&self) -> String {
        "braid".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }
    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }
    fn splits(&self, _parallelism: u32) -> Result<Vec<()>, SourceError> {
        Ok(vec![()])
    }
    fn open(&self, _splits: Vec<()>, _: &SubtaskInfo) -> Result<Braided, SourceError> {
        Ok(Braided {
            braid: self.clone(),
            began: None,
            next: [0, 0],
            slow_ended: false,
        })
    }
}

struct Braided {
    braid: Braid,
    /// Monotonic ns.
    began: Option<u64>,
    /// The next record of each split.
    next: [i64; 2],
    slow_ended: bool,
}

impl Braided {
    /// Reads what is there and wanted of both, the slow one last.
    fn read(&mut self, now: i64, out: &mut impl SourceOutput<i64>) {
        let [fast, slow] = &mut self.next;
        out.begin_split(FAST);
        let until = RECORDS.min(*fast + AT_ONCE);
        while *fast < until && out.wanted() {
            out.emit(*fast, Timestamp(*fast));
            *fast += 1;
        }
        if self.slow_ended {
            return;
        }
        self.braid.ahead.fetch_max(*fast - *slow, Ordering::Relaxed);
        out.begin_split(SLOW);
        while *slow < self.braid.slow.0.min(now) && out.wanted() {
            out.emit(*slow, Timestamp(*slow));
            *slow += 1;
        }
        if now >= self.braid.slow.1 {
            self.slow_ended = true;
            self.braid.reached.store(*fast, Ordering::Relaxed);
            out.end_split(SLOW);
        }
    }
}

impl SourceReader for Braided {
    type Item = i64;
    type Split = ();

    fn poll<O: SourceOutput<i64>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        let clock = context.reactor().now();
        let Some(began) = self.began else {
            self.began = Some(clock);
            out.begin_split(FAST);
            out.begin_split(SLOW);
            // The clock wakes it for the slow split only, where that has more.
            let (until, end) = self.braid.slow;
            for ms in (1..=until).chain([end]) {
                context.wake_at(clock + ms as u64 * 1_000_000);
            }
            return Ok(SourceStatus::More);
        };
        let before = self.next;
        self.read(((clock - began) / 1_000_000) as i64, out);
        Ok(match (self.next[0] == RECORDS, self.slow_ended) {
            (true, true) => SourceStatus::Finished,
            _ if self.next != before || self.slow_ended => SourceStatus::More,
            _ => SourceStatus::Waiting,
        })
    }

    fn snapshot(&self) -> Vec<()> {
        vec![()]
    }
}

fn environment() -> Environment {
    let settings = [("parallelism.default", "1"), ("thalweg.shard.count", "2")];
    let options = SimOptions {
        turn_budget_ns: 1_000,
        ..SimOptions::default()
    };
    stage::simulation(1, options, &settings).0
}

fn aligned<T: thalweg_memory::Record>() -> WatermarkStrategy<T> {
    WatermarkStrategy::<T>::for_monotonous_timestamps()
        .with_alignment("braid", Duration::from_millis(DRIFT as u64))
        .with_alignment_interval(Duration::from_millis(1))
}

#[test]
fn splits_of_one_reader_do_not_run_apart() {
    let drift = |strategy| {
        let environment = environment();
        let braid = Braid::new((3_000, 3_000));
        let ahead = Arc::clone(&braid.ahead);
        environment.source_with(braid, strategy).discard();
        environment.execute("drift").unwrap();
        ahead.load(Ordering::Relaxed)
    };
    let free = drift(WatermarkStrategy::<i64>::for_monotonous_timestamps());
    assert!(free > 15_000, "without alignment it is {free} ahead");
    let held = drift(aligned());
    let most = DRIFT + 4 * AT_ONCE;
    assert!((DRIFT..=most).contains(&held), "{held} ahead");
}

/// The fast split waits for another source, not for the silent one beside it; nobody tells the reader but
/// the alignment group.
#[test]
fn a_split_that_may_go_on_does_though_the_one_beside_it_is_silent() {
    let environment = environment();
    let braid = Braid::new((300, 5_000));
    let reached = Arc::clone(&braid.reached);
    environment.source_with(braid, aligned()).discard();
    // One record a second: when it moves on, nothing has happened beside it for long.
    let seconds = |number| (number as i64, Timestamp(number as i64 * 400));
    let paced = Generator::timed(4, seconds).rate(1.0);
    environment.source_with(paced, aligned()).discard();
    environment.execute("beside").unwrap();
    let reached = reached.load(Ordering::Relaxed);
    // As far as the silent one lets it: the drift beyond its last record.
    let (least, most) = (300 + DRIFT - 2, 300 + DRIFT + 4 * AT_ONCE);
    assert!((least..=most).contains(&reached), "at {reached}");
}
