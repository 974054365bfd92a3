//! The hot layer: native values in open addressing, divided by key group, probed by batch.
//!
//! Entered through [`KeyedTable`]. `hot` is the table, `directory` finds the page of a hash, `page` is
//! the open addressing inside a page, `probe` the tag word of a bucket, `entry` a slot and its stamp,
//! `scan` the resumable walk, `account` the memory.
//!
//! The way of a lookup: the high half of the key hash, scaled by the number of key groups, is one number
//! whose upper part is the key group and whose lower part places the key *within* the group. The page
//! and the bucket in it are further bits of that number; so pages are ordered by group, a group is a
//! run of pages, and a lookup needs one directory access before it touches the one or two adjacent
//! cache lines that hold tags, keys and values together.
//!
//! Invariant: growth is in slices. A page grows by a quarter or is split in two, at most one of each
//! per insertion; no call ever moves more than two pages of entries.
//!
//! Lives on one shard's thread.

mod account;
mod directory;
mod entry;
mod hot;
mod namespace;
mod open;
mod page;
mod probe;
mod scan;

pub use hot::KeyedTable;
pub use namespace::Namespace;
pub use open::OpenEntry;
pub use scan::{Scan, ScanCursor, ScanEntry};
