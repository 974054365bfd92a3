//! The bytes of a metadata file, versions 1 to 3.
//!
//! All numbers are little-endian; a *text* is UTF-8 of at most 64 KiB behind its length in 32 bits; a *list*
//! is its count in 32 bits and its entries.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `THALWEGC` |
//! | 4 | format version |
//! | 8 | length of the body |
//! | 4 | CRC-32C of the 20 bytes before |
//! | … | the body |
//! | 4 | CRC-32C of the body |
//!
//! The first 24 bytes are the same in every version to come. The body of version 1:
//!
//! | what | how |
//! |---|---|
//! | job | 128 bits, text (its name) |
//! | checkpoint | 64 bits |
//! | kind | 8 bits: 0 checkpoint, 1 savepoint |
//! | started | 64 bits, signed: ms since 1970 |
//! | version of the key hash | 16 bits |
//! | vertices | list of: id 32 bits, name text, parallelism 32, max parallelism 32, list of finished subtasks 32, list of operators |
//! | operator | id 64 bits, name text, list of: subtask 32, list of runs, list of parts |
//! | run | file text, length 64, CRC-32C 32, rows 64, first group 16, group after the last 16, full 8 |
//! | part | name text, redistribution 8 (0 split, 1 union, 2 broadcast), list of items: each a length in 32 bits and bytes |
//! | committables | list of: checkpoint 64, operator 64, subtask 32, length 32 and bytes |
//!
//! Version 2 is the same with the records in flight at its end (`in_flight`). Version 3 is version 2, with or without
//! any of those, and behind each run 8 bits more: 1 where it counts for one state only, whose number in the file
//! follows in 16 bits, else 0. The lowest version that says all is written, so that older releases read it.
//!
//! Where the runs lie follows from the kind: those of a checkpoint in the directory `shared` beside its own,
//! those of a savepoint beside the metadata.
//!
//! Pure functions, callable from any thread. Invariant: damage of any kind is an error; nothing here panics or
//! allocates beyond the size of its input.

use crc32c::crc32c;
use thalweg_core::ids::{CheckpointId, JobId, OperatorId, VertexId};
use thalweg_core::key_group::{KEY_HASH_VERSION, MaxParallelism};
use thalweg_state::run::StateNumber;
use thalweg_state::snapshot::{OperatorPart, Redistribution, RunHandle};

use super::bytes::{Reader, Refusal, Writer};
use super::in_flight;
use super::model::{
    CheckpointKind, CheckpointMetadata, OperatorState, PendingCommittable, SubtaskState,
    VertexState,
};
use crate::checkpoint::storage::is_plain_name;

/// The newest version: with runs that count for one state only.
pub const FORMAT_VERSION: u32 = 3;
/// The version with records in flight.
const MOVING_VERSION: u32 = 2;
/// The version without.
const STILL_VERSION: u32 = 1;

/// The lowest version that says all.
fn version_of(metadata: &CheckpointMetadata) -> u32 {
    match metadata.in_flight.is_empty() {
        _ if metadata.runs().any(|run| run.only.is_some()) => FORMAT_VERSION,
        true => STILL_VERSION,
        false => MOVING_VERSION,
    }
}

/// The longest metadata that is written or read: 256 MiB.
pub const MAX_BYTES: u64 = 256 << 20;

const MAGIC: &[u8; 8] = b"THALWEGC";
const HEADER: usize = 24;

