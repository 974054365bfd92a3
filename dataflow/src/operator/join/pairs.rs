//! The pairs of a window: given out one by one, as there is room.
//!
//! Entered by the window operator when a window of a window join speaks. Invariant: pairs come in the
//! order of their left records and for one of those in the order of the right ones, each once; the
//! place in that order is all that has to be remembered between two turns. Lives on one shard.

use std::marker::PhantomData;

use thalweg_memory::Budget;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::StateError;

use super::either::Either;
use crate::function::{Collector, FunctionError};
use crate::task::{Push, SideOutputs};
use crate::window::function::{Speaker, Speech};
use crate::window::{WindowContext, WindowElements};

/// Bytes that are kept for the next window.
const KEPT_BYTES: u64 = 4096;

/// Calls a function with every pair of a window.
pub(super) struct Pairs<A, B, H> {
    function: H,
    rights: Places,
    types: PhantomData<fn(A, B)>,
}

impl<A, B, H> Pairs<A, B, H> {
    /// `budget` pays for the places of the right records of the window that speaks.
    pub(super) fn new(function: H, budget: Budget) -> Self {
        Self {
            function,
            rights: Places::new(budget),
            types: PhantomData,
        }
    }
}

impl<K, A, B, U, H> Speaker<K, Either<A, B>, U> for Pairs<A, B, H>
where
    K: Key,
    A: Record,
    B: Record,
    U: Item,
    H: FnMut(&A, &B, &WindowContext<K>, &mut Collector<'_, U>) -> Result<(), FunctionError>
        + 'static,
{
    const RESUMES: bool = true;

    fn speak<N: Push<U>>(
        &mut self,
        elements: &WindowElements<Either<A, B>>,
        context: &WindowContext<K>,
        speech: &mut Speech,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<bool, FunctionError> {
        let records = elements.iter().as_slice();
        if speech.from == 0 {
            self.rights.note(records)?;
        }
        let rights = self.rights.places.as_slice();
        let Some(mut left_at) = speech.from.checked_div(rights.len()) else {
            return Ok(true);
        };
        let mut first = speech.from % rights.len();
        let at = context.window().max_timestamp();
        while let Some(record) = records.get(left_at) {
            if let Either::Left(left) = record {
                for (place, right_at) in rights.iter().enumerate().skip(first) {
                    if speech.allowed == 0 || !next.ready() {
                        speech.from = left_at * rights.len() + place;
                        return Ok(false);
                    }
                    speech.allowed -= 1;
                    let Either::Right(right) = &records[*right_at] else {
                        unreachable!("a window that speaks does not change");
                    };
                    let mut out = Collector::new(next, at, side);
                    (self.function)(left, right, context, &mut out)?;
                }
            }
            (left_at, first) = (left_at + 1, 0);
        }
        self.rights.forget();
        Ok(true)
    }
}

/// Where the right records of a window lie among all its records.
struct Places {
    places: Vec<usize>,
    budget: Budget,
    /// Bytes taken from the budget.
    reserved: u64,
}

impl Places {
    fn new(budget: Budget) -> Self {
        Self {
            places: Vec::new(),
            budget,
            reserved: 0,
        }
    }

    /// Notes the places of the right records.
    fn note<A, B>(&mut self, records: &[Either<A, B>]) -> Result<(), StateError> {
        let is_right = |record: &Either<A, B>| matches!(record, Either::Right(_));
        let count = records.iter().filter(|record| is_right(record)).count();
        let bytes = (count * size_of::<usize>()) as u64;
        if bytes > self.reserved {
            self.budget.reserve(bytes - self.reserved)?;
            self.reserved = bytes;
        }
        self.places.clear();
        self.places.reserve_exact(count);
        let rights = records
            .iter()
            .enumerate()
            .filter(|(_, record)| is_right(record));
        self.places.extend(rights.map(|(place, _)| place));
        Ok(())
    }

    /// The window has spoken: what it took is given back, but for a little.
    fn forget(&mut self) {
        self.places.clear();
        if self.reserved > KEPT_BYTES {
            self.places = Vec::new();
            self.budget.release(self.reserved);
            self.reserved = 0;
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.budget.release(self.reserved);
    }
}

#[cfg(test)]
#[path = "pairs_tests.rs"]
mod tests;
