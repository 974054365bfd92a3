//! The doors to the outside: where records come from and where they go.
//!
//! Every source implements the contract of [`thalweg_dataflow::source`], every sink that of
//! [`thalweg_dataflow::sink`]; programs reach both through the methods of [`Sources`] and [`Sinks`]
//! (and [`Collects`], [`CollectsText`]), which the facade's prelude brings along. Readers and writers
//! live on the shard of their subtask and do I/O through its reactor only; enumerating splits, checking
//! targets and committing happen on control threads and may block.
//!
//! Invariants, held by the contract tests in `tests/contract`: a source emits the same records however
//! its polls are cut and goes on from a snapshot with exactly the rest; a sink that commits shows
//! nothing before the commit, nothing half-written ever, and leaves nothing behind when it is aborted.
#![forbid(unsafe_code)]

pub mod collect;
pub mod collection;
pub mod discard;
pub mod file;
pub mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz {
    //! What a fuzzer throws at formats that are private to this crate.
    pub use crate::file::fuzz::file_sink;
    #[cfg(feature = "postgres")]
    pub use crate::postgres::fuzz::transactions;
    pub use crate::text::fuzz::{lines, packed};
}
pub mod generator;
pub mod monitor;
#[cfg(test)]
#[path = "../../fuzz/mutants.rs"]
mod mutants;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod print;
pub mod sequence;
pub mod show;
pub mod socket;
pub mod stream_ext;
pub mod stride;
pub mod text;

pub use collect::{Collect, Collected};
pub use collection::Collection;
pub use discard::{Discard, ForEach};
pub use file::{AsLines, Buckets, DateBuckets, Encoder, FileSink, RollingPolicy};
pub use format::{Debugged, Displayed, Format, Formatted, Shown};
pub use generator::Generator;
pub use monitor::{DirectoryMonitor, FileProcessing, OnChange};
#[cfg(feature = "postgres")]
pub use postgres::PostgresSink;
pub use print::Print;
pub use sequence::Sequence;
pub use show::Show;
pub use socket::{SocketSink, SocketText};
pub use stream_ext::{Collects, CollectsText, Sinks, Sources};
pub use text::{TextFile, TextFiles};
