//! The keyed operator over slices: records to their slice, windows fired in time order.
//!
//! Entered per record, or per partial result gathered before the exchange; left with one row per key
//! and window. A window is fired when the watermark reaches its last time; its rows have that time.
//! Invariants: windows fire in time order, each once, and then once more for each late record that is
//! still allowed; a key without records in a window gives no row; state goes when the last window it is
//! part of cannot fire any more. Lives on one shard's thread.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{Pressure, StateDescriptor, StateError, StateVisitor};

use super::SliceOptions;
use super::aligned::AlignedWindows;
use super::assembly::Assembly;
use super::copy::{CopyOfSlices, descriptor_of_slices};
use super::disk::{CopyOfGathered, OnDisk};
use super::fire::Step;
use super::panes::Combine;
use super::store::Slices;
use super::voice::{Ahead, OpenVoice, Voice};
use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::operator::{Firing, KeyedOperator, Lifecycle, OpenKeyed};
use crate::partition::Select;
use crate::task::{BuildContext, BuildError, Push};
use crate::time::LateRecords;
use crate::window::{TimeWindow, WindowAggregate};

/// No time lies in it.
pub(super) const NOWHERE: TimeWindow = TimeWindow::new(Timestamp::MAX, Timestamp::MIN);

/// The window aggregate as the slices see it.
pub(super) struct By<'a, K, T, G>(pub(super) &'a G, pub(super) PhantomData<fn(K, T)>);

impl<K: Key, T: Item, G: WindowAggregate<K, T>> Combine<G::Accumulator> for By<'_, K, T, G> {
    #[inline(always)]
    fn create(&self) -> G::Accumulator {
        self.0.create()
    }
    #[inline(always)]
    fn merge(&self, into: &mut G::Accumulator, other: &G::Accumulator) {
        self.0.merge(into, other);
    }
    #[inline(always)]
    fn subtract(&self, from: &mut G::Accumulator, other: &G::Accumulator) -> bool {
        self.0.subtract(from, other)
    }
}

/// Opens the operator in a subtask.
pub(super) struct OpenSlices<T: Item, G, V> {
    pub(super) windows: AlignedWindows,
    pub(super) options: SliceOptions<T>,
    pub(super) aggregate: G,
    pub(super) voice: V,
}

impl<T: Item, G: Clone, V: Clone> Clone for OpenSlices<T, G, V> {
    fn clone(&self) -> Self {
        Self {
            windows: self.windows,
            options: self.options.clone(),
            aggregate: self.aggregate.clone(),
            voice: self.voice.clone(),
        }
    }
}

impl<K, T, G, V> OpenKeyed<K, T> for OpenSlices<T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: OpenVoice<K, G::Row>,
{
    type Out = <V::Voice as Voice<K, G::Row>>::Out;
    type Operator = SliceOperator<K, T, G, V::Voice>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let mut slices = Slices::new(groups, info.max_parallelism, context.budget().clone());
        let assembly = Assembly::new(self.windows.shape(), &slices)
            .map_err(|error| context.refused(name, error))?;
        let of_slices = descriptor_of_slices::<K, G::Accumulator>();
        let (of_windows, keeps) = (assembly.descriptor(), self.options.lateness_ms > 0);
        let voice = self.voice.open(name, keeps, context)?;
        let kept = (keeps, voice.may_overflow());
        let described = (of_slices.clone(), of_windows.clone());
        let on_disk =
            (context.piles()).map(|piles| OnDisk::new(piles, of_slices, of_windows, kept));
        if on_disk.is_some() {
            slices.never_leap();
        }
        Ok(SliceOperator {
            windows: self.windows,
            lateness: self.options.lateness_ms,
            aggregate: self.aggregate,
            voice,
            ahead: Ahead::new(),
            for_voice: false,
            slices,
            assembly,
            on_disk,
            current: (NOWHERE, 0),
            turn: 0,
            watermark: Timestamp::MIN,
            passed: Timestamp::MIN,
            fired: Timestamp::MIN,
            now: Timestamp::NONE,
            step: Step::Rest,
            late: LateRecords::open(self.options.late, name, context)?,
            described: Box::new(described),
        })
    }
}