/// Why bytes are no metadata, or content cannot be written as metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The file does not begin as metadata does.
    #[error("this is no metadata of a checkpoint: it does not begin with THALWEGC; check the path")]
    Foreign,
    /// The file ends within its first bytes.
    #[error("the metadata is cut off after {0} bytes; take an older checkpoint")]
    NoHeader(usize),
    /// The first bytes are damaged.
    #[error(
        "the first {HEADER} bytes of the metadata are damaged (checksum {found:08x}, expected {expected:08x}); \
         take an older checkpoint"
    )]
    DamagedHeader {
        /// The checksum in the file.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// Another release wrote it.
    #[error(
        "the metadata has format version {found}, this release reads up to {FORMAT_VERSION}: use the release \
         that wrote it, or a newer one"
    )]
    OtherVersion {
        /// The version in the file.
        found: u32,
    },
    /// Another release wrote it, which deals keys to key groups in another way.
    #[error(
        "keys were hashed by version {found}, this release hashes by {KEY_HASH_VERSION}: use the release that \
         wrote it"
    )]
    OtherHash {
        /// The version in the file.
        found: u16,
    },
    /// The file is shorter or longer than it says.
    #[error("the metadata should have {expected} bytes and has {found}; take an older checkpoint")]
    Length {
        /// What the header says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The body is damaged.
    #[error(
        "the metadata is damaged (checksum {found:08x}, expected {expected:08x}); take an older checkpoint"
    )]
    Damaged {
        /// The checksum in the file.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// The body is whole but says something that cannot be.
    #[error(
        "the metadata makes no sense at byte {offset}: {what}; it was not written by this engine"
    )]
    Malformed {
        /// Where.
        offset: usize,
        /// What.
        what: String,
    },
    /// There is too much to write.
    #[error("the checkpoint cannot be written down: {0}")]
    TooLarge(String),
}

impl MetadataError {
    /// Whether nothing is wrong with the bytes but that another release wrote them.
    #[must_use]
    pub fn is_of_other_release(&self) -> bool {
        matches!(
            self,
            MetadataError::OtherVersion { .. } | MetadataError::OtherHash { .. }
        )
    }
}

/// Writes metadata as bytes.
///
/// # Errors
/// [`MetadataError::TooLarge`] when a name, a list or the whole is beyond what the format holds.
pub fn encode(metadata: &CheckpointMetadata) -> Result<Vec<u8>, MetadataError> {
    let version = version_of(metadata);
    let body = body(metadata, version).map_err(MetadataError::TooLarge)?;
    if body.len() as u64 > MAX_BYTES {
        let what = format!("{} bytes, {MAX_BYTES} may be", body.len());
        return Err(MetadataError::TooLarge(what));
    }
    let mut file = Writer {
        bytes: Vec::with_capacity(HEADER + body.len() + 4),
    };
    file.bytes.extend_from_slice(MAGIC);
    file.u32(version);
    file.u64(body.len() as u64);
    file.u32(crc32c(&file.bytes));
    file.bytes.extend_from_slice(&body);
    file.u32(crc32c(&body));
    Ok(file.bytes)
}

fn body(metadata: &CheckpointMetadata, version: u32) -> Result<Vec<u8>, String> {
    let mut to = Writer::default();
    to.u128(metadata.job.0);
    to.text(&metadata.job_name)?;
    to.u64(metadata.checkpoint.0);
    to.u8(match metadata.kind {
        CheckpointKind::Checkpoint => 0,
        CheckpointKind::Savepoint => 1,
    });
    to.u64(metadata.started_ms.cast_unsigned());
    to.u16(KEY_HASH_VERSION);
    to.count(metadata.vertices.len())?;
    for vertex in &metadata.vertices {
        write_vertex(&mut to, vertex, version)?;
    }
    to.count(metadata.committables.len())?;
    for committable in &metadata.committables {
        to.u64(committable.checkpoint.0);
        to.u64(committable.operator.0);
        to.u32(committable.subtask);
        to.blob(&committable.bytes)?;
    }
    if version >= MOVING_VERSION {
        in_flight::write(&mut to, &metadata.in_flight)?;
    }
    Ok(to.bytes)
}

fn write_vertex(to: &mut Writer, vertex: &VertexState, version: u32) -> Result<(), String> {
    to.u32(vertex.vertex.0);
    to.text(&vertex.name)?;
    to.u32(vertex.parallelism);
    to.u32(vertex.max_parallelism);
    to.count(vertex.finished.len())?;
    vertex.finished.iter().for_each(|subtask| to.u32(*subtask));
    to.count(vertex.operators.len())?;
    for operator in &vertex.operators {
        to.u64(operator.operator.0);
        to.text(&operator.name)?;
        to.count(operator.subtasks.len())?;
        for subtask in &operator.subtasks {
            write_subtask(to, subtask, version)?;
        }
    }
    Ok(())
}

