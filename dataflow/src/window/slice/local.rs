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

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_memory::record::{Item, Key, KeyValue, Wire};
use thalweg_memory::{Budget, Mark};
use thalweg_network::Event;

use super::aligned::AlignedWindows;
use super::gathered::{Gathered, Rows};
use super::operator::without_time;
use super::pipe::Partial;
use crate::partition::{HashOfKey, Select};
use crate::task::{Border, BuildContext, BuildError, ChainTurn, Failure, InputStatus, Push, Stage};
use crate::window::{TimeWindow, WindowAggregate};

/// Partial results given out between two looks at the room behind.
const SLICE: usize = 256;
/// Records after which it is judged whether gathering pays.
const JUDGED: u64 = 1 << 13;
/// Records that pass before gathering is tried again.
const PASSED: u64 = 1 << 18;

/// No time lies in it.
const NOWHERE: TimeWindow = TimeWindow::new(Timestamp::MAX, Timestamp::MIN);

/// The end of the producing chain.
type PartialBorder<K, A> = Border<KeyValue<K, Partial<A>>, HashOfKey<K>>;

/// What stands in line to leave.
enum Held<K: Key, A> {
    /// Partial results; slice number 0 ends at the time beside them.
    Rows(Rows<K::Stored, A>, Timestamp),
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
    /// So many records went out as so many partial results.
    fn add(&mut self, records: u64, partials: u64) {
        self.records += records;
        self.partials += partials;
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
    table: Gathered<K, G::Accumulator>,
    /// The slice of the last record, with its number and spread.
    current: (TimeWindow, (u32, u64)),
    /// The end of slice number 0.
    origin: Timestamp,
    /// The earliest end of a slice in the table.
    earliest: Timestamp,
    watermark: Timestamp,
    line: VecDeque<Held<K, G::Accumulator>>,
    judgement: Judgement,
    /// Holds the memory of the table.
    _budget: Budget,
}

/// Spreads the slices of a key over the table.
fn spread_of(slice: u32) -> u64 {
    u64::from(slice).wrapping_mul(0x9E37_79B9)
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
        let bytes = Gathered::<K, G::Accumulator>::bytes();
        let budget = context.budget().child("local aggregation", bytes);
        budget
            .reserve(bytes)
            .map_err(|error| context.refused(name, error))?;
        Ok(Self {
            name: name.into(),
            windows,
            selector,
            aggregate,
            border,
            failure: context.failure(),
            table: Gathered::new(),
            current: (NOWHERE, (0, 0)),
            origin: Timestamp::MIN,
            earliest: Timestamp::MAX,
            watermark: Timestamp::MIN,
            line: VecDeque::new(),
            judgement: Judgement::default(),
            _budget: budget,
        })
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
        if self.table.is_empty() {
            self.origin = slice.end;
        }
        let number = match self.windows.slice_number(self.origin, slice) {
            Some(number) => number,
            None => {
                // Too far from all that has been gathered.
                self.flush();
                self.origin = slice.end;
                0
            }
        };
        self.earliest = self.earliest.min(slice.end);
        self.current = (slice, (number, spread_of(number)));
        Entered::Slice
    }

    /// Lets a record go out alone.
    #[inline]
    fn pass(&mut self, item: T::Of<'_>, at: Timestamp) {
        let scope = OperatorScope::enter(&self.name);
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

    /// The table is full.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self) {
        self.flush();
        if self.line.len() > 2 {
            // One record yielded more than the table holds: what it yields is overdrawn.
            self.drain(usize::MAX, true);
        } else {
            self.drain(SLICE, false);
        }
    }

    /// Puts all that was gathered into line.
    fn flush(&mut self) {
        if self.table.is_empty() {
            return;
        }
        let rows = self.table.take(spread_of);
        self.judgement.add(rows.records(), rows.len() as u64);
        self.line.push_back(Held::Rows(rows, self.origin));
        self.earliest = Timestamp::MAX;
        self.current.0 = NOWHERE;
    }

    /// Lets go what stands in line, at most so many partial results, while there is room (or
    /// `overdrawing`).
    fn drain(&mut self, mut limit: usize, overdrawing: bool) {
        while let Some(first) = self.line.front_mut() {
            if let Held::Rows(rows, origin) = first {
                while limit > 0 && (overdrawing || self.border.ready()) {
                    let Some((hash, row)) = rows.pop() else { break };
                    let end = self.windows.slice_end(*origin, row.slice);
                    let partial = (K::lend(&row.key), (row.records, row.held));
                    self.border.push_hashed(hash, partial, end.plus_ms(-1));
                    limit -= 1;
                }
                if rows.len() > 0 {
                    return;
                }
            }
            match self.line.pop_front() {
                Some(Held::Rows(rows, _)) => self.table.give_back(rows),
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
        if !self.current.0.contains(at) {
            match self.enter(at) {
                Entered::Slice => {}
                Entered::Late => return self.pass_late(item, at),
                Entered::Nowhere => return,
            }
        }
        let scope = OperatorScope::enter(&self.name);
        let aggregate = &self.aggregate;
        let row = {
            let key = self.selector.select(&item);
            let hash = K::hash(&key);
            self.table
                .row(hash, &key, self.current.1, || aggregate.create())
        };
        self.table.change(row, |held| aggregate.add(held, item));
        scope.leave();
        if self.table.is_full() {
            self.make_room();
        }
    }

    #[inline(always)]
    fn ready(&self) -> bool {
        // What is gathered needs no room behind.
        let room = self.judgement.passing == 0 || self.border.ready();
        room && self.line.is_empty() && !self.failure.is_set()
    }

    fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Watermark(Watermark(to)) => {
                self.watermark = self.watermark.max(to);
                if self.earliest.plus_ms(-1) <= to {
                    self.flush();
                }
                self.current.0 = NOWHERE;
            }
            // The others go on without this subtask: what it holds would come too late.
            Mark::Idle => self.flush(),
            Mark::Active => {}
        }
        self.line.push_back(Held::Mark(mark));
        self.drain(SLICE, false);
    }

    fn event(&mut self, event: Event) {
        self.flush();
        self.line.push_back(Held::Event(event));
        self.drain(SLICE, false);
    }

    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let mut emptied = self.drain_for(turn);
        if emptied && turn.input() != InputStatus::Available {
            self.flush();
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