/// Where a record belongs.
enum Found {
    /// To the current slice.
    Current,
    /// To a slice of which a window has passed already.
    Late(TimeWindow),
    /// To no window that can still fire.
    TooLate,
    /// Between two windows.
    NoWindow,
}

/// The operator of one subtask.
pub(super) struct SliceOperator<K: Key, T: Item, G: WindowAggregate<K, T>, V> {
    pub(super) windows: AlignedWindows,
    pub(super) lateness: i64,
    pub(super) aggregate: G,
    pub(super) voice: V,
    /// Keys whose rows are said next, where what the voice keeps may be on disk.
    pub(super) ahead: Ahead<K>,
    /// Whether it is that which is waited for in this turn.
    pub(super) for_voice: bool,
    pub(super) slices: Slices<K, G::Accumulator>,
    pub(super) assembly: Assembly<K, G::Accumulator>,
    /// What is on disk, where state may be there.
    pub(super) on_disk: Option<Box<OnDisk<K, G::Accumulator>>>,
    /// The slice of the last record and its place: none of its windows has passed.
    pub(super) current: (TimeWindow, usize),
    /// The place of the record in work in the window of those ahead.
    turn: u8,
    pub(super) watermark: Timestamp,
    /// Windows whose last time is at or before this have fired.
    pub(super) passed: Timestamp,
    /// The end of the last window that fired.
    pub(super) fired: Timestamp,
    /// The processing time of this turn, if the voice asks for it.
    pub(super) now: Timestamp,
    pub(super) step: Step<K, G::Accumulator>,
    late: LateRecords<T>,
    /// How its slices are described, and the windows in the making, if it keeps any.
    described: Box<(StateDescriptor, Option<StateDescriptor>)>,
}

impl<K, T, G, V> Remembers for SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        let mut copy = CopyOfSlices {
            slices: &mut self.slices,
            windows: self.windows,
            on_disk: self.on_disk.as_deref_mut(),
            by: By(&self.aggregate, PhantomData::<fn(K, T)>),
        };
        let (of_slices, of_windows) = &*self.described;
        visitor.visit(of_slices, &mut copy)?;
        if let Some(descriptor) = of_windows {
            let assembly = &mut self.assembly;
            match &mut self.on_disk {
                Some(on_disk) => {
                    visitor.visit(descriptor, &mut CopyOfGathered { assembly, on_disk })?;
                }
                None => {
                    if let Some(state) = assembly.as_state() {
                        visitor.visit(descriptor, state)?;
                    }
                }
            }
        }
        self.voice.visit_states(visitor)
    }
}

impl<K, T, G, V> Lifecycle<V::Out> for SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    // Entries are looked for in the slice of the last record: what comes is mostly of the same.

    fn approach(&mut self, _input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        if let Some(slice) = self.slices.get_mut(self.current.1) {
            slice.table.approach(from, hashes);
        }
        Ok(())
    }

    fn locate(&mut self, _input: u32, from: u8, records: usize) {
        if let Some(slice) = self.slices.get_mut(self.current.1) {
            slice.table.locate(from, records);
        }
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.turn = at;
    }

    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        Ok(self.begin_on_disk(context)?)
    }

    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        Ok(self.end_on_disk(context, waiting)?)
    }

    fn may_be_cut(&self) -> bool {
        let owes = self.owes() || !self.ahead.is_empty();
        !self.is_refilling() && !owes && self.voice.may_be_cut()
    }

    #[inline]
    fn owes(&self) -> bool {
        self.fires_again()
    }

    fn wants_processing_time(&self) -> bool {
        V::ASKS_TIME
    }

    fn processing_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    fn watermark(&mut self, to: Timestamp) {
        self.watermark = self.watermark.max(to);
        self.current.0 = NOWHERE;
    }

    /// All windows up to there had fired when the checkpoint was taken.
    fn restored_at(&mut self, watermark: Timestamp) {
        self.watermark = watermark;
        self.passed = watermark;
        self.fired = self.windows.last_passed(watermark);
        for slice in self.slices.iter_mut() {
            slice.taken = slice.first_end.plus_ms(-1) <= watermark;
        }
    }

    fn fire<N: Push<V::Out>>(
        &mut self,
        next: &mut N,
        limit: usize,
    ) -> Result<Firing, FunctionError> {
        let mut left = limit;
        match self.fire_again_from_disk(next, &mut left)? {
            Firing::Done => self.fire_due(next, left.max(1)),
            unfinished => Ok(unfinished),
        }
    }
}

