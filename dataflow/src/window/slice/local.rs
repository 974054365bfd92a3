//! Records gathered by key and slice in the producing subtask, before the exchange.
//!
//! The stage stands where the chain's border would: records go into a small table, and what was
//! gathered leaves as partial results when the table is full, before a watermark that promises its
//! slices, before any other event, when there is no more input for now, and at the end. Where keys
//! hardly repeat the stage notices and lets records pass as partial results of one.
//!
//! Invariants: nothing held back is overtaken by a watermark that promises its time, by idleness or by
//! a barrier; giving out is resumable: what is on its way out stands in a line, the stage is not ready
//! until the line is empty, and what comes meanwhile stands behind. Lives on the shard of its subtask.

use std::collections::VecDeque;
use std::rc::Rc;

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::panic::FusedScope;
use thalweg_memory::record::{Item, Key, KeyValue, Wire};
use thalweg_memory::{Budget, Mark};
use thalweg_network::Event;

use super::aligned::AlignedWindows;
use super::gathered::{Gathered, MOST_BYTES};
use super::operator::without_time;
use super::pipe::Partial;
use crate::partition::{HashOfKey, Select};
use crate::task::{
    Border, BuildContext, BuildError, ChainTurn, Failure, InputStatus, Push, Stage, TOGETHER,
};
use crate::window::{TimeWindow, WindowAggregate};

/// Partial results given out between two looks at the room behind.
const SLICE: usize = 256;
/// Records after which it is judged whether gathering pays.
const JUDGED: u64 = 1 << 13;
/// Records that pass before gathering is tried again.
const PASSED: u64 = 1 << 18;

/// Slices gathered at a time; with more, what was gathered of the earliest leaves.
const MOST_SLICES: usize = 4;
/// Tables of a stage: those in use and those on their way out.
const MOST_TABLES: usize = 8;
/// All of them have one part in so many of the slot's memory at most: they give nothing back to who keeps state there.
const PART: u64 = 4;

/// No time lies in it.
const NOWHERE: TimeWindow = TimeWindow::new(Timestamp::MAX, Timestamp::MIN);

/// The end of the producing chain.
type PartialBorder<K, A> = Border<KeyValue<K, Partial<A>>, HashOfKey<K>>;

/// What stands in line to leave.
enum Held<K: Key, A> {
    /// What was gathered of a slice.
    Slice(Gathered<K, A>),
    /// The partial result of one record.
    Single(KeyHash, K::Stored, A, Timestamp),
    Mark(Mark),
    Event(Event),
}

/// What to do with a record that is not of the current slice.
enum Entered {
    /// Gather it: its slice is the current one now.
    Slice,
    /// Let it pass: a window of its slice has been promised already.
    Late,
    /// Nothing: no window covers its time, or the task fails.
    Nowhere,
}

/// Whether gathering pays.
#[derive(Default)]
struct Judgement {
    records: u64,
    partials: u64,
    /// Records that are to pass.
    passing: u64,
}

impl Judgement {
    /// So many records went out as one partial result.
    #[inline]
    fn add(&mut self, records: u32) {
        self.records += u64::from(records);
        self.partials += 1;
        if self.records < JUDGED {
            return;
        }
        // A partial result costs about as much to gather as a record to pass.
        if self.records * 2 < self.partials * 3 {
            self.passing = PASSED;
        }
        (self.records, self.partials) = (0, 0);
    }
}

/// The stage of one subtask.
pub(super) struct LocalStage<K: Key + Wire, T: Item, S, G: WindowAggregate<K, T>> {
    name: Rc<str>,
    windows: AlignedWindows,
    selector: S,
    aggregate: G,
    border: PartialBorder<K, G::Accumulator>,
    failure: Failure,
    /// The slice of the last record.
    current: Gathered<K, G::Accumulator>,
    /// Other slices with records.
    others: Vec<Gathered<K, G::Accumulator>>,
    /// Empty tables.
    spare: Vec<Gathered<K, G::Accumulator>>,
    /// How many tables there are.
    tables: usize,
    /// Bytes of buckets that each has at most.
    most: u64,
    watermark: Timestamp,
    line: VecDeque<Held<K, G::Accumulator>>,
    judgement: Judgement,
    /// Holds the memory of the tables.
    budget: Budget,
}

