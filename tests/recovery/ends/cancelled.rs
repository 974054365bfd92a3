//! A job that is cancelled in the moment of its end has either ended or not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use thalweg_cluster::CancelToken;
use thalweg_connectors::Generator;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{
    Committable, Committer, Epoch, Prepared, Sink, SinkError, SinkStatus, SinkWriter,
};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};

use crate::stage;

const NUMBERS: u64 = 100;

/// What was made visible.
type Shown = Arc<Mutex<BTreeSet<u64>>>;

/// Shows numbers when they are committed. The first of its writers to come to its end cancels the job.
#[derive(Clone)]
struct Shelf {
    shown: Shown,
    cancels: CancelToken,
}

struct ShelfWriter {
    numbers: Vec<u64>,
    ready: Vec<Prepared>,
    ended: bool,
    cancels: CancelToken,
}

struct ShelfCommitter(Shown);

impl Sink<u64> for Shelf {
    type Writer = ShelfWriter;

    fn name(&self) -> String {
        "shelf".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<ShelfWriter, SinkError> {
        Ok(ShelfWriter {
            numbers: Vec::new(),
            ready: Vec::new(),
            ended: false,
            cancels: self.cancels.clone(),
        })
    }

    fn committer(&self) -> Option<Box<dyn Committer>> {
        Some(Box::new(ShelfCommitter(Arc::clone(&self.shown))))
    }
}

impl ShelfWriter {
    fn prepare(&mut self, checkpoint: Option<CheckpointId>) {
        let numbers = std::mem::take(&mut self.numbers).into_iter();
        self.ready.push(Prepared {
            checkpoint,
            committables: numbers
                .map(|number| Committable(number.to_le_bytes().to_vec()))
                .collect(),
            state: Vec::new(),
        });
    }
}

impl SinkWriter<u64> for ShelfWriter {
    fn write(&mut self, number: u64, _at: Timestamp) -> Result<(), SinkError> {
        self.numbers.push(number);
        Ok(())
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        if input == InputStatus::Ended && !std::mem::replace(&mut self.ended, true) {
            self.prepare(None);
            self.cancels.cancel();
        }
        Ok(SinkStatus::Done)
    }

    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        self.prepare(Some(checkpoint));
        Ok(Epoch::Preparing)
    }

    fn prepared(&mut self) -> Option<Prepared> {
        (!self.ready.is_empty()).then(|| self.ready.remove(0))
    }
}

impl Committer for ShelfCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let numbers = prepared.iter().map(|Committable(bytes)| {
            let bytes = bytes.as_slice().try_into().unwrap();
            u64::from_le_bytes(bytes)
        });
        self.0.lock().unwrap().extend(numbers);
        Ok(())
    }

    fn abort(&mut self, _prepared: &[Committable]) -> Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn a_job_that_is_cancelled_while_its_tasks_end_is_no_success_unless_all_is_visible() {
    let mut cancelled = 0;
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let settings = [
            // Both tasks of the sink end on one shard, one right after the other.
            ("thalweg.shard.count", "1"),
            ("thalweg.shard.pin", "false"),
            ("execution.checkpointing.interval", "1h"),
            (
                "execution.checkpointing.dir",
                directory.path().to_str().unwrap(),
            ),
        ];
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let shown = Shown::default();
        environment
            .source(Generator::new(NUMBERS, |number| number))
            .parallelism(1)
            .rebalance()
            .sink(Shelf {
                shown: Arc::clone(&shown),
                cancels: token.clone(),
            })
            .parallelism(2);
        let succeeded = environment.execute("numbers").is_ok();
        let expected = match succeeded {
            true => (0..NUMBERS).collect(),
            false => BTreeSet::new(),
        };
        assert_eq!(*shown.lock().unwrap(), expected);
        cancelled += u32::from(!succeeded);
    }
    assert!(cancelled > 0, "it was cancelled at least once");
}
