//! Hash tables over managed memory.
//!
//! `buckets` is the bottom of every table: slots that may be vacant, with tags and stamps beside them,
//! in memory that is zeroed by the system, touched lazily and on huge pages where it is large.

pub mod batch;
pub mod buckets;

pub use batch::{LANES, NO_SLOT};
pub use buckets::{Bucket, BucketArray, SLOTS, Tag};
