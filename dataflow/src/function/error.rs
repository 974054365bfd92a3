//! Why a user function gives up.

use std::fmt;

use thalweg_core::error::{ErrorKind, in_one_line};
use thalweg_state::StateError;

/// An error of a user function: it fails the job, with the operator's name and this message.
///
/// Every error converts into it by `?`, as do messages by [`FunctionError::new`].
pub struct FunctionError {
    message: String,
    kind: ErrorKind,
}

impl FunctionError {
    /// An error with a message that says what, where and how to mend it.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: ErrorKind::Data,
        }
    }

    /// An error of a certain kind.
    pub(crate) fn of_kind(kind: ErrorKind, message: String) -> Self {
        Self { message, kind }
    }

    /// What should be done about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl<E: std::error::Error + 'static> From<E> for FunctionError {
    fn from(error: E) -> Self {
        let any: &dyn std::any::Any = &error;
        let kind = any
            .downcast_ref::<StateError>()
            .map_or(ErrorKind::Data, StateError::kind);
        let message = in_one_line(&error);
        Self { message, kind }
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
