//! Windows put together and fired, a piece at a time.
//!
//! A due window takes two steps: what its new slices hold is gathered into what the window before it
//! left (nothing for tumbling windows), then a row is given out per key. Each step goes through a table
//! and can stop anywhere. Invariant: a step goes on exactly where it stopped, because no record is
//! applied meanwhile. Lives on one shard's thread.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{
    KeyedTable, Scan, ScanCursor, StateDescriptor, StateError, StateVisitor, Swept,
};

use super::aligned::Shape;
use super::operator::{By, SliceOperator};
use super::panes::Panes;
use super::store::Slices;
use super::voice::{Speaker, Voice};
use crate::function::FunctionError;
use crate::operator::Firing;
use crate::task::Push;
use crate::window::WindowAggregate;

/// What the slices of windows in the making are gathered in.
pub(super) enum Assembly<K: Key, A: Record> {
    /// Nothing: a window is its slice.
    Single,
    /// Sliding windows: per key the slices in the window.
    Panes(KeyedTable<K, Panes<A>>),
    /// Cumulating windows: per key all there is since the start of the window.
    Running(KeyedTable<K, A>),
}

impl<K: Key, A: Record> Assembly<K, A> {
    pub(super) fn new(shape: Shape, slices: &Slices<K, A>) -> Result<Self, StateError> {
        Ok(match shape {
            Shape::Tumbling => Self::Single,
            Shape::Sliding => Self::Panes(slices.table()?),
            Shape::Cumulating => Self::Running(slices.table()?),
        })
    }

    /// Shows what windows in the making hold.
    pub(super) fn visit_states(
        &mut self,
        visitor: &mut dyn StateVisitor,
    ) -> Result<(), StateError> {
        let name = "thalweg.windows-in-the-making";
        match self {
            Self::Single => Ok(()),
            Self::Panes(panes) => {
                let descriptor = StateDescriptor::value::<Panes<A>>(name).of_keys::<K, ()>();
                visitor.visit(&descriptor, panes)
            }
            Self::Running(running) => {
                let descriptor = StateDescriptor::aggregating::<A>(name).of_keys::<K, ()>();
                visitor.visit(&descriptor, running)
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Single => true,
            Self::Panes(panes) => panes.is_empty(),
            Self::Running(running) => running.is_empty(),
        }
    }
}

/// How far the firing of one window came.
pub(super) enum Step {
    /// No window is being fired.
    Rest,
    /// Slices of the window that ends there are gathered, from this place on.
    Gather {
        end: Timestamp,
        place: usize,
        cursor: ScanCursor,
    },
    /// Rows of the window that ends there are given out.
    Emit { end: Timestamp, cursor: ScanCursor },
}

impl<K, T, G, V> SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    /// Fires the windows the watermark has made due, in time order, about `limit` rows of them.
    pub(super) fn fire_due<N: Push<V::Out>>(
        &mut self,
        next: &mut N,
        limit: usize,
    ) -> Result<Firing, FunctionError> {
        let mut left = limit;
        loop {
            match std::mem::replace(&mut self.step, Step::Rest) {
                Step::Rest => match self.next_due() {
                    Some(end) if end.plus_ms(-1) <= self.watermark => self.begin(end),
                    _ if self.voice.forget(self.watermark, &mut left) => {
                        self.rest();
                        return Ok(Firing::Done);
                    }
                    _ => {}
                },
                Step::Gather { end, place, cursor } => {
                    self.gather(end, place, cursor, &mut left)?;
                }
                Step::Emit { end, cursor } => self.emit(end, cursor, &mut left, next)?,
            }
            if left == 0 || !next.ready() {
                return Ok(Firing::More);
            }
        }
    }

    /// The end of the earliest window with something in it that has not fired.
    fn next_due(&self) -> Option<Timestamp> {
        let pending = self.slices.first_pending(0);
        let of_slices = pending.and_then(|at| self.slices.get(at)).map(|slice| {
            let first = slice.first_end;
            self.windows.next_end_after(first, self.passed)
        });
        // What is gathered belongs to the window after the last one that fired.
        let gathered = !self.assembly.is_empty();
        let of_gathered = gathered.then(|| self.windows.next_end(self.fired));
        [of_slices, of_gathered].into_iter().flatten().min()
    }

