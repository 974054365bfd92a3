//! The committer: prepared transactions become visible, or are rolled back.
//!
//! Runs on control threads and waits there for a thread of its own that talks to the server. Invariants: a
//! commit is over when the server or the ledger has said that it happened; what neither knows is lost, which
//! is an error that names it; transactions of one writer are committed in their order.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_dataflow::sink::{Committable, Committer, SinkError};
use tokio_postgres::Client;

use super::door::{Blocking, Patience};
use super::leftovers::{Abandoned, roll_back};
use super::names::{PreparedTransaction, decode_all};
use super::target::{Settings, Target};
use super::trouble::{failed, is_unknown};

/// The name of its sessions.
const SESSION: &str = "thalweg committer";
/// How long a server is waited for when something is to be rolled back.
const BRIEFLY: Duration = Duration::from_secs(10);

/// Commits or rolls back the transactions of one sink.
pub(super) struct PostgresCommitter {
    target: Arc<Target>,
    /// Dropped before the thread that drives it.
    client: Option<Client>,
    blocking: Blocking,
}

impl PostgresCommitter {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            client: None,
            blocking: Blocking::default(),
        }
    }
}

impl Committer for PostgresCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let prepared = decode_all(prepared)?;
        if prepared.is_empty() {
            return Ok(());
        }
        let settings = self.target.settings.clone();
        let gids: Vec<String> = prepared.iter().map(|one| one.id.gid()).collect();
        let mut client = self.client.take();
        let (client, committed) = self.blocking.run(async move {
            let committed = commit_all(&settings, &mut client, &prepared).await;
            (client, committed)
        })?;
        self.client = client;
        committed?;
        self.settled(&gids);
        Ok(())
    }

    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let prepared = decode_all(prepared)?;
        let gids: Vec<String> = prepared.iter().map(|one| one.id.gid()).collect();
        let settings = self.target.settings.clone();
        let attempt = self.target.current();
        let own = attempt.and_then(|attempt| {
            let origin = attempt.origin_if_known(&settings.name)?;
            Some(Abandoned::by(&origin, attempt.told()))
        });
        if gids.is_empty() && own.is_none() {
            return Ok(());
        }
        let mut client = self.client.take();
        let listed = gids.clone();
        let (client, aborted) = self.blocking.run(async move {
            let aborted = abort_all(&settings, &mut client, &listed, own).await;
            (client, aborted)
        })?;
        self.client = client;
        aborted?;
        self.settled(&gids);
        Ok(())
    }
}

impl PostgresCommitter {
    fn settled(&self, gids: &[String]) {
        if let Some(attempt) = self.target.current() {
            gids.iter().for_each(|gid| attempt.settled(gid));
        }
    }
}

/// Commits all, each until it is known to be.
async fn commit_all(
    settings: &Settings,
    client: &mut Option<Client>,
    prepared: &[PreparedTransaction],
) -> Result<(), SinkError> {
    let mut patience = Patience::new(settings.patience);
    for one in prepared {
        loop {
            match commit_one(settings, client, one).await {
                Ok(()) => break patience.renew(),
                Err(error) => {
                    // Whatever has failed, the next attempt has a session of its own.
                    *client = None;
                    patience.after(error).await?;
                }
            }
        }
    }
    Ok(())
}

/// The session that is open, or another.
async fn session<'c>(
    settings: &Settings,
    client: &'c mut Option<Client>,
) -> Result<&'c Client, SinkError> {
    if client.as_ref().is_none_or(Client::is_closed) {
        *client = Some(settings.server.connect_driven(SESSION).await?);
    }
    match client {
        Some(client) => Ok(client),
        None => unreachable!("just opened"),
    }
}

async fn commit_one(
    settings: &Settings,
    client: &mut Option<Client>,
    prepared: &PreparedTransaction,
) -> Result<(), SinkError> {
    let Settings { server, ledger, .. } = settings;
    let fresh = client.is_none();
    let client = session(settings, client).await?;
    let gid = prepared.id.gid();
    let committed = client
        .batch_execute(&format!("commit prepared '{gid}'"))
        .await;
    match committed {
        Ok(()) => {}
        Err(error) if is_unknown(&error) => {
            let there = ledger.has(client, &prepared.id).await;
            let there = there.map_err(|error| failed("read the ledger", &server.told, &error))?;
            if !there {
                return Err(lost(settings, prepared));
            }
        }
        Err(error) => {
            let what = format!("commit the prepared transaction `{gid}`");
            return Err(failed(&what, &server.told, &error));
        }
    }
    let mut forgotten = ledger.forget_before(client, &prepared.id).await;
    if fresh && forgotten.is_ok() {
        forgotten = ledger.forget_old(client, &prepared.id).await;
    }
    if let Err(error) = forgotten {
        // The next commit does it.
        let error = failed("delete from the ledger", &server.told, &error);
        tracing::warn!(%error, "rows of the ledger that are not needed stay");
    }
    Ok(())
}

fn lost(settings: &Settings, prepared: &PreparedTransaction) -> SinkError {
    let gid = prepared.id.gid();
    let PreparedTransaction { rows, .. } = prepared;
    let Settings { table, ledger, .. } = settings;
    let (server, ledger) = (&settings.server.told, &ledger.table);
    let message = format!(
        "the transaction `{gid}` with {rows} rows of the table `{table}` is lost: PostgreSQL {server} has it \
         neither prepared nor in the ledger `{ledger}`. Was it rolled back by hand (ROLLBACK PREPARED), was the \
         database restored from a backup, or is this another database or ledger? Bring it back, or restore the \
         job from a checkpoint before it and delete what later ones wrote"
    );
    SinkError::new(ErrorKind::Data, message)
}

/// Rolls back what is listed, and what the attempt has prepared without telling.
async fn abort_all(
    settings: &Settings,
    client: &mut Option<Client>,
    listed: &[String],
    own: Option<Abandoned>,
) -> Result<(), SinkError> {
    let server = settings.server.told.as_str();
    let mut patience = Patience::new(settings.patience.min(BRIEFLY));
    loop {
        let aborted = async {
            let client = session(settings, client).await?;
            for gid in listed {
                roll_back(client, server, gid).await?;
            }
            match &own {
                Some(own) => own.roll_back(client, server).await,
                None => Ok(()),
            }
        };
        match aborted.await {
            Ok(()) => return Ok(()),
            Err(error) => {
                *client = None;
                patience.after(error).await?;
            }
        }
    }
}
