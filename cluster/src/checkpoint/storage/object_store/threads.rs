//! The threads that talk to object stores, apart from the shards.
//!
//! Started with the first request. Requests are futures of these threads; whoever needs an answer waits for it
//! outside of them, on a thread that may. Invariant: nothing of this runs on a shard; dropped with the last storage
//! that uses them, which waits for nobody.

use std::future::Future;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use thalweg_core::error::ErrorKind;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::checkpoint::storage::contract::{StorageError, StorageErrorKind};

/// How many there are: they wait for the network most of the time.
const THREADS: usize = 2;

/// The threads, perhaps not started yet.
#[derive(Debug, Default)]
pub(super) struct Threads(Mutex<Option<Runtime>>);

impl Threads {
    /// Where futures are spawned.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn handle(&self) -> Result<Handle, StorageError> {
        let mut runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).enable_all();
        let started = builder.thread_name("thalweg-storage").build();
        let started = started.map_err(|error| StorageError {
            kind: StorageErrorKind::Failed(ErrorKind::of_io(&error)),
            message: format!("no threads could be started to talk to an object store: {error}"),
        })?;
        let handle = started.handle().clone();
        *runtime = Some(started);
        Ok(handle)
    }

    /// Waits for a future that runs on these threads; also within another runtime.
    ///
    /// # Errors
    /// Those of the future, and when no thread can be started.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StorageError>> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (sender, answer) = sync_channel(1);
        self.handle()?.spawn(async move {
            // Whoever asked waits.
            let _ = sender.send(future.await);
        });
        answer.recv().unwrap_or_else(|_| {
            Err(StorageError {
                kind: StorageErrorKind::Failed(ErrorKind::Internal),
                message: "a request to an object store ended in a panic".to_owned(),
            })
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let runtime = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.take() {
            runtime.shutdown_background();
        }
    }
}
