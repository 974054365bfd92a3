//! How the files of a text sink become visible, or go.
//!
//! Runs on control threads. Invariants: committing the same list again changes nothing; aborting removes
//! every pending file of this attempt, whether it was prepared or not, and nothing else, but leaves those
//! that a checkpoint tells to go on with.

use std::sync::Arc;

use thalweg_dataflow::sink::{Committable, Committer, SinkError};

use super::sink::Target;
use crate::file::pending::{Pending, Published, decode_all, remove, remove_if_empty, sync_all};

/// Publishes or withdraws the files of one text sink.
pub struct TextCommitter {
    pub(crate) target: Arc<Target>,
}

impl Committer for TextCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let prepared = decode_all(prepared)?;
        for file in &prepared {
            if file.publish(self.target.overwrite)? == Published::Gone {
                return Err(file.gone("run the job again"));
            }
        }
        if self.target.overwrite {
            self.remove_former(&prepared)?;
        }
        if let Some((reserved, last)) = self.target.reserved()
            && prepared
                .iter()
                .any(|file| file.last == last && file.pending != reserved)
        {
            // Its writer went on with a file of a former attempt.
            remove(&reserved)?;
        }
        sync_all(&self.target.directories())
    }

    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        for file in decode_all(prepared)? {
            remove(&file.pending)?;
        }
        if self.target.in_checkpoint() {
            // Whoever restores that checkpoint goes on with them.
            return Ok(());
        }
        // A writer that failed has prepared nothing, but its pending file is there.
        self.target
            .all_pending()
            .try_for_each(|path| remove(&path))?;
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
