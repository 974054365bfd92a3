//! A source of consecutive numbers.
//!
//! Dealt out by [`crate::stride`]: number *i* of the range is in subtask *i* mod *p*, in order. Plain
//! data until a subtask opens its reader on its shard.

use std::ops::RangeInclusive;

use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::source::{Boundedness, Source, SourceError};
use thalweg_dataflow::task::SubtaskInfo;

use crate::stride::{Produce, Stride, StrideReader};

/// Emits every number of a range once.
#[derive(Clone, Debug)]
pub struct Sequence {
    range: RangeInclusive<u64>,
}

impl Sequence {
    /// The numbers from the range's start to its end, both included.
    pub fn new(range: RangeInclusive<u64>) -> Self {
        Self { range }
    }
}

/// The record of a number is the number.
#[derive(Clone, Copy, Debug)]
pub struct Itself;

impl Produce for Itself {
    type Record = u64;
    const TIMESTAMPS: bool = false;

    #[inline(always)]
    fn produce(&self, number: u64) -> (u64, Timestamp) {
        (number, Timestamp::NONE)
    }
}

impl Source for Sequence {
    type Item = u64;
    type Split = Stride;
    type Reader = StrideReader<Itself>;

    fn name(&self) -> String {
        format!("sequence {}..={}", self.range.start(), self.range.end())
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<Stride>, SourceError> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let count = match self.range.is_empty() {
            true => 0,
            false => u128::from(last - first) + 1,
        };
        Ok(Stride::deal(first, Some(count), parallelism))
    }

    fn open(
        &self,
        splits: Vec<Stride>,
        _subtask: &SubtaskInfo,
    ) -> Result<StrideReader<Itself>, SourceError> {
        Ok(StrideReader::new(splits, Itself, None))
    }
}