fn write_subtask(to: &mut Writer, subtask: &SubtaskState, version: u32) -> Result<(), String> {
    to.u32(subtask.subtask);
    to.count(subtask.runs.len())?;
    for run in &subtask.runs {
        to.text(&run.file)?;
        to.u64(run.bytes);
        to.u32(run.checksum);
        to.u64(run.rows);
        to.u16(run.groups.start);
        to.u16(run.groups.end);
        to.u8(u8::from(run.full));
        if version >= FORMAT_VERSION {
            to.u8(u8::from(run.only.is_some()));
            run.only.into_iter().for_each(|state| to.u16(state.0));
        }
    }
    to.count(subtask.parts.len())?;
    for part in &subtask.parts {
        to.text(&part.name)?;
        to.u8(match part.redistribution {
            Redistribution::Split => 0,
            Redistribution::Union => 1,
            Redistribution::Broadcast => 2,
        });
        to.count(part.items.len())?;
        for item in &part.items {
            to.blob(item)?;
        }
    }
    Ok(())
}

/// Reads metadata.
///
/// # Errors
/// What is wrong with the bytes; see [`MetadataError`].
pub fn decode(file: &[u8]) -> Result<CheckpointMetadata, MetadataError> {
    let (version, body) = checked_body(file)?;
    match read_body(version, body) {
        Ok(Body::Read(metadata)) => Ok(metadata),
        Ok(Body::OtherHash(found)) => Err(MetadataError::OtherHash { found }),
        Err(Refusal { offset, what }) => Err(MetadataError::Malformed { offset, what }),
    }
}

/// What is in a body that is whole.
enum Body {
    Read(CheckpointMetadata),
    /// Keys were hashed by this version, not by that of this release.
    OtherHash(u16),
}

/// Version and body, once header, version, length and checksums are what they should be.
fn checked_body(file: &[u8]) -> Result<(u32, &[u8]), MetadataError> {
    if !file.starts_with(&MAGIC[..file.len().min(MAGIC.len())]) {
        return Err(MetadataError::Foreign);
    }
    let Some((header, rest)) = file.split_at_checked(HEADER) else {
        return Err(MetadataError::NoHeader(file.len()));
    };
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (expected, found) = (number(HEADER - 4), crc32c(&header[..HEADER - 4]));
    if expected != found {
        return Err(MetadataError::DamagedHeader { expected, found });
    }
    let version = number(8);
    if !(STILL_VERSION..=FORMAT_VERSION).contains(&version) {
        return Err(MetadataError::OtherVersion { found: version });
    }
    let length = u64::from(number(12)) | u64::from(number(16)) << 32;
    let expected = length.saturating_add(HEADER as u64 + 4);
    if file.len() as u64 != expected {
        return Err(MetadataError::Length {
            expected,
            found: file.len() as u64,
        });
    }
    let Some((body, checksum)) = rest.split_last_chunk() else {
        return Err(MetadataError::NoHeader(file.len()));
    };
    let (expected, found) = (u32::from_le_bytes(*checksum), crc32c(body));
    if expected != found {
        return Err(MetadataError::Damaged { expected, found });
    }
    Ok((version, body))
}

fn read_body(version: u32, body: &[u8]) -> Result<Body, Refusal> {
    let mut from = Reader::new(body, HEADER);
    let job = JobId(from.u128()?);
    let job_name = from.text()?;
    let checkpoint = CheckpointId(from.u64()?);
    let kind = match from.u8()? {
        0 => CheckpointKind::Checkpoint,
        1 => CheckpointKind::Savepoint,
        other => return from.refuse(format!("there is no kind {other}")),
    };
    let started_ms = from.u64()?.cast_signed();
    let hash = from.u16()?;
    if hash != KEY_HASH_VERSION {
        return Ok(Body::OtherHash(hash));
    }
    let vertices = from.list(20, |from| read_vertex(from, version))?;
    let committables = from.list(24, |from| {
        Ok(PendingCommittable {
            checkpoint: CheckpointId(from.u64()?),
            operator: OperatorId(from.u64()?),
            subtask: from.u32()?,
            bytes: from.blob()?,
        })
    })?;
    let in_flight = match version {
        STILL_VERSION => Vec::new(),
        _ => in_flight::read(&mut from)?,
    };
    from.end()?;
    if !ascending(vertices.iter().map(|vertex| vertex.vertex)) {
        return from.refuse("vertices are not in order");
    }
    let mut operators: Vec<OperatorId> = (vertices.iter())
        .flat_map(|vertex| vertex.operators.iter().map(|operator| operator.operator))
        .collect();
    operators.sort_unstable();
    if let Some(pair) = operators.windows(2).find(|pair| pair[0] == pair[1]) {
        return from.refuse(format!("operator {} is there twice", pair[0]));
    }
    let metadata = CheckpointMetadata {
        job,
        job_name,
        checkpoint,
        kind,
        started_ms,
        vertices,
        committables,
        in_flight,
    };
    match version_of(&metadata) {
        lowest if lowest == version => Ok(Body::Read(metadata)),
        lowest => from.refuse(format!(
            "version {version} says no more than version {lowest}"
        )),
    }
}

