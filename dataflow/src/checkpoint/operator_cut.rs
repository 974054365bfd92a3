//! The cut of one operator: its keyed states frozen at a barrier, written out between turns.
//!
//! Owned by the frame of the operator. Invariants: one cut at a time (the frame holds the next barrier until
//! the last cut is written); the runs of the chain together are the state at the last cut that became
//! durable; what the chain has a copy of is not copied again, and what it has left out it does not name again; a run
//! belongs to the operator, not to its checkpoint, so one that was written for a checkpoint
//! that failed elsewhere is part of the next; only the run of a savepoint belongs to it alone. Lives on one shard's thread.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use thalweg_core::Epoch;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_network::{Barrier, BarrierKind};
use thalweg_state::run::{RunError, RunOptions, RunSummary, RunWriter, StateHeader, StateNumber};
use thalweg_state::{
    CarriedRun, CutKind, RunHandle, Scan, Snapshot, StateDescriptor, StateError, StateVisitor,
};

use super::answers::TaskAnswers;
use super::broadcast_cut::{self, BroadcastCut};
use super::carry::{Carry, Copies};
use super::chain::Chain;
use super::pace::Pace;
use super::planted::{CrashPoint, Defect};
use super::setup::CheckpointSetup;
use super::upload::{Upload, Uploading};
use crate::function::ListsOfStage;
use crate::task::{BuildContext, BuildError};

/// Rows written between two looks at the clock.
const SLICE_ROWS: usize = 128;
/// Bytes that go to the disk at once.
const CHUNK_BYTES: usize = 128 << 10;

/// An operator with state that checkpoints copy.
pub(crate) trait Remembers: 'static {
    /// Shows every keyed state, timers included, always in the same order. An operator without any shows
    /// nothing.
    ///
    /// # Errors
    /// What the visitor answers.
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError>;

    /// Shows every state that is the same in all subtasks, always in the same order.
    ///
    /// # Errors
    /// What the visitor answers.
    fn visit_broadcast(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        let _ = visitor;
        Ok(())
    }

    /// The lists of its subtask, if its function may declare any.
    fn lists(&mut self) -> Option<&mut ListsOfStage> {
        None
    }
}

/// How far the cut of an operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cutting {
    /// None is being written.
    Idle,
    /// More rows can be written at once.
    More,
    /// The disk is at work and will wake the task.
    Waiting,
}

/// The cuts of one operator.
pub(crate) struct OperatorCut {
    answers: TaskAnswers,
    place: usize,
    /// The key groups of the subtask.
    groups: Range<u16>,
    /// What the state was at the last durable cut.
    chain: Chain,
    /// As what runs on disk are in the chain.
    copies: Copies,
    work: Option<Work>,
}

/// A cut on its way to the disk.
struct Work {
    checkpoint: CheckpointId,
    /// It stands beside the chain of runs and does not become a part of it.
    copy: bool,
    /// All of its states are full.
    full: bool,
    /// Some of its states are.
    any_full: bool,
    file: String,
    /// All of the state is in memory that is to be there.
    is_whole: bool,
    broadcast: BroadcastCut,
    /// When its first rows were written.
    begun_ns: Option<u64>,
    pace: Pace,
    /// None once all rows are in.
    writer: Option<RunWriter>,
    /// The state whose rows come next.
    state: u16,
    states: u16,
    upload: Upload,
    summary: Option<RunSummary>,
    /// The rows are durable, or there were none.
    rows_done: Option<bool>,
    carry: Carry,
    /// It carries runs.
    carries: bool,
}

impl OperatorCut {
    /// The cuts of the operator at this place of the chain; gives it back what it was restored from.
    pub(crate) fn open(
        operator: &mut impl Remembers,
        place: usize,
        context: &BuildContext,
    ) -> Result<Self, BuildError> {
        let answers = context.answers();
        let (mut chain, mut copies) = (Vec::new(), Copies::new());
        if let Some((restored, from)) = context.restored(place) {
            let given = restored.give_back(&from.runs, |visitor| operator.visit_states(visitor));
            given.map_err(|refusal| context.state_refused(place, refusal))?;
            answers.passes(CrashPoint::GivenBack);
            broadcast_cut::give_back(operator, &from.parts, restored.allow_unclaimed)
                .map_err(|refusal| context.state_refused(place, refusal))?;
            if restored.keeps_files {
                chain = from.runs.clone();
                let lies = |run: &RunHandle| Some((restored.files.path(run)?, run.file.clone()));
                copies = chain.iter().filter_map(lies).collect();
            }
        }
        let info = context.info();
        Ok(Self {
            answers,
            place,
            groups: info.max_parallelism.range(info.index, info.parallelism),
            chain: Chain::restored(chain),
            copies,
            work: None,
        })
    }

