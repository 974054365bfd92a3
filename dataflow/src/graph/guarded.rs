//! What users write for the ends of a job and the control thread calls: a panic in it is an error.
//!
//! Entered by the plans of `template`. Invariant: none of the user's code unwinds into the control thread, which has
//! shards to stop and a job to fail by name. Works on any thread.

use std::collections::BTreeSet;

use thalweg_core::error::ErrorKind;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::panic::catch;

use crate::sink::{Committable, Committer, SinkError};

/// Calls what may panic; `what` is it that did.
pub(super) fn guarded<R, E>(
    what: &str,
    call: impl FnOnce() -> Result<R, E>,
    refuse: impl FnOnce(ErrorKind, String) -> E,
) -> Result<R, E> {
    catch(call).unwrap_or_else(|panic| {
        Err(refuse(
            ErrorKind::Internal,
            format!("{what} panicked: {panic}"),
        ))
    })
}

/// A committer that may panic.
pub(super) struct GuardedCommitter(pub(super) Box<dyn Committer>);

impl Committer for GuardedCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        guarded("the commit", || self.0.commit(prepared), SinkError::new)
    }

    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        guarded("the withdrawal", || self.0.abort(prepared), SinkError::new)
    }

    fn rolls_back(&self) -> bool {
        // Where it cannot tell, the whole job begins again.
        catch(|| self.0.rolls_back()).unwrap_or(false)
    }

    fn roll_back(
        &mut self,
        prepared: &[Committable],
        subtasks: &BTreeSet<u32>,
        after: CheckpointId,
    ) -> Result<(), SinkError> {
        let roll_back = || self.0.roll_back(prepared, subtasks, after);
        guarded("taking back", roll_back, SinkError::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Committer for Broken {
        fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
            panic!("{} are too many", prepared.len());
        }
        fn abort(&mut self, _: &[Committable]) -> Result<(), SinkError> {
            Err(SinkError::new(ErrorKind::Retry, "away"))
        }
        fn rolls_back(&self) -> bool {
            panic!("who knows");
        }
    }

    #[test]
    fn a_panic_is_an_error_and_an_error_stays_one() {
        let mut committer = GuardedCommitter(Box::new(Broken));
        let error = committer.commit(&[]).unwrap_err();
        assert!(
            error
                .message
                .starts_with("the commit panicked: 0 are too many")
        );
        assert_eq!(error.kind, ErrorKind::Internal);
        let error = committer.abort(&[]).unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.kind),
            ("away", ErrorKind::Retry)
        );
        assert!(!committer.rolls_back());
    }
}
