//! What stands beside a table that may overflow: its runs, and the work of moving entries out and back.
//!
//! Entered by the operator that owns both: for each record ahead and again before it is applied
//! ([`Overflow::seek`]), at the start of each turn ([`Overflow::begin_turn`]) and at its end
//! ([`Overflow::end_turn`]). Invariant: while nothing has overflowed and the table has room, nothing here is
//! entered but a check per batch. Lives on one shard's thread.

use std::ops::Range;
use std::rc::Rc;

use thalweg_core::shard::step::TurnContext;
use thalweg_core::{KeyGroup, KeyHash};
use thalweg_memory::spill::{IoDone, IoQueue};
use thalweg_memory::{BudgetExceeded, Key, Share, SpillError};

use super::ahead::{Ahead, First};
use super::flush::{Kept, Progress, ROUNDS, Round, Stride};
use super::gather::{Gathers, SoughtKey};
use super::graves::Graves;
use super::growth::Growth;
use super::hot::{HotLayer, Unit};
use super::keys::KeysInRuns;
use super::lookup::{Known, Lookups, Runs, Sought};
use super::merge::{Held, LeaveOut, Merged, Merging, plan};
use super::room::heap_bytes;
use super::run::{ColdRun, RunForm};
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::snapshot::Row;
use crate::table::{Account, Namespace, OverflowRows, WINDOW};

/// How much of a turn rounds and merges take, in ns.
const SHARE_NS: u64 = 100_000;
/// Rounds around the table in which nothing moved, after which the memory is too little.
const FRUITLESS: usize = 64;
/// Buckets that are moved between two looks at the clock.
const SETTLED: usize = 1_024;
/// Entries of keys that come back whole which are taken in at once: a key may have very many.
const TAKEN_IN: usize = 2_048;

/// Entries of timers that are due which may be sought at once.
pub const DUE: usize = 64;
/// Places of what is ahead: those of records, then those of timers.
pub(super) const PLACES: usize = WINDOW + DUE;

/// What the end of a turn has left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Nothing that anybody waits for.
    None,
    /// The disk is at work and will wake the task.
    Disk,
    /// More room can be made at once.
    MakingRoom,
}

/// The part of a table that is not in memory.
pub struct Overflow {
    pub(super) form: RunForm,
    pub(super) groups: Range<u16>,
    pub(super) share: Share,
    /// What runs, lookups and rounds hold of the memory.
    account: Account,
    pub(super) queue: IoQueue,
    pub(super) runs: Runs,
    pub(super) lookups: Lookups,
    pub(super) gathers: Gathers,
    rows: OverflowRows,
    pub(super) kept: Kept,
    pub(super) ahead: Ahead,
    pub(super) graves: Graves,
    /// Something has left memory, or was never there.
    spilled: bool,
    /// There is a copy, or was one.
    pub(super) was_copied: bool,
    /// In the sweep of the hand.
    next_round: usize,
    pub(super) round: Option<Round>,
    dropped: usize,
    pub(super) fruitless: usize,
    merging: Option<Merging>,
    /// What merges leave out.
    leave_out: Option<LeaveOut>,
    /// Copies hold some of that still and no run says that it is gone: no cut of changes may build on them. What
    /// comes again in its place would be new to the table, and so could go without a tombstone.
    pub(super) left_out: bool,
    /// The same before the cut in work, which writes everything.
    pub(super) left_out_before: bool,
    merge_bytes_per_second: u64,
    /// When the merge may go on, monotonic ns.
    merge_at: u64,
    /// Records wait for their entries or for room.
    pub(super) stalled: bool,
    /// What the last cut carried, until it is durable.
    pub(super) carried: Vec<Rc<ColdRun>>,
    /// Runs that were made meanwhile of what it carried.
    pub(super) made_of_carried: Vec<Rc<ColdRun>>,
    /// The last cut was beside the row of cuts.
    pub(super) beside: bool,
    /// What went wrong where it could not be told.
    pub(super) failed: Option<StateError>,
    /// What is sought, in memory that is used again.
    pub(super) sought: Sought,
    pub(super) sought_key: SoughtKey,
    pub(super) first: First,
    pub(super) growth: Growth,
    /// A walk over all keys that runs hold, of some key groups.
    pub(super) keys: Option<KeysInRuns>,
    /// Bytes of copies of keys that are visited.
    pub(super) copies: u64,
    /// What is ahead fills the memory: only what the first that waits needs is read and stays.
    pub(super) strained: bool,
}