fn ascending<T: PartialOrd>(values: impl Iterator<Item = T> + Clone) -> bool {
    values.clone().zip(values.skip(1)).all(|(a, b)| a < b)
}

fn read_vertex(from: &mut Reader<'_>, version: u32) -> Result<VertexState, Refusal> {
    let vertex = VertexId(from.u32()?);
    let name = from.text()?;
    let parallelism = from.u32()?;
    let max_parallelism = from.u32()?;
    if !(1..=MaxParallelism::LIMIT).contains(&max_parallelism)
        || !(1..=max_parallelism).contains(&parallelism)
    {
        return from.refuse(format!(
            "a parallelism of {parallelism} and at most {max_parallelism} cannot be"
        ));
    }
    let finished = from.list(4, Reader::u32)?;
    let within = finished.last().is_none_or(|last| *last < parallelism);
    if !within || !ascending(finished.iter()) {
        return from.refuse("finished subtasks are not in order or beyond the parallelism");
    }
    let operators = from.list(16, |from| {
        read_operator(from, version, (parallelism, max_parallelism))
    })?;
    Ok(VertexState {
        vertex,
        name,
        parallelism,
        max_parallelism,
        finished,
        operators,
    })
}

fn read_operator(
    from: &mut Reader<'_>,
    version: u32,
    (parallelism, groups): (u32, u32),
) -> Result<OperatorState, Refusal> {
    let operator = OperatorId(from.u64()?);
    let name = from.text()?;
    let subtasks = from.list(12, |from| {
        Ok(SubtaskState {
            subtask: from.u32()?,
            runs: from.list(29, |from| read_run(from, version, groups))?,
            parts: from.list(9, read_part)?,
        })
    })?;
    let within = subtasks
        .last()
        .is_none_or(|last| last.subtask < parallelism);
    if !within || !ascending(subtasks.iter().map(|state| state.subtask)) {
        return from.refuse("subtasks are not in order or beyond the parallelism");
    }
    Ok(OperatorState {
        operator,
        name,
        subtasks,
    })
}

fn read_run(from: &mut Reader<'_>, version: u32, groups: u32) -> Result<RunHandle, Refusal> {
    let file = from.text()?;
    if !is_plain_name(&file) {
        return from.refuse(format!("{file:?} is no plain file name"));
    }
    let run = RunHandle {
        file,
        bytes: from.u64()?,
        checksum: from.u32()?,
        rows: from.u64()?,
        groups: from.u16()?..from.u16()?,
        full: from.flag()?,
        only: match version >= FORMAT_VERSION && from.flag()? {
            true => Some(StateNumber(from.u16()?)),
            false => None,
        },
    };
    if run.groups.start > run.groups.end || u32::from(run.groups.end) > groups {
        return from.refuse(format!("key groups {:?} of {groups} cannot be", run.groups));
    }
    Ok(run)
}

fn read_part(from: &mut Reader<'_>) -> Result<OperatorPart, Refusal> {
    Ok(OperatorPart {
        name: from.text()?,
        redistribution: match from.u8()? {
            0 => Redistribution::Split,
            1 => Redistribution::Union,
            2 => Redistribution::Broadcast,
            other => return from.refuse(format!("there is no redistribution {other}")),
        },
        items: from.list(4, Reader::blob)?,
    })
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
