//! What a completed checkpoint is: the one file that says which files and small states belong together.
//!
//! | room | what it is |
//! |---|---|
//! | [`model`] | the content |
//! | [`mod@format`] | its bytes, versions 1 to 3, and what is checked when they are read |
//! | `in_flight` | the bytes of what it says about records in flight |
//! | `bytes` | numbers, texts and lists as bytes |
//!
//! Written last, read first. Pure functions over bytes; lives on any thread. Invariant: what
//! [`decode`] accepts, [`encode`] writes as the same bytes; what was damaged is refused by name.

mod bytes;
pub mod facts;
pub mod format;
mod in_flight;
pub mod model;

pub use format::{FORMAT_VERSION, MetadataError, decode, encode};
pub use thalweg_state::snapshot::{InFlightFile, RunHandle};

pub use model::{
    CheckpointKind, CheckpointMetadata, OperatorState, PendingCommittable, SubtaskState,
    VertexState,
};
