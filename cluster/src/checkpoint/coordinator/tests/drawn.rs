//! Drawn programs of everything that may happen to a job, against a model that remembers all of it.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::home::find::find;
use crate::checkpoint::storage::simulated::Fault;

#[derive(Clone, Debug)]
enum Act {
    Pass(u64),
    /// A task answers the oldest checkpoint it was asked for, or, told in time, skips it if it was given up.
    Answer {
        task: u32,
        knows: bool,
    },
    /// A task's last answer comes once more.
    Again,
    /// An answer of the attempt before.
    Ghost(u32),
    Decline(u32),
    Finish(u32),
    Checkpoint(bool),
    Savepoint,
    Restart,
    /// A task alone fails, perhaps with an answer on its way, or runs again.
    Region {
        task: u32,
        late: bool,
    },
    Committed,
    /// Storage fails some operations from now.
    Fault(u64, bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..150_u64).prop_map(Act::Pass),
        12 => (0..3_u32, any::<bool>()).prop_map(|(task, knows)| Act::Answer { task, knows }),
        1 => Just(Act::Again),
        1 => (0..3_u32).prop_map(Act::Ghost),
        1 => (0..3_u32).prop_map(Act::Decline),
        1 => (0..9_u32).prop_map(Act::Finish),
        1 => any::<bool>().prop_map(Act::Checkpoint),
        1 => Just(Act::Savepoint),
        1 => Just(Act::Restart),
        2 => (0..3_u32, any::<bool>()).prop_map(|(task, late)| Act::Region { task, late }),
        2 => Just(Act::Committed),
        1 => (0..40_u64, any::<bool>()).prop_map(|(after, full)| Act::Fault(after, full)),
    ]
}

/// What the job knows and the coordinator must agree with.
struct Model {
    rig: Rig,
    /// How many outputs were looked at.
    looked: usize,
    /// Of each task: what it was asked for and has not answered.
    asked: BTreeMap<u32, VecDeque<(CheckpointId, CutKind)>>,
    given_up: BTreeSet<CheckpointId>,
    /// Who must be accounted for, and who is.
    must: BTreeMap<CheckpointId, BTreeSet<u32>>,
    has: BTreeMap<CheckpointId, BTreeSet<u32>>,
    finished: BTreeSet<u32>,
    ends: u64,
    /// Those that do not run while the others do.
    resting: BTreeSet<u32>,
    highest: CheckpointId,
    newest: CheckpointId,
    /// What was prepared and is not known to be committed, by the checkpoint it belongs to.
    prepared: Vec<(CheckpointId, Vec<u8>)>,
    discarded: BTreeSet<Vec<u8>>,
    savepoints: Vec<Completed>,
    /// Of which it was said that they are complete.
    told: BTreeSet<CheckpointId>,
    last: Option<TaskSnapshot>,
    requests: u64,
    over: bool,
}

impl Model {
    fn new(settings: &CheckpointSettings) -> Model {
        Model {
            rig: Rig::start(settings, 3, DirectoryStorage::on(SimulatedDisk::new())),
            looked: 0,
            asked: BTreeMap::new(),
            given_up: BTreeSet::new(),
            must: BTreeMap::new(),
            has: BTreeMap::new(),
            finished: BTreeSet::new(),
            ends: 0,
            resting: BTreeSet::new(),
            highest: CheckpointId(0),
            newest: CheckpointId(0),
            prepared: Vec::new(),
            discarded: BTreeSet::new(),
            savepoints: Vec::new(),
            told: BTreeSet::new(),
            last: None,
            requests: 0,
            over: false,
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Pass(ms) => self.rig.pass(*ms),
            Act::Answer { task, knows } => self.answer(*task, *knows),
            Act::Again => {
                if let Some(snapshot) = self.last.clone() {
                    self.refused(self.rig.attempt, snapshot);
                }
            }
            Act::Ghost(task) => {
                if let Some(before) = self.rig.attempt.0.checked_sub(1)
                    && let Some(mut snapshot) = self.last.clone()
                {
                    snapshot.subtask = *task;
                    snapshot.checkpoint = self.highest;
                    self.refused(AttemptId(before), snapshot);
                }
            }
            Act::Decline(task) => self.decline(*task),
            Act::Finish(task) => self.finish(*task),
            Act::Checkpoint(full) => self.want(Wanted::Checkpoint { full: *full }),
            Act::Savepoint => {
                let name = format!("/savepoints/savepoint-{}", self.requests);
                let directory = Location::parse(&name).unwrap();
                self.want(Wanted::Savepoint { directory });
            }
            Act::Restart => self.restart(),
            Act::Region { task, late } => self.region(*task, *late),
            Act::Committed => {
                self.prepared
                    .retain(|(checkpoint, _)| *checkpoint > self.newest);
                let checkpoint = self.newest;
                self.rig.step(Input::Committed { checkpoint });
            }
            Act::Fault(after, full) => {
                let fault = if *full { Fault::Full } else { Fault::Io };
                let operation = self.rig.storage.disk().operations() + after;
                self.rig.storage.disk().fail(operation, fault);
            }
        }
        self.look();
        self.check();
    }