impl Overflow {
    /// The overflow of a table of these key groups. Memory is shared with others by `share`; merges read at
    /// most `merge_bytes_per_second`.
    #[must_use]
    pub fn new(
        descriptor: StateDescriptor,
        groups: Range<u16>,
        share: Share,
        queue: IoQueue,
        merge_bytes_per_second: u64,
    ) -> Overflow {
        Overflow {
            account: Account::new(share.budget().clone()),
            form: RunForm {
                descriptor,
                unit: Unit::Entry,
            },
            groups,
            share,
            queue,
            runs: Runs::default(),
            lookups: Lookups::default(),
            rows: OverflowRows::new(),
            kept: Kept::new(Unit::Entry),
            gathers: Gathers::default(),
            sought_key: SoughtKey::default(),
            first: First::default(),
            growth: Growth::default(),
            keys: None,
            copies: 0,
            strained: false,
            ahead: Ahead::default(),
            graves: Graves::default(),
            spilled: false,
            was_copied: false,
            next_round: 0,
            round: None,
            dropped: 0,
            fruitless: 0,
            merging: None,
            leave_out: None,
            left_out: false,
            left_out_before: false,
            merge_bytes_per_second: merge_bytes_per_second.max(1),
            merge_at: 0,
            stalled: false,
            carried: Vec::new(),
            made_of_carried: Vec::new(),
            beside: false,
            failed: None,
            sought: Sought::default(),
        }
    }

    /// The same for a state whose entries leave and come back in another way.
    pub(crate) fn leaving_by(mut self, unit: Unit) -> Overflow {
        self.form.unit = unit;
        self.kept = Kept::new(unit);
        self
    }

    /// The description of the table's state.
    #[must_use]
    pub fn descriptor(&self) -> &StateDescriptor {
        &self.form.descriptor
    }