impl<K, T, S, G> LocalStage<K, T, S, G>
where
    K: Key + Wire,
    T: Item,
    S: Select<T, K>,
    G: WindowAggregate<K, T>,
{
    pub(super) fn new(
        name: &str,
        windows: AlignedWindows,
        selector: S,
        aggregate: G,
        border: PartialBorder<K, G::Accumulator>,
        context: &BuildContext,
    ) -> Result<Self, BuildError> {
        let tables = MOST_TABLES as u64;
        let most = (context.budget().least_limit() / PART / tables).min(MOST_BYTES);
        let bytes = tables * Gathered::<K, G::Accumulator>::bytes(most);
        let mut stage = Self {
            name: name.into(),
            windows,
            selector,
            aggregate,
            border,
            failure: context.failure(),
            current: Gathered::none(NOWHERE),
            others: Vec::new(),
            spare: Vec::new(),
            tables: 0,
            most,
            watermark: Timestamp::MIN,
            line: VecDeque::new(),
            judgement: Judgement::default(),
            budget: context.budget().child("local aggregation", bytes),
        };
        // Memory that is not there is told before the first record comes.
        let table = stage.make_table(NOWHERE);
        let table = table.map_err(|refused| context.refused(name, refused))?;
        stage.spare.push(table);
        Ok(stage)
    }

    /// A new table.
    fn make_table(&mut self, span: TimeWindow) -> Result<Gathered<K, G::Accumulator>, String> {
        let bytes = Gathered::<K, G::Accumulator>::bytes(self.most);
        self.budget.reserve(bytes).map_err(|e| e.to_string())?;
        let table = Gathered::new(span, self.most).map_err(|error| {
            self.budget.release(bytes);
            format!("no memory for {bytes} bytes of partial results: {error}")
        })?;
        self.tables += 1;
        Ok(table)
    }

    /// An empty table: one used before, or a new one where that may be; otherwise others are emptied.
    fn table(&mut self, span: TimeWindow) -> Option<Gathered<K, G::Accumulator>> {
        if self.spare.is_empty() && self.tables < MOST_TABLES {
            match self.make_table(span) {
                Ok(table) => return Some(table),
                Err(refused) if self.tables == 0 => {
                    self.failure.set(&self.name, refused, ErrorKind::Resource);
                    return None;
                }
                Err(_) => {}
            }
        }
        if self.spare.is_empty() {
            // What one record yields, or the budget, is more than the tables hold.
            self.flush(|_| true);
            self.drain(usize::MAX, true);
        }
        let mut table = self.spare.pop()?;
        table.begin(span);
        Some(table)
    }

    /// Makes a record a part of what is gathered of its key.
    #[inline(always)]
    fn gather(&mut self, hash: KeyHash, item: T::Of<'_>, at: Timestamp) {
        if !self.current.span().contains(at) {
            match self.enter(at) {
                Entered::Slice => {}
                Entered::Late => return self.pass_late(item, at),
                Entered::Nowhere => return,
            }
        }
        let scope = FusedScope::enter(&self.name);
        self.current
            .take_in(hash, item, &self.selector, &self.aggregate);
        scope.leave();
        if self.current.is_full() {
            self.make_room();
        }
    }

    /// Makes a burst of records a part of what is gathered of their keys: hashes first, then seats
    /// looked for, then records, where all are of the current slice and none can fill the table.
    #[inline(always)]
    fn gather_each(&mut self, items: [T::Of<'_>; TOGETHER], ats: &[Timestamp; TOGETHER]) {
        let scope = FusedScope::enter(&self.name);
        let hashes: [KeyHash; TOGETHER] =
            std::array::from_fn(|at| K::hash(&self.selector.select(&items[at])));
        scope.leave();
        let span = self.current.span();
        let within = ats.iter().fold(true, |all, at| all & span.contains(*at));
        if !(within && self.current.has_room_for(TOGETHER)) {
            return self.gather_one_by_one(items, ats, &hashes);
        }
        let seats = self.current.look_for(&hashes);
        let scope = FusedScope::enter(&self.name);
        self.current
            .take_in_each(items, &hashes, &seats, &self.selector, &self.aggregate);
        scope.leave();
        if self.current.is_full() {
            self.make_room();
        }
    }

    #[inline(never)]
    fn gather_one_by_one(
        &mut self,
        items: [T::Of<'_>; TOGETHER],
        ats: &[Timestamp; TOGETHER],
        hashes: &[KeyHash; TOGETHER],
    ) {
        for (item, (at, hash)) in items.into_iter().zip(ats.iter().zip(hashes)) {
            self.gather(*hash, item, *at);
        }
    }

    /// Makes the slice of `at` the current one, if records of it are to be gathered.
    #[inline(never)]
    fn enter(&mut self, at: Timestamp) -> Entered {
        if !at.is_some() {
            let error = without_time();
            self.failure
                .set(&self.name, error.to_string(), error.kind());
            return Entered::Nowhere;
        }
        let slice = self.windows.slice_of(at);
        let Some(first_end) = self.windows.first_end(slice) else {
            // Between two windows only a late record counts: as a late one.
            let late = at <= self.watermark;
            return if late {
                Entered::Late
            } else {
                Entered::Nowhere
            };
        };
        if first_end.plus_ms(-1) <= self.watermark {
            return Entered::Late;
        }
        if let Some(at) = self.others.iter().position(|table| table.span() == slice) {
            let found = self.others.swap_remove(at);
            let last = std::mem::replace(&mut self.current, found);
            self.put_aside(last);
            return Entered::Slice;
        }
        if self.others.len() + 1 >= MOST_SLICES {
            let open = self.others.iter().map(|table| table.span().end);
            let earliest = open.min().unwrap_or(Timestamp::MAX);
            self.flush(|span| span.end == earliest);
        }
        let Some(table) = self.table(slice) else {
            return Entered::Nowhere;
        };
        let last = std::mem::replace(&mut self.current, table);
        self.put_aside(last);
        Entered::Slice
    }

    /// Keeps a table that is not the current one.
    fn put_aside(&mut self, table: Gathered<K, G::Accumulator>) {
        if table.span() != NOWHERE {
            self.others.push(table);
        }
    }

    /// Lets a record go out alone.
    #[inline]
    fn pass(&mut self, item: T::Of<'_>, at: Timestamp) {
        let scope = FusedScope::enter(&self.name);
        let (hash, key) = {
            let key = self.selector.select(&item);
            (K::hash(&key), K::store(&key))
        };
        let mut held = self.aggregate.create();
        self.aggregate.add(&mut held, item);
        scope.leave();
        if self.line.is_empty() && self.border.ready() {
            self.border
                .push_hashed(hash, (K::lend(&key), (1, held)), at);
        } else {
            self.line.push_back(Held::Single(hash, key, held, at));
        }
    }

    #[cold]
    #[inline(never)]
    fn pass_late(&mut self, item: T::Of<'_>, at: Timestamp) {
        self.pass(item, at);
    }

    /// The current table is full.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self) {
        let full = self.current.span();
        self.flush(|span| span == full);
        self.drain(SLICE, false);
    }

    /// Puts what was gathered of these slices into line.
    fn flush(&mut self, which: impl Fn(TimeWindow) -> bool) {
        if which(self.current.span()) && self.current.span() != NOWHERE {
            let current = std::mem::replace(&mut self.current, Gathered::none(NOWHERE));
            self.put_aside(current);
        }
        let mut at = 0;
        while let Some(table) = self.others.get(at) {
            if which(table.span()) {
                let table = self.others.swap_remove(at);
                self.line.push_back(Held::Slice(table));
            } else {
                at += 1;
            }
        }
    }

    /// Lets go what stands in line, at most so many partial results, while there is room (or
    /// `overdrawing`).
    fn drain(&mut self, mut limit: usize, overdrawing: bool) {
        while let Some(first) = self.line.front_mut() {
            if let Held::Slice(table) = first {
                let at = table.span().max_timestamp();
                let scope = FusedScope::enter(&self.name);
                let fresh = || self.aggregate.create();
                let all = loop {
                    if limit == 0 || !(overdrawing || self.border.ready()) {
                        break false;
                    }
                    let Some(part) = table.give(fresh) else {
                        break true;
                    };
                    self.judgement.add(part.records);
                    let partial = (part.key, (part.records, part.held));
                    self.border.push_hashed(part.hash, partial, at);
                    limit -= 1;
                };
                scope.leave();
                if !all {
                    return;
                }
            }
            match self.line.pop_front() {
                Some(Held::Slice(table)) => self.spare.push(table),
                Some(Held::Single(hash, key, held, at)) => {
                    let partial = (K::lend(&key), (1, held));
                    self.border.push_hashed(hash, partial, at);
                }
                Some(Held::Mark(mark)) => self.border.mark(mark),
                Some(Held::Event(event)) => self.border.event(event),
                None => {}
            }
        }
    }

    /// Goes on with the line until it is empty, or room or time are used up; whether it is empty.
    fn drain_for(&mut self, turn: &mut ChainTurn<'_, '_>) -> bool {
        while !self.line.is_empty() && self.border.ready() {
            self.drain(SLICE, false);
            if !self.line.is_empty() && turn.expired() {
                break;
            }
        }
        self.line.is_empty()
    }
}

impl<K, T, S, G> Push<T> for LocalStage<K, T, S, G>
where
    K: Key + Wire,
    T: Item,
    S: Select<T, K>,
    G: WindowAggregate<K, T>,
{
    #[inline(always)]
    fn push(&mut self, item: T::Of<'_>, at: Timestamp) {
        if self.judgement.passing > 0 {
            self.judgement.passing -= 1;
            return self.pass(item, at);
        }
        let scope = FusedScope::enter(&self.name);
        let hash = K::hash(&self.selector.select(&item));
        scope.leave();
        self.gather(hash, item, at);
    }

    #[inline(always)]
    fn push_each<'a>(
        &mut self,
        count: usize,
        mut make: impl FnMut(usize) -> (T::Of<'a>, Timestamp),
    ) {
        let mut done = 0;
        while count - done >= TOGETHER && self.judgement.passing == 0 {
            let mut ats = [Timestamp::NONE; TOGETHER];
            let items = std::array::from_fn(|number| {
                let (item, at) = make(done + number);
                ats[number] = at;
                item
            });
            self.gather_each(items, &ats);
            done += TOGETHER;
        }
        for number in done..count {
            let (item, at) = make(number);
            self.push(item, at);
        }
    }

    #[inline(always)]
    fn ready(&self) -> bool {
        // What is gathered needs no room behind.
        let room = self.judgement.passing == 0 || self.border.ready();
        room && self.line.is_empty() && !self.failure.is_set()
    }

    fn mark(&mut self, mark: Mark) {
        #[cfg(test)]
        if planted::OVERTAKE.get() {
            return self.border.mark(mark);
        }
        match mark {
            Mark::Watermark(Watermark(to)) => {
                self.watermark = self.watermark.max(to);
                self.flush(|span| span.max_timestamp() <= to);
            }
            // The others go on without this subtask: what it holds would come too late.
            Mark::Idle => self.flush(|_| true),
            Mark::Active => {}
        }
        self.line.push_back(Held::Mark(mark));
        self.drain(SLICE, false);
    }

    fn event(&mut self, event: Event) {
        self.flush(|_| true);
        self.line.push_back(Held::Event(event));
        self.drain(SLICE, false);
    }

    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let mut emptied = self.drain_for(turn);
        if emptied && turn.input() != InputStatus::Available {
            self.flush(|_| true);
            emptied = self.drain_for(turn);
        }
        if emptied {
            return self.border.end_turn(turn);
        }
        let ready = self.border.ready();
        let input = match ready {
            true => InputStatus::Available,
            false => InputStatus::Idle,
        };
        self.border.end_turn(&mut turn.with_input(input));
        if self.border.ready() {
            Stage::Unfinished
        } else {
            Stage::Waiting
        }
    }
}

/// A mistake planted on purpose, so that a test can show that it would be found.
#[cfg(test)]
pub(super) mod planted {
    use std::cell::Cell;

    thread_local! {
        /// Marks overtake what is gathered.
        pub(in crate::window::slice) static OVERTAKE: Cell<bool> = const { Cell::new(false) };
    }
}
