//! A table on its way to the disk.
//!
//! Begun where a batch has no room, or a window is due of which something is on disk; goes on between turns. Invariant:
//! a cut that comes meanwhile finds the rows in the table; one that comes behind, in the pile. Lives on one shard's
//! thread.

use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{PileUse, PileWriter, Piles, Pressure, Scan, StateError};

use super::super::assembly::Assembly;
use super::super::copy::namespace_of;
use super::super::fire::Step;
use super::super::operator::SliceOperator;
use super::super::store::{Leaving, Part, Slices};
use super::super::voice::Voice;
use super::{OnDisk, movable_bytes};
use crate::window::{TimeWindow, WindowAggregate};

/// How much of a turn moving tables out and in takes, in ns.
const SHARE_NS: u64 = 100_000;

/// What a table that goes to disk was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::window::slice) enum Goal {
    /// A table of a slice.
    Slice(TimeWindow, Part),
    /// What windows in the making hold.
    Gathered,
}

/// A table on its way.
pub(in crate::window::slice) struct Spilling<K: Key, A: Record> {
    pub(in crate::window::slice) goal: Goal,
    pub(in crate::window::slice) number: u32,
    /// One of partial results where it is a slice's.
    pub(in crate::window::slice) table: Assembly<K, A>,
    pub(super) writer: PileWriter,
    /// All its rows were handed to the disk.
    sealed: bool,
}

impl<K: Key, A: Record> Spilling<K, A> {
    pub(super) fn memory_bytes(&self) -> u64 {
        self.table.memory_bytes() + self.writer.memory_bytes()
    }

    /// Does a slice; whether more can be done at once.
    fn advance(&mut self, piles: &mut Piles) -> Result<bool, StateError> {
        if self.sealed || self.writer.is_full() {
            return Ok(false);
        }
        if self.table.write(&mut self.writer, piles)? == Scan::Done {
            self.writer.seal(piles)?;
            self.sealed = true;
        }
        Ok(!self.sealed)
    }
}

impl<K: Key, A: Record> OnDisk<K, A> {
    /// Lets a table of a slice go to disk.
    pub(super) fn spill_slice(
        &mut self,
        slices: &mut Slices<K, A>,
        (place, part): (usize, Part),
    ) -> Result<(), StateError> {
        let fresh = slices.table()?;
        let slice = slices.at(place);
        let goal = Goal::Slice(slice.span, part);
        let table = std::mem::replace(slice.table_of(part), fresh);
        self.spill(goal, Assembly::Running(table))
    }

    /// Lets what windows in the making hold go to disk.
    pub(super) fn spill_gathered(
        &mut self,
        slices: &Slices<K, A>,
        assembly: &mut Assembly<K, A>,
    ) -> Result<(), StateError> {
        let fresh = assembly.another(slices)?;
        let table = std::mem::replace(assembly, fresh);
        self.spill(Goal::Gathered, table)
    }

    fn spill(&mut self, goal: Goal, table: Assembly<K, A>) -> Result<(), StateError> {
        let number = self.next_number();
        let (descriptor, namespace) = match goal {
            Goal::Slice(span, part) => (&self.of_slices, namespace_of(span, part, Some(number))),
            Goal::Gathered => match &self.of_windows {
                Some(descriptor) => (descriptor, Vec::new()),
                None => unreachable!("only windows of several slices are in the making"),
            },
        };
        let used = match goal {
            Goal::Slice(_, Part::Whole) if self.keeps => PileUse::Sought,
            _ => PileUse::ReadThrough,
        };
        let writer = PileWriter::new(descriptor, namespace, (&self.piles, used))?;
        debug_assert!(self.spilling.is_none(), "one table goes at a time");
        self.spilling = Some(Spilling {
            goal,
            number,
            table,
            writer,
            sealed: false,
        });
        Ok(())
    }

    /// Lets the largest table go to disk, if any has something in it.
    fn spill_largest(
        &mut self,
        slices: &mut Slices<K, A>,
        assembly: &mut Assembly<K, A>,
    ) -> Result<(), StateError> {
        let largest = slices.largest();
        let of_slice = largest.map_or(0, |(.., bytes)| bytes);
        if !assembly.is_empty() && assembly.memory_bytes() >= of_slice {
            return self.spill_gathered(slices, assembly);
        }
        match largest {
            Some((place, part, _)) => self.spill_slice(slices, (place, part)),
            None => Ok(()),
        }
    }

    /// A key group of a window that fires does not fit beside what windows to come, and late records, have in memory:
    /// lets that go to disk too, one table after the other. Whether it is of use to wait.
    pub(super) fn clears_memory(&mut self, slices: &mut Slices<K, A>) -> Result<bool, StateError> {
        if self.lets_go(slices) {
            return Ok(true);
        }
        let Some((place, part, _)) = slices.largest() else {
            return Ok(false);
        };
        self.spill_slice(slices, (place, part))?;
        Ok(true)
    }

