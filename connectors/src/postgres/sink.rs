//! The template of the sink: what a program says of the table and its rows.
//!
//! Made and checked on the submitting thread; opens the writer of each subtask on its shard.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::config::options;
use thalweg_dataflow::sink::{Committer, Sink, SinkError};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::Item;

use super::commit::PostgresCommitter;
use super::door::Server;
use super::ledger::{Ledger, TABLE};
use super::names::{decode_line, name_of_table};
use super::row::Row;
use super::target::{Attempt, Settings, Target};
use super::writer::PostgresSinkWriter;

/// How long a server that cannot be reached is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Writes every record as a row of a table of PostgreSQL, exactly once.
///
/// ```no_run
/// use thalweg_connectors::postgres::{PostgresSink, Row};
/// use thalweg_connectors::Sources;
/// use thalweg_dataflow::Environment;
///
/// fn store_orders(environment: &Environment) {
///     let server = "host=db.example user=shop password=… dbname=shop";
///     let orders = environment.from_collection([(17_i64, "tea".to_owned(), None::<f64>)]);
///     let sink = PostgresSink::new(
///         server,
///         "shop.orders",
///         &["id", "what", "price"],
///         |(id, what, price): &(i64, String, Option<f64>), row: &mut Row<'_>| {
///             row.put(id).put(what).put(price);
///         },
///     );
///     orders.sink(sink.named("orders")).uid("orders in the shop");
/// }
/// ```
///
/// The records between two checkpoints are copied in one transaction of each subtask. At the barrier it is
/// *prepared* (`PREPARE TRANSACTION`): durable, but invisible. When the checkpoint is complete it is
/// committed; without checkpoints, when the whole job has ended well. So an unbounded job without checkpoints
/// shows no row: turn checkpoints on. The transactions of a job that failed or was cancelled are rolled back;
/// those of a process that was killed when the job is restored from a checkpoint.
///
/// Needs a server that allows prepared transactions: `max_prepared_transactions`, which is 0 unless it is
/// set, should be twice the parallelism of all such sinks, plus what others use. Table and columns must be
/// there, and are named as the catalog spells them; the table may be `schema.table`. Beside the rows the sink
/// keeps a small table, `thalweg_ledger`, with one row for each subtask and start of the job, for 90 days after
/// the last: a savepoint that is older, and whose output was committed, is taken for lost.
///
/// - A commit is repeated until the server says what became of it. A transaction that is neither prepared nor
///   in the ledger is lost (somebody rolled it back, or the database was restored from a backup): the job fails
///   and says its id.
/// - A prepared transaction keeps its locks until it is committed, so rows of one unique key should come only
///   once: a row with the key of an earlier one waits for its commit, and fails.
/// - A row that the table refuses fails the job with the server's words.
/// - Each subtask has a connection and half a MiB of rows in flight at most; a slow server holds the records back.
///   All connecting and waiting is done on the connector runtime (`thalweg.connector.threads`), and on a thread
///   of the committer.
/// - A job that goes on from a checkpoint ends the sessions of the attempt before, which may only be slow, and
///   rolls back what it prepared for no checkpoint. So a pooler between sink and server must not share sessions.
/// - Connections are not encrypted.
pub struct PostgresSink<I, F> {
    target: Arc<Target>,
    fill: F,
    item: PhantomData<fn(I)>,
}

impl<I, F: Clone> Clone for PostgresSink<I, F> {
    fn clone(&self) -> Self {
        Self {
            target: Arc::clone(&self.target),
            fill: self.fill.clone(),
            item: PhantomData,
        }
    }
}

