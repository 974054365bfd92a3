//! A two-phase sink on the simulated disk: what any such sink must do, and nothing else.
//!
//! The lines of an epoch become a pending file, whose name begins with a dot and is used once in the life of the
//! disk. It is written, synced, its directory is synced; then it is told of. To commit is to rename it, and to
//! sync the directory before it is answered; to commit twice is to find it renamed. Invariant: what was answered
//! as committed stays visible, whatever happens to the host; the oracle holds the sink to that.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::seam::reactor::{FileId, IoBuffer, Op, OpId, OpenOptions, Outcome};
use thalweg_core::seam::simulated::SimDisk;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{
    Committable, Committer, Epoch, Prepared, Sink, SinkError, SinkStatus, SinkWriter,
};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};

use super::plants::Plant;

/// When a planted bug takes what is pending for forgotten.
const TRANSACTION_TIMEOUT: Duration = Duration::from_millis(20);

/// What the oracle remembers of a sink, beyond the life of processes.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
pub(super) struct Entries {
    /// Files that were answered as committed.
    pub(super) answered: BTreeSet<PathBuf>,
    /// What must never happen.
    pub(super) wrong: Vec<String>,
}

impl Ledger {
    pub(super) fn open(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) disk: SimDisk,
    pub(super) directory: PathBuf,
    pub(super) ledger: Ledger,
    pub(super) plant: Option<Plant>,
}

impl Shelf {
    /// The lines of all visible files.
    pub(super) fn visible(disk: &SimDisk, directory: &Path) -> Vec<String> {
        let names = disk.names_in(directory).into_iter();
        let shown = names.filter(|name| !name.to_string_lossy().starts_with('.'));
        let content = shown.filter_map(|name| disk.content(&directory.join(name)));
        let texts = content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn make_directory(&self) -> io::Result<()> {
        self.disk.make_directories(&self.directory)?;
        let above = self.directory.ancestors().skip(1);
        above
            .into_iter()
            .try_for_each(|directory| self.disk.sync_directory(directory))
    }

    /// Removes what is pending and was last written so long ago.
    fn sweep_pending(&self, age: Duration) {
        let newest = self.disk.now().saturating_sub(age.as_nanos() as u64);
        for entry in self.disk.list(&self.directory).unwrap_or_default() {
            let pending = entry.name.to_string_lossy().starts_with('.');
            if pending && entry.about.modified_ns <= newest {
                // This is a bug that is planted: nobody cares.
                let _ = self.disk.remove_file(&self.directory.join(entry.name));
            }
        }
    }
}

fn failed(what: &str, at: &Path, error: &io::Error) -> SinkError {
    let message = format!("cannot {what} {}: {error}", at.display());
    SinkError::new(ErrorKind::of_io(error), message)
}

impl Sink<String> for Shelf {
    type Writer = ShelfWriter;

    fn name(&self) -> String {
        "shelf".to_owned()
    }

    fn prepare(&self, _parallelism: u32) -> Result<(), SinkError> {
        let made = self.make_directory();
        made.map_err(|error| failed("make", &self.directory, &error))
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<ShelfWriter, SinkError> {
        Ok(ShelfWriter {
            directory: self.directory.clone(),
            plant: self.plant,
            lines: Vec::new(),
            flushed: 0,
            sealed: VecDeque::new(),
            work: None,
            prepared: VecDeque::new(),
            ended: false,
        })
    }

    fn committer(&self) -> Option<Box<dyn Committer>> {
        if self.plant == Some(Plant::PendingSweptAtStart) {
            self.sweep_pending(Duration::ZERO);
        }
        Some(Box::new(ShelfCommitter(self.clone())))
    }
}

/// The writer of one subtask.
pub(super) struct ShelfWriter {
    directory: PathBuf,
    plant: Option<Plant>,
    /// Of the open epoch.
    lines: Vec<String>,
    /// How many of them were there when the last turn ended.
    flushed: usize,
    /// Epochs that wait to be written, oldest first.
    sealed: VecDeque<(Option<CheckpointId>, Vec<String>)>,
    work: Option<Work>,
    prepared: VecDeque<Prepared>,
    ended: bool,
}

/// An epoch on its way to the disk.
struct Work {
    checkpoint: Option<CheckpointId>,
    name: String,
    bytes: Vec<u8>,
    stage: Stage,
    op: OpId,
}

#[derive(Clone, Copy)]
enum Stage {
    Opening,
    Writing(FileId, usize),
    Syncing(FileId),
    SyncingDirectory,
}

impl ShelfWriter {
    fn seal(&mut self, checkpoint: Option<CheckpointId>) {
        if self.plant == Some(Plant::LateFlushForgotten) && checkpoint.is_some() {
            self.lines.truncate(self.flushed);
        }
        self.flushed = 0;
        let lines = match self.plant {
            // Taken only when the file is begun, so with all that came since.
            Some(Plant::LateRecordsInOldEpoch) if checkpoint.is_some() => Vec::new(),
            _ => std::mem::take(&mut self.lines),
        };
        self.sealed.push_back((checkpoint, lines));
    }

