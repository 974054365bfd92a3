//! Entries read back: which are asked for, and what became of them.
//!
//! Entered for each record whose entry is not in memory, and with each block that was read. Invariants: of
//! one entry at most one block is asked for at a time, from the newest run to the oldest; while an entry is
//! looked for it is not in memory, so no new run can hold it. Lives on one shard's thread.

use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg_core::KeyGroup;
use thalweg_memory::Key;
use thalweg_memory::spill::{IoQueue, RequestId};

use super::index::{BlockPlace, InBlock};
use super::run::ColdRun;
use crate::error::StateError;
use crate::run::{Address, filter_hash};
use crate::snapshot::Row;
use crate::table::Namespace;

/// Bytes of a block, about.
const BLOCK_BYTES: u64 = 5 << 10;

/// What an entry is looked for by.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sought {
    pub(super) group: u16,
    pub(super) key: Vec<u8>,
    pub(super) namespace: Vec<u8>,
}

impl Sought {
    /// The entry of a row.
    pub(super) fn of(row: &Row<'_>) -> Sought {
        Sought {
            group: row.group.0,
            key: row.key.to_vec(),
            namespace: row.namespace.to_vec(),
        }
    }

    /// Looks for another one, in memory that is used again.
    pub(super) fn set<K: Key, N: Namespace>(&mut self, group: u16, key: &K::Of<'_>, namespace: &N) {
        self.group = group;
        self.key.clear();
        self.namespace.clear();
        K::encode(key, &mut self.key);
        namespace.encode(&mut self.namespace);
    }

    /// Looks for the entry of a row, in memory that is used again.
    pub(super) fn set_row(&mut self, row: &Row<'_>) {
        self.group = row.group.0;
        self.key.clear();
        self.key.extend_from_slice(row.key);
        self.namespace.clear();
        self.namespace.extend_from_slice(row.namespace);
    }

    /// Bytes of key and namespace.
    pub(super) fn heap_bytes(&self) -> u64 {
        (self.key.capacity() + self.namespace.capacity()) as u64
    }

    fn address(&self, run: &ColdRun) -> Address<'_> {
        Address {
            state: run.state.0,
            group: KeyGroup(self.group),
            key: &self.key,
            namespace: &self.namespace,
        }
    }

    pub(super) fn row<'a>(&'a self, value: &'a [u8]) -> Row<'a> {
        Row {
            group: KeyGroup(self.group),
            key: &self.key,
            namespace: &self.namespace,
            value: Some(value),
        }
    }
}

/// Where the looking for an entry stands.
enum Standing {
    /// A block of this run was asked for.
    Reading {
        run: Rc<ColdRun>,
        place: BlockPlace,
        /// The list of runs it was found in.
        version: u64,
        /// The run has a tombstone of it: only a put in the same run still counts.
        gone: bool,
    },
    /// It is there, and waits for room in memory.
    Found,
    /// No run held it, though a filter had left it possible; known until the next run comes.
    Absent,
}

/// What is known of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// No run holds it.
    Absent,
    /// It is being read, or waits for room.
    Coming,
}

/// The cold runs of a table, newest first.
#[derive(Default)]
pub(super) struct Runs {
    pub(super) list: Vec<Rc<ColdRun>>,
    /// Counts changes of the list.
    pub(super) version: u64,
}

/// The entries of a table that are being looked for.
#[derive(Default)]
pub(super) struct Lookups {
    standing: BTreeMap<Sought, Standing>,
    asked: BTreeMap<RequestId, Sought>,
    /// Found, with their values.
    found: Vec<(Sought, Vec<u8>)>,
    /// Blocks read so far.
    pub(super) reads: u64,
}

impl Lookups {
    /// Bytes of what is being read, about.
    pub(super) fn memory_bytes(&self) -> u64 {
        let found = self.found.iter().map(|(_, value)| value.capacity() as u64);
        let each = size_of::<(Sought, Standing)>() as u64 + 64;
        found.sum::<u64>()
            + self.standing.len() as u64 * each
            + self.asked.len() as u64 * BLOCK_BYTES
    }

    /// How many entries are being read.
    pub(super) fn asked(&self) -> usize {
        self.asked.len()
    }

    /// Bytes of the blocks that are read, and of what was found in them, about.
    pub(super) fn coming_bytes(&self) -> u64 {
        (self.asked.len() + self.found.len()) as u64 * BLOCK_BYTES
    }

