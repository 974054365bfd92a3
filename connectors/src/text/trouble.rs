//! What is said when a text cannot be read on: file, place, and how to mend it.
//!
//! Entered by the reader when something goes wrong.

use std::io;

use thalweg_core::error::ErrorKind;
use thalweg_dataflow::source::SourceError;

use super::feed::FeedFault;
use super::lines::LineFault;
use super::split::{Packing, TextSplit};
use super::unpacking::UnpackFault;

/// Why there is no block.
pub(super) enum RefillFault {
    /// The file that was wanted is no longer there.
    Gone(FeedFault),
    Failed(SourceError),
}

impl From<SourceError> for RefillFault {
    fn from(error: SourceError) -> Self {
        RefillFault::Failed(error)
    }
}

impl From<FeedFault> for RefillFault {
    fn from(fault: FeedFault) -> Self {
        match fault.gone {
            true => RefillFault::Gone(fault),
            false => RefillFault::Failed(unreadable(&fault)),
        }
    }
}

impl UnpackFault {
    pub(super) fn told(self, split: &TextSplit) -> RefillFault {
        match self {
            UnpackFault::Feed(fault) => fault.into(),
            UnpackFault::Packed(error) => damaged(split, &error).into(),
        }
    }
}

pub(super) fn refused(split: &TextSplit, fault: LineFault) -> SourceError {
    let unpacked = match split.packing {
        Packing::Plain => "",
        Packing::Gzip | Packing::Zstd => " (unpacked)",
    };
    let message = format!("`{}`{unpacked}: {fault}", split.path().display());
    SourceError::new(ErrorKind::Data, message)
}

fn unreadable(fault: &FeedFault) -> SourceError {
    let message = format!(
        "{fault}; check that the file is still there, its disk, and the limit of open files"
    );
    SourceError::new(ErrorKind::Resource, message)
}

fn damaged(split: &TextSplit, error: &io::Error) -> SourceError {
    let message = format!(
        "cannot unpack `{}`: {error}; make the file anew or take it out of the input",
        split.path().display()
    );
    SourceError::new(ErrorKind::Data, message)
}

pub(super) fn shrunk(split: &TextSplit, len: u64) -> SourceError {
    let message = format!(
        "`{}` ended at byte {len} though it was longer when the job started: something changed it \
         while it was read; run the job again on a file that stays as it is",
        split.path().display()
    );
    SourceError::new(ErrorKind::Data, message)
}

/// What is said of a file that was gone before it was read.
pub(super) fn gone(fault: &FeedFault) -> SourceError {
    let message = format!(
        "{fault}: it was removed before all that was found in it was read; keep files until they were \
         read, or let go of them with .on_change(OnChange::Skip)"
    );
    SourceError::new(ErrorKind::Data, message)
}