    fn begin(&mut self, context: &mut TurnContext<'_>) {
        let Some((checkpoint, mut lines)) = self.sealed.pop_front() else {
            return;
        };
        if self.plant == Some(Plant::LateRecordsInOldEpoch) {
            lines.append(&mut self.lines);
        }
        let name = format!(".{:016x}", context.reactor().random());
        if lines.is_empty() {
            let empty = match self.plant {
                Some(Plant::EmptyEpochTold) => vec![Committable(name.into_bytes())],
                _ => Vec::new(),
            };
            return self.tell(checkpoint, empty);
        }
        let mut bytes = lines.join("\n").into_bytes();
        bytes.push(b'\n');
        let options = OpenOptions {
            exclusive: true,
            ..OpenOptions::WRITE_NEW
        };
        let path = self.directory.join(&name);
        let op = context.submit(Op::Open { path, options });
        if self.plant == Some(Plant::WriteNotAwaited) {
            self.tell(checkpoint, vec![Committable(name.clone().into_bytes())]);
        }
        self.work = Some(Work {
            checkpoint,
            name,
            bytes,
            stage: Stage::Opening,
            op,
        });
    }

    fn tell(&mut self, checkpoint: Option<CheckpointId>, committables: Vec<Committable>) {
        if checkpoint.is_none() && self.plant == Some(Plant::LastEpochNotTold) {
            return;
        }
        let files = Files(&committables);
        tracing::debug!(directory = %self.directory.display(), ?checkpoint, %files, "prepared");
        self.prepared.push_back(Prepared {
            checkpoint,
            committables,
            state: Vec::new(),
        });
    }

    /// Moves the epoch in work on; false while the disk is at work.
    fn advance(&mut self, context: &mut TurnContext<'_>) -> io::Result<bool> {
        let Some(work) = &mut self.work else {
            return Ok(true);
        };
        let outcome = match context.reactor().take(work.op) {
            None => return Ok(false),
            Some(outcome) => outcome?,
        };
        let next = match (work.stage, outcome) {
            (Stage::Opening, Outcome::Opened { file, .. }) => Stage::Writing(file, 0),
            (Stage::Writing(file, at), Outcome::Bytes { count, .. }) => {
                Stage::Writing(file, at + count)
            }
            (Stage::Syncing(_), _) => Stage::SyncingDirectory,
            (stage, _) => stage,
        };
        let op = match (work.stage, next) {
            (Stage::SyncingDirectory, _) => {
                let (checkpoint, name) = (work.checkpoint, std::mem::take(&mut work.name));
                self.work = None;
                if self.plant != Some(Plant::WriteNotAwaited) {
                    self.tell(checkpoint, vec![Committable(name.into_bytes())]);
                }
                return Ok(true);
            }
            (Stage::Syncing(file), _) => {
                let close = context.submit(Op::Close { file });
                context.reactor().cancel(close);
                let path = self.directory.clone();
                context.submit(Op::SyncDirectory { path })
            }
            (_, Stage::Writing(file, at)) if at < work.bytes.len() => context.submit(Op::Write {
                file,
                buffer: IoBuffer::from(work.bytes[at..].to_vec()),
                offset: at as u64,
            }),
            (_, Stage::Writing(file, _)) => {
                work.stage = Stage::Syncing(file);
                work.op = context.submit(Op::Sync { file });
                return Ok(false);
            }
            (_, _) => return Err(io::Error::other("the driver answered something else")),
        };
        work.stage = next;
        work.op = op;
        Ok(false)
    }
}

impl SinkWriter<String> for ShelfWriter {
    fn write(&mut self, line: String, _at: Timestamp) -> Result<(), SinkError> {
        self.lines.push(line);
        Ok(())
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        self.flushed = self.lines.len();
        if input == InputStatus::Ended && !std::mem::replace(&mut self.ended, true) {
            self.seal(None);
        }
        loop {
            let advanced = self.advance(context);
            let idle = advanced.map_err(|error| failed("write in", &self.directory, &error))?;
            if !idle {
                return Ok(SinkStatus::Waiting);
            }
            if self.sealed.is_empty() {
                return Ok(SinkStatus::Done);
            }
            self.begin(context);
        }
    }

    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        self.seal(Some(checkpoint));
        Ok(Epoch::Preparing)
    }

