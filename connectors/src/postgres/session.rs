//! The connection of one writer: copies its rows, and prepares them at the end of each epoch.
//!
//! A future on the connector runtime; dropped with its writer, it closes the connection, and the server ends
//! the transaction that is open. Invariants: the rows of an epoch are copied in one transaction, with their row
//! of the ledger; what was not prepared never will be, for an error ends the session.

use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::future::{Either, select};
use thalweg_core::ids::CheckpointId;
use thalweg_dataflow::sink::SinkError;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio_postgres::{Client, CopyInSink, Error};

use super::leftovers::{Abandoned, warn_of_others};
use super::names::{Origin, PreparedTransaction, TransactionId};
use super::row::{HEADER, TRAILER};
use super::target::{Attempt, Target};
use super::trouble::failed;
use super::writer::{Bell, Command, Sealed};

/// What holds for every transaction. Whoever waits for a lock of a prepared transaction may wait for its own
/// job's checkpoint, so it does not do so for ever.
const SETTINGS: &str = "set idle_in_transaction_session_timeout = 0; set statement_timeout = 0; \
                        set lock_timeout = '60s'";

/// The session of one writer, not opened yet.
pub(super) struct Session {
    pub(super) target: Arc<Target>,
    pub(super) attempt: Arc<Attempt>,
    pub(super) subtask: u32,
    pub(super) commands: Receiver<Command>,
    pub(super) told: Sender<Result<Sealed, SinkError>>,
    pub(super) bell: Arc<Bell>,
}

/// The epoch that rows are copied for.
struct Copying {
    copy: Pin<Box<CopyInSink<Bytes>>>,
    rows: u64,
}

impl Session {
    /// Works until the writer is gone or something fails, and tells what.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.open().await {
            // Without a writer nobody wants to know.
            let _ = self.told.send(Err(error)).await;
            self.bell.ring();
        }
    }

    async fn open(&mut self) -> Result<(), SinkError> {
        let target = Arc::clone(&self.target);
        let settings = &target.settings;
        let origin = self.attempt.known_origin(&settings.name).await;
        let (client, connection) = settings.server.connect(&origin.of_attempt()).await?;
        let work = async {
            if self.subtask == 0 {
                let server = settings.server.told.as_str();
                let left = Abandoned::before(&origin, settings.exclusive);
                left.roll_back(&client, server).await?;
                warn_of_others(&client, server, &origin).await?;
            }
            self.serve(&client, &origin).await
        };
        let broken = match select(pin!(work), pin!(connection)).await {
            Either::Left((worked, _)) => return worked,
            Either::Right((Err(error), _)) => error,
            // It ends well only when the client is gone.
            Either::Right((Ok(()), work)) => return work.await,
        };
        Err(self.failed("write rows", &broken))
    }

    async fn serve(&mut self, client: &Client, origin: &Origin) -> Result<(), SinkError> {
        let set = client.batch_execute(SETTINGS).await;
        set.map_err(|error| self.failed("make settings", &error))?;
        let mut copying = None;
        let mut number = 0;
        while let Some(command) = self.commands.recv().await {
            self.bell.ring();
            match command {
                Command::Rows { block, count } => {
                    let copied = copy(client, &self.target, &mut copying, block, count).await;
                    copied.map_err(|error| self.failed("write rows", &error))?;
                }
                Command::Seal(checkpoint) => {
                    let prepared = match copying.take() {
                        None => None,
                        Some(copying) => {
                            number += 1;
                            let id = self.id(origin, number, checkpoint);
                            Some(self.seal(client, copying, id).await?)
                        }
                    };
                    let sealed = Sealed {
                        checkpoint,
                        line: origin.line,
                        prepared,
                    };
                    if self.told.send(Ok(sealed)).await.is_err() {
                        return Ok(());
                    }
                    self.bell.ring();
                }
            }
        }
        Ok(())
    }

    fn id(&self, origin: &Origin, number: u64, checkpoint: Option<CheckpointId>) -> TransactionId {
        TransactionId {
            origin: origin.clone(),
            subtask: self.subtask,
            number,
            checkpoint,
        }
    }

    /// Prepares what was copied.
    async fn seal(
        &self,
        client: &Client,
        Copying { mut copy, rows }: Copying,
        id: TransactionId,
    ) -> Result<PreparedTransaction, SinkError> {
        let copied = match copy.send(Bytes::from_static(TRAILER)).await {
            Ok(()) => copy.as_mut().finish().await,
            Err(error) => Err(error),
        };
        copied.map_err(|error| self.failed("write rows", &error))?;
        let prepared = PreparedTransaction { id, rows };
        let entered = self.target.settings.ledger.enter(client, &prepared).await;
        entered.map_err(|error| self.failed("write into the ledger", &error))?;
        let gid = prepared.id.gid();
        let durable = client
            .batch_execute(&format!("prepare transaction '{gid}'"))
            .await;
        durable.map_err(|error| {
            let what = format!("prepare the transaction `{gid}` of {rows} rows");
            self.failed(&what, &error)
        })?;
        Ok(prepared)
    }

    fn failed(&self, what: &str, error: &Error) -> SinkError {
        let settings = &self.target.settings;
        let what = format!("{what} of the table `{}`", settings.table);
        failed(&what, &settings.server.told, error)
    }
}

/// Copies rows, in a transaction that is begun for the first of an epoch.
async fn copy(
    client: &Client,
    target: &Target,
    copying: &mut Option<Copying>,
    block: Bytes,
    count: u64,
) -> Result<(), Error> {
    let under_way = match copying {
        Some(under_way) => under_way,
        None => {
            client.batch_execute("begin").await?;
            let copy = client.copy_in(&target.settings.copy()).await?;
            let mut copy = Box::pin(copy);
            copy.send(Bytes::from_static(HEADER)).await?;
            copying.insert(Copying { copy, rows: 0 })
        }
    };
    under_way.copy.send(block).await?;
    under_way.rows += count;
    Ok(())
}
