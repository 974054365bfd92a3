//! Checkpoint storage in object stores: S3 and what speaks like it, or the memory of this process.
//!
//! | room | what it is |
//! |---|---|
//! | `connect` | from an address to a store |
//! | `client` | requests, made until their answer is clear |
//! | `patience` | how long that takes, and what another try may change |
//! | `transfer` | files and large objects, piece by piece |
//! | `object_file` | an object, read from any place in it |
//! | `copies` | copies that stay on this host |
//! | `threads` | where all of this runs |
//!
//! The store must have the newest of every object and list at once whatever was answered, as S3 has since 2020, and
//! create an object only if it is not there (`If-None-Match: *`), which is tried out once when a job starts. On that
//! stand these rules:
//!
//! 1. an object appears whole or not at all, so nothing is written under another name first and nothing is synced;
//! 2. metadata, pointers and the making of a directory are created, never replaced: of all who try one succeeds. An
//!    object that is created says in an attribute who created it. When an answer is lost and the next try finds the
//!    object there, that tells whether it was this caller; if nobody can tell, the answer is
//!    [`Unknown`](StorageErrorKind::Unknown), and a leader stops;
//! 3. runs and copies of runs have names that nobody else writes: attempt and checkpoint are part of them, or they lie
//!    in a directory that was made for them. They may be written twice with the same content. A large one is written
//!    in parts and gets its name with the last request; parts of one that was given up are removed, and what is left
//!    of them when a process is killed is for a rule of the store to remove;
//! 4. a directory is what names have in common. One that was made to be new is an object `.directory` in it. Names
//!    that begin with a dot are not listed;
//! 5. a request that comes to the store after it was given up does no harm: it creates what nothing points at, is
//!    refused because the name is taken, or deletes what was to be deleted and has a name that does not come again.
//!
//! Entered by the control thread, which waits here; the requests run on threads of their own. Invariant: of
//! [`CheckpointStorage`].

mod client;
mod connect;
mod copies;
mod object_file;
mod patience;
#[cfg(test)]
pub(crate) mod tests;
mod threads;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::ObjectStore;
use object_store::path::Path;
use thalweg_core::error::ErrorKind;
use thalweg_state::run::ReadAt;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use self::client::Client;
pub(crate) use self::copies::LocalCopies;
use self::object_file::ObjectFile;
pub use self::patience::Patience;
use self::threads::Threads;
use self::transfer::Source;
use super::contract::{CheckpointStorage, Entry, StorageError, StorageErrorKind, too_long};
use super::location::Location;
use crate::checkpoint::metadata::model::FileFacts;

/// The object that makes a directory which was to be new.
const DIRECTORY: &str = ".directory";

/// Storage in object stores. Clones share connections and threads.
#[derive(Clone, Debug, Default)]
pub struct ObjectStorage {
    threads: Arc<Threads>,
    patience: Patience,
    known: Arc<Mutex<Known>>,
    turns: Turns,
    copies: Arc<Mutex<Option<Arc<LocalCopies>>>>,
}

/// How many files are written at the same time, so that only so many pieces are in memory.
#[derive(Clone, Debug)]
struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WRITTEN_AT_ONCE)))
    }
}

/// The stores that were met.
#[derive(Debug, Default)]
struct Known {
    clients: BTreeMap<String, Client>,
    /// Those that were seen to refuse what they must.
    probed: BTreeSet<String>,
}

/// A file that is on its way.
#[derive(Debug)]
pub(crate) struct Moving(JoinHandle<()>);

/// What became of a request nobody waits for.
pub(crate) type Told = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// Tells once, also where what was to be told of ends in a panic.
struct Teller(Option<Told>);

impl Teller {
    fn tell(mut self, outcome: Result<(), StorageError>) {
        if let Some(told) = self.0.take() {
            told(outcome);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            told(Err(StorageError {
                kind: StorageErrorKind::Failed(ErrorKind::Internal),
                message: "a file on its way to an object store was given up".to_owned(),
            }));
        }
    }
}

