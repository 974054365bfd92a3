//! Directories that are looked at again and again: what is new in them is read as it comes.
//!
//! One task lists the directories and knows what was given out of which file; what is new travels as
//! records to readers, which know nothing but what they were given.
//!
//! | room | what it is |
//! |---|---|
//! | `source` | [`DirectoryMonitor`]: a source whose records are pieces of files |
//! | `round` | one look at all directories, through the shard's reactor |
//! | `tail` | where the last whole line of a growing file ends |
//! | `seen` | what was given out, and what a change of a file means |
//! | `filter`, `glob` | which files are meant |
//!
//! Entered by programs through [`Sources::monitor_text`](crate::Sources::monitor_text).

pub(crate) mod filter;
mod glob;
mod round;
mod seen;
mod source;
mod tail;

pub use seen::OnChange;
pub use source::{DirectoryMonitor, FileProcessing, MonitorReader, MonitorSplit};