    fn want(&mut self, wanted: Wanted) {
        self.requests += 1;
        self.rig.step(Input::Wanted {
            request: RequestId(self.requests),
            wanted,
        });
    }

    fn answer(&mut self, task: u32, knows: bool) {
        let queue = self.asked.entry(task).or_default();
        while knows
            && queue
                .front()
                .is_some_and(|(asked, _)| self.given_up.contains(asked))
        {
            queue.pop_front();
        }
        let Some((checkpoint, kind)) = queue.pop_front() else {
            return;
        };
        let Ok(snapshot) = self.rig.try_answer_of(task, checkpoint, kind) else {
            // The backend keeps the rows for the next cut.
            return self.rig.step(Input::Declined {
                attempt: self.rig.attempt,
                task: super::task(task),
                checkpoint,
                reason: "it could not write".to_owned(),
            });
        };
        self.prepared.push((checkpoint, prepared(task, checkpoint)));
        self.has.entry(checkpoint).or_default().insert(task);
        self.last = Some(snapshot.clone());
        self.rig.step(Input::Receipt {
            attempt: self.rig.attempt,
            snapshot,
        });
    }

    fn refused(&mut self, attempt: AttemptId, snapshot: TaskSnapshot) {
        let seen = self.rig.seen.len();
        self.rig.step(Input::Receipt { attempt, snapshot });
        let answer = self.rig.seen.get(seen);
        assert!(matches!(answer, Some(Output::Refused { .. })), "{answer:?}");
    }

    fn decline(&mut self, task: u32) {
        let Some((checkpoint, _)) = self.asked.entry(task).or_default().pop_front() else {
            return;
        };
        self.rig.step(Input::Declined {
            attempt: self.rig.attempt,
            task: super::task(task),
            checkpoint,
            reason: "drawn".to_owned(),
        });
    }

    fn finish(&mut self, task: u32) {
        if task >= 3 || self.resting.contains(&task) || !self.finished.insert(task) {
            return;
        }
        // It answers nothing any more; what it prepared last belongs to the oldest it still was to answer.
        let queue = self.asked.entry(task).or_default();
        let open: Vec<CheckpointId> = (queue.drain(..))
            .map(|(checkpoint, _)| checkpoint)
            .filter(|checkpoint| !self.given_up.contains(checkpoint))
            .collect();
        let tag = open
            .first()
            .copied()
            .unwrap_or(CheckpointId(self.highest.0 + 1));
        // One whose region begins again may end once more in one attempt.
        self.ends += 1;
        let end = self.ends;
        let bytes = format!("rest of {task} in {}, end {end}", self.rig.attempt).into_bytes();
        let mut operator = OperatorSnapshot::empty(COUNT, "count");
        operator.runs = self.rig.chains.get(&task).cloned().unwrap_or_default();
        operator.committables.push(bytes.clone());
        self.prepared.push((tag, bytes));
        for checkpoint in open {
            self.has.entry(checkpoint).or_default().insert(task);
        }
        self.rig.step(Input::TaskFinished {
            attempt: self.rig.attempt,
            task: super::task(task),
            last: Some(TaskSnapshot {
                vertex: VertexId(0),
                subtask: task,
                checkpoint: CheckpointId(0),
                operators: vec![operator],
                in_flight: Vec::new(),
                effort: SnapshotEffort::default(),
            }),
        });
    }