    /// Where the operator answers checkpoints.
    pub(crate) fn answers(&self) -> &TaskAnswers {
        &self.answers
    }

    /// Whether a cut is being written.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// A barrier has come: freezes every state.
    pub(crate) fn begin(
        &mut self,
        operator: &mut impl Remembers,
        barrier: Barrier,
    ) -> Result<(), CutError> {
        debug_assert!(self.work.is_none(), "one cut at a time");
        let Some(setup) = self.answers.setup() else {
            return Ok(());
        };
        let Some(id) = self.answers.operator(self.place) else {
            return Ok(());
        };
        let kind = self.kind_with(operator, self.kind_of(barrier.kind))?;
        let copy = kind == CutKind::Copy;
        let mut freezer = Freezer {
            epoch: Epoch(barrier.checkpoint.0),
            kind,
            writer: RunWriter::new(RunOptions::default()),
            states: 0,
            full: true,
            any_full: false,
            carried: Vec::new(),
            refused: None,
        };
        operator.visit_states(&mut freezer)?;
        if let Some(refused) = freezer.refused {
            return Err(refused.into());
        }
        let broadcast = BroadcastCut::freeze(operator, Epoch(barrier.checkpoint.0), kind)?;
        if freezer.states == 0 && broadcast.is_empty() {
            return Ok(());
        }
        self.answers.passes(CrashPoint::Frozen);
        let (checkpoint, subtask) = (barrier.checkpoint, self.answers.subtask());
        let name = (
            format!("{id}-{subtask}"),
            format!("{}-{}", setup.attempt, checkpoint.0),
        );
        let file = format!("{}-{}.run", name.0, name.1);
        let carries = !freezer.carried.is_empty();
        if self.answers.has_defect(Defect::RunLeftBehind) {
            freezer.carried.pop();
        }
        let synced = !self.answers.has_defect(Defect::CopyNotSynced);
        // The files of a savepoint are its own: they go when they are where it was to be.
        let copies = match copy {
            true => Copies::new(),
            false => self.copies.clone(),
        };
        let carry = Carry::new(freezer.carried, copies, &setup.directory, (name, synced));
        self.answers.open_piece(checkpoint);
        let upload = self.upload_to(setup, &file);
        self.work = Some(Work {
            checkpoint,
            copy,
            full: freezer.full,
            any_full: freezer.any_full,
            is_whole: false,
            broadcast,
            begun_ns: None,
            pace: Pace::default(),
            writer: Some(freezer.writer),
            state: 0,
            states: freezer.states,
            upload,
            summary: None,
            file,
            rows_done: None,
            carry,
            carries,
        });
        Ok(())
    }

    /// The way of the rows to a file.
    fn upload_to(&self, setup: &CheckpointSetup, file: &str) -> Upload {
        let upload = Upload::new(setup.directory.join(file));
        let upload = upload.telling(setup.crash_points.clone());
        match self.answers.has_defect(Defect::StateNotSynced) {
            true => upload.without_sync(),
            false => upload,
        }
    }

    /// The same, unless a state has to begin anew that carries runs.
    fn kind_with(&self, operator: &mut impl Remembers, kind: CutKind) -> Result<CutKind, CutError> {
        let mut anew = false;
        operator.visit_states(&mut |_: &StateDescriptor, state: &mut dyn Snapshot| {
            anew |= state.begins_anew();
            Ok(())
        })?;
        Ok(match kind {
            CutKind::Changes if anew => CutKind::Everything,
            kind => kind,
        })
    }

    /// What this cut has to write. A chain whose changes outgrew what they change is begun anew.
    fn kind_of(&self, barrier: BarrierKind) -> CutKind {
        match barrier {
            BarrierKind::Everything => return CutKind::Everything,
            BarrierKind::Copy => return CutKind::Copy,
            BarrierKind::Changes => {}
        }
        match self.chain.is_outgrown() {
            true => CutKind::Everything,
            false => CutKind::Changes,
        }
    }

