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
        let mut files = files_of(snapshot);
        // A name that is none is refused by the coordinator.
        files.retain(|file, _| is_plain_name(file));
        let before = self.there.remove(&task).unwrap_or_default();
        let named = |file: &String| files.contains_key(file.as_str());
        let there: BTreeSet<String> = before.into_iter().filter(named).collect();
        let mut needs = BTreeSet::new();
        for (file, facts) in files {
            if there.contains(file) || !needs.insert(file.to_owned()) {
                continue;
            }
            if !self.under_way.contains_key(file) {
                self.begin(file, facts);
            }
        }
        self.there.insert(task, there);
        needs
    }

    fn begin(&mut self, name: &str, facts: FileFacts) {
        let (file, news) = (name.to_owned(), Arc::clone(&self.news));
        let to = self.shared.child(&file);
        let way = (self.directory.join(&file), &to);
        let told = Box::new(move |outcome| news.tell(file, outcome));
        match self.storage.move_in(way, facts, told) {
            Ok(moving) => {
                self.under_way.insert(name.to_owned(), moving);
            }
            Err(error) => self.news.tell(name.to_owned(), Err(error)),
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

/// The files of an answer, runs and records in flight, each with what it must be.
fn files_of(snapshot: &TaskSnapshot) -> BTreeMap<&str, FileFacts> {
    let operators = snapshot.operators.iter();
    let runs = operators.flat_map(|operator| &operator.runs);
    let runs = runs.map(|run| (run.file.as_str(), run.bytes, run.checksum));
    let in_flight = snapshot.in_flight.iter();
    let in_flight = in_flight.map(|file| (file.file.as_str(), file.bytes, file.checksum));
    let all = runs.chain(in_flight);
    all.map(|(file, bytes, checksum)| (file, FileFacts { bytes, checksum }))
        .collect()
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
            CheckpointAnswer::Replayed { .. } | CheckpointAnswer::Declined { .. } => {
                BTreeSet::new()
            }
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
    fn open_file(&self, file: &str) -> io::Result<Box<dyn ReadAt>> {
        self.runs.open_file(file)
    }

    fn path(&self, handle: &RunHandle) -> Option<PathBuf> {
        self.runs.path(handle)
    }
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;
