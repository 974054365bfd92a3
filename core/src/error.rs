//! What the receiver of an error should do about it: six kinds, no more.
//!
//! Every crate keeps its own detailed error enums; at the border to the user each maps to one
//! [`ErrorKind`]. Plain data, lives on any thread.

use std::fmt;

/// What the one who sees an error should do.
///
/// The kind decides behaviour (restart the attempt or not, which exit code); the message beside it says
/// what happened, where, and how to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Passing trouble (a closed connection, a lost peer): the same attempt again may succeed.
    Retry,
    /// The call or the setting is wrong: trying again will not help, changing it will.
    Invalid,
    /// Data read is damaged or cannot be decoded: repair it or choose a policy that skips it.
    Data,
    /// Memory, disk, descriptors or cores ran out: give more or ask for less.
    Resource,
    /// Someone asked for the end: not a fault.
    Cancelled,
    /// A broken promise inside the engine or a panic in user code: report it.
    Internal,
}

impl ErrorKind {
    /// All kinds, in the order of declaration.
    pub const ALL: [ErrorKind; 6] = [
        ErrorKind::Retry,
        ErrorKind::Invalid,
        ErrorKind::Data,
        ErrorKind::Resource,
        ErrorKind::Cancelled,
        ErrorKind::Internal,
    ];

    /// The name as it stands in logs and in REST answers: one lower-case word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::Retry => "retry",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Data => "data",
            ErrorKind::Resource => "resource",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        }
    }

    /// Whether running the same work again, unchanged, may succeed.
    #[must_use]
    pub const fn may_succeed_again(self) -> bool {
        matches!(self, ErrorKind::Retry | ErrorKind::Resource)
    }

    /// The kind an operating system error most likely means.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> ErrorKind {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound
            | Io::PermissionDenied
            | Io::AlreadyExists
            | Io::InvalidInput
            | Io::IsADirectory
            | Io::NotADirectory
            | Io::AddrInUse
            | Io::AddrNotAvailable
            | Io::ReadOnlyFilesystem => ErrorKind::Invalid,
            Io::InvalidData | Io::UnexpectedEof => ErrorKind::Data,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge | Io::OutOfMemory => {
                ErrorKind::Resource
            }
            Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::NotConnected
            | Io::BrokenPipe
            | Io::TimedOut
            | Io::WouldBlock
            | Io::Interrupted
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::NetworkDown
            | Io::ResourceBusy => ErrorKind::Retry,
            _ => ErrorKind::Internal,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error and what caused it, in one line. Many errors tell their cause themselves: it is said once.
#[must_use]
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read: {0}")]
    struct Telling(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("no settings")]
    struct Silent(#[source] Telling);

    #[test]
    fn a_cause_is_said_once() {
        let telling = || Telling(std::io::Error::other("full"));
        assert_eq!(in_one_line(&telling()), "cannot read: full");
        assert_eq!(
            in_one_line(&Silent(telling())),
            "no settings: cannot read: full"
        );
    }

    #[test]
    fn names_are_distinct_lower_case_words() {
        let names: std::collections::BTreeSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        for kind in ErrorKind::ALL {
            assert!(kind.name().bytes().all(|byte| byte.is_ascii_lowercase()));
            assert_eq!(kind.to_string(), kind.name());
        }
    }

    #[test]
    fn only_passing_trouble_is_worth_the_same_try() {
        let again: Vec<_> = ErrorKind::ALL
            .into_iter()
            .filter(|kind| kind.may_succeed_again())
            .collect();
        assert_eq!(again, [ErrorKind::Retry, ErrorKind::Resource]);
    }

    #[test]
    fn operating_system_errors_map_to_what_the_user_should_do() {
        use std::io::{Error, ErrorKind as Io};
        let kind = |io: Io| ErrorKind::of_io(&Error::from(io));
        assert_eq!(kind(Io::NotFound), ErrorKind::Invalid);
        assert_eq!(kind(Io::StorageFull), ErrorKind::Resource);
        assert_eq!(kind(Io::ConnectionReset), ErrorKind::Retry);
        assert_eq!(kind(Io::UnexpectedEof), ErrorKind::Data);
        assert_eq!(kind(Io::Other), ErrorKind::Internal);
    }
}