    /// Writes more of the cut, for a share of the turn.
    pub(crate) fn advance(
        &mut self,
        operator: &mut impl Remembers,
        context: &mut TurnContext<'_>,
    ) -> Result<Cutting, CutError> {
        let Some(work) = &mut self.work else {
            return Ok(Cutting::Idle);
        };
        if !work.is_whole {
            work.is_whole = !is_coming_back(operator)?;
            if !work.is_whole {
                return Ok(Cutting::Waiting);
            }
        }
        let emitted = work.emit(operator, context)?;
        let written = match work.write(context) {
            Ok(Some(written)) => written,
            Ok(None) if emitted == Scan::More && !work.upload.is_full() => {
                return Ok(Cutting::More);
            }
            Ok(None) => return Ok(Cutting::Waiting),
            Err(error) => {
                self.give_up(operator, &error)?;
                return Ok(Cutting::Idle);
            }
        };
        if work.carries {
            // Later cuts count from here.
            operator.visit_states(&mut |_: &StateDescriptor, state: &mut dyn Snapshot| {
                state.cut_durable();
                Ok(())
            })?;
        }
        self.conclude(context, written);
        Ok(Cutting::Idle)
    }

    /// The cut is durable, or there was nothing to write.
    fn conclude(&mut self, context: &mut TurnContext<'_>, (written, carried): Written) {
        let Some(work) = self.work.take() else { return };
        self.answers.passes(CrashPoint::StateDurable);
        let run = work.summary.filter(|_| written).map(|summary| RunHandle {
            file: work.file,
            bytes: summary.bytes,
            checksum: summary.checksum,
            rows: summary.rows(),
            groups: self.groups.clone(),
            full: work.full && !work.carries,
            only: None,
        });
        let new: Vec<RunHandle> = run.into_iter().chain(carried).collect();
        // A file that counts for several states was written once.
        let fresh = new.iter().filter(|run| !self.chain.names(&run.file));
        let files: BTreeMap<_, _> = fresh.map(|run| (&run.file, run.bytes)).collect();
        let bytes = files.into_values().sum();
        let runs = match work.copy {
            true => new,
            false => {
                self.copies = work.carry.into_copies();
                let runs = self.chain.with(new, work.full);
                self.copies.retain(|_, file| self.chain.names(file));
                runs
            }
        };
        let now = context.reactor().now();
        let took = now.saturating_sub(work.begun_ns.unwrap_or(now));
        for part in work.broadcast.into_parts() {
            self.answers.add_part(work.checkpoint, self.place, part);
        }
        self.answers
            .add_runs(work.checkpoint, self.place, runs, bytes, took);
        self.answers.close_piece(work.checkpoint);
    }

    /// The cut cannot be written: what was in it counts as changed again.
    fn give_up(
        &mut self,
        operator: &mut impl Remembers,
        error: &io::Error,
    ) -> Result<(), StateError> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        let mut failed = |_: &StateDescriptor, state: &mut dyn Snapshot| {
            state.cut_failed();
            Ok(())
        };
        operator.visit_states(&mut failed)?;
        operator.visit_broadcast(&mut failed)?;
        let mend = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ": free space in the directory of execution.checkpointing.dir"
            }
            _ => "",
        };
        let file = &work.file;
        let reason = format!("the state file {file} could not be written: {error}{mend}");
        self.answers.decline(work.checkpoint, reason);
        self.answers.close_piece(work.checkpoint);
        Ok(())
    }
}

/// Whether state of the operator is still on its way into memory.
fn is_coming_back(operator: &mut impl Remembers) -> Result<bool, StateError> {
    let mut coming = false;
    operator.visit_states(&mut |_: &StateDescriptor, state: &mut dyn Snapshot| {
        coming |= state.is_coming_back();
        Ok(())
    })?;
    Ok(coming)
}

/// Whether the rows of a cut are a run of their own, and the runs it carries.
type Written = (bool, Vec<RunHandle>);

impl Work {
    /// Moves what goes to the disk on; answers when all of it is durable.
    fn write(&mut self, context: &mut TurnContext<'_>) -> io::Result<Option<Written>> {
        if self.rows_done.is_none() {
            if self.says_nothing() {
                self.rows_done = Some(false);
            } else if self.upload.poll(context)? == Uploading::Durable {
                self.rows_done = Some(true);
            }
        }
        let Some(rows) = self.rows_done else {
            return Ok(None);
        };
        let carried = self.carry.poll(context)?;
        Ok(carried.map(|carried| (rows, carried)))
    }

