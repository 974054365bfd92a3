//! Requests to one object store, each made until its answer is clear.
//!
//! Futures of the threads of object storage. Invariants: an object is created by at most one of all who try, and who
//! was told so created it; an answer that never came is not taken for a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, ListResult, ObjectStore, ObjectStoreExt as _,
    PutMode, PutOptions, PutPayload, Result,
};
use thalweg_core::error::ErrorKind;
use thalweg_core::seam::clock::entropy;

use super::patience::{Asked, Patience};
use crate::checkpoint::storage::contract::{StorageError, StorageErrorKind};

/// The attribute of an object that says who created it.
const WRITER: &str = "thalweg-writer";

/// One store. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) patience: Patience,
    /// What stands before names in messages.
    address: Arc<str>,
    /// Whether objects can have attributes.
    marks: Arc<AtomicBool>,
}

impl Client {
    pub(super) fn new(address: &str, store: Arc<dyn ObjectStore>, patience: Patience) -> Self {
        Self {
            store,
            patience,
            address: address.into(),
            marks: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Creates an object, if none has the name.
    ///
    /// # Errors
    /// [`StorageErrorKind::AlreadyThere`] when somebody else has created it; [`StorageErrorKind::Unknown`] when nobody
    /// can tell.
    pub(super) async fn create(&self, name: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mark = format!("{:016x}{:016x}", entropy(), entropy());
        let payload = PutPayload::from(bytes.to_vec());
        let asked = self
            .patience
            .ask(|| self.put_marked(name, payload.clone(), &mark))
            .await;
        let in_doubt = asked.in_doubt;
        match asked.outcome {
            Ok(()) => Ok(()),
            Err(Error::AlreadyExists { .. }) => self.whose(name, &mark, in_doubt).await,
            Err(error) => {
                let trouble = self.trouble("create", name, &error, asked.tries);
                Err(match in_doubt {
                    true => unknown(trouble),
                    false => trouble,
                })
            }
        }
    }

    /// One try to create an object that says who created it.
    async fn put_marked(&self, name: &Path, payload: PutPayload, mark: &str) -> Result<()> {
        let mut options = PutOptions::from(PutMode::Create);
        if self.marks.load(Ordering::Relaxed) {
            let mark = mark.to_owned();
            let marked = Attributes::from_iter([(Attribute::Metadata(WRITER.into()), mark)]);
            options.attributes = marked;
            let put = self.store.put_opts(name, payload.clone(), options);
            match self.patience.within(put).await {
                Err(Error::NotImplemented { .. }) => self.marks.store(false, Ordering::Relaxed),
                answer => return answer.map(|_| ()),
            }
            options = PutOptions::from(PutMode::Create);
        }
        let put = self.store.put_opts(name, payload, options);
        self.patience.within(put).await.map(|_| ())
    }

    /// Somebody has created the object: this call, whose answer was lost, or another.
    async fn whose(&self, name: &Path, mark: &str, in_doubt: bool) -> Result<(), StorageError> {
        let there = StorageError {
            kind: StorageErrorKind::AlreadyThere,
            message: format!(
                "cannot create {}: it is there already; see who else writes there",
                self.at(name)
            ),
        };
        if !self.marks.load(Ordering::Relaxed) {
            return Err(if in_doubt { unknown(there) } else { there });
        }
        let asked = self.patience.ask(|| self.about(name)).await;
        match asked.outcome {
            Ok(attributes) => match attributes.get(&Attribute::Metadata(WRITER.into())) {
                Some(found) if found.as_ref() == mark => Ok(()),
                None if in_doubt => Err(unknown(there)),
                _ => Err(there),
            },
            // It was overtaken by another and removed.
            Err(Error::NotFound { .. }) => Err(there),
            Err(error) => Err(unknown(self.trouble("create", name, &error, asked.tries))),
        }
    }

    async fn about(&self, name: &Path) -> Result<Attributes> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let got = self.patience.within(self.store.get_opts(name, options));
        Ok(got.await?.attributes)
    }

    /// Bytes of an object.
    pub(super) async fn length(&self, what: &str, name: &Path) -> Result<u64, StorageError> {
        let head = || self.patience.within(self.store.head(name));
        let asked = self.patience.ask(head).await;
        Ok(self.clear(what, name, asked)?.size)
    }

    /// A whole object; `None` if it is longer than `most`.
    pub(super) async fn whole(
        &self,
        name: &Path,
        most: u64,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let get = || {
            self.patience.within(async {
                let got = self.store.get(name).await?;
                if got.meta.size > most {
                    return Ok(None);
                }
                Ok(Some(got.bytes().await?.to_vec()))
            })
        };
        let asked = self.patience.ask(get).await;
        self.clear("read", name, asked)
    }

    /// Bytes of an object from a place on, as many as asked for.
    pub(super) async fn piece(
        &self,
        name: &Path,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, StorageError> {
        let length = range.end.saturating_sub(range.start);
        let get = || {
            self.patience.within(async {
                let bytes = self.store.get_range(name, range.clone()).await?;
                if bytes.len() as u64 == length {
                    return Ok(bytes.to_vec());
                }
                Err(Error::Generic {
                    store: "object",
                    source: format!("{} bytes came instead of {length}", bytes.len()).into(),
                })
            })
        };
        let asked = self.patience.ask(get).await;
        self.clear("read", name, asked)
    }

    /// What is in a directory: objects, and the directories there.
    pub(super) async fn list(&self, directory: &Path) -> Result<ListResult, StorageError> {
        let list = || (self.patience).within(self.store.list_with_delimiter(Some(directory)));
        let asked = self.patience.ask(list).await;
        self.clear("list", directory, asked)
    }

    /// Deletes an object, which may be gone already.
    pub(super) async fn delete(&self, name: &Path) -> Result<(), StorageError> {
        let delete = || self.patience.within(self.store.delete(name));
        let asked = self.patience.ask(delete).await;
        match asked.outcome {
            Err(Error::NotFound { .. }) => Ok(()),
            _ => self.clear("delete", name, asked),
        }
    }

    /// Sees to it that the store keeps what creating an object promises: it refuses to create one a second time.
    ///
    /// # Errors
    /// When it does not, or cannot be written to.
    pub(super) async fn probe(&self, directory: &Path) -> Result<(), StorageError> {
        let name = directory.clone().join(format!(".probe-{:016x}", entropy()));
        self.create(&name, b"probe").await?;
        let again = || {
            let put =
                (self.store).put_opts(&name, PutPayload::from("again"), PutMode::Create.into());
            self.patience.within(put)
        };
        let asked = self.patience.ask(again).await;
        self.delete(&name).await?;
        match asked.outcome {
            Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(self.trouble("create", &name, &error, asked.tries)),
            Ok(_) => Err(StorageError {
                kind: StorageErrorKind::Failed(ErrorKind::Invalid),
                message: format!(
                    "{} replaces objects that are to be created only if they are not there, so that two processes \
                     could lead one job: use a store that honours `If-None-Match`",
                    self.address
                ),
            }),
        }
    }

    /// Where an object is, for messages.
    pub(super) fn at(&self, name: &Path) -> String {
        format!("{}/{name}", self.address)
    }

    /// The answer, or trouble in words.
    pub(super) fn clear<T>(
        &self,
        what: &str,
        name: &Path,
        asked: Asked<T>,
    ) -> Result<T, StorageError> {
        (asked.outcome).map_err(|error| self.trouble(what, name, &error, asked.tries))
    }

    /// Trouble while doing `what` (a verb) with an object.
    pub(super) fn trouble(
        &self,
        what: &str,
        name: &Path,
        error: &Error,
        tries: u32,
    ) -> StorageError {
        let (kind, mend) = match error {
            Error::NotFound { .. } => (
                StorageErrorKind::Missing,
                "check the address, and that the bucket is there",
            ),
            Error::AlreadyExists { .. } => {
                (StorageErrorKind::AlreadyThere, "see who else writes there")
            }
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => (
                StorageErrorKind::Failed(ErrorKind::Invalid),
                "check the credentials, and what they allow: to read, write, list and delete",
            ),
            Error::NotImplemented { .. } | Error::NotSupported { .. } => (
                StorageErrorKind::Failed(ErrorKind::Invalid),
                "use a store that can: it must create objects only if they are not there",
            ),
            Error::InvalidPath { .. } => (
                StorageErrorKind::Failed(ErrorKind::Invalid),
                "use another name",
            ),
            _ => (
                StorageErrorKind::Failed(ErrorKind::Retry),
                "check the network and the state of the store",
            ),
        };
        let times = match tries {
            1 => String::new(),
            tries => format!(" (tried {tries} times)"),
        };
        StorageError {
            kind,
            message: format!("cannot {what} {}: {error}{times}; {mend}", self.at(name)),
        }
    }
}

/// The same trouble, but nobody knows whether it happened all the same, or who else did it.
fn unknown(error: StorageError) -> StorageError {
    StorageError {
        kind: StorageErrorKind::Unknown,
        ..error
    }
}
