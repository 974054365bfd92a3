//! A window fired of which something is on disk.
//!
//! What it needs and is still in memory goes to disk first, so that all memory is there for what follows. Then, for a
//! stretch of key groups after the other: what windows in the making hold and the slices that are new in this one are
//! read and put together in a table, rows are given out of that, and what later windows need of it is written to a
//! pile that takes the place of the former. Where one stretch is all there is, it stays in memory instead. Can stop
//! anywhere; invariant: no record is applied meanwhile, and no barrier cut. Lives on one shard's thread.

use std::marker::PhantomData;
use std::ops::Range;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{
    Answer, Pile, PileReader, PileUse, PileWriter, Reading, Scan, ScanCursor, StateError, Which,
};

use super::super::assembly::Assembly;
use super::super::fire::Step;
use super::super::operator::{By, SliceOperator};
use super::super::rows::{Rows, Said, say_rows};
use super::super::voice::{Speaker, Voice};
use super::OnDisk;
use crate::function::FunctionError;
use crate::task::Push;
use crate::window::{TimeWindow, WindowAggregate};

/// The table of a stretch may take one part in so many of the memory, as far as that can be told beforehand.
const STRETCH_SHARE: u64 = 4;
/// Bytes of memory for each byte of a row in a file, about: tables are half empty, and have two arrays as they grow.
const IN_MEMORY: u64 = 4;
/// The same for each row, whatever its length.
const EACH_ROW: u64 = 64;

/// How far the firing of a window came.
enum Stage {
    /// What it needs goes to disk.
    Spilling,
    /// Memory is made for the next stretch.
    Clearing,
    /// A stretch is put together.
    Reading(Box<PileReader>),
    /// Rows of the stretch are given out.
    Speaking(ScanCursor),
    /// What later windows need of it is written.
    Keeping,
    /// All stretches are through.
    Sealing,
}

/// A window that fires from disk.
pub(in crate::window::slice) struct FromDisk<K: Key, A: Record> {
    end: Timestamp,
    stage: Stage,
    /// What is read, and for what of it the end of the slice it is of; none for what windows in the making hold.
    sources: Vec<(Pile, Which, Option<i64>)>,
    /// The stretch in work, and those behind it.
    stretch: Range<u16>,
    rest: Range<u16>,
    /// Key groups of a stretch.
    stride: u16,
    work: Assembly<K, A>,
    kept: Option<PileWriter>,
}

impl<K: Key, A: Record> FromDisk<K, A> {
    fn new(end: Timestamp, work: Assembly<K, A>) -> Box<Self> {
        Box::new(Self {
            end,
            stage: Stage::Spilling,
            sources: Vec::new(),
            stretch: 0..0,
            rest: 0..0,
            stride: 1,
            work,
            kept: None,
        })
    }

    /// The end of the window, and the key groups in work.
    #[cfg(test)]
    pub(super) fn stretch(&self) -> (Timestamp, Range<u16>) {
        (self.end, self.stretch.clone())
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let read = match &self.stage {
            Stage::Reading(reader) => reader.memory_bytes(),
            _ => 0,
        };
        let kept = self.kept.as_ref().map_or(0, PileWriter::memory_bytes);
        self.work.memory_bytes() + read + kept
    }

    pub(super) fn answered(&mut self, (request, answer): Answer) -> Result<(), StateError> {
        if let Some(kept) = &mut self.kept
            && kept.answered(request, &answer)?
        {
            return Ok(());
        }
        match &mut self.stage {
            Stage::Reading(reader) => reader.answered((request, answer)).map(|_| ()),
            _ => Ok(answer.map(|_| ())?),
        }
    }

    /// The next stretch of the groups that are left.
    fn begin_stretch(&mut self) {
        let start = self.rest.start;
        self.stretch = start..self.rest.end.min(start.saturating_add(self.stride));
        self.rest.start = self.stretch.end;
        let sources = self.sources.iter();
        let sources = sources.map(|(pile, which, _)| (pile.clone(), *which));
        let reader = PileReader::new(sources.collect(), self.stretch.clone());
        self.stage = Stage::Reading(Box::new(reader));
    }
}

