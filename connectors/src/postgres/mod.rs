//! Rows into a table of PostgreSQL, exactly once, by prepared transactions.
//!
//! The rows of an epoch are copied in one transaction, which is prepared at the barrier and committed when
//! the checkpoint, or without checkpoints the job, is complete. A row of a *ledger* table is part of it: so
//! a commit that is repeated finds out whether it has happened.
//!
//! | room | what it is |
//! |---|---|
//! | `sink` | [`PostgresSink`], the template |
//! | `target` | what template, writers and committer of one sink share; the check of the target |
//! | `row` | [`Row`]: values as bytes of a binary COPY |
//! | `names` | the ids of transactions, what writers remember, names as SQL writes them |
//! | `writer` | one subtask's end on its shard |
//! | `session` | its connection, on the connector runtime |
//! | `leftovers` | transactions that a dead attempt left prepared, rolled back |
//! | `ledger` | the table that knows what was committed |
//! | `commit` | the committer |
//! | `door` | how servers are reached, and what is retried |
//! | `trouble` | what servers refuse, in words |
//!
//! Entered by programs through [`PostgresSink`]. Invariants: no shard waits for the server; a transaction has an
//! id that no other attempt, job or sink ever uses; what is neither prepared nor in the ledger is lost, and
//! said so.

mod commit;
mod door;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod ledger;
mod leftovers;
mod names;
mod row;
mod session;
mod sink;
mod target;
mod trouble;
mod writer;

pub use row::Row;
pub use sink::PostgresSink;
/// What values of rows are made of: types of columns, and the trait of what can be written into them.
pub use tokio_postgres::types;
pub use writer::PostgresSinkWriter;
