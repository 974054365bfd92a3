//! What template, writers and committer of one sink share, and the check of the target before a job starts.
//!
//! A [`Target`] is shared by the clones of a template; each start of the job makes an [`Attempt`] of it, on a
//! control thread. Locked at starts and once for each checkpoint of a writer, never for a record. Invariants:
//! an attempt has a number of its own, drawn for it; a subtask has one writer in it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_dataflow::sink::SinkError;
use thalweg_dataflow::task::SubtaskInfo;
use tokio::sync::watch;
use tokio_postgres::Client;

use super::door::{Blocking, Patience, Server};
use super::ledger::Ledger;
use super::names::{Origin, draw, is_name, quoted, quoted_table};
use super::row::Column;
use super::trouble::failed;

/// What a program says of its sink.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) server: Server,
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    /// What its transactions are called by.
    pub(super) name: String,
    /// No other job has this name.
    pub(super) exclusive: bool,
    pub(super) ledger: Ledger,
    /// How long a server that cannot be reached is waited for when something must be committed.
    pub(super) patience: Duration,
}

impl Settings {
    /// `insert` or `copy`, into these columns of the table.
    fn into(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quoted(column)).collect();
        format!("{} ({})", quoted_table(&self.table), columns.join(", "))
    }

    /// What begins the copy of an epoch's rows.
    pub(super) fn copy(&self) -> String {
        format!("copy {} from stdin binary", self.into())
    }
}

/// One sink of one job.
pub(super) struct Target {
    pub(super) settings: Settings,
    current: Mutex<Option<Arc<Attempt>>>,
    /// The line of a job that began in this process, over its attempts.
    line: Mutex<Option<u64>>,
}

/// One start of the job.
pub(super) struct Attempt {
    number: u64,
    pub(super) columns: Arc<[Column]>,
    /// Known when the first subtask is opened.
    line: watch::Sender<Option<u64>>,
    opened: Mutex<BTreeSet<u32>>,
    /// Transactions that were told to a job with checkpoints, one of which may list them.
    told: Mutex<BTreeSet<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Target {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            current: Mutex::default(),
            line: Mutex::default(),
        }
    }

    /// Checks the target and begins an attempt.
    pub(super) fn prepare(&self, parallelism: u32) -> Result<(), SinkError> {
        let settings = self.settings.clone();
        check_words(&settings)?;
        // Who starts a job for the first time is told at once; one that runs already outlasts a restart.
        let again = locked(&self.current).is_some();
        let checked = Blocking::default().run(async move {
            let mut patience = Patience::new(match again {
                true => settings.patience,
                false => Duration::ZERO,
            });
            loop {
                match check(&settings, parallelism).await {
                    Err(error) if again => patience.after(error).await?,
                    checked => return checked,
                }
            }
        });
        let attempt = Attempt {
            number: draw(),
            columns: checked??,
            line: watch::Sender::new(None),
            opened: Mutex::default(),
            told: Mutex::default(),
        };
        *locked(&self.current) = Some(Arc::new(attempt));
        Ok(())
    }

    /// The attempt that was begun last.
    pub(super) fn current(&self) -> Option<Arc<Attempt>> {
        locked(&self.current).clone()
    }

    /// The attempt for the writer of a subtask. The first one says which line the job is of: the one it is
    /// restored with, or its own.
    pub(super) fn enter(
        &self,
        subtask: &SubtaskInfo,
        restored: Option<u64>,
    ) -> Result<Arc<Attempt>, SinkError> {
        let attempt = self.current().ok_or_else(|| {
            let message = "a PostgreSQL sink's target was not prepared: a defect of the engine";
            SinkError::new(ErrorKind::Internal, message)
        })?;
        if !locked(&attempt.opened).insert(subtask.index) {
            let message = format!(
                "the sink of the table `{}` is in the program twice: make one for each place instead of a clone",
                self.settings.table
            );
            return Err(SinkError::new(ErrorKind::Invalid, message));
        }
        if subtask.index == 0 {
            let mut own = locked(&self.line);
            let line = restored.or(*own).unwrap_or(attempt.number);
            *own = Some(line);
            attempt.line.send_replace(Some(line));
        }
        Ok(attempt)
    }
}

impl Attempt {
    fn origin(&self, name: &str, line: u64) -> Origin {
        Origin {
            sink: name.to_owned(),
            line,
            attempt: self.number,
        }
    }

