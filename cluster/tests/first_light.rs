//! A keyed job runs end to end on real shards and in simulation.

use std::sync::{Arc, Mutex};

use thalweg_cluster::{CancelToken, LocalExecutor, SimulatedExecutor};
use thalweg_core::config::Configuration;
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::executor::Executor;
use thalweg_dataflow::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::source::*;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};

#[derive(Clone)]
struct Count(u64);
struct Reader {
    next: u64,
    end: u64,
    step: u64,
}
impl Source for Count {
    type Item = u64;
    type Split = ();
    type Reader = Reader;
    fn name(&self) -> String {
        "count".into()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }
    fn splits(&self, p: u32) -> Result<Vec<()>, SourceError> {
        Ok(vec![(); p as usize])
    }
    fn open(&self, _: Vec<()>, s: &SubtaskInfo) -> Result<Reader, SourceError> {
        Ok(Reader {
            next: u64::from(s.index),
            end: self.0,
            step: u64::from(s.parallelism),
        })
    }
}
impl SourceReader for Reader {
    type Item = u64;
    type Split = ();
    fn poll<O: SourceOutput<u64>>(
        &mut self,
        out: &mut O,
        _: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        while out.wanted() {
            if self.next >= self.end {
                return Ok(SourceStatus::Finished);
            }
            out.emit(self.next, Timestamp::NONE);
            self.next += self.step;
        }
        Ok(SourceStatus::More)
    }
    fn snapshot(&self) -> Vec<()> {
        vec![()]
    }
}

#[derive(Clone)]
struct Keep(Arc<Mutex<Vec<(u64, u64)>>>);
impl Sink<(u64, u64)> for Keep {
    type Writer = Keep;
    fn name(&self) -> String {
        "keep".into()
    }
    fn open(&self, _: &SubtaskInfo) -> Result<Keep, SinkError> {
        Ok(self.clone())
    }
}
impl SinkWriter<(u64, u64)> for Keep {
    fn write(&mut self, item: (u64, u64), _: Timestamp) -> Result<(), SinkError> {
        self.0.lock().unwrap().push(item);
        Ok(())
    }
    fn end_turn(
        &mut self,
        _: &mut TurnContext<'_>,
        _: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        Ok(SinkStatus::Done)
    }
}

fn run(executor: Arc<dyn Executor>, parallelism: u32, segment: &str) {
    let mut configuration = Configuration::new();
    configuration
        .set_str("taskmanager.memory.segment-size", segment)
        .unwrap();
    let environment = Environment::with_executor(executor, configuration);
    environment.set_parallelism(parallelism);
    let kept = Keep(Arc::default());
    environment
        .source(Count(10_000))
        .key_by(|n| *n % 7)
        .count()
        .map(|(key, count)| (key, count))
        .key_by(|row| row.0)
        .max(|row| row.1)
        .map(|(key, count)| (key, count))
        .sink(kept.clone());
    let result = environment.execute("counts").unwrap();
    assert_eq!(result.summary.records_in, 10_000);
    assert_eq!(result.summary.records_out, 10_000);
    let rows = kept.0.lock().unwrap();
    for key in 0..7 {
        let expected = (0..10_000).filter(|n| n % 7 == key).count() as u64;
        let highest = rows.iter().filter(|r| r.0 == key).map(|r| r.1).max();
        assert_eq!(highest, Some(expected));
    }
}

#[test]
fn counts_on_shards() {
    for parallelism in [1, 2, 3, 8] {
        run(
            Arc::new(LocalExecutor::new(CancelToken::new())),
            parallelism,
            "512b",
        );
    }
}

#[test]
fn counts_in_simulation() {
    for seed in 0..20 {
        run(
            Arc::new(SimulatedExecutor::new(seed, SimOptions::default())),
            3,
            "512b",
        );
    }
}
