//! A task's answers: the parts of each open checkpoint gathered until all of them are durable.
//!
//! Shared by the stages of one chain. Invariants: every checkpoint is answered at last, in order, after the
//! barrier has left the chain and every piece that was opened has been closed; one that was declined before is
//! answered all the same. Lives on one shard's thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg_core::ids::{CheckpointId, OperatorId, VertexId};
use thalweg_core::shard::step::TurnContext;
use thalweg_network::Overtaken;
use thalweg_state::{
    InFlightFile, OperatorPart, OperatorSnapshot, RunHandle, SnapshotEffort, TaskSnapshot,
};

use super::in_flight::InFlightRecorder;
use super::planted::{CrashPoint, Defect};
use super::setup::{CheckpointAnswer, CheckpointSetup};
use crate::task::SubtaskInfo;

/// The answers of one task. Clones are the same.
#[derive(Clone)]
pub(crate) struct TaskAnswers(Rc<Inner>);

struct Inner {
    vertex: VertexId,
    subtask: u32,
    names: Vec<String>,
    setup: Option<CheckpointSetup>,
    open: RefCell<BTreeMap<CheckpointId, Open>>,
    recorder: InFlightRecorder,
}

/// A checkpoint whose answer is being put together.
#[derive(Default)]
struct Open {
    /// By place in the chain.
    operators: BTreeMap<usize, OperatorSnapshot>,
    /// The barrier has left the chain.
    walked: bool,
    /// Pieces that are still being written.
    pieces: usize,
    /// The answer was no.
    declined: bool,
    in_flight: Vec<InFlightFile>,
    effort: SnapshotEffort,
}

impl Open {
    fn is_whole(&self) -> bool {
        self.walked && self.pieces == 0
    }
}

impl TaskAnswers {
    pub(crate) fn new(info: &SubtaskInfo, setup: Option<CheckpointSetup>) -> Self {
        Self(Rc::new(Inner {
            vertex: info.vertex,
            subtask: info.index,
            names: info.operators.to_vec(),
            setup,
            open: RefCell::default(),
            recorder: InFlightRecorder::default(),
        }))
    }

    /// What the deployer gave, if the job takes checkpoints.
    pub(crate) fn setup(&self) -> Option<&CheckpointSetup> {
        self.0.setup.as_ref()
    }

    /// Whether this is to be done wrong.
    pub(crate) fn has_defect(&self, defect: Defect) -> bool {
        self.setup()
            .is_some_and(|setup| setup.defect == Some(defect))
    }

    /// The task has come to this point.
    pub(crate) fn passes(&self, point: CrashPoint) {
        if let Some(setup) = self.setup() {
            setup.crash_points.passes(point);
        }
    }

    /// Which subtask answers.
    pub(crate) fn subtask(&self) -> u32 {
        self.0.subtask
    }

    /// The identity of the operator at this place of the chain.
    pub(crate) fn operator(&self, place: usize) -> Option<OperatorId> {
        self.0.setup.as_ref()?.operators.get(place).copied()
    }

    /// Adds a small state of the operator at this place.
    pub(crate) fn add_part(&self, checkpoint: CheckpointId, place: usize, part: OperatorPart) {
        self.with_operator(checkpoint, place, |snapshot| snapshot.parts.push(part));
    }

    /// Adds what a sink prepared.
    pub(crate) fn add_committables(
        &self,
        checkpoint: CheckpointId,
        place: usize,
        committables: impl IntoIterator<Item = Vec<u8>>,
    ) {
        self.with_operator(checkpoint, place, |snapshot| {
            snapshot.committables.extend(committables);
        });
    }

    /// The barrier was first seen so long before it was whole, in ns.
    pub(crate) fn aligned(&self, checkpoint: CheckpointId, alignment_ns: u64) {
        self.passes(CrashPoint::Aligned);
        self.with_open(checkpoint, |open| open.effort.alignment_ns = alignment_ns);
    }

    /// A piece is being written: the answer waits for it.
    pub(crate) fn open_piece(&self, checkpoint: CheckpointId) {
        self.with_open(checkpoint, |open| open.pieces += 1);
    }

    /// A piece is durable, or there was nothing to write.
    pub(crate) fn close_piece(&self, checkpoint: CheckpointId) {
        self.with_open(checkpoint, |open| open.pieces -= 1);
        self.settle();
    }