    /// What is known of an entry that is not in memory; asks for it where it may be in a run, if `may_ask`.
    pub(super) fn look(
        &mut self,
        sought: &Sought,
        runs: &Runs,
        queue: &mut IoQueue,
        may_ask: bool,
    ) -> Known {
        match self.standing.get(sought) {
            Some(Standing::Absent) => Known::Absent,
            Some(Standing::Reading { .. } | Standing::Found) => Known::Coming,
            None => match first_block(sought, runs, None) {
                None => Known::Absent,
                Some(at) => {
                    if may_ask {
                        self.ask(sought.clone(), at, (runs.version, false), queue);
                    }
                    Known::Coming
                }
            },
        }
    }

    fn ask(
        &mut self,
        sought: Sought,
        (run, place): (Rc<ColdRun>, BlockPlace),
        (version, gone): (u64, bool),
        queue: &mut IoQueue,
    ) {
        let request = queue.read(&run.file, place.offset, place.length as usize);
        self.reads += 1;
        self.asked.insert(request, sought.clone());
        let reading = Standing::Reading {
            run,
            place,
            version,
            gone,
        };
        self.standing.insert(sought, reading);
    }

    /// Takes a block in, if it was asked for here; whether it was.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        block: &[u8],
        runs: &Runs,
        queue: &mut IoQueue,
    ) -> Result<bool, StateError> {
        let Some(sought) = self.asked.remove(&request) else {
            return Ok(false);
        };
        let Some(Standing::Reading {
            run,
            place,
            version,
            gone,
        }) = self.standing.remove(&sought)
        else {
            unreachable!("what was asked for is being read");
        };
        let found = run.index.look(place, block, sought.address(&run));
        let found = found.map_err(|(at, what)| run.damaged(place, at, what))?;
        let gone = gone || found == InBlock::Tombstone;
        let next = match found {
            InBlock::Put(value) => {
                self.found.push((sought.clone(), value.to_vec()));
                self.standing.insert(sought, Standing::Found);
                return Ok(true);
            }
            InBlock::Tombstone | InBlock::Absent if gone => {
                let address = sought.address(&run);
                let hash = filter_hash(run.state.0, &sought.key, &sought.namespace);
                let place = run.block_of(address, hash, place.nth + 1);
                place.map(|place| (Rc::clone(&run), place))
            }
            // Runs that were merged meanwhile are looked through from the start.
            _ if version != runs.version => first_block(&sought, runs, None),
            _ => first_block(&sought, runs, Some((&run, place))),
        };
        match next {
            Some(at) => self.ask(sought, at, (runs.version, gone), queue),
            None => drop(self.standing.insert(sought, Standing::Absent)),
        }
        Ok(true)
    }

    /// An entry is not looked for any more, as it was removed: what is read of it must not come back.
    pub(super) fn give_up(&mut self, sought: &Sought) {
        match self.standing.remove(sought) {
            Some(Standing::Reading { .. }) => self.asked.retain(|_, asked| asked != sought),
            Some(Standing::Found) => self.found.retain(|(found, _)| found != sought),
            Some(Standing::Absent) | None => {}
        }
    }

    /// Entries move to a new run: what was absent from those before may be in it.
    pub(super) fn forget_absent(&mut self) {
        (self.standing).retain(|_, standing| !matches!(standing, Standing::Absent));
    }

    /// Whether something found waits for room.
    pub(super) fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// Takes one entry that was found.
    pub(super) fn take_found(&mut self) -> Option<(Sought, Vec<u8>)> {
        let (sought, value) = self.found.pop()?;
        self.standing.remove(&sought);
        Some((sought, value))
    }
}

/// The first block in which an entry may be, behind one in which it is not.
fn first_block(
    sought: &Sought,
    runs: &Runs,
    behind: Option<(&Rc<ColdRun>, BlockPlace)>,
) -> Option<(Rc<ColdRun>, BlockPlace)> {
    let mut from = 0;
    let mut start = 0;
    if let Some((run, place)) = behind {
        start = (runs.list.iter()).position(|other| Rc::ptr_eq(other, run))?;
        from = place.nth + 1;
    }
    for run in &runs.list[start..] {
        let address = sought.address(run);
        let hash = filter_hash(run.state.0, &sought.key, &sought.namespace);
        if let Some(place) = run.block_of(address, hash, from) {
            return Some((Rc::clone(run), place));
        }
        from = 0;
    }
    None
}
