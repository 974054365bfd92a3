//! How long an object store is waited for, and what another try may change.
//!
//! Used on the threads of object storage, never on a shard. Invariant: every try and every pause ends; trouble that
//! trying again does not mend is told at once.

use std::future::Future;
use std::time::Duration;

use object_store::{Error, Result};
use thalweg_core::seam::clock::{entropy, monotonic_ns};

/// How long is waited, and how long in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to one request.
    pub answer: Duration,
    /// After this time no further try begins.
    pub whole: Duration,
    /// Before the second try; doubled before each further one, less a drawn part of it.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            whole: Duration::from_secs(120),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
        }
    }
}

/// What came of asking, perhaps several times.
#[derive(Debug)]
pub(super) struct Asked<T> {
    /// The last answer.
    pub(super) outcome: Result<T>,
    /// How often was asked.
    pub(super) tries: u32,
    /// Whether a try that gave no clear answer may have had its effect all the same.
    pub(super) in_doubt: bool,
}

impl Patience {
    /// One request, given up when no answer comes.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn within<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(self.answer, request).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Generic {
                store: "object",
                source: format!("no answer within {:?}", self.answer).into(),
            }),
        }
    }

    /// Asks until the answer is one that another try would not change, or time is over.
    pub(super) async fn ask<T, F>(&self, mut request: impl FnMut() -> F) -> Asked<T>
    where
        F: Future<Output = Result<T>>,
    {
        let begun = monotonic_ns();
        let mut tries = 0;
        let mut in_doubt = false;
        let mut pause = self.first_pause;
        loop {
            tries += 1;
            let outcome = request().await;
            let passing = outcome.as_ref().err().is_some_and(is_passing);
            in_doubt |= passing;
            let passed = Duration::from_nanos(monotonic_ns().saturating_sub(begun));
            if !passing || passed >= self.whole {
                return Asked {
                    outcome,
                    tries,
                    in_doubt,
                };
            }
            if let Err(error) = &outcome {
                tracing::debug!(%error, tries, "the object store is asked again");
            }
            tokio::time::sleep(drawn(pause)).await;
            pause = (pause * 2).min(self.longest_pause);
        }
    }
}

/// Between half of it and all of it, so that who failed together does not come back together.
fn drawn(pause: Duration) -> Duration {
    let half = pause / 2;
    let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
    half + Duration::from_nanos(entropy() % nanos.max(1))
}

/// Whether another try may go better.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::NotFound { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::AlreadyExists { .. }
        | Error::Precondition { .. }
        | Error::NotModified { .. }
        | Error::NotImplemented { .. }
        | Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::UnknownConfigurationKey { .. } => false,
        // Connections that broke, servers that are busy, and whatever else is not named.
        _ => true,
    }
}