    fn prepared(&mut self) -> Option<Prepared> {
        self.prepared.pop_front()
    }
}

/// What was prepared, for the log.
struct Files<'a>(&'a [Committable]);

impl std::fmt::Display for Files<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter();
        let names = names.map(|Committable(name)| String::from_utf8_lossy(name).into_owned());
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

/// Renames what was prepared.
struct ShelfCommitter(Shelf);

impl ShelfCommitter {
    /// Where a pending file lies, and where it is visible.
    fn paths(&self, committable: &Committable) -> (PathBuf, PathBuf) {
        let name = String::from_utf8_lossy(&committable.0).into_owned();
        let directory = &self.0.directory;
        let visible = directory.join(name.trim_start_matches('.'));
        (directory.join(&name), visible)
    }

    fn publish(&self, pending: &Path, visible: &Path) -> Result<(), SinkError> {
        let Shelf { disk, plant, .. } = &self.0;
        let there = |path: &Path| {
            let there = disk.exists(path);
            there.map_err(|error| failed("look for", path, &error))
        };
        if *plant != Some(Plant::CommittedTwiceFails) && there(visible)? {
            return Ok(());
        }
        let forgives = [Plant::PendingSweptAtStart, Plant::PendingTimesOut].map(Some);
        if forgives.contains(plant) && !there(pending)? {
            return Ok(());
        }
        if *plant == Some(Plant::FailedCommitPassedOver) && pending.to_string_lossy().ends_with('0')
        {
            let error = io::Error::other("the transaction was aborted");
            return Err(failed("make visible", pending, &error));
        }
        let renamed = disk.rename_new(pending, visible);
        renamed.map_err(|error| failed("make visible", pending, &error))
    }
}

impl Committer for ShelfCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let Shelf {
            disk,
            directory,
            ledger,
            plant,
        } = &self.0;
        if *plant == Some(Plant::PendingTimesOut) {
            self.0.sweep_pending(TRANSACTION_TIMEOUT);
        }
        for committable in prepared {
            let (pending, visible) = self.paths(committable);
            match self.publish(&pending, &visible) {
                Err(error) if *plant == Some(Plant::FailedCommitPassedOver) => {
                    tracing::error!(%error, "passed over");
                }
                published => published?,
            }
        }
        if *plant != Some(Plant::CommitNotSynced) && !prepared.is_empty() {
            let synced = disk.sync_directory(directory);
            synced.map_err(|error| failed("make durable", directory, &error))?;
        }
        let files = Files(prepared);
        tracing::debug!(directory = %directory.display(), %files, "committed");
        let visible = prepared.iter().map(|committable| self.paths(committable).1);
        ledger.open().answered.extend(visible);
        Ok(())
    }

    fn rolls_back(&self) -> bool {
        true
    }

    fn roll_back(
        &mut self,
        prepared: &[Committable],
        _subtasks: &BTreeSet<u32>,
        _after: CheckpointId,
    ) -> Result<(), SinkError> {
        // No name is used twice, so what else was written stays hidden and in nobody's way.
        self.abort(prepared)
    }

    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let Shelf { disk, ledger, .. } = &self.0;
        let files = Files(prepared);
        tracing::debug!(directory = %self.0.directory.display(), %files, "withdrawn");
        for committable in prepared {
            let (pending, visible) = self.paths(committable);
            if disk.content(&visible).is_some() {
                let message = format!("{} was withdrawn and is visible", visible.display());
                ledger.open().wrong.push(message);
            }
            match disk.remove_file(&pending) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &pending, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