/// How a call left the firing of a window.
pub(in crate::window::slice) enum Came {
    /// More can be given out.
    On,
    /// The disk is at work.
    Waiting,
}

impl<K, T, G, V> SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    /// Whether it is not known yet what there is.
    pub(in crate::window::slice) fn is_refilling(&self) -> bool {
        let on_disk = self.on_disk.as_ref();
        on_disk.is_some_and(|on_disk| on_disk.refill.is_some())
    }

    /// Whether something that a window may need is on its way to the disk.
    pub(in crate::window::slice) fn is_spilling(&self) -> bool {
        let on_disk = self.on_disk.as_ref();
        on_disk.is_some_and(|on_disk| on_disk.spilling.is_some())
    }

    /// Begins to fire the window that ends at `end` from disk, if something of it is there or would not fit memory.
    pub(in crate::window::slice) fn begin_from_disk(
        &mut self,
        end: Timestamp,
    ) -> Result<bool, StateError> {
        let Some(on_disk) = &self.on_disk else {
            return Ok(false);
        };
        let window = self.windows.window_at(end);
        let new = self.slices.iter().filter(|slice| slice.is_new_in(window));
        let (mut piles, mut entries, mut heap) = (!on_disk.gathered.is_empty(), 0, 0);
        for slice in new {
            piles |= !slice.piles.is_empty();
            entries += slice.pending_table().len();
            heap += slice.pending_table().heap_bytes();
        }
        if !piles {
            let more = self.assembly.bytes_for(entries, heap);
            let held = on_disk.held(&self.slices, &self.assembly);
            if more == 0 || on_disk.fits(held, more) {
                return Ok(false);
            }
        }
        let work = self.assembly.to_merge_in(&self.slices)?;
        self.step = Step::OnDisk(FromDisk::new(end, work));
        Ok(true)
    }

    /// Goes on with a window that fires from disk.
    pub(in crate::window::slice) fn fire_from_disk<N: Push<V::Out>>(
        &mut self,
        mut firing: Box<FromDisk<K, G::Accumulator>>,
        left: &mut usize,
        next: &mut N,
    ) -> Result<Came, FunctionError> {
        let came = match firing.stage {
            Stage::Spilling => self.spill_window(&mut firing)?,
            Stage::Clearing => self.clear(&mut firing)?,
            Stage::Reading(_) => self.put_together(&mut firing, left)?,
            Stage::Speaking(_) => self.speak(&mut firing, left, next)?,
            Stage::Keeping => self.keep(&mut firing)?,
            Stage::Sealing => {
                if self.seal(&mut firing)? {
                    return Ok(Came::On);
                }
                Came::Waiting
            }
        };
        self.step = Step::OnDisk(firing);
        Ok(came)
    }

    /// Lets what the window needs go to disk, one table after the other; then its stretches begin.
    fn spill_window(
        &mut self,
        firing: &mut FromDisk<K, G::Accumulator>,
    ) -> Result<Came, StateError> {
        let Some(on_disk) = &mut self.on_disk else {
            return Ok(Came::Waiting);
        };
        if on_disk.spilling.is_some() {
            return Ok(Came::Waiting);
        }
        let window = self.windows.window_at(firing.end);
        let hot = self
            .slices
            .iter()
            .position(|slice| slice.is_new_in(window) && !slice.pending_table().is_empty());
        if let Some(place) = hot {
            let part = self.slices.at(place).pending_part();
            on_disk.spill_slice(&mut self.slices, (place, part))?;
            return Ok(Came::Waiting);
        }
        if !self.assembly.is_empty() {
            on_disk.spill_gathered(&self.slices, &mut self.assembly)?;
            return Ok(Came::Waiting);
        }
        self.slices.give_back()?;
        if !self.assembly.is_cutting() {
            self.assembly = self.assembly.another(&self.slices)?;
        }
        firing.sources.clear();
        for pile in on_disk.gathered.iter().rev() {
            if pile.is_adopted() {
                firing.sources.push((pile.clone(), Which::Tombstones, None));
            }
            firing.sources.push((pile.clone(), Which::Values, None));
        }
        for slice in self.slices.iter().filter(|slice| slice.is_new_in(window)) {
            let end = Some(slice.span.end.0);
            let piles = slice.piles.iter();
            (firing.sources).extend(piles.map(|pile| (pile.clone(), Which::Values, end)));
        }
        firing.rest = on_disk.piles.groups();
        firing.stride = stride_of(&firing.sources, on_disk);
        firing.begin_stretch();
        Ok(Came::On)
    }

    /// Waits for memory that comes free, then begins the next stretch.
    fn clear(&mut self, firing: &mut FromDisk<K, G::Accumulator>) -> Result<Came, StateError> {
        let on_disk = self.on_disk.as_ref();
        if on_disk.is_some_and(|on_disk| on_disk.lets_go(&self.slices)) {
            return Ok(Came::Waiting);
        }
        self.slices.give_back()?;
        firing.begin_stretch();
        Ok(Came::On)
    }

    /// Puts some more rows of the stretch in work together.
    fn put_together(
        &mut self,
        firing: &mut FromDisk<K, G::Accumulator>,
        left: &mut usize,
    ) -> Result<Came, StateError> {
        let (Some(on_disk), Stage::Reading(reader)) = (&mut self.on_disk, &mut firing.stage) else {
            return Ok(Came::Waiting);
        };
        let by = By(&self.aggregate, PhantomData::<fn(K, T)>);
        let (work, sources, rows) = (&mut firing.work, &firing.sources, &mut on_disk.rows);
        let reading = reader.read(&mut on_disk.piles, left, |source, row| {
            let of = sources.get(source).and_then(|(_, _, of)| *of);
            work.take_in(of, &row, rows, &by)
        });
        match reading {
            Ok(Reading::More) => Ok(Came::On),
            Ok(Reading::Waiting) => Ok(Came::Waiting),
            Ok(Reading::Done) => {
                firing.stage = Stage::Speaking(ScanCursor::new());
                Ok(Came::On)
            }
            Err(StateError::OverBudget(exceeded)) => {
                // Nothing of it was given out yet: again, with as little as there can be at once, and with all memory.
                let smaller = firing.stretch.len() > 1;
                firing.work = firing.work.another(&self.slices)?;
                if !smaller && !on_disk.clears_memory(&mut self.slices)? {
                    return Err(StateError::TooLittleToSpill(exceeded));
                }
                firing.rest.start = firing.stretch.start;
                firing.stride = 1;
                firing.stage = Stage::Clearing;
                Ok(Came::On)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives out rows of the stretch in work.
    fn speak<N: Push<V::Out>>(
        &mut self,
        firing: &mut FromDisk<K, G::Accumulator>,
        left: &mut usize,
        next: &mut N,
    ) -> Result<Came, FunctionError> {
        let Stage::Speaking(cursor) = &mut firing.stage else {
            return Ok(Came::On);
        };
        let speaker = Speaker {
            aggregate: &self.aggregate,
            window: self.windows.window_at(firing.end),
            times: (self.watermark, self.now),
            until: self.gone_at(firing.end),
            types: PhantomData::<fn(K, T)>,
        };
        let rows = match &mut firing.work {
            Assembly::Single => unreachable!("what is put together is kept by key"),
            Assembly::Running(running) => Rows::Held(running),
            Assembly::Panes(panes) => Rows::Panes(panes),
        };
        let walk = (cursor, &mut self.ahead);
        let said = say_rows(rows, &speaker, walk, left, (&mut self.voice, next))?;
        match said {
            Said::All => firing.stage = Stage::Keeping,
            Said::Some => {}
            Said::Waiting => {
                self.wait_for_voice();
                return Ok(Came::Waiting);
            }
        }
        Ok(Came::On)
    }

    /// The rows of a stretch are out: what later windows need of it is kept.
    fn keep(&mut self, firing: &mut FromDisk<K, G::Accumulator>) -> Result<Came, StateError> {
        let Some(on_disk) = &mut self.on_disk else {
            return Ok(Came::Waiting);
        };
        let all = firing.stretch == on_disk.piles.groups();
        let is_over = match &self.assembly {
            Assembly::Single => true,
            // Windows that reach beyond the end of time have no successor.
            Assembly::Panes(_) => firing.end == Timestamp::MAX,
            Assembly::Running(_) => {
                let window: TimeWindow = self.windows.window_at(firing.end);
                self.windows.last_end(window) == Some(firing.end) || firing.end == Timestamp::MAX
            }
        };
        if !is_over && !all && !firing.work.is_empty() {
            let kept = match &mut firing.kept {
                Some(kept) => kept,
                none => {
                    let descriptor = on_disk.of_windows.as_ref();
                    let Some(descriptor) = descriptor else {
                        unreachable!("only windows of several slices are in the making");
                    };
                    {
                        let made = (&on_disk.piles, PileUse::ReadThrough);
                        none.insert(PileWriter::new(descriptor, Vec::new(), made)?)
                    }
                }
            };
            if kept.is_full() {
                return Ok(Came::Waiting);
            }
            if firing.work.write(kept, &mut on_disk.piles)? == Scan::More {
                return Ok(Came::On);
            }
        }
        if is_over || !all {
            firing.work = firing.work.another(&self.slices)?;
        }
        match firing.rest.is_empty() {
            true => firing.stage = Stage::Sealing,
            false => firing.begin_stretch(),
        }
        Ok(Came::On)
    }

    /// Everything is given out; whether what is kept is on the disk, and the window over with that.
    fn seal(&mut self, firing: &mut FromDisk<K, G::Accumulator>) -> Result<bool, StateError> {
        let Some(on_disk) = &mut self.on_disk else {
            return Ok(true);
        };
        let mut gathered = Vec::new();
        if let Some(kept) = &mut firing.kept {
            kept.seal(&mut on_disk.piles)?;
            let Some(pile) = kept.take() else {
                return Ok(false);
            };
            gathered.push(pile);
        }
        on_disk.gathered = gathered;
        // Always another table, in which no cut has seen anything: the next one says all there is.
        if !matches!(self.assembly, Assembly::Single) {
            let fresh = firing.work.another(&self.slices)?;
            let work = std::mem::replace(&mut firing.work, fresh);
            on_disk.let_go(std::mem::replace(&mut self.assembly, work));
        }
        let mut place = 0;
        while let Some(pending) = self.slices.first_pending(place) {
            if self.slices.at(pending).span.end > firing.end {
                break;
            }
            place = pending + usize::from(self.slices.take(pending, self.lateness > 0));
        }
        self.has_fired(firing.end);
        Ok(true)
    }
}

/// How many key groups fit memory at once, about.
fn stride_of<K: Key, A: Record>(
    sources: &[(Pile, Which, Option<i64>)],
    on_disk: &OnDisk<K, A>,
) -> u16 {
    let in_memory = |(pile, which, _): &(Pile, Which, Option<i64>)| match which {
        Which::Tombstones => 0,
        Which::Values | Which::All => pile.bytes() * IN_MEMORY + pile.rows() * EACH_ROW,
    };
    let groups = on_disk.piles.groups().len() as u64;
    let room = on_disk.piles.limit().min(on_disk.piles.left()) / STRETCH_SHARE;
    let all = sources.iter().map(in_memory).sum::<u64>().max(1);
    let stride = u128::from(room) * u128::from(groups) / u128::from(all);
    u16::try_from(stride).unwrap_or(u16::MAX).max(1)
}