impl ObjectStorage {
    /// Storage in the stores that addresses name, with the usual patience.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Storage in which an address, such as `memory://`, means this store.
    #[must_use]
    pub fn over(address: &str, store: Arc<dyn ObjectStore>, patience: Patience) -> Self {
        let storage = Self {
            patience,
            ..Self::default()
        };
        let client = Client::new(address, store, patience);
        storage.known().clients.insert(address.to_owned(), client);
        storage
    }

    /// Keeps copies of what is moved into a directory, and lends them when it is fetched from there.
    pub(crate) fn keep_copies(&self, copies: LocalCopies) {
        let mut kept = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Arc::new(copies));
    }

    fn copies(&self) -> Option<Arc<LocalCopies>> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store of a place, and the name in it.
    fn reach(&self, at: &Location) -> Result<(Client, Path), StorageError> {
        let refused = |why: String| StorageError {
            kind: StorageErrorKind::Failed(ErrorKind::Invalid),
            message: format!("{at} is no place in an object store: {why}"),
        };
        let named = at.in_store();
        let (address, name) = named.ok_or_else(|| refused("it is a path".to_owned()))?;
        let name = Path::parse(name).map_err(|error| refused(error.to_string()))?;
        let mut known = self.known();
        if let Some(client) = known.clients.get(address) {
            return Ok((client.clone(), name));
        }
        // Some clients start what they need on the threads they are made on.
        let handle = self.threads.handle()?;
        let _entered = handle.enter();
        let client = Client::new(address, connect::connect(address)?, self.patience);
        known.clients.insert(address.to_owned(), client.clone());
        Ok((client, name))
    }

    /// Moves a file of this host to a place, if it is what it should be; what is there is replaced. A file that is
    /// gone must have been moved before. Answers at once; `told` hears how it went, on a thread of object storage,
    /// unless that is given up before. A few are moved at a time.
    ///
    /// # Errors
    /// When it cannot begin.
    pub(crate) fn move_in(
        &self,
        (from, to): (PathBuf, &Location),
        facts: FileFacts,
        told: Told,
    ) -> Result<Moving, StorageError> {
        let (client, name) = self.reach(to)?;
        let place = local_place(&from)?;
        let turns = Arc::clone(&self.turns.0);
        let teller = Teller(Some(told));
        let copies = self.copies();
        let to = to.clone();
        let work = async move {
            // They are never closed.
            let _turn = turns.acquire().await;
            let leave = move |file: &std::path::Path| match copies {
                Some(copies) => copies.take(file, &to),
                // One that stays goes with its directory.
                None => drop(std::fs::remove_file(file)),
            };
            let source = (from, place);
            teller.tell(transfer::write_or_find(&client, &name, source, facts, leave).await);
        };
        Ok(Moving(self.threads.handle()?.spawn(work)))
    }

    /// Gives moving up, and removes the files of the directory they were moved from. When this answers no request is
    /// made any more; one that was made may still have its effect. Blocks.
    ///
    /// # Errors
    /// When no thread can be started to wait for them.
    pub(crate) fn give_up(
        &self,
        moving: Vec<Moving>,
        directory: &std::path::Path,
    ) -> Result<(), StorageError> {
        let ended = match moving.is_empty() {
            true => Ok(()),
            false => self.threads.wait(async move {
                moving.iter().for_each(|moving| moving.0.abort());
                for moving in moving {
                    // Whether it had ended before is all the same.
                    let _ = moving.0.await;
                }
                Ok(())
            }),
        };
        let left = std::fs::read_dir(directory).into_iter().flatten();
        for file in left.flatten() {
            // What cannot be removed now goes with the directory.
            let _ = std::fs::remove_file(file.path());
        }
        ended
    }

    /// Writes a file of this host to a place, if it is what it should be and nothing is there.
    ///
    /// # Errors
    /// As [`CheckpointStorage::copy_new`].
    pub(super) fn take_in(
        &self,
        (from, to): (&Location, &Location),
        facts: FileFacts,
    ) -> Result<(), StorageError> {
        let source = match from.path() {
            Some(path) => Source::File(path.to_owned()),
            None => {
                let (client, name) = self.reach(from)?;
                Source::Object(client, name)
            }
        };
        let ((client, name), from) = (self.reach(to)?, from.clone());
        self.threads.wait(async move {
            match client.length("see whether there is", &name).await {
                Err(error) if error.kind == StorageErrorKind::Missing => {}
                Err(error) => return Err(error),
                Ok(_) => return Err(already_there("write", &client.at(&name))),
            }
            transfer::write(&client, &name, (source, from), facts).await
        })
    }

    /// Shows the pieces of an object.
    ///
    /// # Errors
    /// When it is not there or cannot be read, and those of `piece`.
    pub(super) fn read_through(
        &self,
        from: &Location,
        mut piece: impl FnMut(&[u8]) -> Result<(), StorageError>,
    ) -> Result<FileFacts, StorageError> {
        let (client, name) = self.reach(from)?;
        let length = self.threads.wait({
            let (client, name) = (client.clone(), name.clone());
            async move { client.length("read", &name).await }
        })?;
        let mut facts = FileFacts {
            bytes: 0,
            checksum: 0,
        };
        while facts.bytes < length {
            let range = facts.bytes..length.min(facts.bytes + transfer::PIECE);
            let (client, name) = (client.clone(), name.clone());
            let read = (self.threads).wait(async move { client.piece(&name, range).await })?;
            facts.bytes += read.len() as u64;
            facts.checksum = crc32c::crc32c_append(facts.checksum, &read);
            piece(&read)?;
        }
        Ok(facts)
    }

    /// Fetches objects of a directory into a directory of this host, some at once, each checked.
    ///
    /// # Errors
    /// The first that cannot be fetched.
    pub(crate) fn fetch(
        &self,
        (from, into): (&Location, &std::path::Path),
        files: &BTreeMap<&str, FileFacts>,
    ) -> Result<(), StorageError> {
        let (copies, mut wanted) = (self.copies(), Vec::new());
        for (file, facts) in files {
            let (at, into) = (from.child(file), into.join(file));
            let lent = |copies: &Arc<LocalCopies>| copies.lend(&at, *facts, &into);
            if copies.as_ref().is_some_and(lent) {
                continue;
            }
            let (client, name) = self.reach(&at)?;
            wanted.push((client, name, (at, into), *facts));
        }
        if copies.is_some() {
            let (files, fetched) = (files.len(), wanted.len());
            tracing::info!(files, fetched, %from, "the others were on this host");
        }
        self.threads.wait(async move {
            let mut fetching = tokio::task::JoinSet::new();
            for (client, name, way, facts) in wanted {
                if fetching.len() >= FETCHED_AT_ONCE
                    && let Some(ended) = fetching.join_next().await
                {
                    ended.unwrap_or_else(|error| Err(ended_badly(&error)))?;
                }
                fetching.spawn(transfer::fetch(client, name, way, facts));
            }
            while let Some(ended) = fetching.join_next().await {
                ended.unwrap_or_else(|error| Err(ended_badly(&error)))?;
            }
            Ok(())
        })
    }
}

