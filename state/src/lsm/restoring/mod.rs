//! State that is taken back while its operator is already at work.
//!
//! Entered through a [`LayeredTable`](super::LayeredTable) whose state is to be in memory as a whole, and was restored
//! from much: for each record ahead until all of it is there, and at the starts and ends of turns. All rows of the
//! copy's runs come into the table one after the other in the background, those of the newest run first; what a record
//! needs before its turn is read at once. Invariants: an entry that is in memory is newer than what runs say of it; one
//! that was removed does not come back; nothing is written to disk, and no run made. A cut waits with its rows until all
//! are there, so none is complete with damage in it that nobody has seen yet. Lives on one shard's thread.

mod one_by_one;

use std::collections::BTreeSet;
use std::ops::Range;

use thalweg_core::shard::step::TurnContext;
use thalweg_core::{KeyGroup, KeyHash};
use thalweg_memory::spill::{IoDone, IoQueue, RequestId};
use thalweg_memory::{Budget, Key, Record, SpillError};

use self::one_by_one::OneByOne;
use super::cut::AdoptedRun;
use super::lookup::{Known, Lookups, Runs, Sought};
use super::overflow::Pressure;
use super::pile::Reading;
use crate::error::StateError;
use crate::snapshot::Row;
use crate::table::{Account, KeyedTable, Namespace, OverflowRows};

/// How much of a turn is spent on rows that come back, in ns: about as much as on records, which are slow as long as this
/// lasts.
const SHARE_NS: u64 = 200_000;
/// Entries that are read for records at once, at most. To read one takes as long as to take twenty in that come in their
/// order: with more of them all would be back much later.
const MOST_LOOKUPS: usize = 16;
/// Rows taken in between two looks at the clock.
const SLICE_ROWS: usize = 256;

/// What of a state is not in memory yet.
pub struct Restoring {
    groups: Range<u16>,
    /// Copies of fewer bytes are taken back before the operator begins.
    from_bytes: u64,
    /// Memory of what stands beside the table meanwhile.
    account: Account,
    queue: IoQueue,
    runs: Runs,
    /// Bytes of what tells where in the runs an entry may be.
    index_bytes: u64,
    lookups: Lookups,
    /// The way of all rows into memory. None before there are runs, and once all rows are there.
    walk: Option<OneByOne>,
    removed: Removed,
    buried: Buried,
    rows: OverflowRows,
    /// What is sought, in memory that is used again.
    sought: Sought,
}

/// Entries that were removed before their rows came back.
#[derive(Default)]
struct Removed {
    entries: BTreeSet<Sought>,
    /// Bytes of keys and namespaces.
    bytes: u64,
}

impl Removed {
    fn insert(&mut self, sought: Sought) {
        let bytes = sought.heap_bytes();
        if self.entries.insert(sought) {
            self.bytes += bytes;
        }
    }

    fn memory_bytes(&self) -> u64 {
        self.bytes + (self.entries.len() * size_of::<Sought>()) as u64
    }
}

/// What runs that were gone through say is gone, of the key groups in work: older runs may hold it.
#[derive(Default)]
struct Buried {
    /// The age of the run in work.
    age: usize,
    /// By newer ones.
    gone: BTreeSet<Sought>,
    /// By this one, which may hold a value of it as well.
    going: BTreeSet<Sought>,
}

impl Buried {
    /// The rows of a run follow.
    fn come_to(&mut self, age: usize) {
        if age == self.age {
            return;
        }
        if age < self.age {
            // Other key groups.
            self.gone.clear();
            self.going.clear();
        }
        self.gone.append(&mut self.going);
        self.age = age;
    }

    fn memory_bytes(&self) -> u64 {
        ((self.gone.len() + self.going.len()) * size_of::<Sought>()) as u64
    }
}

impl Restoring {
    /// For a state of these key groups: copies of so many bytes and more are taken back while the operator works. What
    /// is needed beside the table is taken from `budget`; `queue` reads.
    #[must_use]
    pub fn new(groups: Range<u16>, from_bytes: u64, budget: Budget, queue: IoQueue) -> Restoring {
        Restoring {
            groups,
            from_bytes,
            account: Account::new(budget),
            queue,
            runs: Runs::default(),
            index_bytes: 0,
            lookups: Lookups::default(),
            walk: None,
            removed: Removed::default(),
            buried: Buried::default(),
            rows: OverflowRows::new(),
            sought: Sought::default(),
        }
    }

    /// Whether a copy of so many bytes is taken back while the operator works.
    pub(super) fn takes(&self, bytes: u64) -> bool {
        bytes >= self.from_bytes
    }

    /// Takes runs of a copy over, newest first.
    pub(super) fn adopt(&mut self, runs: Vec<AdoptedRun>) {
        let manager = self.queue.files().clone();
        let adopted = runs.into_iter().map(|run| run.into_cold(&manager));
        self.runs.list = adopted.collect();
        for run in &self.runs.list {
            // Opened at once: its owner may remove it.
            self.queue.read(&run.file, 0, 0);
        }
        self.index_bytes = self.runs.list.iter().map(|run| run.memory_bytes()).sum();
        self.walk = Some(OneByOne::new(self.runs.list.clone(), &self.groups));
        self.follow_memory();
    }

    /// Whether rows are still on their way, so that entries have to be sought before they are worked on.
    pub(super) fn is_active(&self) -> bool {
        self.walk.is_some()
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_over(&self) -> bool {
        self.walk.is_none() && self.queue.pending() == 0
    }

    /// Bytes of memory beside the table.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.account.bytes()
    }

