//! Answers of tasks on their way, over a store that fails.

use std::sync::Arc;
use std::time::Duration;

use crc32c::crc32c;
use thalweg_core::ids::{CheckpointId, OperatorId, VertexId};
use thalweg_state::{OperatorSnapshot, SnapshotEffort};

use super::*;
use crate::checkpoint::storage::CheckpointStorage as _;
use crate::checkpoint::storage::faulty::{Fate, Faulty};
use crate::checkpoint::storage::{LocalCopies, Patience};

/// The uploads of a job, its store, and the directory for its files.
struct Stage {
    uploads: Uploads,
    store: Arc<Faulty>,
    storage: ObjectStorage,
    configuration: Configuration,
    _spill: tempfile::TempDir,
}

fn stage(whole: Duration) -> Stage {
    let spill = tempfile::tempdir().unwrap();
    let mut configuration = Configuration::new();
    let path = spill.path().to_str().unwrap();
    configuration.set_str("io.tmp.dirs", path).unwrap();
    let store = Faulty::over(&Arc::default(), []);
    let patience = Patience {
        answer: Duration::from_millis(50),
        whole,
        first_pause: Duration::from_micros(10),
        longest_pause: Duration::from_micros(100),
    };
    let storage = ObjectStorage::over("memory://", Arc::clone(&store) as _, patience);
    let uploads = Uploads::new(storage.clone(), shared(), &configuration).unwrap();
    Stage {
        uploads,
        store,
        storage,
        configuration,
        _spill: spill,
    }
}

fn shared() -> Location {
    Location::parse("memory:///job/shared").unwrap()
}

impl Stage {
    /// What a task answers that has written these files, or has them from before.
    fn answer(&self, task: u32, checkpoint: u64, files: &[&str]) -> CheckpointAnswer {
        let mut operator = OperatorSnapshot::empty(OperatorId(1), "count");
        operator.runs = files.iter().map(|file| self.run(file)).collect();
        CheckpointAnswer::Done(TaskSnapshot {
            vertex: VertexId(0),
            subtask: task,
            checkpoint: CheckpointId(checkpoint),
            operators: vec![operator],
            in_flight: Vec::new(),
            effort: SnapshotEffort::default(),
        })
    }

    fn run(&self, file: &str) -> RunHandle {
        let content = content(file);
        RunHandle {
            file: file.to_owned(),
            bytes: content.len() as u64,
            checksum: crc32c(&content),
            rows: 1,
            groups: 0..8,
            full: false,
            only: None,
        }
    }

    fn write(&self, file: &str) {
        let path = self.uploads.directory().join(file);
        std::fs::write(path, content(file)).unwrap();
    }

    /// Answers in the order in which they count, until none is on its way.
    fn all(&mut self) -> Vec<CheckpointAnswer> {
        let mut arrived = self.uploads.arrived();
        while !self.uploads.is_idle() {
            self.uploads.wait();
            arrived.extend(self.uploads.arrived());
        }
        arrived
    }

    /// The files of a checkpoint, as they are fetched to begin with.
    fn fetch(&self, files: &[&str]) -> Result<FetchedRuns, JobError> {
        let facts = |file: &&str| FileFacts {
            bytes: content(file).len() as u64,
            checksum: crc32c(&content(file)),
        };
        let files = files.iter().map(|file| (*file, facts(file))).collect();
        FetchedRuns::fetch(&self.storage, &shared(), &files, &self.configuration)
    }

    /// Keeps copies of what arrives; answers where.
    fn keep_copies(&self) -> PathBuf {
        let (space, directory) = spill::claim_one(&self.configuration).unwrap();
        let copies = LocalCopies::new(shared(), (space, directory.clone()));
        self.storage.keep_copies(copies);
        directory
    }

    fn in_store(&mut self) -> Vec<String> {
        let entries = self.storage.list(&shared()).unwrap().into_iter();
        entries.map(|entry| entry.name).collect()
    }

    fn here(&self) -> usize {
        std::fs::read_dir(self.uploads.directory()).unwrap().count()
    }
}