    /// Goes on with the table that is on its way; whether more can be done at once.
    fn advance_spilling(
        &mut self,
        slices: &mut Slices<K, A>,
        until: u64,
        context: &mut TurnContext<'_>,
    ) -> Result<bool, StateError> {
        let Some(spilling) = &mut self.spilling else {
            return Ok(false);
        };
        while spilling.advance(&mut self.piles)? {
            if context.reactor().now() >= until {
                return Ok(true);
            }
        }
        if spilling.sealed
            && let Some(pile) = spilling.writer.take()
            && let Some(Spilling {
                goal,
                number,
                table,
                ..
            }) = self.spilling.take()
        {
            match (goal, table) {
                (Goal::Slice(span, part), Assembly::Running(table)) => {
                    slices.add_pile(span, part, pile);
                    slices.let_go(Leaving {
                        span,
                        part,
                        number: Some(number),
                        table,
                    });
                }
                (_, table) => {
                    self.gathered.insert(0, pile);
                    self.let_go(table);
                }
            }
        }
        Ok(false)
    }
}

/// Tables that are empty give their memory back, but for what a cut needs.
fn give_back<K: Key, A: Record>(
    slices: &mut Slices<K, A>,
    assembly: &mut Assembly<K, A>,
) -> Result<(), StateError> {
    slices.give_back()?;
    if assembly.is_empty() && !assembly.is_cutting() {
        *assembly = assembly.another(slices)?;
    }
    Ok(())
}

impl<K, T, G, V> SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    /// Whether there is room for so many records. Cheap where state does not go to disk.
    #[inline(always)]
    pub(in crate::window::slice) fn makes_room_for(&mut self, records: usize) -> bool {
        match &mut self.on_disk {
            Some(on_disk) => on_disk.has_room(&self.slices, &self.assembly, records),
            None => true,
        }
    }

    /// A turn begins: takes in what the disk has done.
    pub(in crate::window::slice) fn begin_on_disk(
        &mut self,
        context: &mut TurnContext<'_>,
    ) -> Result<(), StateError> {
        let Some(on_disk) = &mut self.on_disk else {
            return Ok(());
        };
        on_disk.begin_turn();
        self.for_voice = false;
        self.voice.begin_turn(context)?;
        on_disk.piles.poll(context);
        let mut firing = match &mut self.step {
            Step::OnDisk(firing) => Some(firing),
            _ => None,
        };
        while let Some((request, answer)) = on_disk.piles.next_answer() {
            if let Some(spilling) = &mut on_disk.spilling
                && spilling.writer.answered(request, &answer)?
            {
                continue;
            }
            if let Some(again) = on_disk.again.iter_mut().find(|it| it.has_asked(request)) {
                again.answered((request, answer))?;
            } else if let Some(firing) = &mut firing {
                firing.answered((request, answer))?;
            } else if let Some(refill) = &mut on_disk.refill {
                refill.answered((request, answer))?;
            } else {
                // What was opened, or read for somebody who is gone.
                answer?;
            }
        }
        Ok(())
    }

    /// A turn ends: makes room, hands on what the disk is asked for.
    pub(in crate::window::slice) fn end_on_disk(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let beside = match &self.step {
            Step::OnDisk(firing) => firing.memory_bytes(),
            _ => 0,
        };
        if self.on_disk.is_none() {
            return Ok(Pressure::None);
        }
        let rests = matches!(self.step, Step::Rest);
        let until = context.reactor().now().saturating_add(SHARE_NS);
        let mut more = self.refill_until(until, context)?;
        let Some(on_disk) = &mut self.on_disk else {
            return Ok(Pressure::None);
        };
        let (slices, assembly) = (&mut self.slices, &mut self.assembly);
        let stalled = on_disk.stalled;
        // Nobody gains anything by waiting for a window that waits itself.
        let goes_on = beside > 0 && !self.for_voice;
        debug_assert!(
            rests || !stalled,
            "no record asks for room while windows fire"
        );
        // Tables of a window that is being fired stay where they are.
        let gives_way = rests && (stalled || on_disk.piles.is_beyond());
        if gives_way && on_disk.spilling.is_none() {
            on_disk.withdraw();
            give_back(slices, assembly)?;
            // What is little stays, where more comes free once a cut has what is in it.
            let much = on_disk.is_much(movable_bytes(slices, assembly));
            if much || stalled && !on_disk.lets_go(slices) {
                on_disk.spill_largest(slices, assembly)?;
            }
            // An empty table is in its place: those who wait may try again.
            more |= stalled || much;
        }
        let spills = on_disk.spilling.is_some();
        more |= on_disk.advance_spilling(slices, until, context)?;
        if spills || beside > 0 {
            on_disk.withdraw();
        }
        if on_disk.grant.records == 0 {
            let claims = on_disk.stalled || on_disk.has_piles(slices);
            on_disk.piles.claims(claims, context);
            on_disk.piles.holds(on_disk.held(slices, assembly) + beside);
        }
        on_disk.piles.shrinks(on_disk.lets_go(slices) || goes_on);
        on_disk.piles.poll(context);
        let waits = waiting && !self.for_voice || on_disk.refill.is_some();
        let pressure = match on_disk.piles.is_waiting() {
            _ if more => Pressure::MakingRoom,
            true => Pressure::Disk,
            false if waits => Pressure::MakingRoom,
            false => Pressure::None,
        };
        Ok(pressure.max(self.voice.end_turn(context, waiting)?))
    }
}