    fn begin(&mut self, end: Timestamp) {
        let cursor = ScanCursor::new();
        self.step = match self.assembly {
            Assembly::Single => Step::Emit { end, cursor },
            _ => Step::Gather {
                end,
                place: 0,
                cursor,
            },
        };
    }

    /// Nothing due is left: lets go of what no late record can reach.
    fn rest(&mut self) {
        self.passed = self.watermark;
        let (watermark, lateness) = (self.watermark, self.lateness);
        self.slices.retire(|slice| {
            !slice.is_pending() && slice.last_end.plus_ms(-1).plus_ms(lateness) <= watermark
        });
    }

    /// Gathers one slice of the window that ends at `end`, or a part of it.
    fn gather(
        &mut self,
        end: Timestamp,
        place: usize,
        mut cursor: ScanCursor,
        left: &mut usize,
    ) -> Result<(), FunctionError> {
        let place = match self.slices.first_pending(place) {
            Some(place) if self.slices.at(place).span.end <= end => place,
            _ => {
                let cursor = ScanCursor::new();
                self.step = Step::Emit { end, cursor };
                return Ok(());
            }
        };
        let slice = self.slices.at(place);
        let window = self.windows.window_at(end);
        if slice.span.start >= window.start {
            let by = By(&self.aggregate, PhantomData::<fn(K, T)>);
            let end_ms = slice.span.end.0;
            let table = slice.pending();
            let scanned = gather_table(table, &mut cursor, left, &mut self.assembly, &by, end_ms)?;
            if scanned == Scan::More {
                self.step = Step::Gather { end, place, cursor };
                return Ok(());
            }
        }
        let kept = self.slices.take(place, self.lateness > 0);
        self.step = Step::Gather {
            end,
            place: place + usize::from(kept),
            cursor: ScanCursor::new(),
        };
        Ok(())
    }