fn content(file: &str) -> Vec<u8> {
    format!("the rows of {file}").into_bytes()
}

/// Task, checkpoint, and whether it was done.
fn told(answers: &[CheckpointAnswer]) -> Vec<(u32, u64, bool)> {
    let told = answers.iter().map(|answer| match answer {
        CheckpointAnswer::Done(snapshot) => (snapshot.subtask, snapshot.checkpoint.0, true),
        CheckpointAnswer::Replayed { .. } => unreachable!("nothing was in flight"),
        CheckpointAnswer::Declined {
            subtask,
            checkpoint,
            ..
        } => (*subtask, checkpoint.0, false),
    });
    told.collect()
}

#[test]
fn an_answer_counts_when_its_runs_have_arrived() {
    let mut stage = stage(Duration::from_secs(60));
    stage.write("0-1-1.run");
    stage.write("0-1-2.run");
    let first = stage.answer(0, 1, &["0-1-1.run"]);
    let second = stage.answer(0, 2, &["0-1-2.run", "0-1-1.run"]);
    stage.uploads.take(first.clone());
    stage.uploads.take(second.clone());
    assert!(stage.uploads.holds(SubtaskId::new(VertexId(0), 0)));
    assert_eq!(stage.all(), [first, second.clone()]);
    assert!(!stage.uploads.holds(SubtaskId::new(VertexId(0), 0)));
    assert_eq!(stage.in_store(), ["0-1-1.run", "0-1-2.run"]);
    assert_eq!(stage.here(), 0, "what has arrived is not kept");
    // Also what another attempt wrote, which this one has nothing of.
    stage.uploads.stop();
    stage.uploads.take(second.clone());
    assert_eq!(stage.all(), [second]);
}

#[test]
fn answers_of_a_task_keep_their_order_and_do_not_wait_for_others() {
    let mut stage = stage(Duration::from_secs(60));
    stage.write("0-1-1.run");
    stage
        .store
        .then([Fate::Silent, Fate::Silent, Fate::FailBefore]);
    let slow = stage.answer(0, 1, &["0-1-1.run"]);
    stage.uploads.take(slow);
    let quick = stage.answer(0, 2, &[]);
    stage.uploads.take(quick);
    let declined = CheckpointAnswer::Declined {
        vertex: VertexId(0),
        subtask: 0,
        checkpoint: CheckpointId(3),
        reason: "the disk is full".to_owned(),
    };
    stage.uploads.take(declined);
    let other = stage.answer(1, 1, &[]);
    stage.uploads.take(other);
    let order = told(&stage.all());
    let of_first: Vec<_> = order.iter().filter(|(task, ..)| *task == 0).collect();
    assert_eq!(of_first, [&(0, 1, true), &(0, 2, true), &(0, 3, false)]);
    assert!(order.contains(&(1, 1, true)));
}

#[test]
fn a_run_that_does_not_arrive_declines_and_is_tried_again() {
    let mut stage = stage(Duration::ZERO);
    stage.write("0-1-1.run");
    stage.store.then([Fate::Forbidden]);
    let answer = stage.answer(0, 1, &["0-1-1.run"]);
    stage.uploads.take(answer);
    let answers = stage.all();
    assert_eq!(told(&answers), [(0, 1, false)]);
    let CheckpointAnswer::Declined { reason, .. } = &answers[0] else {
        panic!("{answers:?}");
    };
    assert!(
        reason.contains("memory:///job/shared/0-1-1.run"),
        "{reason}"
    );
    assert_eq!(stage.here(), 1, "it is kept");
    let answer = stage.answer(0, 2, &["0-1-1.run"]);
    stage.uploads.take(answer);
    assert_eq!(told(&stage.all()), [(0, 2, true)]);
    assert_eq!(stage.in_store(), ["0-1-1.run"]);
}

