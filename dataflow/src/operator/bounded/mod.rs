//! Operators over a whole partition, when its input has ended.
//!
//! A partition is what one subtask got, or on a keyed stream what one key got. Its records are
//! kept in the slot's managed memory; more than fits fails the job with an error that names the key.

mod kept;
mod keyed;
mod subtask;

pub use subtask::Order;
