//! Runs on their way into an object store, and back when a job is restored.
//!
//! Entered by the control thread; the bytes move on the threads of object storage. Invariants: those of [`Staging`]; a
//! file of this host goes when it has arrived, and all of them with the job.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use thalweg_core::config::Configuration;
use thalweg_core::ids::SubtaskId;
use thalweg_dataflow::checkpoint::{CheckpointAnswer, RunFiles};
use thalweg_dataflow::executor::JobError;
use thalweg_memory::SpillSpace;
use thalweg_state::run::ReadAt;
use thalweg_state::{RunHandle, TaskSnapshot};

use super::{Staging, task_of};
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::{Location, Moving, ObjectStorage, StorageError, is_plain_name};
use crate::local::checkpointing::RunDirectory;
use crate::local::spill;

/// The runs of one job on their way.
pub(crate) struct Uploads {
    storage: ObjectStorage,
    shared: Location,
    directory: PathBuf,
    /// Goes with this, and the directory with it.
    _space: SpillSpace,
    /// Of each task, which files of its last answer have arrived.
    there: BTreeMap<SubtaskId, BTreeSet<String>>,
    under_way: BTreeMap<String, Moving>,
    waiting: VecDeque<Waiting>,
    news: Arc<News>,
}

/// An answer that does not count yet.
struct Waiting {
    task: SubtaskId,
    answer: CheckpointAnswer,
    /// The files it names that have not arrived.
    needs: BTreeSet<String>,
    failed: Option<StorageError>,
}

/// What has ended since anybody looked.
#[derive(Default)]
struct News {
    ended: Mutex<Vec<(String, Result<(), StorageError>)>>,
    changed: Condvar,
}

impl News {
    fn tell(&self, file: String, outcome: Result<(), StorageError>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push((file, outcome));
        self.changed.notify_all();
    }
}

impl Uploads {
    /// The uploads of a job whose runs are to be in `shared`.
    ///
    /// # Errors
    /// When there is no room for files of this host.
    pub(crate) fn new(
        storage: ObjectStorage,
        shared: Location,
        configuration: &Configuration,
    ) -> Result<Uploads, JobError> {
        let (space, directory) = spill::claim_one(configuration)?;
        Ok(Uploads {
            storage,
            shared,
            directory,
            _space: space,
            there: BTreeMap::new(),
            under_way: BTreeMap::new(),
            waiting: VecDeque::new(),
            news: Arc::default(),
        })
    }

    /// Sends the files of an answer on that are not on their way; answers those that have not arrived.
    fn send(&mut self, task: SubtaskId, snapshot: &TaskSnapshot) -> BTreeSet<String> {
        let operators = snapshot.operators.iter();
        let runs = operators.flat_map(|operator| &operator.runs);
        // A name that is none is refused by the coordinator.
        let runs: Vec<&RunHandle> = runs.filter(|run| is_plain_name(&run.file)).collect();
        let before = self.there.remove(&task).unwrap_or_default();
        let named = |file: &String| runs.iter().any(|run| run.file == *file);
        let there: BTreeSet<String> = before.into_iter().filter(named).collect();
        let mut needs = BTreeSet::new();
        for run in runs {
            if there.contains(&run.file) || !needs.insert(run.file.clone()) {
                continue;
            }
            if !self.under_way.contains_key(&run.file) {
                self.begin(run);
            }
        }
        self.there.insert(task, there);
        needs
    }

    fn begin(&mut self, run: &RunHandle) {
        let facts = FileFacts {
            bytes: run.bytes,
            checksum: run.checksum,
        };
        let (file, news) = (run.file.clone(), Arc::clone(&self.news));
        let to = self.shared.child(&file);
        let way = (self.directory.join(&file), &to);
        let told = Box::new(move |outcome| news.tell(file, outcome));
        match self.storage.move_in(way, facts, told) {
            Ok(moving) => {
                self.under_way.insert(run.file.clone(), moving);
            }
            Err(error) => self.news.tell(run.file.clone(), Err(error)),
        }
    }