    /// Runs that hold entries.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.list.len()
    }

    /// Bytes of all runs.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.runs.list.iter().map(|run| run.bytes).sum()
    }

    /// Rows of all runs: an entry that was written several times has several.
    #[must_use]
    pub fn disk_rows(&self) -> u64 {
        self.runs.list.iter().map(|run| run.rows).sum()
    }

    /// Blocks read for entries that were not in memory, so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.lookups.reads + self.gathers.reads
    }

    /// Bytes of memory of the table and of what stands beside it.
    pub(crate) fn memory_bytes<T: HotLayer>(&self, table: &T) -> u64 {
        table.memory_bytes() + self.account.bytes()
    }

    /// An entry was removed that runs or copies may hold.
    pub(super) fn bury<K: Key, N: Namespace>(
        &mut self,
        (hash, group): (KeyHash, KeyGroup),
        key: &K::Of<'_>,
        namespace: &N,
    ) {
        let mut sought = Sought::default();
        sought.set::<K, N>(group.0, key, namespace);
        self.graves.dig(sought, hash);
    }

    /// An entry that is not in memory is to be nowhere: what runs may hold of it is not read, but said to be gone.
    pub(super) fn forget<K: Key, N: Namespace>(
        &mut self,
        (hash, group): (KeyHash, KeyGroup),
        key: &K::Of<'_>,
        namespace: &N,
    ) {
        debug_assert!(
            self.form.unit == Unit::Entry,
            "what a key has elsewhere tells which entries it has"
        );
        if self.runs.list.is_empty() {
            return;
        }
        self.sought.set::<K, N>(group.0, key, namespace);
        if self.graves.hold(&self.sought) {
            return;
        }
        let known = (self.lookups).look(&self.sought, &self.runs, &mut self.queue, false);
        if known == Known::Coming {
            self.lookups.give_up(&self.sought);
            self.graves.dig(self.sought.clone(), hash);
        }
    }

    /// Whether the disk keeps up with what is removed.
    pub(super) fn may_forget(&self) -> bool {
        !self.graves.are_too_many(self.share.limit())
    }

    /// Whether entries may be elsewhere than in memory.
    pub(super) fn has_spilled(&self) -> bool {
        self.spilled
    }

    /// From now on entries may be elsewhere than in memory.
    pub(super) fn spill_from_now_on<T: HotLayer>(&mut self, table: &mut T) {
        if !self.spilled {
            self.spilled = true;
            table.bury_elsewhere();
        }
    }

    /// Merges leave out what this says is over.
    pub(super) fn leave_out(&mut self, over: LeaveOut) {
        self.leave_out = Some(over);
    }

    /// Records wait for their entries, or for room: the end of the turn sees to it.
    pub(crate) fn stall(&mut self) {
        self.stalled = true;
    }

    /// A turn begins: takes in what the disk has read and written.
    ///
    /// # Errors
    /// What the disk could not do, and damage.
    pub(crate) fn begin_turn<T: HotLayer>(
        &mut self,
        table: &mut T,
        context: &mut TurnContext<'_>,
    ) -> Result<(), StateError> {
        self.growth.end(heap_bytes(table));
        if self.is_idle() {
            return Ok(());
        }
        self.stalled = false;
        self.queue.poll(context);
        while let Some((request, answer)) = self.queue.next_done() {
            self.answered(request, answer)?;
            // What rounds could not move they may move now.
            self.fruitless = 0;
        }
        self.admit_found(table)
    }

    /// Whether nothing is on its way and nothing waits.
    fn is_idle(&self) -> bool {
        let found = self.lookups.has_found() || self.gathers.has_found();
        let disk = self.queue.pending() == 0 && !found;
        let burial = self.graves.is_burying() || self.graves.are_many(self.share.limit());
        disk && !self.stalled && self.round.is_none() && self.merging.is_none() && !burial
    }

    fn answered(
        &mut self,
        request: thalweg_memory::spill::RequestId,
        answer: Result<IoDone, SpillError>,
    ) -> Result<(), StateError> {
        if let Some(round) = &mut self.round
            && round.answered(request, &answer)?
        {
            return Ok(());
        }
        if self.graves.answered(request, &answer)? {
            return Ok(());
        }
        let answer = match &mut self.merging {
            Some(merging) => merging.answered(request, answer)?,
            None => Some(answer),
        };
        let answer = match (answer, &mut self.keys) {
            (Some(answer), Some(keys)) => keys.answered(request, answer)?,
            (answer, _) => answer,
        };
        let Some(answer) = answer else {
            return Ok(());
        };
        if let IoDone::Read(block) = answer? {
            let (runs, queue) = (&self.runs, &mut self.queue);
            if !self.lookups.answered(request, &block, runs, queue)? {
                self.gathers.answered(request, &block, runs, queue)?;
            }
        }
        Ok(())
    }

    /// Takes what was found into the table, as far as there is room.
    fn admit_found<T: HotLayer>(&mut self, table: &mut T) -> Result<(), StateError> {
        while self.lookups.has_found() && self.has_room(table, 1) {
            if let Some((sought, value)) = self.lookups.take_found() {
                table.admit(&sought.row(&value), &mut self.rows)?;
            }
        }
        let mut left = TAKEN_IN;
        while left > 0 && self.gathers.has_found() && self.has_room(table, 1) {
            left -= 1;
            let rows = &mut self.rows;
            let mut admit = |row: &Row<'_>| table.admit(row, rows);
            if self.gathers.admit_next(&mut admit)? {
                continue;
            }
            let bytes = table.bytes_to_be_back(self.gathers.first_found());
            if bytes > self.share.budget().left() {
                break;
            }
            if let Some(found) = self.gathers.take_found() {
                let left = table.is_back(&mut found.places())?;
                for namespace in left {
                    let (group, key) = (found.sought.group, found.sought.key.clone());
                    let grave = Sought {
                        group,
                        key,
                        namespace,
                    };
                    self.graves.dig(grave, found.hash);
                }
            }
        }
        self.stalled |= self.lookups.has_found() || self.gathers.has_found();
        Ok(())
    }

    /// The turn ends: hands requests to the disk, makes room if there is little, merges what has become
    /// many.
    ///
    /// # Errors
    /// What the disk could not do; memory that is too little for the records in work.
    pub(crate) fn end_turn<T: HotLayer>(
        &mut self,
        table: &mut T,
        context: &mut TurnContext<'_>,
    ) -> Result<Pressure, StateError> {
        self.growth.end(heap_bytes(table));
        self.share.is_of(&context.waker());
        self.share.holds(self.memory_bytes(table));
        let spare = self.has_spare(table);
        self.strained &= self.stalled || !spare;
        let tight = self.stalled || !spare;
        if self.is_idle() && !tight {
            self.share.shrinks(false);
            return Ok(Pressure::None);
        }
        let until = context.reactor().now().saturating_add(SHARE_NS);
        let mut more = false;
        if self.graves.are_many(self.share.limit())
            && self.round.as_ref().is_none_or(|it| !it.is_unlisted())
        {
            self.bury_graves()?;
        }
        self.list_buried();
        if self.round.is_some() || tight && !self.has_spare(table) {
            more = self.make_room(table, until, context)?;
        }
        self.admit_found(table)?;
        if !more {
            self.merge(until, context)?;
        }
        self.follow_memory();
        self.share.holds(self.memory_bytes(table));
        self.share
            .claims(self.round.is_some() || !self.runs.list.is_empty());
        // One that finds nothing to move would let others wait for ever.
        let moves = self.round.is_some() && self.fruitless == 0;
        self.share.shrinks(moves || self.is_at_work());
        self.queue.poll(context);
        Ok(match self.stalled {
            _ if more => Pressure::MakingRoom,
            true if self.queue.pending() == 0 => Pressure::MakingRoom,
            true => Pressure::Disk,
            false => Pressure::None,
        })
    }

    /// Goes on with a round, or begins one; whether more can be done at once.
    fn make_room<T: HotLayer>(
        &mut self,
        table: &mut T,
        until: u64,
        context: &mut TurnContext<'_>,
    ) -> Result<bool, StateError> {
        while !table.settle(SETTLED) {
            if context.reactor().now() >= until {
                return Ok(true);
            }
        }
        if self.round.is_none() {
            if let Some(part) = self.surplus(table)
                && table.shrink(part)
            {
                self.fruitless = 0;
                return Ok(true);
            }
            if self.graves.is_burying() {
                return Ok(false);
            }
            self.spill_from_now_on(table);
            self.share.claims(true);
            self.kept.set_ahead(&self.ahead);
            let buckets = table.bucket_count();
            if self.next_round >= Stride::rounds_of(buckets) {
                self.next_round = 0;
            }
            if self.next_round == 0 {
                self.kept.begin_sweep();
            }
            self.round = Some(Round::new(
                self.next_round,
                buckets,
                &self.form,
                &self.queue,
            )?);
            self.dropped = 0;
        }
        let first = self.first.hash.unwrap_or(KeyHash(0));
        self.kept.keep_only(self.strained.then_some(first));
        loop {
            let Some(round) = &mut self.round else {
                return Ok(!self.has_spare(table) && self.fruitless <= FRUITLESS);
            };
            let disk = (&mut self.queue, &self.groups);
            let (kept, rows) = (&mut self.kept, &mut self.rows);
            let gone = (&mut self.dropped, &mut self.gathers);
            let graves = (&mut self.graves, self.was_copied);
            match round.advance(table, kept, rows, disk, graves, gone)? {
                Progress::More => {}
                Progress::Waiting => return Ok(false),
                Progress::Written(run) => {
                    self.list_run(run);
                    // Records that came meanwhile are ahead now.
                    self.kept.set_ahead(&self.ahead);
                }
                Progress::Done { moved } => self.end_round(table, moved)?,
            }
            if context.reactor().now() >= until {
                return Ok(true);
            }
        }
    }

    /// Writes what was removed to a run of tombstones.
    pub(super) fn bury_graves(&mut self) -> Result<(), StateError> {
        (self.graves).bury(&self.form, &self.groups, &mut self.queue)
    }

    /// Lists the burials that are on the disk. A round that is still to be listed is older than they.
    fn list_buried(&mut self) {
        let round = self.round.as_ref();
        if round.is_some_and(Round::is_unlisted) {
            return;
        }
        while let Some(run) = self.graves.take_buried() {
            self.list_run(run);
        }
    }

    /// A run is on the disk, younger than those that are listed.
    fn list_run(&mut self, run: Rc<ColdRun>) {
        self.lookups.forget_absent();
        self.runs.list.insert(0, run);
        self.runs.version += 1;
    }

    fn end_round<T: HotLayer>(&mut self, table: &T, moved: usize) -> Result<(), StateError> {
        if let Some(round) = self.round.take() {
            self.next_round = round.next();
        }
        // What a cut has still to write stays until then, and what came again until its grave is buried.
        let pinned = moved == 0 && self.graves.are_fresh();
        if pinned {
            self.bury_graves()?;
        }
        let waits = moved > 0 || pinned || table.is_cutting();
        self.fruitless = if waits { 0 } else { self.fruitless + 1 };
        // Several times around in vain: what is ahead is more than the memory holds at once.
        let of_many = self.form.unit.is_of_many();
        if of_many && self.stalled && !self.strained && self.fruitless > 3 * ROUNDS {
            (self.strained, self.fruitless) = (true, 0);
        }
        if self.fruitless > 0 {
            self.share.urge();
        }
        let hopeless = self.fruitless > FRUITLESS && !self.is_at_work();
        if hopeless && self.stalled && !self.share.others_shrink() {
            return Err(self.too_little(self.wants(table)));
        }
        Ok(())
    }

    fn too_little(&self, exceeded: BudgetExceeded) -> StateError {
        match self.form.unit.is_of_many() {
            false => StateError::TooLittleToSpill(exceeded),
            true => StateError::KeyTooLarge {
                state: self.form.descriptor.name().to_owned(),
                exceeded,
            },
        }
    }

    /// Whether something is on its way that changes how much memory there is: a merge, which gives back what it
    /// holds, and entries that are read, whose records then make place for others.
    fn is_at_work(&self) -> bool {
        self.merging.is_some() || self.queue.pending() > 0
    }

    /// A cut carries all runs that no copy holds: what is left out of them from here on, no copy is told.
    pub(super) fn runs_are_carried(&mut self) {
        let merging = self.merging.as_mut();
        let untold = merging.filter(|merging| merging.runs().iter().any(|run| !run.copied.get()));
        if untold.is_some_and(|merging| !merging.leave_out_no_more()) {
            // It begins again, as one of runs that are carried.
            self.merging = None;
        }
    }

    /// Goes on with a merge, or begins one where runs have become many.
    fn merge(&mut self, until: u64, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        if self.merging.is_none() {
            let cut = || self.carried.iter().chain(&self.made_of_carried);
            let in_cut = |run: &Rc<ColdRun>| !self.beside && cut().any(|it| Rc::ptr_eq(it, run));
            let held = |run: &Rc<ColdRun>| match run.copied.get() {
                true => Held::ByCopy,
                false if in_cut(run) => Held::ByCut,
                false => Held::No,
            };
            let Some(planned) = plan(&self.runs.list, held) else {
                return Ok(());
            };
            let below = planned.end < self.runs.list.len();
            let runs = self.runs.list[planned].to_vec();
            // A copy may hold entries that were never in a run.
            let untold = self.was_copied && !runs.iter().all(|run| run.copied.get());
            // What is over and that copies hold goes where all runs below are merged too, which is seldom: a cut of
            // everything has to follow.
            let tells = held(&runs[0]) == Held::No;
            let leave_out = (self.leave_out.as_ref()).filter(|_| tells || !(below || untold));
            let is_over = leave_out.map(|as_of_now| as_of_now());
            let (groups, queue) = (self.groups.clone(), &self.queue);
            let merging = Merging::new(runs, below || untold, groups, &self.form, queue)?;
            self.merging = Some(merging.without(is_over));
        }
        let mut now = context.reactor().now();
        // One whose memory is waited for does not spare the disk.
        if now < self.merge_at && self.fruitless <= FRUITLESS {
            context.wake_at(self.merge_at);
            return Ok(());
        }
        while now < until
            && let Some(merging) = &mut self.merging
        {
            match merging.advance(&mut self.queue)? {
                Merged::More => {}
                Merged::Waiting => return Ok(()),
                Merged::Asked(bytes) => {
                    let pause = u128::from(bytes) * 1_000_000_000;
                    let pause = pause / u128::from(self.merge_bytes_per_second);
                    let pause = u64::try_from(pause).unwrap_or(u64::MAX);
                    self.merge_at = now.max(self.merge_at).saturating_add(pause);
                    self.queue.poll(context);
                }
                Merged::Done(run) => self.put_merged(run),
            }
            now = context.reactor().now();
        }
        // There is more to do, and nothing else may wake the task for it.
        context.waker().wake();
        Ok(())
    }

    /// Puts a merged run in place of those it was made of.
    fn put_merged(&mut self, run: Rc<ColdRun>) {
        let Some(merging) = self.merging.take() else {
            return;
        };
        let inputs = merging.runs();
        let is_input = |run: &Rc<ColdRun>| inputs.iter().any(|input| Rc::ptr_eq(input, run));
        run.copied
            .set(inputs.iter().all(|input| input.copied.get()));
        self.left_out |= merging.has_left_out() && run.copied.get();
        let carried = self.carried.iter().chain(&self.made_of_carried);
        if carried.into_iter().any(is_input) {
            // What the cut carries is in this one: with the cut it becomes part of the copy.
            self.made_of_carried.push(Rc::clone(&run));
        }
        let first = self.runs.list.iter().position(is_input);
        self.runs.list.retain(|run| !is_input(run));
        self.runs.list.insert(first.unwrap_or(0), run);
        self.runs.version += 1;
    }

    /// Keeps the memory of what stands beside the table in the budget: what is missing there is owed, and
    /// the table shrinks for it.
    pub(super) fn follow_memory(&mut self) {
        let runs = self.runs.list.iter().map(|run| run.memory_bytes());
        let round = self.round.as_ref().map_or(0, Round::memory_bytes);
        let merging = self.merging.as_ref().map_or(0, Merging::memory_bytes);
        let keys = self.keys.as_ref().map_or(0, KeysInRuns::memory_bytes);
        let now = runs.sum::<u64>()
            + round
            + merging
            + keys
            + self.copies
            + self.lookups.memory_bytes()
            + self.gathers.memory_bytes()
            + self.graves.memory_bytes()
            + self.kept.memory_bytes();
        // Refused, it counts all the same.
        let before = self.account.bytes() as usize;
        let owed = self.account.follow(before, now as usize).is_err();
        self.stalled |= owed && (self.lookups.has_found() || self.gathers.has_found());
    }
}
