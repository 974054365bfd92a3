//! The piles of a copy taken apart into slices, before anything else is done.
//!
//! A copy was written by other subtasks, and what lay in their memory is in it as one run of all slices: which slices
//! there are shows only from the rows. Begun when the operator is opened with a copy, goes on between turns; no record
//! is applied, no window fired and no barrier cut before it is over. What does not fit memory goes to disk again on the
//! way. Invariant: each row becomes part of the slice it was part of, once. Lives on one shard's thread.

use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{Answer, Pile, PileReader, Reading, Row, StateError, Which};

use super::super::copy::parse;
use super::super::operator::SliceOperator;
use super::super::store::Part;
use super::super::voice::Voice;
use crate::window::WindowAggregate;

/// Rows between two looks at clock and memory.
const SLICE_ROWS: usize = 128;

/// What is still to be taken apart.
pub(in crate::window::slice) struct Refill {
    reader: PileReader,
}

impl Refill {
    /// All rows of these piles that belong to the operator.
    pub(in crate::window::slice) fn new(adopted: Vec<Pile>, groups: std::ops::Range<u16>) -> Self {
        let sources = adopted.into_iter().map(|pile| (pile, Which::Values));
        Self {
            reader: PileReader::new(sources.collect(), groups),
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.reader.memory_bytes()
    }

    pub(super) fn answered(&mut self, answer: Answer) -> Result<(), StateError> {
        self.reader.answered(answer).map(|_| ())
    }
}

impl<K, T, G, V> SliceOperator<K, T, G, V>
where
    K: Key,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
{
    /// Goes on with the copy, for a part of the turn; whether more can be done at once.
    pub(super) fn refill_until(
        &mut self,
        until: u64,
        context: &mut TurnContext<'_>,
    ) -> Result<bool, StateError> {
        let Some(mut refill) = self
            .on_disk
            .as_mut()
            .and_then(|on_disk| on_disk.refill.take())
        else {
            return Ok(false);
        };
        let mut reading = Reading::More;
        while reading == Reading::More && self.makes_room_for(SLICE_ROWS) {
            // Some in every turn, however long it took to make sure of the room.
            reading = self.refill_some(&mut refill)?;
            if context.reactor().now() >= until {
                break;
            }
        }
        if reading == Reading::Done {
            return Ok(true);
        }
        let Some(on_disk) = &mut self.on_disk else {
            return Ok(false);
        };
        on_disk.refill = Some(refill);
        Ok(reading == Reading::More && !on_disk.stalled)
    }

    fn refill_some(&mut self, refill: &mut Refill) -> Result<Reading, StateError> {
        let Some(on_disk) = &mut self.on_disk else {
            return Ok(Reading::Done);
        };
        let (slices, windows, passed) = (&mut self.slices, self.windows, self.passed);
        let (aggregate, rows, keeps) = (&self.aggregate, &mut on_disk.rows, self.lateness > 0);
        let show = |_: usize, row: Row<'_>| {
            let (span, part, _) = parse(row.namespace)?;
            let place = slices.place_of_copy(span, windows)?;
            let slice = slices.at(place);
            slice.taken = slice.first_end.plus_ms(-1) <= passed;
            let part = match (slice.taken, part) {
                // It was kept for late records, for which windows do not wait any more.
                (true, Part::Whole) if !keeps => return Ok(()),
                (true, part) => part,
                (false, _) => Part::Whole,
            };
            if part == Part::Patch && slice.patch.is_none() {
                let fresh = slices.fresh_table()?;
                slices.at(place).patch = Some(fresh);
            }
            let table = slices.at(place).table_of(part);
            let (hash, key, held) = table.read_row::<G::Accumulator>(&row, rows)?;
            let Some(held) = held else { return Ok(()) };
            let entry = table.open(hash, &K::lend(&key), || aggregate.create())?;
            entry
                .change(|into| aggregate.merge(into, &held))
                .map(|_| ())
        };
        let mut budget = SLICE_ROWS;
        refill.reader.read(&mut on_disk.piles, &mut budget, show)
    }
}
