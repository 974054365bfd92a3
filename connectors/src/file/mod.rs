//! Files that roll: records written into files of bounded size and age, by bucket, so that nothing
//! half-written is ever shown.
//!
//! | room | what it is |
//! |---|---|
//! | `sink` | [`FileSink`], the template, and its committer |
//! | `writer` | one subtask's open and ending files |
//! | `epochs` | which files belong to which checkpoint |
//! | `bucket`, `rolling`, `encode` | what a program chooses: where, until when, how |
//! | `leftovers` | what a failed attempt has left behind, removed by the next one |
//! | `target` | names, what is made, what is cleaned up |
//! | `part` | one hidden file, written block after block through the shard's reactor |
//! | `pending` | complete hidden files: how they become visible, or go |
//!
//! Entered by programs through [`FileSink`]; the sink of text files shares `part` and `pending`.

mod bucket;
mod encode;
mod epochs;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod leftovers;
pub(crate) mod part;
pub(crate) mod pending;
mod rolling;
mod sink;
mod target;
mod writer;

pub use bucket::{BucketBy, Buckets, DateBuckets, OneBucket};
pub use encode::{AsLines, Encoded, Encoder};
pub use rolling::RollingPolicy;
pub use sink::FileSink;
pub use writer::FileSinkWriter;
