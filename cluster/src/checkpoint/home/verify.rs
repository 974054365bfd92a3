//! Looking at the files of a checkpoint, runs and records in flight: what they say they hold, and whether every
//! byte is right.
//!
//! Entered by the command that looks at checkpoints; blocking. Invariant: a file that passes is byte for byte
//! the one whose receipt is in the metadata.

use std::collections::BTreeMap;

use thalweg_dataflow::checkpoint::{FileDamage, check_file};
use thalweg_state::StateDescriptor;
use thalweg_state::run::{ReadAt, RunError, RunReader};

use super::find::Found;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::{CheckpointStorage, Location, StorageError};

/// What a run file says about one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// The name of the state.
    pub name: String,
    /// Kind, types and version, in words.
    pub description: String,
    /// Whether the run holds all there was of the state.
    pub full: bool,
}

/// What a run file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunContent {
    /// Its states.
    pub states: Vec<RunState>,
    /// Rows of all of them, tombstones included.
    pub rows: u64,
}

/// Why a run file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum RunProblem {
    /// It cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is damaged, or no run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It is no file of records in flight, or cannot be read.
    #[error(
        "{file} holds no records in flight: {damage}; put back the file from a copy, or restore another checkpoint"
    )]
    InFlight {
        /// The file.
        file: Location,
        /// What is wrong with it.
        damage: FileDamage,
    },
    /// It is whole, but not the one the checkpoint names.
    #[error(
        "{file} is whole, but not the one that was written: it has {} with checksum {:08x}, and should \
         have {} with {:08x}; put back the file from a copy, or restore another checkpoint",
        bytes(found.bytes), found.checksum, bytes(expected.bytes), expected.checksum
    )]
    Other {
        /// The file.
        file: Location,
        /// What it is.
        found: FileFacts,
        /// What it should be.
        expected: FileFacts,
    },
}

fn bytes(count: u64) -> String {
    format!("{count} bytes")
}

fn open(
    storage: &mut dyn CheckpointStorage,
    file: &Location,
) -> Result<(RunReader<Box<dyn ReadAt>>, u64), RunProblem> {
    let source = storage.open(file)?;
    let length = source.length();
    Ok((RunReader::open(file.to_string(), source)?, length))
}

/// Reads what a run file says about itself, and nothing else of it.
///
/// # Errors
/// When it cannot be opened or is no run.
pub fn content(
    storage: &mut dyn CheckpointStorage,
    file: &Location,
) -> Result<RunContent, RunProblem> {
    let (run, _) = open(storage, file)?;
    let states = run.states().iter().map(|state| RunState {
        name: state.name.clone(),
        description: match StateDescriptor::decode(&mut state.descriptor.as_slice()) {
            Ok(descriptor) => descriptor.to_string(),
            Err(error) => error.to_string(),
        },
        full: state.full,
    });
    Ok(RunContent {
        states: states.collect(),
        rows: run.rows(),
    })
}

/// Reads and checks every byte of a file of a checkpoint.
///
/// # Errors
/// What is wrong with it.
pub fn verify(
    storage: &mut dyn CheckpointStorage,
    file: &Location,
    expected: CheckpointFile,
) -> Result<(), RunProblem> {
    let CheckpointFile {
        facts: expected,
        kind,
    } = expected;
    let (bytes, checksum) = match kind {
        FileKind::Run => {
            let (run, length) = open(storage, file)?;
            (length, run.verify()?)
        }
        FileKind::InFlight => {
            let source = storage.open(file)?;
            check_file(&source).map_err(|damage| RunProblem::InFlight {
                file: file.clone(),
                damage,
            })?
        }
    };
    let found = FileFacts { bytes, checksum };
    if found == expected {
        return Ok(());
    }
    Err(RunProblem::Other {
        file: file.clone(),
        found,
        expected,
    })
}

/// What is in a file of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Rows of state.
    Run,
    /// Records that barriers overtook.
    InFlight,
}

/// A file of a checkpoint: what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Length and checksum.
    pub facts: FileFacts,
    /// What is in it.
    pub kind: FileKind,
}

/// The files of a checkpoint, each with what it must be.
#[must_use]
pub fn files(found: &Found) -> BTreeMap<Location, CheckpointFile> {
    let in_flight = &found.metadata.in_flight;
    let kind_of = |name: &str| match in_flight.iter().any(|file| file.file == name) {
        true => FileKind::InFlight,
        false => FileKind::Run,
    };
    let files = found.metadata.files().into_iter();
    files
        .map(|(name, facts)| {
            let kind = kind_of(name);
            (found.runs.child(name), CheckpointFile { facts, kind })
        })
        .collect()
}
