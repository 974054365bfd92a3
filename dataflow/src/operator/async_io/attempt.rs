//! One attempt at one request: the user's future, and how its outcome comes back to the shard.
//!
//! The future runs on another thread; its outcome goes into a bounded channel that has room for
//! every request under way, and the task is woken once for all outcomes it has not seen yet.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::task::{Context, Poll, ready};

use super::queue::RequestId;
use crate::function::FunctionError;
use crate::task::RemoteWaker;

/// The outcome of one attempt.
pub(super) struct Outcome<R> {
    pub(super) request: RequestId,
    /// Which attempt at the request: outcomes of earlier ones are no longer waited for.
    pub(super) attempt: u32,
    pub(super) answer: Result<R, Failed>,
}

/// Why an attempt failed.
pub(super) enum Failed {
    /// The user's function says so.
    Error(String),
    /// It panicked.
    Panic(String),
}

/// The shard's ear: tells the task of outcomes without waking it for each.
#[derive(Clone)]
pub(super) struct Bell {
    pub(super) waker: RemoteWaker,
    /// Set while the task has been woken and has not looked yet.
    pub(super) rung: Arc<AtomicBool>,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            (self.waker)();
        }
    }
}

/// The user's future with its way back.
pub(super) struct Attempt<R> {
    pub(super) request: RequestId,
    pub(super) attempt: u32,
    pub(super) answer: Pin<Box<dyn Future<Output = Result<R, FunctionError>> + Send>>,
    pub(super) outcomes: SyncSender<Outcome<R>>,
    pub(super) bell: Bell,
}

impl<R> Future for Attempt<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Unwind safety: after a panic the future is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| self.answer.as_mut().poll(context)));
        let answer = match polled {
            Ok(poll) => ready!(poll).map_err(|error| Failed::Error(error.to_string())),
            Err(panic) => Err(Failed::Panic(message_of(panic.as_ref()))),
        };
        let outcome = Outcome {
            request: self.request,
            attempt: self.attempt,
            answer,
        };
        // The channel has room for all that are under way; it is closed only when the task is gone.
        let _ = self.outcomes.try_send(outcome);
        self.bell.ring();
        Poll::Ready(())
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
