//! Where a chain leaves the error that must fail its task.
//!
//! `push` returns nothing, so that chains inline to straight code. A stage that cannot go
//! on stores its error here, answers "not ready" and the head fails the task at the end
//! of the record. The first error wins.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use thalweg_core::error::ErrorKind;

/// Why a task failed, in words for its user.
#[derive(Debug, thiserror::Error)]
#[error("{operator}: {message}")]
pub struct TaskFailure {
    /// The operator that noticed.
    pub operator: String,
    /// What went wrong, where, and how to mend it.
    pub message: String,
    /// What the user should do about it.
    pub kind: ErrorKind,
}

/// The error slot of one task, shared by the stages of its chain.
#[derive(Clone, Default)]
pub struct Failure {
    set: Rc<Cell<bool>>,
    error: Rc<RefCell<Option<TaskFailure>>>,
}

impl Failure {
    /// Notes the error, unless an earlier one is there.
    #[cold]
    pub fn set(&self, operator: &str, message: impl Into<String>, kind: ErrorKind) {
        if !self.set.replace(true) {
            *self.error.borrow_mut() = Some(TaskFailure {
                operator: operator.to_owned(),
                message: message.into(),
                kind,
            });
        }
    }

    /// Whether an error is noted.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// The noted error as the outcome of a turn.
    ///
    /// # Errors
    /// The noted error, once.
    pub fn check(&self) -> Result<(), TaskFailure> {
        match self
            .is_set()
            .then(|| self.error.borrow_mut().take())
            .flatten()
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
