//! Floor 1: every byte the engine manages, and how a record lies in it.
//!
//! The way of a record through this house: a shard leases a [`Segment`] from its [`SegmentPool`], a
//! [`BufferWriter`] archives records into it, [`BufferWriter::seal`] turns it into a read-only
//! [`Buffer`] that may go to another shard, the reader [`scan`](Buffer::scan)s it and takes each
//! [`item`](Buffer::item) in place, and the segment goes home.
//!
//! Invariants: memory on the record path comes from segments, never from the allocator; what a
//! [`Buffer`] holds was written by a [`BufferWriter`] of the same type or has passed
//! [`Buffer::adopt`]'s check, so reading in place is always sound; a segment belongs to one owner at a
//! time and every lease ends at home.
//!
//! Memory that does not suffice overflows into files ([`spill`]).
//!
//! Everything here lives on one shard's thread; only [`Segment`] and [`Buffer`] move between shards, and a
//! [`SpillSpace`] belongs to a process.

pub mod arena;
pub mod budget;
pub mod buffer;
pub mod entry;
pub mod hash;
pub mod mark;
pub mod pool;
pub mod record;
pub mod segment;
pub mod share;
pub mod spill;

pub use arena::{Arena, ArenaError};
pub use budget::{Budget, BudgetExceeded};
pub use buffer::{BLOCK, Block, Buffer, BufferWriter, Records, Remainder, TooLarge};
pub use entry::{Cursor, Entry, EntryLayout};
pub use mark::Mark;
pub use pool::SegmentPool;
pub use record::{
    Archiver, Damaged, DamagedKey, Full, Item, Key, KeyValue, Record, RecordKey, SavedRecord,
    Schema, SchemaWriter, Str, View, Wire, record,
};
pub use segment::Segment;
pub use share::Share;
pub use spill::{IoManager, IoQueue, SpillError, SpillFile, SpillSpace};
