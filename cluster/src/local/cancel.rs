//! The wish to stop a running job, from any thread or signal handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells the control thread of running jobs to stop them. Clones are the same token.
#[derive(Clone, Default, Debug)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every job that has this token to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the wish was spoken.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