    /// A task alone fails, or runs again.
    fn region(&mut self, task: u32, late: bool) {
        if self.resting.remove(&task) {
            return self.rig.resume(task);
        }
        let tasks = BTreeSet::from([super::task(task)]);
        self.rig.step(Input::RegionFailing {
            attempt: self.rig.attempt,
            tasks: tasks.clone(),
            reason: "drawn".to_owned(),
        });
        self.look();
        if late {
            self.answer(task, false);
        }
        let seen = self.rig.seen.len();
        self.rig.step(Input::RegionStopped { tasks });
        let of_task = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            ["output of", "rest of"]
                .iter()
                .any(|what| text.starts_with(&format!("{what} {task} ")))
        };
        let newest = self.newest;
        let gone = self
            .prepared
            .extract_if(.., |(of, bytes)| *of > newest && of_task(bytes));
        let mut gone: Vec<Vec<u8>> = gone.map(|(_, bytes)| bytes).collect();
        gone.sort();
        let withdrawn = self.rig.seen[seen..]
            .iter()
            .find_map(|output| match output {
                Output::RollBack { withdrawn, .. } => Some(bytes_of(withdrawn)),
                _ => None,
            });
        let mut withdrawn = withdrawn.unwrap_or_default();
        withdrawn.sort();
        assert_eq!(
            withdrawn, gone,
            "all of the task since {newest}, and nothing of others"
        );
        self.discarded.extend(withdrawn);
        self.asked.remove(&task);
        self.finished.remove(&task);
        self.resting.insert(task);
        self.last = None;
    }

    fn restart(&mut self) {
        if self.over {
            return;
        }
        self.asked.clear();
        self.finished.clear();
        self.resting.clear();
        self.last = None;
        let seen = self.rig.seen.len();
        self.rig.restart();
        let left = |output: &Output| matches!(output, Output::Leftover(_));
        let swept = !self.rig.seen[seen..].iter().any(left);
        self.look();
        let point = self.rig.coordinator.restore_point();
        let point = point.map_or(CheckpointId(0), |point| point.metadata.checkpoint);
        assert_eq!(
            point, self.newest,
            "a restart goes back to the newest that completed"
        );
        self.prepared.retain(|(of, _)| *of <= point);
        self.must.clear();
        self.has.clear();
        let needed: BTreeSet<String> = self.kept_files();
        if swept {
            let left = self.rig.shared_names();
            assert_eq!(left, needed, "nothing is left of the attempt");
        }
    }

    fn kept_files(&self) -> BTreeSet<String> {
        let kept = self.rig.coordinator.kept();
        kept.flat_map(|kept| {
            kept.files()
                .into_keys()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
    }

    /// Takes in what came out since the last time.
    fn look(&mut self) {
        let mut fails = false;
        while let Some(output) = self.rig.seen.get(self.looked).cloned() {
            self.looked += 1;
            match output {
                Output::RollBack { tasks, .. } => assert_eq!(tasks.len(), 1),
                Output::Trigger {
                    checkpoint,
                    kind,
                    tasks,
                    ..
                } => {
                    assert!(checkpoint > self.highest, "numbers only go up");
                    assert!(self.resting.is_empty(), "it holds what all do");
                    self.highest = checkpoint;
                    self.must.insert(checkpoint, (0..3).collect());
                    self.has.insert(checkpoint, self.finished.clone());
                    for task in tasks {
                        assert!(!self.finished.contains(&task.index));
                        self.asked
                            .entry(task.index)
                            .or_default()
                            .push_back((checkpoint, kind));
                    }
                }
                Output::Complete { completed, commit } => self.complete(&completed, &commit),
                Output::Aborted { checkpoint, .. } => {
                    self.given_up.insert(checkpoint);
                }
                Output::Discard(entries) => {
                    for entry in entries {
                        assert!(
                            entry.checkpoint > self.newest,
                            "what is listed is never discarded"
                        );
                        self.prepared.retain(|(_, bytes)| *bytes != entry.bytes);
                        self.discarded.insert(entry.bytes);
                    }
                }
                Output::FailJob { then, .. } => {
                    fails = true;
                    self.over |= then != AfterFailure::Restart;
                }
                Output::Answer { answer, .. } => {
                    let told = answer.ok().map(|told| told.metadata);
                    let savepoint = |told: &Arc<CheckpointMetadata>| {
                        told.kind == CheckpointKind::Savepoint
                            && (told.committables.is_empty() || told.checkpoint < self.newest)
                    };
                    let is_none =
                        |told: &Arc<CheckpointMetadata>| told.kind == CheckpointKind::Checkpoint;
                    assert!(told.as_ref().is_none_or(|it| savepoint(it) || is_none(it)));
                    self.told.extend(told.map(|told| told.checkpoint));
                }
                Output::Refused { .. } | Output::Leftover(_) => {}
                Output::Store { .. } => unreachable!("the rig performs them"),
            }
        }
        if fails {
            self.restart();
        }
    }

    fn complete(&mut self, completed: &Completed, commit: &[PendingCommittable]) {
        let checkpoint = completed.metadata.checkpoint;
        assert!(
            !self.given_up.contains(&checkpoint),
            "{checkpoint} was given up"
        );
        assert_eq!(
            self.must.get(&checkpoint),
            self.has.get(&checkpoint),
            "{checkpoint}: all are accounted for"
        );
        let listed = bytes_of(&completed.metadata.committables);
        for (of, bytes) in &self.prepared {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(
                listed.contains(bytes),
                *of <= checkpoint,
                "{checkpoint} and '{text}' of {of}"
            );
        }
        for bytes in &listed {
            assert!(
                !self.discarded.contains(bytes),
                "what was discarded is not committed"
            );
        }
        if completed.metadata.kind == CheckpointKind::Savepoint {
            assert!(commit.is_empty());
            self.savepoints.push(completed.clone());
        } else {
            assert!(checkpoint > self.newest);
            assert_eq!(bytes_of(commit), listed);
            self.newest = checkpoint;
        }
    }

    /// What must hold at all times.
    fn check(&mut self) {
        let kept: Vec<Arc<CheckpointMetadata>> = self.rig.coordinator.kept().cloned().collect();
        let shared = self.rig.layout.shared();
        let mut storage = self.rig.look_at();
        for metadata in &kept {
            assert_whole(&mut storage, metadata, &shared, "kept");
        }
        let told = self.savepoints.iter();
        let told = told.filter(|it| self.told.contains(&it.metadata.checkpoint));
        for savepoint in told {
            assert_whole(
                &mut storage,
                &savepoint.metadata,
                &savepoint.directory,
                "savepoint",
            );
        }
        assert!(self.rig.coordinator.under_way() <= 3);
        if let Some(wake) = self.rig.coordinator.wake_ms() {
            assert!(wake > self.rig.now.ms, "what is due has happened");
        }
        if !self.over && self.newest.0 > 0 {
            let found = find(&mut storage, self.rig.layout.home()).unwrap();
            assert_eq!(found.metadata.checkpoint, self.newest, "what storage says");
        }
    }

    /// Everybody answers until a checkpoint has completed: nothing is left over then.
    fn settle(&mut self) {
        self.rig.storage.disk().mend();
        if self.over {
            return;
        }
        self.restart();
        let before = self.newest;
        while self.newest == before && !self.over {
            self.act(&Act::Pass(100));
            for task in 0..3 {
                self.act(&Act::Answer { task, knows: true });
            }
        }
        let chains = self
            .rig
            .chains
            .values()
            .flatten()
            .map(|run| run.file.clone());
        let chains: BTreeSet<String> = chains.collect();
        let needed: BTreeSet<String> = &self.kept_files() | &chains;
        assert_eq!(self.rig.shared_names(), needed);
        // The next leader finds the newest and leaves nothing else.
        let layout = self.rig.layout.clone();
        let other = take_over(&mut self.rig.storage, &layout, 1).unwrap();
        assert_eq!(other.kept.len(), 1);
        assert_eq!(other.kept[0].checkpoint, self.newest);
        assert!(other.next > self.newest);
        let names = other.kept[0].files().into_keys().map(str::to_owned);
        assert_eq!(self.rig.shared_names(), names.collect());
        assert_eq!(self.rig.home_names().len(), 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_only_whole_checkpoints_complete_and_nothing_they_need_is_lost(
        retained in 1..4_usize,
        concurrent in 1..4_usize,
        tolerable in 0..4_u32,
        pause in 0..200_u64,
        acts in proptest::collection::vec(act(), 1..150),
    ) {
        let settings = settings(|settings| {
            settings.retained = retained;
            settings.max_concurrent = concurrent;
            settings.tolerable_failures = tolerable;
            settings.min_pause_ms = pause;
            settings.timeout_ms = 500;
        });
        let mut model = Model::new(&settings);
        for act in &acts {
            if model.over {
                break;
            }
            model.act(act);
        }
        model.settle();
    }
}
