//! Windows of a key that fire again, of which something may be on disk.
//!
//! Entered for a late record that changed windows which have fired, where slices are kept on disk. What the slices of
//! those windows have of the key is copied out of their tables at once, and looked for in their piles; its rows are
//! given out when all of that is here, before another batch is applied, a watermark told or a barrier cut. Invariants:
//! rows say what there was when the record came; those of the record that came first come first. Lives on one shard's
//! thread.

use std::collections::VecDeque;
use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_memory::spill::RequestId;
use thalweg_state::{Answer, DUE, PileSeek, StateError, WINDOW};

use super::super::late::Anew;
use super::super::operator::{By, SliceOperator};
use super::super::panes::Combine;
use super::super::store::{Part, Slice};
use super::super::voice::Voice;
use super::{Goal, OnDisk};
use crate::function::FunctionError;
use crate::operator::Firing;
use crate::task::Push;
use crate::window::{TimeWindow, WindowAggregate};

/// Bytes that are read at once.
const AHEAD_BYTES: u64 = 512 << 10;

/// The windows of a key that fire again.
pub(in crate::window::slice) struct Again<K: Key, A: Record> {
    key: K::Stored,
    /// The end of the first, and that of the last.
    ends: (Timestamp, Timestamp),
    seek: PileSeek,
    /// The slices of the piles in which the key is looked for.
    slices: Vec<TimeWindow>,
    /// What there was in memory, in time order.
    held: Vec<(TimeWindow, A)>,
}

impl<K: Key, A: Record> Again<K, A> {
    pub(super) fn has_asked(&self, request: RequestId) -> bool {
        self.seek.has_asked(request)
    }

    pub(super) fn answered(&mut self, answer: Answer) -> Result<(), StateError> {
        self.seek.answered(answer)
    }

    /// Bytes of memory, about.
    pub(super) fn memory_bytes(&self) -> u64 {
        let slices = self.slices.capacity() * size_of::<TimeWindow>();
        let held = self.held.capacity() * size_of::<(TimeWindow, A)>();
        self.seek.memory_bytes() + (slices + held) as u64
    }
}

impl<K: Key, A: Record> OnDisk<K, A> {
    /// Whether what late records need of a slice is not all in its table.
    fn has_kept(&self, slice: &Slice<K, A>) -> bool {
        let goal = self.spilling.as_ref().map(|spilling| spilling.goal);
        !slice.kept.is_empty() || goal == Some(Goal::Slice(slice.span, Part::Whole))
    }

    /// Adds what there is of the key in a slice, the oldest part first.
    fn look(
        &self,
        slice: &Slice<K, A>,
        hash: KeyHash,
        again: &mut Again<K, A>,
        by: &impl Combine<A>,
    ) {
        for pile in &slice.kept {
            again.slices.push(slice.span);
            again.seek.within(pile);
        }
        let spilling = self.spilling.as_ref();
        let spilling = spilling.filter(|it| it.goal == Goal::Slice(slice.span, Part::Whole));
        let on_its_way = spilling.and_then(|it| it.table.as_running());
        for table in on_its_way.into_iter().chain([&slice.table]) {
            if let Some(held) = table.get(hash, &K::lend(&again.key)) {
                again.held.push((slice.span, by.copy(held)));
            }
        }
    }

    /// Asks for what is to be read next.
    fn ask_again(&mut self) {
        let mut left = AHEAD_BYTES;
        for again in &mut self.again {
            again.seek.ask(&mut self.piles, &mut left);
            if left == 0 {
                return;
            }
        }
    }
}

