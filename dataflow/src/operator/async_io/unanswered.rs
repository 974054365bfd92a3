//! What is known of a record that no attempt has answered.

use std::time::Duration;

use thalweg_core::error::ErrorKind;

use crate::function::FunctionError;

/// Why a record has no answer, when no attempt is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    pub(super) attempts: u32,
    pub(super) reason: Reason,
}

/// What the last attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    TimedOut(Duration),
    Failed(String),
}

impl Unanswered {
    /// How many attempts were made.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether the last one took longer than the timeout; else it failed.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        matches!(self.reason, Reason::TimedOut(_))
    }

    /// What the last one came to, in words: the error of the future, if it failed.
    #[must_use]
    pub fn message(&self) -> String {
        match &self.reason {
            Reason::TimedOut(timeout) => format!("no answer within {timeout:?}"),
            Reason::Failed(message) => message.clone(),
        }
    }
}

/// What fails the job where nothing else is made of it.
impl From<Unanswered> for FunctionError {
    fn from(unanswered: Unanswered) -> Self {
        let (message, attempts) = (unanswered.message(), unanswered.attempts);
        FunctionError::of_kind(
            ErrorKind::Retry,
            format!(
                "{message} (attempt {attempts} of {attempts}); raise the timeout or the retries, or answer failures with \
                 a result"
            ),
        )
    }
}