    /// Whether a run of it would tell nothing: no row, and no state that is full and so empty now, unless all
    /// are, which the end of the chain says as well.
    fn says_nothing(&self) -> bool {
        let no_rows = (self.summary.as_ref()).is_some_and(|summary| summary.rows() == 0);
        no_rows && (self.full || !self.any_full)
    }

    /// Writes rows for a share of the turn, as long as the disk keeps up.
    fn emit(
        &mut self,
        operator: &mut impl Remembers,
        context: &mut TurnContext<'_>,
    ) -> Result<Scan, CutError> {
        let now = context.reactor().now();
        self.begun_ns.get_or_insert(now);
        let records = now.saturating_sub(context.now());
        let until = now.saturating_add(self.pace.share(records));
        let emitted = self.emit_until(until, operator, context);
        let ended = context.reactor().now();
        self.pace.took(ended.saturating_sub(now));
        emitted
    }

    fn emit_until(
        &mut self,
        until: u64,
        operator: &mut impl Remembers,
        context: &mut TurnContext<'_>,
    ) -> Result<Scan, CutError> {
        while self.broadcast.emit(operator)? == Scan::More {
            if context.reactor().now() >= until {
                return Ok(Scan::More);
            }
        }
        while let Some(writer) = &mut self.writer {
            if self.upload.is_full() {
                return Ok(Scan::More);
            }
            if self.state == self.states {
                self.seal()?;
                break;
            }
            let mut emitter = Emitter {
                writer,
                at: self.state,
                shown: 0,
                scan: Scan::More,
                refused: None,
            };
            operator.visit_states(&mut emitter)?;
            if let Some(refused) = emitter.refused {
                return Err(refused.into());
            }
            self.state += u16::from(emitter.scan == Scan::Done);
            if writer.ready() >= CHUNK_BYTES {
                self.upload.push(writer.take_output());
            }
            if context.reactor().now() >= until {
                return Ok(Scan::More);
            }
        }
        Ok(Scan::Done)
    }

    /// All rows are in.
    fn seal(&mut self) -> Result<(), RunError> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let (last, summary) = writer.finish()?;
        self.upload.push(last);
        self.upload.complete();
        self.summary = Some(summary);
        Ok(())
    }
}

/// A state that cannot be cut or written: fails the task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CutError {
    #[error("{0}")]
    State(#[from] StateError),
    #[error("{0}")]
    Run(#[from] RunError),
}

struct Freezer {
    epoch: Epoch,
    kind: CutKind,
    writer: RunWriter,
    states: u16,
    full: bool,
    any_full: bool,
    carried: Vec<CarriedRun>,
    refused: Option<RunError>,
}

impl StateVisitor for Freezer {
    fn visit(
        &mut self,
        descriptor: &StateDescriptor,
        state: &mut dyn Snapshot,
    ) -> Result<(), StateError> {
        let full = state.freeze(self.epoch, self.kind).is_full();
        self.full &= full;
        let carried = state.carried();
        // What is carried lies below the rows, and counts.
        let alone = full && carried.is_empty();
        self.any_full |= alone;
        self.carried.extend(carried);
        self.states += 1;
        let mut described = Vec::new();
        descriptor.encode(&mut described);
        let header = StateHeader {
            name: descriptor.name().to_owned(),
            descriptor: described,
            full: alone,
        };
        let declared = match descriptor.is_sought_by_key() {
            true => self.writer.declare_known_by_key(header),
            false => self.writer.declare(header),
        };
        if let Err(refused) = declared {
            self.refused.get_or_insert(refused);
        }
        Ok(())
    }
}

struct Emitter<'w> {
    writer: &'w mut RunWriter,
    at: u16,
    shown: u16,
    scan: Scan,
    refused: Option<RunError>,
}

impl StateVisitor for Emitter<'_> {
    fn visit(
        &mut self,
        _descriptor: &StateDescriptor,
        state: &mut dyn Snapshot,
    ) -> Result<(), StateError> {
        let here = self.shown == self.at;
        self.shown += 1;
        if !here {
            return Ok(());
        }
        match self.writer.rows_of(StateNumber(self.at)) {
            Ok(mut rows) => self.scan = state.emit(SLICE_ROWS, &mut rows)?,
            Err(refused) => self.refused = Some(refused),
        }
        Ok(())
    }
}
