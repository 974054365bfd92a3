//! Text files: read line by line in parallel, and written so that nothing half-written is ever shown.
//!
//! | room | what it is |
//! |---|---|
//! | `source` | [`TextFiles`] and the reader that brings the other rooms together |
//! | `split` | which bytes of which file a subtask reads |
//! | `feed` | bytes of a file through the shard's reactor, one read ahead |
//! | `decompress`, `unpacking` | the same for packed files |
//! | `lines` | from blocks of bytes to checked lines |
//! | `trouble` | what is said when a file cannot be read on |
//! | `sink`, `writer`, `commit` | pending files, and how they become visible |
//!
//! Entered by programs through [`TextFiles`] and [`TextFile`]. Readers and writers live on the shard of
//! their subtask; splits and commits on control threads.

mod commit;
mod decompress;
mod feed;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod lines;
mod sink;
mod source;
mod split;
mod trouble;
mod unpacking;
mod writer;

pub use commit::TextCommitter;
pub use sink::TextFile;
pub use source::{TextFiles, TextReader};
pub use split::{Packing, TextSplit};
pub(crate) use split::{Search, unreadable};
pub use writer::TextFileWriter;