    /// The keyed state of the operator at this place is these runs, newest first, of which so many bytes
    /// were written for this checkpoint.
    pub(crate) fn add_runs(
        &self,
        checkpoint: CheckpointId,
        place: usize,
        runs: Vec<RunHandle>,
        bytes_written: u64,
        write_ns: u64,
    ) {
        self.with_operator(checkpoint, place, |snapshot| snapshot.runs = runs);
        self.with_open(checkpoint, |open| {
            open.effort.bytes_written += bytes_written;
            open.effort.write_ns = open.effort.write_ns.max(write_ns);
        });
    }

    /// What a barrier overtook, at one end of the task, for which a piece was opened: it is written, and then the
    /// piece closed.
    pub(crate) fn add_in_flight(
        &self,
        checkpoint: CheckpointId,
        at_sender: bool,
        mut overtaken: Vec<Overtaken>,
    ) {
        if self.has_defect(Defect::InFlightDropped) {
            overtaken.pop();
        }
        match self.setup() {
            Some(setup) if !overtaken.is_empty() => {
                let task = (self.0.vertex.0, self.0.subtask);
                let end = (checkpoint, at_sender);
                self.0.recorder.begin(setup, task, end, overtaken);
            }
            _ => self.close_piece(checkpoint),
        }
    }

    /// What a barrier overtook will not be known: nothing came of the checkpoint elsewhere.
    pub(crate) fn give_up_in_flight(&self, checkpoint: CheckpointId) {
        let reason = "the checkpoint was given up before its barrier had come everywhere";
        self.decline(checkpoint, reason.to_owned());
        self.close_piece(checkpoint);
    }

    /// All that was in flight when the job was cut has been read again.
    pub(crate) fn replayed(&self) {
        self.tell(CheckpointAnswer::Replayed {
            vertex: self.0.vertex,
            subtask: self.0.subtask,
        });
    }

    /// Writes more of what barriers overtook. To be called once in a turn.
    #[inline]
    pub(crate) fn write_in_flight(&self, context: &mut TurnContext<'_>) {
        if self.writes_in_flight() {
            self.write_some(context);
        }
    }

    /// Whether files of what barriers overtook are on their way.
    #[inline]
    pub(crate) fn writes_in_flight(&self) -> bool {
        self.0.recorder.is_busy()
    }

    #[cold]
    fn write_some(&self, context: &mut TurnContext<'_>) {
        for written in self.0.recorder.poll(context) {
            match written.outcome {
                Ok(file) => self.with_open(written.checkpoint, |open| {
                    open.effort.bytes_written += file.bytes;
                    open.effort.bytes_in_flight += file.bytes;
                    open.in_flight.push(file);
                }),
                Err(reason) => self.decline(written.checkpoint, reason),
            }
            self.close_piece(written.checkpoint);
        }
    }

    /// Whether a checkpoint waits for pieces of this task.
    pub(crate) fn are_open(&self) -> bool {
        !self.0.open.borrow().is_empty()
    }

    /// The barrier has left the chain.
    pub(crate) fn walked(&self, checkpoint: CheckpointId) {
        self.passes(CrashPoint::AfterBarrier);
        self.with_open(checkpoint, |open| open.walked = true);
        self.settle();
    }

    /// The checkpoint cannot be answered with what was asked for.
    pub(crate) fn decline(&self, checkpoint: CheckpointId, reason: String) {
        let mut before = false;
        self.with_open(checkpoint, |open| {
            before = std::mem::replace(&mut open.declined, true);
        });
        if before {
            return;
        }
        self.tell(CheckpointAnswer::Declined {
            vertex: self.0.vertex,
            subtask: self.0.subtask,
            checkpoint,
            reason,
        });
    }

    /// Answers what is whole, oldest first: what a sink prepared before one barrier is known before the next
    /// checkpoint can be complete. It is told even of a checkpoint that was declined, for a later one to commit.
    fn settle(&self) {
        loop {
            let (checkpoint, open) = {
                let mut all = self.0.open.borrow_mut();
                match all.first_entry() {
                    Some(first) if first.get().is_whole() => first.remove_entry(),
                    _ => return,
                }
            };
            let operators = open.operators.into_values();
            self.passes(CrashPoint::BeforeAnswer);
            self.tell(CheckpointAnswer::Done(TaskSnapshot {
                vertex: self.0.vertex,
                subtask: self.0.subtask,
                checkpoint,
                operators: operators.filter(|snapshot| !snapshot.is_empty()).collect(),
                in_flight: open.in_flight,
                effort: open.effort,
            }));
            self.passes(CrashPoint::AfterAnswer);
        }
    }

