//! Entries that were removed while runs hold them: remembered until a run says that they are gone.
//!
//! Entered where an entry is removed, where one is looked for that is not in memory, and at the ends of turns.
//! What was removed lately is in memory; when that is much, and at each cut, it is
//! *buried*: written to a run of tombstones. Invariants: what is in a grave is nowhere below; a burial is
//! younger than the round at work, and none begins while one is on its way, so runs lie in the order in
//! which they came to be. Lives on one shard's thread.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use thalweg_core::{KeyGroup, KeyHash};
use thalweg_memory::SpillError;
use thalweg_memory::spill::{BulkWriter, IoDone, IoQueue, RequestId};

use super::lookup::Sought;
use super::run::{ColdRun, RunForm, finish, fresh, writer_of};
use crate::error::StateError;
use crate::run::StateNumber;
use crate::snapshot::{Row, RowSink};

/// The part of its memory that a table gives to graves before they are buried: one in so many.
const SHARE: u64 = 16;
/// Bytes that any table may give to them.
const FEW_BYTES: u64 = 32 << 10;
/// Bytes written at once.
const PIECE_BYTES: usize = 256 << 10;

/// What was removed, and no run that is listed says so.
#[derive(Default)]
pub(super) struct Graves {
    fresh: BTreeSet<Sought>,
    /// Hashes of the keys in `fresh`.
    hashes: BTreeSet<KeyHash>,
    /// Runs of tombstones on their way to the disk, the oldest first.
    burials: VecDeque<Burial>,
    /// Bytes of keys and namespaces.
    bytes: u64,
}

struct Burial {
    graves: BTreeSet<Sought>,
    bytes: u64,
    file: BulkWriter,
    run: Rc<ColdRun>,
}

impl Graves {
    /// An entry with this hash of its key was removed.
    pub(super) fn dig(&mut self, sought: Sought, hash: KeyHash) {
        let bytes = sought.heap_bytes();
        if self.fresh.insert(sought) {
            self.bytes += bytes;
            self.hashes.insert(hash);
        }
    }

    /// Whether an entry was removed, and what runs hold of it is no more.
    pub(super) fn hold(&self, sought: &Sought) -> bool {
        let buried = |burial: &Burial| burial.graves.contains(sought);
        self.fresh.contains(sought) || self.burials.iter().any(buried)
    }

    /// Whether an entry of a key with this hash may have been removed and be in no burial yet. If it has come
    /// again it stays in memory until it is: a run holds a key once.
    pub(super) fn may_name(&self, hash: KeyHash) -> bool {
        self.hashes.contains(&hash)
    }

    /// The namespaces of the graves of a key.
    pub(super) fn of_key(&self, group: u16, key: &[u8]) -> Vec<Vec<u8>> {
        let first = Sought {
            group,
            key: key.to_vec(),
            namespace: Vec::new(),
        };
        let sets = self.burials.iter().map(|burial| &burial.graves);
        let of_key = |grave: &&Sought| grave.group == group && grave.key == key;
        (sets.chain([&self.fresh]))
            .flat_map(|graves| graves.range(&first..).take_while(of_key))
            .map(|grave| grave.namespace.clone())
            .collect()
    }

    /// The graves of some key groups.
    pub(super) fn of_groups(&self, groups: &Range<u16>) -> BTreeSet<Sought> {
        let first_of = |group| Sought {
            group,
            ..Sought::default()
        };
        let (first, behind) = (first_of(groups.start), first_of(groups.end));
        let sets = self.burials.iter().map(|burial| &burial.graves);
        (sets.chain([&self.fresh]))
            .flat_map(|graves| graves.range(&first..&behind))
            .cloned()
            .collect()
    }

    /// Whether there are some that no burial holds.
    pub(super) fn are_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Whether there are so many for a table of so many bytes that they should be buried.
    pub(super) fn are_many(&self, limit: u64) -> bool {
        self.fresh_bytes() > (limit / SHARE).max(FEW_BYTES)
    }

    /// Whether the disk is so far behind that no more should be dug.
    pub(super) fn are_too_many(&self, limit: u64) -> bool {
        self.is_burying() && self.memory_bytes() > (limit / 4).max(4 * FEW_BYTES)
    }

    fn fresh_bytes(&self) -> u64 {
        let each = size_of::<Sought>() + size_of::<KeyHash>();
        self.bytes + (self.fresh.len() * each) as u64
    }

    /// Whether a burial is on its way.
    pub(super) fn is_burying(&self) -> bool {
        !self.burials.is_empty()
    }

    /// Bytes of memory, about.
    pub(super) fn memory_bytes(&self) -> u64 {
        let buried = self.burials.iter().map(|burial| {
            let each = (size_of::<Sought>() as u64) * burial.graves.len() as u64;
            burial.bytes + each + burial.run.memory_bytes()
        });
        self.fresh_bytes() + buried.sum::<u64>()
    }

    /// Writes what is in no burial yet to a run of its own.
    pub(super) fn bury(
        &mut self,
        form: &RunForm,
        groups: &Range<u16>,
        queue: &mut IoQueue,
    ) -> Result<(), StateError> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let graves = std::mem::take(&mut self.fresh);
        self.hashes.clear();
        let mut writer = writer_of(form, true, fresh())?;
        let mut rows = writer.rows_of(StateNumber(0))?;
        for grave in &graves {
            rows.row(Row {
                group: KeyGroup(grave.group),
                key: &grave.key,
                namespace: &grave.namespace,
                value: None,
            });
        }
        let mut file = BulkWriter::new(queue.files().file(), PIECE_BYTES);
        let run = finish(writer, &mut file, queue, groups)?;
        self.burials.push_back(Burial {
            graves,
            bytes: std::mem::take(&mut self.bytes),
            file,
            run,
        });
        Ok(())
    }

    /// Takes an answer of the disk; whether it was one of a burial's.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        answer: &Result<IoDone, SpillError>,
    ) -> Result<bool, StateError> {
        for burial in &mut self.burials {
            if burial.file.answered(request, answer)? {
                // A cut that carries it looks before it is listed.
                burial.run.written.set(burial.file.is_written());
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The oldest burial, once it is on the disk: to be listed before the next one is taken.
    pub(super) fn take_buried(&mut self) -> Option<Rc<ColdRun>> {
        let burial = (self.burials).pop_front_if(|burial| burial.file.is_written())?;
        Some(burial.run)
    }

    /// The runs of burials on their way, the newest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Rc<ColdRun>> {
        self.burials.iter().rev().map(|burial| &burial.run)
    }
}
