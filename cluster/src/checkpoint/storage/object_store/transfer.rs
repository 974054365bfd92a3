//! Files and large objects on their way into an object store and out of it, piece by piece.
//!
//! Futures of the threads of object storage. Invariants: what arrives is checked against what was sent, length and
//! checksum; an object has its name only when all of it is there; at most a few pieces of a file are in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crc32c::crc32c_append;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload, Result};
use thalweg_core::error::ErrorKind;
use tokio::task::{JoinSet, spawn_blocking};

use super::client::Client;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::contract::{StorageError, StorageErrorKind, check};
use crate::checkpoint::storage::location::Location;

/// Bytes of a piece. A longer file is written in parts of this size; stores want at least 5 MiB.
pub(super) const PIECE: u64 = 8 << 20;
/// Parts of one file that are written at once.
const PARTS: usize = 2;

/// Where bytes come from.
#[derive(Clone)]
pub(super) enum Source {
    /// A file of this host.
    File(PathBuf),
    /// An object.
    Object(Client, Path),
}

/// A source that is being read.
struct Reading {
    from: Location,
    pieces: Pieces,
    length: u64,
    at: FileFacts,
}

enum Pieces {
    File(Arc<File>),
    Object(Client, Path),
}

impl Reading {
    async fn begin(source: &Source, from: &Location) -> Result<Reading, StorageError> {
        let (pieces, length) = match source {
            Source::File(path) => {
                let path = path.clone();
                let opened = blocking(from, move || {
                    let file = File::open(path)?;
                    let length = file.metadata()?.len();
                    Ok((file, length))
                });
                let (file, length) = opened.await?;
                (Pieces::File(Arc::new(file)), length)
            }
            Source::Object(client, name) => {
                let length = client.length("read", name).await?;
                (Pieces::Object(client.clone(), name.clone()), length)
            }
        };
        Ok(Reading {
            from: from.clone(),
            pieces,
            length,
            at: FileFacts {
                bytes: 0,
                checksum: 0,
            },
        })
    }

    /// The next piece; empty at the end.
    async fn next(&mut self) -> Result<Vec<u8>, StorageError> {
        let (begin, end) = (self.at.bytes, self.length.min(self.at.bytes + PIECE));
        if begin == end {
            return Ok(Vec::new());
        }
        let bytes = match &self.pieces {
            Pieces::File(file) => {
                let file = Arc::clone(file);
                let mut bytes = vec![0; (end - begin) as usize];
                let read = move || file.read_exact_at(&mut bytes, begin).map(|()| bytes);
                blocking(&self.from, read).await?
            }
            Pieces::Object(client, name) => client.piece(name, begin..end).await?,
        };
        self.at.bytes = end;
        self.at.checksum = crc32c_append(self.at.checksum, &bytes);
        Ok(bytes)
    }
}

/// Writes an object from a source, whole or not at all, if the source is what it should be. What has the name is
/// replaced.
///
/// # Errors
/// [`StorageErrorKind::Damaged`] when the source is not as `facts` says, and trouble of both sides.
pub(super) async fn write(
    client: &Client,
    name: &Path,
    (source, from): (Source, Location),
    facts: FileFacts,
) -> Result<(), StorageError> {
    let write = || async {
        match facts.bytes <= PIECE {
            true => at_once(client, name, (&source, &from), facts).await,
            false => in_parts(client, name, (&source, &from), facts).await,
        }
    };
    let asked = client.patience.ask(write).await;
    client.clear("write", name, asked)?
}

/// The same from a file of this host, which goes when it has arrived. One that is there no more has arrived before, if
/// the object is as long as it should be.
///
/// # Errors
/// As [`write()`].
pub(super) async fn write_or_find(
    client: &Client,
    name: &Path,
    (path, from): (PathBuf, Location),
    facts: FileFacts,
    leave: impl FnOnce(&std::path::Path) + Send + 'static,
) -> Result<(), StorageError> {
    let file = path.clone();
    if blocking(&from, move || file.try_exists()).await? {
        write(client, name, (Source::File(path.clone()), from), facts).await?;
        // It has arrived, whatever becomes of the file of this host.
        let _ = spawn_blocking(move || leave(&path)).await;
        return Ok(());
    }
    let length = client.length("find", name).await?;
    let found = FileFacts {
        bytes: length,
        ..facts
    };
    check(&from, found, facts)
}

