//! What a failed attempt has left behind, removed by the attempt that was restored after it.
//!
//! A checkpoint remembers, for each writer, the mark of its attempt and the number of the next part: parts
//! from that number on belong to no completed checkpoint and never will. Driven on the shard of the restored
//! writer, one operation at a time. Invariants: nothing that a completed checkpoint lists is touched;
//! what cannot be removed is told and left, it stays hidden.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_core::seam::reactor::{DirectoryEntry, FileKind, Op, OpId, Outcome};
use thalweg_core::shard::step::TurnContext;

use super::target::{PartNumber, Target};

/// The first byte of an encoded [`WriterState`].
const VERSION: u8 = 1;

/// What a writer remembers at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriterState {
    pub(super) mark: u64,
    pub(super) subtask: u32,
    /// The number of the first part after the checkpoint.
    pub(super) next: u64,
}

impl WriterState {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.mark.to_le_bytes());
        bytes.extend_from_slice(&self.subtask.to_le_bytes());
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<WriterState> {
        let (&VERSION, rest) = bytes.split_first()? else {
            return None;
        };
        let (mark, rest) = rest.split_first_chunk()?;
        let (subtask, rest) = rest.split_first_chunk()?;
        let next = rest.try_into().ok()?;
        Some(WriterState {
            mark: u64::from_le_bytes(*mark),
            subtask: u32::from_le_bytes(*subtask),
            next: u64::from_le_bytes(next),
        })
    }

    /// Whether a part was begun after the checkpoint.
    fn left_behind(&self, part: PartNumber) -> bool {
        (part.mark, part.subtask) == (self.mark, self.subtask) && part.number >= self.next
    }
}

/// The removal of what was left behind.
pub(super) struct Leftovers {
    target: Arc<Target>,
    of: Vec<WriterState>,
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    under_way: Option<(PathBuf, OpId)>,
}

impl Leftovers {
    /// Looks for what these writers have left behind.
    pub(super) fn new(target: Arc<Target>, of: Vec<WriterState>) -> Self {
        let directories = match of.is_empty() {
            true => Vec::new(),
            false => vec![target.directory.clone()],
        };
        Self {
            target,
            of,
            directories,
            files: Vec::new(),
            under_way: None,
        }
    }

    /// Goes on; answers whether an operation is under way.
    pub(super) fn drive(&mut self, context: &mut TurnContext<'_>) -> bool {
        loop {
            if let Some((path, op)) = self.under_way.take() {
                match context.reactor().take(op) {
                    None => {
                        self.under_way = Some((path, op));
                        return true;
                    }
                    Some(Ok(Outcome::Listed(entries))) => self.take_in(&path, entries),
                    Some(Ok(_)) => {}
                    Some(Err(failure)) => {
                        let path = path.display();
                        let error = failure.error;
                        tracing::warn!(%path, %error, "what a failed attempt left behind stays, hidden");
                    }
                }
            }
            let (path, op) = if let Some(path) = self.files.pop() {
                (path.clone(), Op::Remove { path })
            } else if let Some(path) = self.directories.pop() {
                (path.clone(), Op::List { path })
            } else {
                return false;
            };
            self.under_way = Some((path, context.submit(op)));
        }
    }

    fn take_in(&mut self, directory: &Path, entries: Vec<DirectoryEntry>) {
        for DirectoryEntry { name, about } in entries {
            match about.kind {
                FileKind::File if self.left_behind(&name) => self.files.push(directory.join(name)),
                FileKind::Directory => self.directories.push(directory.join(name)),
                _ => {}
            }
        }
    }

    fn left_behind(&self, name: &OsStr) -> bool {
        let part = self.target.pending_part(name);
        part.is_some_and(|part| self.of.iter().any(|writer| writer.left_behind(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_writer_remembers_reads_back() {
        let state = WriterState {
            mark: 0xAB_CDEF,
            subtask: 7,
            next: 1 << 40,
        };
        let encoded = state.encode();
        assert_eq!(WriterState::decode(&encoded), Some(state));
        for cut in 0..encoded.len() {
            assert_eq!(WriterState::decode(&encoded[..cut]), None, "{cut}");
        }
        let longer = [&encoded[..], &[0]].concat();
        assert_eq!(WriterState::decode(&longer), None);
    }
}