    /// Takes in what has ended.
    fn look(&mut self) {
        let ended = std::mem::take(
            &mut *self
                .news
                .ended
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for (file, outcome) in ended {
            self.under_way.remove(&file);
            for waiting in &mut self.waiting {
                if !waiting.needs.remove(&file) {
                    continue;
                }
                match &outcome {
                    Ok(()) => {
                        let there = self.there.entry(waiting.task).or_default();
                        there.insert(file.clone());
                    }
                    Err(error) => {
                        waiting.failed.get_or_insert_with(|| error.clone());
                    }
                }
            }
        }
    }
}

impl Waiting {
    /// What the coordinator is told.
    fn answer(self) -> CheckpointAnswer {
        match (self.answer, self.failed) {
            (CheckpointAnswer::Done(snapshot), Some(error)) => CheckpointAnswer::Declined {
                vertex: snapshot.vertex,
                subtask: snapshot.subtask,
                checkpoint: snapshot.checkpoint,
                reason: error.message,
            },
            (answer, _) => answer,
        }
    }
}

impl Staging for Uploads {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn take(&mut self, answer: CheckpointAnswer) {
        let task = task_of(&answer);
        let needs = match &answer {
            CheckpointAnswer::Done(snapshot) => self.send(task, snapshot),
            CheckpointAnswer::Declined { .. } => BTreeSet::new(),
        };
        self.waiting.push_back(Waiting {
            task,
            answer,
            needs,
            failed: None,
        });
    }

    fn arrived(&mut self) -> Vec<CheckpointAnswer> {
        self.look();
        let mut held = BTreeSet::new();
        let mut arrived = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let over = waiting.needs.is_empty() || waiting.failed.is_some();
            if over && !held.contains(&waiting.task) {
                arrived.push(waiting.answer());
            } else {
                held.insert(waiting.task);
                self.waiting.push_back(waiting);
            }
        }
        arrived
    }

    fn holds(&self, task: SubtaskId) -> bool {
        self.waiting.iter().any(|waiting| waiting.task == task)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    fn wait(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let ended = self.news.ended.lock();
        let ended = ended.unwrap_or_else(PoisonError::into_inner);
        let came = self
            .news
            .changed
            .wait_while(ended, |ended| ended.is_empty());
        drop(came.unwrap_or_else(PoisonError::into_inner));
    }

    fn stop(&mut self) {
        let moving = std::mem::take(&mut self.under_way).into_values().collect();
        if let Err(error) = self.storage.give_up(moving, &self.directory) {
            tracing::warn!(%error, "files may still be written to {}", self.shared);
        }
        self.waiting.clear();
        self.there.clear();
        // What has ended all the same tells nobody.
        self.news = Arc::default();
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The runs of a checkpoint, fetched to a directory of this host, which goes with this.
pub(crate) struct FetchedRuns {
    runs: RunDirectory,
    _space: SpillSpace,
}

impl FetchedRuns {
    /// Fetches the files of a checkpoint, each checked on the way.
    ///
    /// # Errors
    /// When one cannot be fetched, is damaged, or there is no room.
    pub(crate) fn fetch(
        storage: &ObjectStorage,
        from: &Location,
        files: &BTreeMap<&str, FileFacts>,
        configuration: &Configuration,
    ) -> Result<FetchedRuns, JobError> {
        let (space, directory) = spill::claim_one(configuration)?;
        let fetched = storage.fetch((from, &directory), files);
        fetched.map_err(|error| JobError::rejected(error.error_kind(), error.message))?;
        Ok(FetchedRuns {
            runs: RunDirectory(directory),
            _space: space,
        })
    }
}

impl RunFiles for FetchedRuns {
    fn open(&self, handle: &RunHandle) -> io::Result<Box<dyn ReadAt>> {
        self.runs.open(handle)
    }

    fn path(&self, handle: &RunHandle) -> Option<PathBuf> {
        self.runs.path(handle)
    }
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;