/// One try. The outer error is one of the object store that is written to, which another try may mend.
async fn at_once(
    client: &Client,
    name: &Path,
    (source, from): (&Source, &Location),
    facts: FileFacts,
) -> Result<Result<(), StorageError>> {
    let read = async {
        let mut reading = Reading::begin(source, from).await?;
        let bytes = reading.next().await?;
        let found = FileFacts {
            bytes: reading.length,
            checksum: reading.at.checksum,
        };
        check(from, found, facts)?;
        Ok(bytes)
    };
    let bytes: Vec<u8> = match read.await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    let put = client.store.put(name, PutPayload::from(bytes));
    client.patience.within(put).await?;
    Ok(Ok(()))
}

/// The same for a source of several pieces.
async fn in_parts(
    client: &Client,
    name: &Path,
    (source, from): (&Source, &Location),
    facts: FileFacts,
) -> Result<Result<(), StorageError>> {
    let begun = client.patience.within(client.store.put_multipart(name));
    let mut upload = begun.await?;
    let sent = send(client, &mut *upload, (source, from), facts).await;
    let ended = match sent {
        Ok(Ok(())) => client
            .patience
            .within(upload.complete())
            .await
            .map(|_| Ok(())),
        other => other,
    };
    if !matches!(ended, Ok(Ok(()))) {
        // What stays of it has no name; stores can be told to remove such parts after some days.
        if let Err(error) = client.patience.within(upload.abort()).await {
            tracing::debug!(%error, name = %client.at(name), "parts of an upload are left behind");
        }
    }
    ended
}

async fn send(
    client: &Client,
    upload: &mut dyn MultipartUpload,
    (source, from): (&Source, &Location),
    facts: FileFacts,
) -> Result<Result<(), StorageError>> {
    let mut reading = match Reading::begin(source, from).await {
        Ok(reading) => reading,
        Err(error) => return Ok(Err(error)),
    };
    let mut parts = JoinSet::new();
    loop {
        let bytes = match reading.next().await {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        if parts.len() >= PARTS
            && let Some(ended) = parts.join_next().await
        {
            ended??;
        }
        let (part, patience) = (upload.put_part(PutPayload::from(bytes)), client.patience);
        parts.spawn(async move { patience.within(part).await });
    }
    while let Some(ended) = parts.join_next().await {
        ended??;
    }
    Ok(check(from, reading.at, facts))
}

/// Writes an object to a file of this host that is not there yet, if it is what it should be. Nothing is synced: the
/// file is a copy.
///
/// # Errors
/// As [`write()`].
pub(super) async fn fetch(
    client: Client,
    name: Path,
    (from, to): (Location, PathBuf),
    facts: FileFacts,
) -> Result<(), StorageError> {
    let place = Location::parse(&to.to_string_lossy());
    let place = place.map_err(|error| StorageError {
        kind: StorageErrorKind::Failed(ErrorKind::Invalid),
        message: error.to_string(),
    })?;
    let created = blocking(&place, move || File::create_new(to));
    let file = Arc::new(created.await?);
    let mut reading = Reading::begin(&Source::Object(client, name), &from).await?;
    loop {
        let offset = reading.at.bytes;
        let bytes = reading.next().await?;
        if bytes.is_empty() {
            return check(&from, reading.at, facts);
        }
        let file = Arc::clone(&file);
        blocking(&place, move || file.write_all_at(&bytes, offset)).await?;
    }
}

/// A call of the file system, beside the futures.
async fn blocking<T: Send + 'static>(
    at: &Location,
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StorageError> {
    let done = spawn_blocking(call).await;
    let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| StorageError::of_io("use", at, &error))
}
