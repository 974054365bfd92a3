//! Windows put together and fired, a piece at a time.
//!
//! A due window takes two steps: what its new slices hold is gathered into what the window before it
//! left (nothing for tumbling windows), then a row is given out per key. Each step goes through a table
//! and can stop anywhere. Invariant: a step goes on exactly where it stopped, because no record is
//! applied meanwhile. A window of which something is on disk goes another way (`disk`). Lives on one shard's thread.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{KeyedTable, Scan, ScanCursor, StateError};

use super::assembly::Assembly;
use super::disk::{Came, FromDisk};
use super::operator::{By, SliceOperator};
use super::panes::Panes;
use super::rows::{Rows, Said, say_rows};
use super::voice::{Forgotten, Speaker, Voice};
use crate::function::FunctionError;
use crate::operator::Firing;
use crate::task::Push;
use crate::window::WindowAggregate;

/// How far the firing of one window came.
pub(super) enum Step<K: Key, A: Record> {
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
    /// The window is fired of which something is on disk.
    OnDisk(Box<FromDisk<K, A>>),
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
                    _ if self.is_refilling() => return Ok(Firing::Waiting),
                    Some(end) if end.plus_ms(-1) <= self.watermark => {
                        if self.is_spilling() {
                            return Ok(Firing::Waiting);
                        }
                        if let Some(on_disk) = &mut self.on_disk {
                            on_disk.withdraw();
                        }
                        self.begin(end)?;
                    }
                    _ => match self.voice.forget(self.watermark, &mut left) {
                        Forgotten::All => {
                            self.rest();
                            return Ok(Firing::Done);
                        }
                        Forgotten::Some => {}
                        Forgotten::Waiting => return Ok(self.wait_for_voice()),
                    },
                },
                Step::Gather { end, place, cursor } => {
                    self.gather(end, place, cursor, &mut left)?;
                }
                Step::Emit { end, cursor } => match self.emit(end, cursor, &mut left, next)? {
                    Came::On => {}
                    Came::Waiting => return Ok(Firing::Waiting),
                },
                Step::OnDisk(firing) => match self.fire_from_disk(firing, &mut left, next)? {
                    Came::On => {}
                    Came::Waiting => return Ok(Firing::Waiting),
                },
            }
            if left == 0 || !next.ready() {
                return Ok(Firing::More);
            }
        }
    }

    /// What the voice keeps is on its way from the disk, or room is made for it.
    pub(super) fn wait_for_voice(&mut self) -> Firing {
        self.for_voice = true;
        Firing::Waiting
    }

    /// The end of the earliest window with something in it that has not fired.
    fn next_due(&self) -> Option<Timestamp> {
        let pending = self.slices.first_pending(0);
        let of_slices = pending.and_then(|at| self.slices.get(at)).map(|slice| {
            let first = slice.first_end;
            self.windows.next_end_after(first, self.passed)
        });
        // What is gathered belongs to the window after the last one that fired.
        let on_disk = self.on_disk.as_ref();
        let gathered = !self.assembly.is_empty() || on_disk.is_some_and(|it| it.holds_gathered());
        let of_gathered = gathered.then(|| self.windows.next_end(self.fired));
        [of_slices, of_gathered].into_iter().flatten().min()
    }

    fn begin(&mut self, end: Timestamp) -> Result<(), StateError> {
        if self.begin_from_disk(end)? {
            return Ok(());
        }
        let cursor = ScanCursor::new();
        self.step = match self.assembly {
            Assembly::Single => Step::Emit { end, cursor },
            _ => Step::Gather {
                end,
                place: 0,
                cursor,
            },
        };
        Ok(())
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
    ) -> Result<Came, FunctionError> {
        let window = self.windows.window_at(end);
        let speaker = Speaker {
            aggregate: &self.aggregate,
            window,
            times: (self.watermark, self.now),
            until: self.gone_at(end),
            types: PhantomData::<fn(K, T)>,
        };
        let rows = match &mut self.assembly {
            Assembly::Single => {
                let Some(place) = self.slices.first_pending(0) else {
                    unreachable!("a window that is due has a slice");
                };
                Rows::Held(&mut self.slices.at(place).table)
            }
            Assembly::Running(running) => Rows::Held(running),
            Assembly::Panes(panes) => Rows::Panes(panes),
        };
        let walk = (&mut cursor, &mut self.ahead);
        let said = say_rows(rows, &speaker, walk, left, (&mut self.voice, next))?;
        if said == Said::All {
            self.window_fired(end);
            return Ok(Came::On);
        }
        self.step = Step::Emit { end, cursor };
        if said == Said::Some {
            return Ok(Came::On);
        }
        self.wait_for_voice();
        Ok(Came::Waiting)
    }

    /// The window that ends at `end` is out.
    pub(super) fn has_fired(&mut self, end: Timestamp) {
        self.passed = self.passed.max(end.plus_ms(-1));
        self.fired = end;
    }

    fn window_fired(&mut self, end: Timestamp) {
        self.has_fired(end);
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