    /// Gives out rows of the window that ends at `end`.
    fn emit<N: Push<V::Out>>(
        &mut self,
        end: Timestamp,
        mut cursor: ScanCursor,
        left: &mut usize,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let window = self.windows.window_at(end);
        let budget = *left;
        let speaker = Speaker {
            aggregate: &self.aggregate,
            window,
            times: (self.watermark, self.now),
            until: self.gone_at(end),
            types: PhantomData::<fn(K, T)>,
        };
        let (aggregate, voice) = (&self.aggregate, &mut self.voice);
        let mut refused = None;
        let mut give = |key: K::Of<'_>, held: &G::Accumulator| {
            let said = speaker.speak(voice, key, held, next);
            *left = left.saturating_sub(1);
            match said {
                Ok(()) => next.ready(),
                Err(error) => {
                    refused = Some(error);
                    false
                }
            }
        };
        let scanned = match &mut self.assembly {
            Assembly::Single => {
                let Some(place) = self.slices.first_pending(0) else {
                    unreachable!("a window that is due has a slice");
                };
                let table = &mut self.slices.at(place).table;
                scan_rows(table, &mut cursor, budget, &mut give)?
            }
            Assembly::Running(running) => scan_rows(running, &mut cursor, budget, &mut give)?,
            Assembly::Panes(panes) => {
                let by = By(aggregate, PhantomData::<fn(K, T)>);
                panes.sweep(&mut cursor, budget, |entry| {
                    entry.value.evict(&by, window.start.0);
                    if entry.value.is_empty() {
                        return ControlFlow::Continue(Swept::Removed);
                    }
                    match give(entry.key, &entry.value.value(&by)) {
                        true => ControlFlow::Continue(Swept::Kept),
                        false => ControlFlow::Break(Swept::Kept),
                    }
                })?
            }
        };
        if let Some(error) = refused {
            return Err(error);
        }
        match scanned {
            Scan::More => self.step = Step::Emit { end, cursor },
            Scan::Done => self.window_fired(end),
        }
        Ok(())
    }

    fn window_fired(&mut self, end: Timestamp) {
        self.passed = self.passed.max(end.plus_ms(-1));
        self.fired = end;
        match &mut self.assembly {
            Assembly::Single => {
                if let Some(place) = self.slices.first_pending(0) {
                    self.slices.take(place, self.lateness > 0);
                }
            }
            Assembly::Panes(panes) => {
                // Windows that reach beyond the end of time have no successor.
                if panes.is_empty() || end == Timestamp::MAX {
                    panes.clear();
                }
            }
            Assembly::Running(running) => {
                let window = self.windows.window_at(end);
                if self.windows.last_end(window) == Some(end) || end == Timestamp::MAX {
                    running.clear();
                }
            }
        }
    }

    /// Fires those windows of a key once more that a late record changed: all from the one that ends
    /// at `first` to the one that ends at `last` which have passed and can still fire.
    pub(super) fn fire_again<N: Push<V::Out>>(
        &mut self,
        hash: KeyHash,
        key: &K::Stored,
        first: Timestamp,
        last: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let by = By(&self.aggregate, PhantomData::<fn(K, T)>);
        let mut end = first;
        while self.is_gone(end) && end < last {
            end = self.windows.next_end(end);
        }
        let mut panes = Panes::new();
        let mut slices = self.slices.iter().peekable();
        while end <= last && end.plus_ms(-1) <= self.passed {
            let window = self.windows.window_at(end);
            while let Some(slice) = slices.next_if(|slice| slice.span.end <= end) {
                if slice.span.start >= window.start
                    && let Some(held) = slice.table.get(hash, &K::lend(key))
                {
                    panes.push(&by, slice.span.end.0, held);
                }
            }
            panes.evict(&by, window.start.0);
            let speaker = Speaker {
                aggregate: &self.aggregate,
                window,
                times: (self.watermark, self.now),
                until: self.gone_at(end),
                types: PhantomData::<fn(K, T)>,
            };
            speaker.speak(&mut self.voice, K::lend(key), &panes.value(&by), next)?;
            let following = self.windows.next_end(end);
            if following == end {
                // The end of time.
                break;
            }
            end = following;
        }
        Ok(())
    }
}

/// Makes the entries of a slice part of the windows in the making.
fn gather_table<K: Key, T: Item, G: WindowAggregate<K, T>>(
    table: &mut KeyedTable<K, G::Accumulator>,
    cursor: &mut ScanCursor,
    left: &mut usize,
    assembly: &mut Assembly<K, G::Accumulator>,
    by: &By<'_, K, T, G>,
    end: i64,
) -> Result<Scan, StateError> {
    let mut refused = None;
    let budget = *left;
    let scanned = table.scan(cursor, budget, |entry| {
        let hash = K::hash(&entry.key);
        let gathered = match assembly {
            Assembly::Single => unreachable!("a window that is its slice gathers nothing"),
            Assembly::Panes(panes) => panes.open(hash, &entry.key, Panes::new).and_then(|open| {
                let push = |panes: &mut Panes<_>| panes.push(by, end, entry.value);
                open.change(push).map(|_| ())
            }),
            Assembly::Running(running) => {
                let open = running.open(hash, &entry.key, || by.0.create());
                open.and_then(|open| {
                    let merge = |held: &mut _| by.0.merge(held, entry.value);
                    open.change(merge).map(|_| ())
                })
            }
        };
        *left = left.saturating_sub(1);
        match gathered {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                refused = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match refused {
        Some(error) => Err(error),
        None => Ok(scanned),
    }
}

/// Gives out entries of a table until there is no room.
fn scan_rows<K: Key, A: Record>(
    table: &mut KeyedTable<K, A>,
    cursor: &mut ScanCursor,
    budget: usize,
    give: &mut impl FnMut(K::Of<'_>, &A) -> bool,
) -> Result<Scan, StateError> {
    table.scan(cursor, budget, |entry| match give(entry.key, entry.value) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    })
}