impl<I, F> PostgresSink<I, F>
where
    I: Item,
    F: for<'a, 'b, 'c, 'd> FnMut(&'b I::Of<'a>, &'c mut Row<'d>) + Clone + Send + 'static,
{
    /// Writes into these columns of a table at a server, whose address is written
    /// `host=… port=… user=… password=… dbname=…` or `postgresql://user@host:port/dbname`. The closure puts one
    /// value for each column, in their order.
    pub fn new(server: &str, table: &str, columns: &[&str], fill: F) -> Self {
        let settings = Settings {
            server: Server::parse(server),
            table: table.to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            name: name_of_table(table),
            exclusive: false,
            ledger: Ledger {
                table: TABLE.to_owned(),
            },
            patience: PATIENCE,
        };
        Self {
            target: Arc::new(Target::new(settings)),
            fill,
            item: PhantomData,
        }
    }
}

impl<I, F> PostgresSink<I, F> {
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.target.settings.clone();
        change(&mut settings);
        Self {
            target: Arc::new(Target::new(settings)),
            fill: self.fill,
            item: PhantomData,
        }
    }

    /// What the ids of its transactions call it by, instead of the name of the table: at most 24 letters,
    /// digits and `.`, `_`, `-`. Jobs that run at once from one savepoint must have different names.
    pub fn named(self, name: &str) -> Self {
        self.with(|settings| name.clone_into(&mut settings.name))
    }

    /// Says that at any time at most one job of this database has a sink of this name, given by
    /// [`PostgresSink::named`]. Then whatever others left prepared under it is rolled back whenever the job
    /// starts, also by one that does not go on from their checkpoints; which cannot be restored any more if what
    /// they list was not committed. Otherwise a job without a checkpoint only warns of what it finds.
    pub fn exclusive(self) -> Self {
        self.with(|settings| settings.exclusive = true)
    }

    /// The table, perhaps with its schema, that is the ledger instead of `thalweg_ledger`. It is made if it is
    /// not there.
    pub fn ledger(self, table: &str) -> Self {
        self.with(|settings| table.clone_into(&mut settings.ledger.table))
    }

    /// How long a commit is repeated while the server cannot be reached, or what became of it is not known,
    /// before the job fails; 5 minutes unless said otherwise. The job goes on meanwhile, but takes no other
    /// checkpoint and is not cancelled.
    pub fn patience(self, patience: Duration) -> Self {
        self.with(|settings| settings.patience = patience)
    }
}

impl<I, F> Sink<I> for PostgresSink<I, F>
where
    I: Item,
    F: for<'a, 'b, 'c, 'd> FnMut(&'b I::Of<'a>, &'c mut Row<'d>) + Clone + Send + 'static,
{
    type Writer = PostgresSinkWriter<I, F>;

    fn name(&self) -> String {
        format!("postgres {}", self.target.settings.table)
    }

    fn prepare(&self, parallelism: u32) -> Result<(), SinkError> {
        self.target.prepare(parallelism)
    }

    fn open(&self, subtask: &SubtaskInfo) -> Result<PostgresSinkWriter<I, F>, SinkError> {
        let attempt = self.target.enter(subtask, None)?;
        let interval = subtask.configuration.get(&options::CHECKPOINT_INTERVAL);
        Ok(self.writer(attempt, subtask, interval.is_some()))
    }

    fn restore(
        &self,
        subtask: &SubtaskInfo,
        state: Vec<Vec<u8>>,
    ) -> Result<PostgresSinkWriter<I, F>, SinkError> {
        let lines: Result<Vec<u64>, _> = state.iter().map(|state| decode_line(state)).collect();
        // All writers of a job remember the same.
        let line = lines?.first().copied();
        let attempt = self.target.enter(subtask, line)?;
        Ok(self.writer(attempt, subtask, true))
    }

    fn committer(&self) -> Option<Box<dyn Committer>> {
        Some(Box::new(PostgresCommitter::new(Arc::clone(&self.target))))
    }
}

impl<I, F: Clone> PostgresSink<I, F> {
    fn writer(
        &self,
        attempt: Arc<Attempt>,
        subtask: &SubtaskInfo,
        checkpoints: bool,
    ) -> PostgresSinkWriter<I, F> {
        PostgresSinkWriter::new(
            Arc::clone(&self.target),
            attempt,
            subtask.index,
            self.fill.clone(),
            checkpoints,
        )
    }
}
