//! The hot layer: native values in open addressing, in the order of key groups, probed by batch.
//!
//! Entered through [`KeyedTable`]. `hot` is the table, `place` says where a key belongs, `buckets` is
//! one array of buckets and the probing in it, `grow` moves entries to a larger array a few at a time,
//! `open` holds an entry open, `scan` is the resumable walk, `sweep` one that changes and removes,
//! `account` the memory. For copies of the table, `stamp` tells when an entry last changed and whether a
//! cut has written it, `marks` where to look for what changed, and `cut` writes one and takes rows back;
//! `evict` lets entries leave memory and come back.
//!
//! The way of a lookup: the high half of the key hash, scaled by the number of key groups, is one number
//! whose upper part is the key group and whose lower part places the key *within* the group. That number,
//! scaled to the number of buckets, is the bucket where the key belongs. So homes are ordered by key
//! group, a group is a run of buckets and the few behind it, and a lookup touches one cache line when it
//! finds its entry at home.
//!
//! Invariant: growth is in slices. A larger array is filled from the smaller one, a few buckets with each
//! insertion; no call ever moves more than that, and every entry is in exactly one of the two.
//!
//! Lives on one shard's thread.

mod account;
mod buckets;
mod cut;
mod evict;
mod grow;
mod hot;
mod marks;
mod namespace;
mod near;
mod open;
mod place;
mod scan;
mod stamp;
mod sweep;

pub(crate) use account::Account;
pub use evict::OverflowRows;
pub(crate) use evict::{Filling, Gone};
pub use hot::KeyedTable;
pub use namespace::Namespace;
pub(crate) use namespace::entry_hash;
pub use near::WINDOW;
pub use open::OpenEntry;
pub(crate) use scan::GroupsCursor;
pub use scan::{Scan, ScanCursor, ScanEntry};
pub use sweep::{SweepEntry, Swept};