#[test]
fn a_run_that_is_nowhere_or_not_what_it_should_be_declines() {
    let mut stage = stage(Duration::ZERO);
    let answer = stage.answer(0, 1, &["0-1-1.run"]);
    stage.uploads.take(answer);
    assert_eq!(told(&stage.all()), [(0, 1, false)]);
    let path = stage.uploads.directory().join("0-1-1.run");
    std::fs::write(path, "the rows of another").unwrap();
    let answer = stage.answer(0, 2, &["0-1-1.run"]);
    stage.uploads.take(answer);
    assert_eq!(told(&stage.all()), [(0, 2, false)]);
    assert_eq!(stage.in_store(), [""; 0]);
}

#[test]
fn after_a_stop_nothing_comes_out_and_nothing_is_left_here() {
    let mut stage = stage(Duration::from_secs(60));
    for number in 0..20 {
        let file = format!("0-1-{number}.run");
        stage.write(&file);
        let answer = stage.answer(0, number, &[&file]);
        stage.uploads.take(answer);
    }
    stage.uploads.stop();
    assert!(stage.uploads.is_idle());
    assert_eq!(stage.uploads.arrived(), []);
    assert_eq!(stage.here(), 0);
    let directory = stage.uploads.directory().to_owned();
    drop(stage);
    assert!(!directory.exists(), "it goes with the job");
}

/// What is read of a file that was fetched.
fn read(fetched: &FetchedRuns, file: &str) -> Vec<u8> {
    let file = fetched.open_file(file).unwrap();
    let mut bytes = vec![0; file.length() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Begins again from two runs, of which `harm` has done something to the copy of the second; answers how many requests
/// that took.
fn begun_again(harm: impl FnOnce(&Path)) -> usize {
    let files = ["0-1-1.run", "0-1-2.run"];
    let mut stage = stage(Duration::from_secs(60));
    let copies = stage.keep_copies();
    files.iter().for_each(|file| stage.write(file));
    let answer = stage.answer(0, 1, &files);
    stage.uploads.take(answer);
    assert_eq!(told(&stage.all()), [(0, 1, true)]);
    assert_eq!((stage.in_store().len(), stage.here()), (2, 0));
    stage.uploads.stop();
    harm(&copies.join(files[1]));
    stage.store.then([Fate::Pass; 100]);
    let fetched = stage.fetch(&files).unwrap();
    let requests = 100 - stage.store.fates.lock().unwrap().len();
    for file in files {
        assert_eq!(read(&fetched, file), content(file));
    }
    requests
}

#[test]
fn files_that_are_on_this_host_are_not_fetched() {
    assert_eq!(begun_again(|_| {}), 0);
    let one = begun_again(|copy| std::fs::remove_file(copy).unwrap());
    assert!(one > 0);
    // Of the right length, and longer.
    let another = content("0-1-9.run");
    assert_eq!(
        begun_again(|copy| std::fs::write(copy, another).unwrap()),
        one
    );
    let longer = b"the rows of nobody at all";
    assert_eq!(
        begun_again(|copy| std::fs::write(copy, longer).unwrap()),
        one
    );
}

#[test]
fn copies_go_with_what_is_deleted_and_with_the_job() {
    let mut stage = stage(Duration::from_secs(60));
    let copies = stage.keep_copies();
    let kept = || std::fs::read_dir(&copies).unwrap().count();
    for file in ["0-1-1.run", "0-1-2.run"] {
        stage.write(file);
        let answer = stage.answer(0, 1, &[file]);
        stage.uploads.take(answer);
    }
    stage.all();
    assert_eq!(kept(), 2);
    stage.storage.delete(&shared().child("0-1-1.run")).unwrap();
    assert_eq!(kept(), 1);
    // One of the same name elsewhere is another.
    let elsewhere = Location::parse("memory:///other/0-1-2.run").unwrap();
    stage.storage.delete(&elsewhere).unwrap();
    assert_eq!(kept(), 1);
    // What did not arrive is no copy.
    stage.store.then([Fate::Silent]);
    stage.write("0-1-3.run");
    let answer = stage.answer(0, 2, &["0-1-3.run"]);
    stage.uploads.take(answer);
    stage.uploads.stop();
    assert_eq!(kept(), 1);
    assert!(stage.fetch(&["0-1-1.run"]).is_err(), "it is nowhere");
    drop(stage);
    assert!(!copies.exists(), "they go with the job");
}