    fn tell(&self, answer: CheckpointAnswer) {
        if let Some(setup) = &self.0.setup {
            (setup.answer)(answer);
        }
    }

    fn with_open(&self, checkpoint: CheckpointId, change: impl FnOnce(&mut Open)) {
        if self.0.setup.is_some() {
            change(self.0.open.borrow_mut().entry(checkpoint).or_default());
        }
    }

    fn with_operator(
        &self,
        checkpoint: CheckpointId,
        place: usize,
        change: impl FnOnce(&mut OperatorSnapshot),
    ) {
        let Some(operator) = self.operator(place) else {
            return;
        };
        let name = self.0.names.get(place).map_or("", String::as_str);
        self.with_open(checkpoint, |open| {
            let snapshot = (open.operators.entry(place))
                .or_insert_with(|| OperatorSnapshot::empty(operator, name));
            change(snapshot);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    use thalweg_core::config::Configuration;
    use thalweg_core::key_group::MaxParallelism;

    use super::*;
    use crate::checkpoint::{CrashListener, TaskInbox};
    use crate::stream::RuntimeMode;

    type Told = Arc<Mutex<Vec<(u64, bool)>>>;

    /// The answers of a task with one sink, and what they told: of which checkpoint, and whether it was done.
    fn answers() -> (TaskAnswers, Told) {
        let told = Told::default();
        let hears = Arc::clone(&told);
        let hear = move |answer| {
            let entry = match answer {
                CheckpointAnswer::Done(snapshot) => {
                    let count = snapshot.operators.iter().map(|it| it.committables.len());
                    assert_eq!(count.sum::<usize>(), 1, "{snapshot:?}");
                    (snapshot.checkpoint.0, true)
                }
                CheckpointAnswer::Declined { checkpoint, .. } => (checkpoint.0, false),
                CheckpointAnswer::Replayed { .. } => unreachable!("nothing was in flight"),
            };
            hears.lock().unwrap().push(entry);
        };
        let setup = CheckpointSetup {
            operators: vec![OperatorId(7)],
            directory: PathBuf::new(),
            attempt: 0,
            exactly_once: true,
            channels: BTreeMap::new(),
            inbox: TaskInbox::new(),
            restored: None,
            defect: None,
            crash_points: CrashListener::default(),
            answer: Rc::new(hear),
        };
        let info = SubtaskInfo {
            vertex: VertexId(0),
            vertex_name: "sink".into(),
            index: 0,
            parallelism: 1,
            max_parallelism: MaxParallelism::default(),
            operators: Arc::new(["sink".to_owned()]),
            mode: RuntimeMode::Streaming,
            configuration: Arc::new(Configuration::new()),
        };
        (TaskAnswers::new(&info, Some(setup)), told)
    }

    fn prepare(answers: &TaskAnswers, checkpoint: u64) {
        let checkpoint = CheckpointId(checkpoint);
        answers.add_committables(checkpoint, 0, [vec![1]]);
        answers.close_piece(checkpoint);
    }

    fn begin(answers: &TaskAnswers, checkpoint: u64) {
        let checkpoint = CheckpointId(checkpoint);
        answers.open_piece(checkpoint);
        answers.open_piece(checkpoint);
        answers.walked(checkpoint);
    }

    #[test]
    fn what_a_sink_prepared_is_told_of_a_declined_checkpoint_too() {
        let (answers, told) = answers();
        begin(&answers, 1);
        answers.decline(CheckpointId(1), "the disk is full".to_owned());
        answers.close_piece(CheckpointId(1));
        assert_eq!(*told.lock().unwrap(), [(1, false)]);
        prepare(&answers, 1);
        assert_eq!(*told.lock().unwrap(), [(1, false), (1, true)]);
        assert!(!answers.are_open());
    }

    #[test]
    fn a_checkpoint_is_answered_after_those_before_it() {
        let (answers, told) = answers();
        begin(&answers, 1);
        prepare(&answers, 1);
        begin(&answers, 2);
        prepare(&answers, 2);
        answers.close_piece(CheckpointId(2));
        assert_eq!(*told.lock().unwrap(), []);
        answers.close_piece(CheckpointId(1));
        assert_eq!(*told.lock().unwrap(), [(1, true), (2, true)]);
    }
}