impl<K, T, G, V> KeyedOperator<K, T, V::Out> for SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.on_disk.is_some()
    }

    fn has_room(&mut self, records: usize) -> bool {
        self.makes_room_for(records)
    }

    #[inline(always)]
    fn apply<N: Push<V::Out>>(
        &mut self,
        hash: KeyHash,
        item: T::Of<'_>,
        at: Timestamp,
        selector: &impl Select<T, K>,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        if !self.current.0.contains(at) {
            match self.find(at)? {
                Found::Current => {}
                Found::Late(slice) => {
                    let key = K::store(&selector.select(&item));
                    let mut held = self.aggregate.create();
                    self.aggregate.add(&mut held, item);
                    return self.apply_late(hash, &key, &held, slice, next);
                }
                Found::TooLate => {
                    self.late.take(item, at);
                    return Ok(());
                }
                Found::NoWindow => return Ok(()),
            }
        }
        let aggregate = &self.aggregate;
        let table = &mut self.slices.at(self.current.1).table;
        table.turn_to(self.turn);
        let entry = table.open(hash, &selector.select(&item), || aggregate.create())?;
        entry.change(|held| aggregate.add(held, item))?;
        Ok(())
    }
}

impl<K, T, G, V> SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    /// Applies what a producer has gathered of one key in the slice that `at` lies in: so many records.
    #[inline(always)]
    pub(super) fn apply_partial<N: Push<V::Out>>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        (records, held): (u32, G::Accumulator),
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        if !self.current.0.contains(at) {
            match self.find(at)? {
                Found::Current => {}
                Found::Late(slice) => {
                    return self.apply_late(hash, &K::store(key), &held, slice, next);
                }
                Found::TooLate => {
                    self.late.count(i64::from(records));
                    return Ok(());
                }
                Found::NoWindow => return Ok(()),
            }
        }
        let aggregate = &self.aggregate;
        let table = &mut self.slices.at(self.current.1).table;
        table.turn_to(self.turn);
        let entry = table.open(hash, key, || aggregate.create())?;
        entry.change(|into| aggregate.merge(into, &held))?;
        Ok(())
    }

    #[inline(never)]
    fn find(&mut self, at: Timestamp) -> Result<Found, FunctionError> {
        if !at.is_some() {
            return Err(without_time());
        }
        let slice = self.windows.slice_of(at);
        let ends = (self.windows.first_end(slice), self.windows.last_end(slice));
        let (Some(first), Some(last)) = ends else {
            // Between two windows a record is late by its own time.
            let late = at.plus_ms(self.lateness) <= self.watermark;
            return Ok(if late {
                Found::TooLate
            } else {
                Found::NoWindow
            });
        };
        if self.is_gone(last) {
            return Ok(Found::TooLate);
        }
        if first.plus_ms(-1) <= self.watermark {
            return Ok(Found::Late(slice));
        }
        let place = self.slices.find_or_make(slice, (first, last))?;
        self.current = (slice, place);
        Ok(Found::Current)
    }
}

/// Why a record without an event time cannot be put into an event-time window.
#[cold]
pub(super) fn without_time() -> FunctionError {
    FunctionError::new(
        "a record has no event time, so it belongs to no window: put \
         .assign_timestamps_and_watermarks() before the window, or use a source with event times",
    )
}