impl<K, T, G, V> SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    /// Whether windows have to fire again that late records have changed.
    #[inline]
    pub(in crate::window::slice) fn fires_again(&self) -> bool {
        let on_disk = self.on_disk.as_ref();
        on_disk.is_some_and(|on_disk| !on_disk.again.is_empty())
    }

    /// Whether the windows of a key, from the one that ends first to the one that ends last, fire again only once what
    /// is on disk of them is here, or those before them have; it is seen to, then.
    pub(in crate::window::slice) fn waits_for_disk(
        &mut self,
        hash: KeyHash,
        key: &K::Stored,
        ends: (Timestamp, Timestamp),
    ) -> bool {
        let anew = self.anew(ends);
        let Some(on_disk) = &mut self.on_disk else {
            return false;
        };
        let slices = || {
            let slices = self.slices.iter();
            let slices = slices.skip_while(|slice| anew.is_before(slice.span));
            slices.take_while(|slice| anew.is_within(slice.span))
        };
        // Also for what the voice keeps of them.
        let waits = || self.voice.has_to_seek() || slices().any(|slice| on_disk.has_kept(slice));
        if on_disk.again.is_empty() && !waits() {
            return false;
        }
        let mut again = Again {
            key: K::store(&K::lend(key)),
            ends,
            seek: PileSeek::new::<K>(self.slices.group_of(hash), &K::lend(key)),
            slices: Vec::new(),
            held: Vec::new(),
        };
        let by = By(&self.aggregate, PhantomData::<fn(K, T)>);
        slices().for_each(|slice| on_disk.look(slice, hash, &mut again, &by));
        on_disk.again.push_back(again);
        on_disk.ask_again();
        // What waits is held as well.
        on_disk.withdraw();
        true
    }

    /// Lets windows that fire again speak as far as what is on disk of them is here, about `left` of them.
    pub(in crate::window::slice) fn fire_again_from_disk<N: Push<V::Out>>(
        &mut self,
        next: &mut N,
        left: &mut usize,
    ) -> Result<Firing, FunctionError> {
        let by = By(&self.aggregate, PhantomData::<fn(K, T)>);
        let template = self.anew((Timestamp::MIN, Timestamp::MIN));
        loop {
            let Some(on_disk) = &mut self.on_disk else {
                return Ok(Firing::Done);
            };
            if on_disk.again.is_empty() {
                return Ok(Firing::Done);
            }
            if *left == 0 || !next.ready() {
                return Ok(Firing::More);
            }
            let may_speak = !self.voice.has_to_seek()
                || seek_for_voice::<K, _, G::Row, V>(&on_disk.again, &mut self.voice, template);
            if on_disk.again.front().is_some_and(|it| !it.seek.is_over()) {
                on_disk.ask_again();
                return Ok(Firing::Waiting);
            }
            if !may_speak {
                self.for_voice = true;
                return Ok(Firing::Waiting);
            }
            let Some(again) = on_disk.again.pop_front() else {
                return Ok(Firing::Done);
            };
            let found = again.seek.into_found::<G::Accumulator>(&mut on_disk.rows)?;
            let found = found
                .into_iter()
                .map(|(pile, held)| (again.slices[pile], held));
            let mut held: Vec<_> = found.chain(again.held).collect();
            // Of one slice what is on disk is older.
            held.sort_by_key(|(slice, _)| slice.end);
            let held = held.iter().map(|(slice, held)| (*slice, held));
            let anew = template.with_ends(again.ends);
            let spoke = anew.speak(&by, &again.key, held, (&mut self.voice, next))?;
            *left = left.saturating_sub(spoke);
        }
    }
}

/// Seeks what the voice keeps of the windows that fire again next; if that is not there, of those behind them too.
/// Whether the next ones may speak.
fn seek_for_voice<K: Key, A: Record, R: Item, V: Voice<K, R>>(
    line: &VecDeque<Again<K, A>>,
    voice: &mut V,
    template: Anew,
) -> bool {
    for (nth, again) in line.iter().take(DUE).enumerate() {
        let windows: Vec<TimeWindow> = template.with_ends(again.ends).each().collect();
        // Rounds make room for so many and no more: more would be waited for in vain.
        if nth == 0 && !voice.has_room(windows.len().min(WINDOW)) {
            return false;
        }
        let there = voice.seek(WINDOW + nth, &K::lend(&again.key), &windows);
        if nth == 0 && there {
            return true;
        }
    }
    false
}