    /// Seeks an entry: whether it is in memory, or nowhere. Otherwise it is read.
    #[inline]
    pub(super) fn seek<K: Key, V: Record, N: Namespace>(
        &mut self,
        table: &mut KeyedTable<K, V, N>,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> bool {
        let Some(walk) = &self.walk else {
            return true;
        };
        if table.slot_of(hash, key, namespace).is_some() {
            return true;
        }
        let group = table.group_of(hash).0;
        if walk.has_passed(group) {
            return true;
        }
        self.sought.set::<K, N>(group, key, namespace);
        if self.removed.entries.contains(&self.sought) {
            return true;
        }
        let may_ask = self.lookups.asked() < MOST_LOOKUPS;
        let known = (self.lookups).look(&self.sought, &self.runs, &mut self.queue, may_ask);
        known == Known::Absent
    }

    /// An entry was removed that runs may hold.
    pub(super) fn remove<K: Key, N: Namespace>(
        &mut self,
        group: KeyGroup,
        key: &K::Of<'_>,
        namespace: &N,
    ) {
        let Some(walk) = &self.walk else {
            return;
        };
        let mut sought = Sought::default();
        sought.set::<K, N>(group.0, key, namespace);
        // It may have come with the walk while it was read for a record.
        self.lookups.give_up(&sought);
        if !walk.has_passed(group.0) {
            self.removed.insert(sought);
        }
    }

    /// A turn begins: takes in what the disk has read.
    pub(super) fn begin_turn<K: Key, V: Record, N: Namespace>(
        &mut self,
        table: &mut KeyedTable<K, V, N>,
        context: &mut TurnContext<'_>,
    ) -> Result<(), StateError> {
        self.queue.poll(context);
        while let Some((request, answer)) = self.queue.next_done() {
            self.answered(request, answer)?;
        }
        let until = context.reactor().now().saturating_add(SHARE_NS);
        self.admit_found(table, until, context)
    }

    /// Takes in what was read for records. Each may be the first in its page of memory, so they may take long.
    fn admit_found<K: Key, V: Record, N: Namespace>(
        &mut self,
        table: &mut KeyedTable<K, V, N>,
        until: u64,
        context: &mut TurnContext<'_>,
    ) -> Result<(), StateError> {
        while let Some((sought, value)) = self.lookups.take_found() {
            table.admit_late(&sought.row(&value), &mut self.rows)?;
            if context.reactor().now() >= until {
                break;
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        request: RequestId,
        answer: Result<IoDone, SpillError>,
    ) -> Result<(), StateError> {
        let answer = match &mut self.walk {
            Some(walk) => walk.answered(request, answer)?,
            None => Some(answer),
        };
        if let Some(answer) = answer
            && let IoDone::Read(block) = answer?
        {
            (self.lookups).answered(request, &block, &self.runs, &mut self.queue)?;
        }
        Ok(())
    }

    /// The turn ends: takes more rows in, hands requests to the disk. `waiting`: a record waits for its entry.
    pub(super) fn end_turn<K: Key, V: Record, N: Namespace>(
        &mut self,
        table: &mut KeyedTable<K, V, N>,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let until = context.reactor().now().saturating_add(SHARE_NS);
        self.admit_found(table, until, context)?;
        let mut reading = Reading::More;
        while reading == Reading::More && context.reactor().now() < until {
            reading = self.take_in(table)?;
        }
        match reading {
            // Nothing else may wake the task for it.
            Reading::More => context.waker().wake(),
            Reading::Waiting => {}
            Reading::Done => {
                self.end();
                // A cut may have waited for this.
                context.waker().wake();
            }
        }
        self.follow_memory();
        self.queue.poll(context);
        let reading = match self.lookups.has_found() {
            true => Reading::More,
            false => reading,
        };
        Ok(match (waiting, reading) {
            (true, Reading::Waiting) => Pressure::Disk,
            (true, Reading::More | Reading::Done) => Pressure::MakingRoom,
            (false, _) => Pressure::None,
        })
    }

    /// Takes some rows into the table.
    fn take_in<K: Key, V: Record, N: Namespace>(
        &mut self,
        table: &mut KeyedTable<K, V, N>,
    ) -> Result<Reading, StateError> {
        let Some(walk) = &mut self.walk else {
            return Ok(Reading::Done);
        };
        let (removed, buried) = (&self.removed.entries, &mut self.buried);
        let (sought, rows) = (&mut self.sought, &mut self.rows);
        let oldest = self.runs.list.len().saturating_sub(1);
        walk.advance(&mut self.queue, SLICE_ROWS, &mut |row: &Row<'_>, age| {
            buried.come_to(age);
            if row.is_tombstone() {
                // Below the oldest there is nothing to hide.
                if age < oldest {
                    buried.going.insert(Sought::of(row));
                }
                return Ok(());
            }
            if !(removed.is_empty() && buried.gone.is_empty()) {
                sought.set_row(row);
                if removed.contains(sought) || buried.gone.contains(sought) {
                    return Ok(());
                }
            }
            table.admit_late(row, rows)
        })
    }

    /// All rows are in memory. What is still being read for records is there too.
    fn end(&mut self) {
        self.walk = None;
        self.lookups = Lookups::default();
        self.runs = Runs::default();
        self.index_bytes = 0;
        self.removed = Removed::default();
        self.buried = Buried::default();
    }

    /// Keeps the memory of what stands beside the table in the budget: refused, it counts all the same.
    fn follow_memory(&mut self) {
        let walk = self.walk.as_ref().map_or(0, OneByOne::memory_bytes);
        let gone = self.removed.memory_bytes() + self.buried.memory_bytes();
        let beside = self.lookups.memory_bytes() + gone;
        let now = self.index_bytes + walk + beside;
        let before = self.account.bytes() as usize;
        let _ = self.account.follow(before, now as usize);
    }
}
