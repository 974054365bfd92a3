//! What a finished run is, in a few words: the stuff of its handle.
//!
//! Made by the writer. Invariant: it is true of exactly the bytes that were given out. Plain data, lives
//! on any thread.

use std::ops::Range;

/// A finished run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Length of the file.
    pub bytes: u64,
    /// CRC-32C of the whole file.
    pub checksum: u32,
    /// The smallest range of key groups that holds all rows; `0..0` where there are none.
    pub groups: Range<u16>,
    /// By state, in the order of their numbers.
    pub states: Vec<StateSummary>,
}

/// The rows of one state of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSummary {
    /// The name of the state.
    pub name: String,
    /// Whether the run holds all there was of the state.
    pub full: bool,
    /// Rows with a value.
    pub puts: u64,
    /// Rows that say that their entry is gone.
    pub tombstones: u64,
}

impl RunSummary {
    /// Rows of all states, tombstones included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.states
            .iter()
            .map(|state| state.puts + state.tombstones)
            .sum()
    }
}
