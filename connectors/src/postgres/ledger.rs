//! The table that knows what was committed.
//!
//! A row of it is part of every prepared transaction, and so is there exactly when the transaction was
//! committed. The transactions of a writer are committed in their order: a row of a later one tells of all
//! before it, which are deleted. Invariant: one row is left of each writer of each attempt. Used by sessions
//! and committers, on their threads.

use thalweg_core::error::ErrorKind;
use thalweg_dataflow::sink::SinkError;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::names::{PreparedTransaction, TransactionId, quoted_table};
use super::trouble::{failed, is_made_already};

/// Where the ledger is kept, unless told otherwise: in the first schema of the user's search path.
pub(super) const TABLE: &str = "thalweg_ledger";

/// How old what is left of former attempts must be to go, and how many rows go at once.
const OLD: &str = "interval '90 days'";
const AT_ONCE: u32 = 1000;

/// The ledger of one sink.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) table: String,
}

/// The part of a row's key that names the writer, as parameters.
struct Writer {
    sink: String,
    line: String,
    attempt: String,
    subtask: i64,
}

impl Writer {
    fn of(id: &TransactionId) -> Self {
        Self {
            sink: id.origin.sink.clone(),
            line: format!("{:012x}", id.origin.line),
            attempt: format!("{:012x}", id.origin.attempt),
            subtask: i64::from(id.subtask),
        }
    }

    /// The key of the row of the writer's transaction of this number.
    fn key<'k>(&'k self, number: &'k i64) -> [&'k (dyn ToSql + Sync); 5] {
        [&self.sink, &self.line, &self.attempt, &self.subtask, number]
    }
}

fn number(id: &TransactionId) -> i64 {
    i64::try_from(id.number).unwrap_or(i64::MAX)
}

const OF_WRITER: &str = "sink = $1 and line = $2 and attempt = $3 and subtask = $4";

impl Ledger {
    /// Has the table ready, made if need be.
    pub(super) async fn prepare(&self, client: &Client, server: &str) -> Result<(), SinkError> {
        let table = quoted_table(&self.table);
        let definition = format!(
            "create table if not exists {table} (sink text, line text, attempt text, subtask bigint, \
             number bigint, rows bigint not null, prepared_at timestamptz not null default now(), \
             primary key (sink, line, attempt, subtask, number))"
        );
        let trouble = |error: &Error| {
            let SinkError { message, kind } = failed("use the ledger", server, error);
            let message = format!(
                "{message}; or have it made by one who may: `{definition}; grant select, insert, delete on \
                 {table} to …`"
            );
            SinkError { message, kind }
        };
        let there = "select to_regclass($1) is not null";
        let there = client.query_one(there, &[&table]).await;
        if !there.map_err(|error| trouble(&error))?.get::<_, bool>(0) {
            match client.batch_execute(&definition).await {
                Err(error) if !is_made_already(&error) => return Err(trouble(&error)),
                _ => {}
            }
        }
        let allowed = "select bool_and(has_table_privilege($1::text, p)) from unnest($2::text[]) p";
        let rights: &[&str] = &["select", "insert", "delete"];
        let allowed = client.query_one(allowed, &[&table, &rights]).await;
        if allowed.map_err(|error| trouble(&error))?.get::<_, bool>(0) {
            // A table of another form under the name is found out now.
            let forms = client.prepare(&self.insertion()).await;
            return forms.map(drop).map_err(|error| trouble(&error));
        }
        let message = format!(
            "the user of the sink may not read, insert into and delete from {table} at PostgreSQL {server}: \
             grant select, insert, delete on it"
        );
        Err(SinkError::new(ErrorKind::Invalid, message))
    }

    fn insertion(&self) -> String {
        let table = quoted_table(&self.table);
        format!(
            "insert into {table} (sink, line, attempt, subtask, number, rows) values ($1, $2, $3, $4, $5, $6)"
        )
    }

    /// Makes a row part of the transaction that is open.
    pub(super) async fn enter(
        &self,
        client: &Client,
        prepared: &PreparedTransaction,
    ) -> Result<(), Error> {
        let of = Writer::of(&prepared.id);
        let rows = i64::try_from(prepared.rows).unwrap_or(i64::MAX);
        let number = number(&prepared.id);
        let [sink, line, attempt, subtask, number] = of.key(&number);
        let values = [sink, line, attempt, subtask, number, &rows];
        client.execute(&self.insertion(), &values).await.map(drop)
    }

    /// Whether the transaction was committed.
    pub(super) async fn has(&self, client: &Client, id: &TransactionId) -> Result<bool, Error> {
        let table = quoted_table(&self.table);
        let query =
            format!("select exists (select from {table} where {OF_WRITER} and number >= $5)");
        let (of, number) = (Writer::of(id), number(id));
        let key = of.key(&number);
        Ok(client.query_one(&query, &key).await?.get(0))
    }

    /// The transaction is committed: forgets those of its writer before it.
    pub(super) async fn forget_before(
        &self,
        client: &Client,
        id: &TransactionId,
    ) -> Result<(), Error> {
        let table = quoted_table(&self.table);
        let deletion = format!("delete from {table} where {OF_WRITER} and number < $5");
        let (of, number) = (Writer::of(id), number(id));
        let key = of.key(&number);
        client.execute(&deletion, &key).await.map(drop)
    }

    /// Forgets some of what is left of attempts that ended long ago.
    pub(super) async fn forget_old(
        &self,
        client: &Client,
        id: &TransactionId,
    ) -> Result<(), Error> {
        let table = quoted_table(&self.table);
        let deletion = format!(
            "delete from {table} where ctid = any(array(select ctid from {table} where sink = $1 and \
             attempt <> $2 and prepared_at < now() - {OLD} limit {AT_ONCE}))"
        );
        let of = Writer::of(id);
        let (sink, attempt) = (&of.sink, &of.attempt);
        client.execute(&deletion, &[sink, attempt]).await.map(drop)
    }
}
