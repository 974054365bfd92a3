//! What every workload computes, engine or by hand.
//!
//! The definitions are shared by all who run a workload, so that they can disagree only in how the
//! work is done and never in what the work is.

pub mod definitions;
pub mod keys;
pub mod nexmark;
pub mod pace;

/// What a run did, as far as two programs can be compared by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Records read or generated.
    pub records: u64,
    /// Rows that reached the sink.
    pub rows_out: u64,
    /// Wrapping sum of the rows' terms.
    pub checksum: u64,
}
