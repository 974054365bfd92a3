//! Aligned windows put together from slices.
//!
//! A slice is the largest span that lies whole in or whole outside of every window; all windows of a
//! stream share its slices. Records are gathered per key and slice: first, where the chain before the
//! exchange is still open, in the producing subtask (`local`, over the table in `gathered`), so that one
//! partial result per key and slice crosses instead of every record; then in the operator behind the
//! exchange (`operator`, over the tables in `store`), which puts windows together from slices (`fire`,
//! `assembly`, `panes`) and gives out their rows (`rows`), or what a function makes of them (`voice`); what comes late has
//! a way of its own (`late`). Tables that memory does not hold go
//! to disk (`disk`). `pipe` builds either form; `aligned` is the arithmetic.
//!
//! Entered by [`aggregate_slices`]. Invariant: what is given out does not depend on whether records were
//! gathered before the exchange.

mod aligned;
mod assembly;
mod copy;
mod disk;
mod fire;
mod gathered;
mod growth;
mod late;
mod local;
mod operator;
mod panes;
mod pipe;
mod rows;
mod store;
mod voice;

use thalweg_memory::record::Item;

use crate::time::LateOutput;

pub(crate) use aligned::AlignedWindows;
pub(crate) use pipe::{SlicePipe, aggregate_slices};
pub(crate) use voice::{OpenCalled, OpenVoice, Plain, Voice};

/// What may be said of windows besides where they stand.
pub(crate) struct SliceOptions<T: Item> {
    /// How long after a window's end, in event time (ms), a late record still makes it fire again.
    pub(crate) lateness_ms: i64,
    /// Whether records may be gathered before the exchange.
    pub(crate) local_aggregation: bool,
    /// Where records go that came too late; without, they are dropped and counted. Late records must
    /// come whole, so nothing is gathered before the exchange then.
    pub(crate) late: Option<LateOutput<T>>,
}

impl<T: Item> Default for SliceOptions<T> {
    fn default() -> Self {
        Self {
            lateness_ms: 0,
            local_aggregation: true,
            late: None,
        }
    }
}

impl<T: Item> Clone for SliceOptions<T> {
    fn clone(&self) -> Self {
        Self {
            lateness_ms: self.lateness_ms,
            local_aggregation: self.local_aggregation,
            late: self.late.clone(),
        }
    }
}

#[cfg(test)]
mod behaviour_tests;
#[cfg(test)]
mod voice_tests;
