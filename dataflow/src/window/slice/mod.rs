//! Aligned windows put together from slices.
//!
//! A slice is the largest span that lies whole in or whole outside of every window; all windows
//! of a stream share its slices. Records are gathered per key and slice, and a window's row is
//! put together from the slices in it.

mod aligned;

#[allow(unused_imports, reason = "the operator over it stands beside it next")]
pub(crate) use aligned::AlignedWindows;