/// Files that are written at once, each in pieces of which some are in memory.
const WRITTEN_AT_ONCE: usize = 4;
/// Files that are fetched at once.
const FETCHED_AT_ONCE: usize = 4;

fn ended_badly(error: &tokio::task::JoinError) -> StorageError {
    StorageError {
        kind: StorageErrorKind::Failed(ErrorKind::Internal),
        message: format!("fetching a file from an object store ended badly: {error}"),
    }
}

/// A file of this host as a place, for messages.
fn local_place(path: &std::path::Path) -> Result<Location, StorageError> {
    Location::parse(&path.to_string_lossy()).map_err(|error| StorageError {
        kind: StorageErrorKind::Failed(ErrorKind::Invalid),
        message: error.to_string(),
    })
}

fn already_there(what: &str, at: &str) -> StorageError {
    StorageError {
        kind: StorageErrorKind::AlreadyThere,
        message: format!("cannot {what} {at}: it is there already; see who else writes there"),
    }
}

impl CheckpointStorage for ObjectStorage {
    fn write_new(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError> {
        self.create_exclusive(at, bytes)
    }

    fn create_exclusive(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError> {
        let ((client, name), bytes) = (self.reach(at)?, bytes.to_vec());
        (self.threads).wait(async move { client.create(&name, &bytes).await })
    }

    fn copy_new(
        &mut self,
        from: &Location,
        to: &Location,
        facts: FileFacts,
    ) -> Result<(), StorageError> {
        self.take_in((from, to), facts)
    }

    fn read(&mut self, at: &Location, most: u64) -> Result<Vec<u8>, StorageError> {
        let (client, name) = self.reach(at)?;
        let read = (self.threads).wait(async move { client.whole(&name, most).await })?;
        read.ok_or_else(|| too_long(at, most))
    }

    fn open(&mut self, at: &Location) -> Result<Box<dyn ReadAt>, StorageError> {
        let (client, name) = self.reach(at)?;
        let threads = Arc::clone(&self.threads);
        Ok(Box::new(ObjectFile::open(client, name, threads)?))
    }

    fn settle(&mut self, at: &Location) -> Result<(), StorageError> {
        // What can be read is durable.
        let (client, name) = self.reach(at)?;
        let there = async move { client.length("find", &name).await };
        self.threads.wait(there).map(|_| ())
    }

    fn examine(&mut self, at: &Location) -> Result<FileFacts, StorageError> {
        self.read_through(at, |_| Ok(()))
    }

    fn list(&mut self, at: &Location) -> Result<Vec<Entry>, StorageError> {
        let (client, name) = self.reach(at)?;
        let listed = (self.threads).wait(async move { client.list(&name).await })?;
        let objects = listed.objects.iter().map(|object| Entry {
            name: object.location.filename().unwrap_or_default().to_owned(),
            bytes: object.size,
            directory: false,
        });
        let directories = listed.common_prefixes.iter().map(|prefix| Entry {
            name: prefix.filename().unwrap_or_default().to_owned(),
            bytes: 0,
            directory: true,
        });
        let mut entries: Vec<Entry> = objects.chain(directories).collect();
        entries.retain(|entry| !entry.name.is_empty() && !entry.name.starts_with('.'));
        entries.sort_unstable();
        Ok(entries)
    }

    fn make_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        // There is nothing to make; but a job begins with this, and is told now what cannot work.
        let (client, name) = self.reach(at)?;
        let address = at.in_store().map(|(address, _)| address.to_owned());
        let address = address.unwrap_or_default();
        if self.known().probed.contains(&address) {
            return Ok(());
        }
        (self.threads).wait(async move { client.probe(&name).await })?;
        self.known().probed.insert(address);
        Ok(())
    }

    fn make_new_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        let (client, name) = self.reach(at)?;
        self.threads.wait(async move {
            let there = client.list(&name).await?;
            if !there.objects.is_empty() || !there.common_prefixes.is_empty() {
                return Err(already_there("make directory", &client.at(&name)));
            }
            client.create(&name.join(DIRECTORY), b"").await
        })
    }

