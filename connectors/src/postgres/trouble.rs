//! What servers refuse, in words: what was tried, where, what the server says, and how to mend it.
//!
//! Plain functions, on any thread. Invariant: an error of kind `Retry` or `Resource` may be gone when the
//! same is tried again, any other will not; a password is never part of a message.

use std::error::Error as _;
use std::io;

use thalweg_core::error::ErrorKind;
use thalweg_dataflow::sink::SinkError;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

/// What went wrong while doing `what` at `server`.
pub(super) fn failed(what: &str, server: &str, error: &Error) -> SinkError {
    let (kind, said, mend) = match error.as_db_error() {
        Some(error) => {
            let (kind, mend) = of_state(error.code());
            (kind, said(error), mend)
        }
        None => {
            let (kind, mend) = of_client(error);
            (kind, chain(error), mend)
        }
    };
    let message = format!("cannot {what} at PostgreSQL {server}: {said}; {mend}");
    SinkError::new(kind, message)
}

/// Whether the server knows no such prepared transaction (any more).
pub(super) fn is_unknown(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_OBJECT)
}

/// Whether somebody else was quicker to make the same thing.
pub(super) fn is_made_already(error: &Error) -> bool {
    let made = [
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::UNIQUE_VIOLATION,
    ];
    error.code().is_some_and(|code| made.contains(code))
}

/// What the server says, all of it on one line.
fn said(error: &DbError) -> String {
    let mut said = format!("{} ({})", error.message(), error.code().code());
    let more = [error.detail(), error.hint(), error.where_()];
    for more in more.into_iter().flatten() {
        said.push_str(", ");
        said.push_str(more.trim_end_matches('.'));
    }
    said.replace('\n', " ")
}

/// What the client says, with its reasons.
fn chain(error: &Error) -> String {
    let mut said = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let reason = error.to_string();
        // Some say their reason themselves.
        if !said.contains(&reason) {
            said.push_str(": ");
            said.push_str(&reason);
        }
        below = error.source();
    }
    said
}

fn of_client(error: &Error) -> (ErrorKind, &'static str) {
    let io = |error: &(dyn std::error::Error + 'static)| error.is::<io::Error>();
    let mut below = error.source();
    let mut passing = error.is_closed() || error.to_string().contains("timed out");
    while let Some(error) = below {
        passing |= io(error);
        below = error.source();
    }
    match passing {
        true => (
            ErrorKind::Retry,
            "is the server up, and does its listen_addresses hold this address?",
        ),
        false => (
            ErrorKind::Invalid,
            "check the address of the server, the user and the password",
        ),
    }
}

/// What is known of single states.
const KNOWN: [(SqlState, ErrorKind, &str); 10] = [
    (
        SqlState::TOO_MANY_CONNECTIONS,
        ErrorKind::Resource,
        "raise max_connections: every subtask of the sink has a connection, its committer another",
    ),
    (
        SqlState::OUT_OF_MEMORY,
        ErrorKind::Resource,
        "raise max_prepared_transactions, if it is full, and restart the server: every subtask of \
         the sink holds one from its barrier to the end of the checkpoint",
    ),
    (
        SqlState::LOCK_NOT_AVAILABLE,
        ErrorKind::Resource,
        "a row or the table is locked for long, maybe by a prepared transaction: look into \
         pg_locks and pg_prepared_xacts",
    ),
    (
        SqlState::INSUFFICIENT_PRIVILEGE,
        ErrorKind::Invalid,
        "grant it to the user of the sink",
    ),
    (
        SqlState::UNDEFINED_TABLE,
        ErrorKind::Invalid,
        "create it, or name its schema too",
    ),
    (
        SqlState::UNDEFINED_COLUMN,
        ErrorKind::Invalid,
        "name columns as the table spells them",
    ),
    (
        SqlState::INVALID_CATALOG_NAME,
        ErrorKind::Invalid,
        "create the database, or name another with dbname=",
    ),
    (
        SqlState::ADMIN_SHUTDOWN,
        ErrorKind::Retry,
        "is the server going down, or was the job started anew, which ends the sessions of the attempt before?",
    ),
    (
        SqlState::READ_ONLY_SQL_TRANSACTION,
        ErrorKind::Retry,
        "it is a standby: name the primary, or all hosts with target_session_attrs=read-write",
    ),
    (
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        ErrorKind::Retry,
        "it is in use by another session, or not ready yet",
    ),
];

/// The class of a state is its first two letters.
fn of_state(state: &SqlState) -> (ErrorKind, &'static str) {
    if let Some((_, kind, mend)) = KNOWN.iter().find(|(known, ..)| known == state) {
        return (*kind, mend);
    }
    match state.code().get(..2).unwrap_or_default() {
        "08" | "57" | "40" => (ErrorKind::Retry, "is the server going down, or starting?"),
        "53" => (ErrorKind::Resource, "give the server more of what ran out"),
        "22" | "23" => (
            ErrorKind::Data,
            "the table refuses a row: filter such records out, or relax the table",
        ),
        "28" => (
            ErrorKind::Invalid,
            "check user and password, and what pg_hba.conf lets in",
        ),
        "42" => (
            ErrorKind::Invalid,
            "check table and columns of the sink against the database",
        ),
        _ => (ErrorKind::Invalid, "see the log of the server"),
    }
}
