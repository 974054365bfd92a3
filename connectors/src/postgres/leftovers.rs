//! Transactions that an attempt which is no more has left prepared, rolled back.
//!
//! They hold their rows locked and keep the server from cleaning up until somebody ends them. Whoever rolls
//! them back first ends the sessions of that attempt, so that none is prepared behind its back: a process
//! that was only slow finds its session closed. Invariants: what a checkpoint lists is committed before this
//! is called, so what is left is in none; nothing of other sinks, jobs and users is touched. Runs beside the
//! sessions of writers and committers, on their threads.

use std::collections::BTreeSet;
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_dataflow::sink::SinkError;
use tokio_postgres::Client;

use super::names::{Origin, TransactionId};
use super::trouble::{failed, is_unknown};

/// How often, and after what pause, it is looked whether sessions have ended.
const LOOKS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// The transactions and sessions whose names begin with `of` and not with `but`.
pub(super) struct Abandoned {
    pub(super) of: String,
    pub(super) but: Option<String>,
    /// Transactions that are left alone.
    pub(super) keep: BTreeSet<String>,
}

impl Abandoned {
    /// Those of attempts of the job before this one; of all jobs of the sink if there is only this one.
    pub(super) fn before(origin: &Origin, exclusive: bool) -> Self {
        Self {
            of: match exclusive {
                true => origin.of_sink(),
                false => origin.of_line(),
            },
            but: Some(origin.of_attempt()),
            keep: BTreeSet::new(),
        }
    }

    /// Those of the attempt itself, but what a checkpoint may list.
    pub(super) fn by(origin: &Origin, keep: BTreeSet<String>) -> Self {
        Self {
            of: origin.of_attempt(),
            but: None,
            keep,
        }
    }

    /// Ends their sessions and rolls them back.
    pub(super) async fn roll_back(&self, client: &Client, server: &str) -> Result<(), SinkError> {
        self.end_sessions(client, server).await?;
        for gid in self.prepared(client, server).await? {
            if TransactionId::parse(&gid).is_some() && !self.keep.contains(&gid) {
                roll_back(client, server, &gid).await?;
                tracing::info!(%gid, "rolled back: no checkpoint knows it");
            }
        }
        Ok(())
    }

    async fn end_sessions(&self, client: &Client, server: &str) -> Result<(), SinkError> {
        let ended = "select pg_terminate_backend(pid) from pg_stat_activity where \
                     datname = current_database() and usename = current_user and pid <> pg_backend_pid() \
                     and starts_with(application_name, $1) \
                     and ($2::text is null or not starts_with(application_name, $2))";
        for _ in 0..LOOKS {
            let ended = client.query(ended, &[&self.of, &self.but]).await;
            let ended =
                ended.map_err(|error| failed("end the sessions of a dead attempt", server, &error));
            if ended?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let message = format!(
            "sessions of a dead attempt do not end at PostgreSQL {server}: see those in pg_stat_activity whose \
             application_name begins with `{}`",
            self.of
        );
        Err(SinkError::new(ErrorKind::Retry, message))
    }

    async fn prepared(&self, client: &Client, server: &str) -> Result<Vec<String>, SinkError> {
        let listed = "select gid from pg_prepared_xacts where database = current_database() and \
                      owner = current_user and starts_with(gid, $1) \
                      and ($2::text is null or not starts_with(gid, $2)) order by prepared";
        let listed = client.query(listed, &[&self.of, &self.but]).await;
        let listed = listed.map_err(|error| failed("list what is prepared", server, &error))?;
        Ok(listed.iter().map(|row| row.get(0)).collect())
    }
}

/// Tells of what others left prepared under the name of the sink: only their users know whether it is needed.
pub(super) async fn warn_of_others(
    client: &Client,
    server: &str,
    origin: &Origin,
) -> Result<(), SinkError> {
    let others = Abandoned {
        of: origin.of_sink(),
        but: Some(origin.of_line()),
        keep: BTreeSet::new(),
    };
    let left = others.prepared(client, server).await?;
    if let Some(oldest) = left.first() {
        let (count, sink) = (left.len(), &origin.sink);
        tracing::warn!(
            %sink, count, %oldest,
            "transactions of other jobs are prepared under this name: those of a job that runs or is restored \
             are its own; others hold locks until they are ended by ROLLBACK PREPARED, or by an exclusive sink"
        );
    }
    Ok(())
}

/// Rolls back a prepared transaction; it may be gone already.
pub(super) async fn roll_back(client: &Client, server: &str, gid: &str) -> Result<(), SinkError> {
    match client
        .batch_execute(&format!("rollback prepared '{gid}'"))
        .await
    {
        Err(error) if !is_unknown(&error) => {
            let what = format!("roll back the prepared transaction `{gid}`");
            Err(failed(&what, server, &error))
        }
        _ => Ok(()),
    }
}
