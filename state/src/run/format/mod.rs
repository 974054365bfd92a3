//! Format version 2 of a run, and version 1: its parts, each written and read by one file.
//!
//! `docs/reference/formats.md` has it in full. In short: a header; sections, each made of blocks of sorted
//! rows and an index of the blocks with a filter; a footer with the states and where each section lies; a
//! trailer.
//!
//! ```text
//! run      = header section* footer trailer
//! header   = "THALWRUN" version:u32 checksum-of-these-12:u32
//! section  = block* index
//! block    = row*                          about 4 KiB; a larger row has a block of its own
//! row      = tag:u8 [state:varint group:varint] [key-length:varint] [namespace-length:varint]
//!            [value-length:varint] [key] namespace [value]
//! index    = blocks:u32 (length:u32 checksum:u32 rows:u32 state:u16 group:u16 key:string namespace:string)*
//!            filter-blocks:u32 (word:u32 × 8)*
//! footer   = states:u32 (name:string descriptor:string says:u8)* sections:u32 entry*
//! entry    = blocks-bytes:u64 index-bytes:u32 index-checksum:u32
//!            extents:u32 (state:u16 first-group:u16 last-group:u16 puts:u32 tombstones:u32)*
//!            first-key:string first-namespace:string last-key:string last-namespace:string
//! trailer  = footer-length:u64 footer-checksum:u32 version:u32 checksum-of-these-16:u32 "NURWLAHT"
//! ```
//!
//! Invariant: trust goes from the end to the front. The trailer checks itself and the footer, the footer
//! checks the index of each section, the index checks each block; lengths are looked at only where they
//! have been checked, and must fill the file without a gap. Plain data, lives on any thread.

pub(crate) mod block;
pub(crate) mod checksum;
pub(crate) mod envelope;
pub(crate) mod fields;
pub(crate) mod filter;
pub(crate) mod footer;
pub(crate) mod index;

/// The version that is written, and the latest that is read.
pub(crate) const VERSION: u32 = 2;
/// The most states of one run: they are numbered in two bytes.
pub(crate) const MOST_STATES: usize = 1 << 16;
