//! The wish to stop a running job, from any thread or signal handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells the control thread of running jobs to stop them. Clones are the same token.
#[derive(Clone, Default, Debug)]
pub struct CancelToken(Arc<Wish>);

#[derive(Default, Debug)]
struct Wish {
    spoken: AtomicBool,
    /// Whoever spoke it has the process end, not the job.
    interrupts: AtomicBool,
    /// A wish that is this one too.
    wider: Option<CancelToken>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled with this one, or alone.
    #[must_use]
    pub fn narrower(&self) -> Self {
        Self(Arc::new(Wish {
            spoken: AtomicBool::new(false),
            interrupts: AtomicBool::new(false),
            wider: Some(self.clone()),
        }))
    }

    /// Asks every job that has this token to stop.
    pub fn cancel(&self) {
        self.0.spoken.store(true, Ordering::Release);
    }

    /// Asks every job that has this token to stop because the process is to end: their checkpoints stay, whatever is
    /// configured for jobs that are cancelled, so that they can go on from them.
    pub fn interrupt(&self) {
        self.0.interrupts.store(true, Ordering::Release);
        self.cancel();
    }

    /// Whether the wish is an interruption.
    pub(crate) fn is_interrupted(&self) -> bool {
        let wider = || self.0.wider.as_ref().is_some_and(Self::is_interrupted);
        self.0.interrupts.load(Ordering::Acquire) || wider()
    }

    /// Whether the wish was spoken.
    pub fn is_cancelled(&self) -> bool {
        let wider = || self.0.wider.as_ref().is_some_and(Self::is_cancelled);
        self.0.spoken.load(Ordering::Acquire) || wider()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_all_is_one_for_each_and_not_the_other_way_round() {
        let all = CancelToken::new();
        let (one, other) = (all.narrower(), all.narrower());
        one.clone().cancel();
        assert!(one.is_cancelled() && !other.is_cancelled() && !all.is_cancelled());
        all.cancel();
        assert!(other.is_cancelled() && !other.is_interrupted());
        all.interrupt();
        assert!(other.is_cancelled() && other.is_interrupted());
    }
}