    /// Which attempt of which job this is, as soon as it is known.
    pub(super) async fn known_origin(&self, name: &str) -> Origin {
        let mut line = self.line.subscribe();
        // The attempt holds the other end.
        let known = line.wait_for(Option::is_some).await;
        let line = known.ok().and_then(|line| *line);
        self.origin(name, line.unwrap_or(self.number))
    }

    /// The same, if it is known: without it no session was opened.
    pub(super) fn origin_if_known(&self, name: &str) -> Option<Origin> {
        let line = *self.line.borrow();
        Some(self.origin(name, line?))
    }

    /// This transaction is told to a job with checkpoints.
    pub(super) fn tell(&self, gid: String) {
        locked(&self.told).insert(gid);
    }

    pub(super) fn told(&self) -> BTreeSet<String> {
        locked(&self.told).clone()
    }

    /// It is committed or rolled back: no checkpoint needs it any more.
    pub(super) fn settled(&self, gid: &str) {
        locked(&self.told).remove(gid);
    }
}

fn invalid(message: String) -> SinkError {
    SinkError::new(ErrorKind::Invalid, message)
}

/// What can be refused without the server.
fn check_words(settings: &Settings) -> Result<(), SinkError> {
    let Settings {
        name,
        table,
        columns,
        ..
    } = settings;
    if !is_name(name) {
        return Err(invalid(format!(
            "`{}` cannot be the name of a PostgreSQL sink: take 1 to 24 letters, digits and `.`, `_`, `-`",
            name.escape_debug()
        )));
    }
    let nul = |text: &String| text.contains('\0');
    if columns.is_empty() || nul(table) || columns.iter().any(nul) {
        return Err(invalid(format!(
            "the sink of the table `{}` needs the names of a table and its columns, without NUL",
            table.escape_debug()
        )));
    }
    Ok(())
}

/// Looks whether the server can do what will be asked of it; answers the types of the columns.
async fn check(settings: &Settings, parallelism: u32) -> Result<Arc<[Column]>, SinkError> {
    let server = settings.server.told.as_str();
    let client = settings.server.connect_driven("thalweg check").await?;
    check_prepared_transactions(&client, server, parallelism).await?;
    let columns = check_table(&client, settings).await?;
    settings.ledger.prepare(&client, server).await?;
    Ok(columns)
}

async fn check_prepared_transactions(
    client: &Client,
    server: &str,
    parallelism: u32,
) -> Result<(), SinkError> {
    let most = "select current_setting('max_prepared_transactions')::bigint";
    let most = client.query_one(most, &[]).await;
    let most: i64 = most
        .map_err(|error| failed("look at the settings", server, &error))?
        .get(0);
    if most >= i64::from(parallelism) {
        return Ok(());
    }
    let enough = 2 * i64::from(parallelism);
    Err(invalid(format!(
        "PostgreSQL {server} allows {most} prepared transactions (max_prepared_transactions), but each of the \
         {parallelism} subtasks of the sink needs one until its checkpoint is complete: set \
         max_prepared_transactions = {enough} or more in postgresql.conf and restart the server"
    )))
}

async fn check_table(client: &Client, settings: &Settings) -> Result<Arc<[Column]>, SinkError> {
    let Settings { table, columns, .. } = settings;
    let server = settings.server.told.as_str();
    let values: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let insertion = format!(
        "insert into {} values ({})",
        settings.into(),
        values.join(", ")
    );
    let insertion = client.prepare(&insertion).await;
    let insertion = insertion.map_err(|error| {
        let what = format!("write into the table `{table}`");
        failed(&what, server, &error)
    })?;
    let allowed =
        "select c from unnest($2::text[]) c where not has_column_privilege($1::text, c, 'insert')";
    let refused = client
        .query(allowed, &[&quoted_table(table), columns])
        .await
        .map_err(|error| failed("look at the rights on the table", server, &error))?;
    if let Some(column) = refused.first() {
        let column: &str = column.get(0);
        return Err(invalid(format!(
            "the user of the sink may not insert into column `{column}` of the table `{table}` at PostgreSQL \
             {server}: grant insert on it"
        )));
    }
    let of_types = columns.iter().zip(insertion.params());
    let columns = of_types.map(|(name, of_type)| Column {
        name: name.clone(),
        of_type: of_type.clone(),
    });
    Ok(columns.collect())
}