    fn delete(&mut self, at: &Location) -> Result<(), StorageError> {
        if let Some(copies) = self.copies() {
            copies.forget(at);
        }
        let (client, name) = self.reach(at)?;
        (self.threads).wait(async move { client.delete(&name).await })
    }

    fn delete_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        let (client, name) = self.reach(at)?;
        self.threads.wait(async move {
            let mut there = client.list(&name).await?;
            // In order: of numbered files the highest is the last to go, as it is the last to count.
            there.objects.sort_by(|a, b| a.location.cmp(&b.location));
            for object in there.objects {
                client.delete(&object.location).await?;
            }
            match there.common_prefixes.first() {
                None => Ok(()),
                Some(inner) => Err(StorageError {
                    kind: StorageErrorKind::Failed(ErrorKind::Invalid),
                    message: format!(
                        "cannot delete {}: there is the directory {inner} in it; delete that first",
                        client.at(&name)
                    ),
                }),
            }
        })
    }

    fn delete_if_empty(&mut self, at: &Location) -> Result<(), StorageError> {
        let (client, name) = self.reach(at)?;
        self.threads.wait(async move {
            let there = client.list(&name).await?;
            let marker = name.join(DIRECTORY);
            let empty = there.common_prefixes.is_empty()
                && there.objects.iter().all(|object| object.location == marker);
            match empty && !there.objects.is_empty() {
                true => client.delete(&marker).await,
                false => Ok(()),
            }
        })
    }
}
