//! How the files of a text sink become visible, or go.
//!
//! Runs on control threads. Invariants: committing the same list again changes nothing; aborting removes
//! every pending file of this attempt, whether it was prepared or not, and nothing else.

use std::sync::Arc;

use thalweg_dataflow::sink::{Committable, Committer, SinkError};

use super::sink::Target;
use crate::file::pending::{Pending, decode_all, remove, remove_if_empty, sync_all};

/// Publishes or withdraws the files of one text sink.
pub struct TextCommitter {
    pub(crate) target: Arc<Target>,
}

impl Committer for TextCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let prepared = decode_all(prepared)?;
        for file in &prepared {
            file.publish(self.target.overwrite)?;
        }
        if self.target.overwrite {
            self.remove_former(&prepared)?;
        }
        sync_all(&self.target.directories())
    }

    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let listed = decode_all(prepared)?;
        let listed = listed.into_iter().map(|file| file.pending);
        // A writer that failed has prepared nothing, but its pending file is there.
        for pending in listed.chain(self.target.all_pending()) {
            remove(&pending)?;
        }
        match self.target.made_directory() {
            true => remove_if_empty(&self.target.path),
            false => Ok(()),
        }
    }
}

impl TextCommitter {
    /// Removes the parts of an earlier, wider job.
    fn remove_former(&self, prepared: &[Pending]) -> Result<(), SinkError> {
        for part in self.target.parts()? {
            if prepared.iter().all(|file| file.last != part) {
                remove(&part)?;
            }
        }
        Ok(())
    }
}
