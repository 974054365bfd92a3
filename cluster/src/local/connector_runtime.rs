//! The threads on which the futures of user functions run, apart from the shards.
//!
//! One tokio runtime per job, started when the first future is spawned. Outcomes come back through
//! the operator's own channel; a shard is woken through its mailbox, once for all outcomes it has
//! not seen yet. Shared by all shards of a job; ended with it.

use std::any::Any;
use std::cell::OnceCell;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_core::shard::executor::Shard;
use thalweg_core::shard::mailbox::MailboxSender;
use thalweg_core::shard::step::TaskIndex;
use thalweg_dataflow::task::{AsyncRuntime, AsyncWork, RemoteWaker};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::AbortHandle;

/// The runtime of one job.
pub(crate) struct ConnectorRuntime {
    threads: usize,
    runtime: Mutex<Option<Runtime>>,
}

impl ConnectorRuntime {
    /// A runtime of so many threads, not started yet.
    pub(crate) fn new(threads: u32) -> Arc<Self> {
        Arc::new(Self {
            threads: threads as usize,
            runtime: Mutex::new(None),
        })
    }

    /// The handle of the runtime, which is started if it has not been.
    fn handle(&self) -> io::Result<Handle> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(self.threads).enable_all();
        let started = builder.thread_name("thalweg-connector").build()?;
        let handle = started.handle().clone();
        *runtime = Some(started);
        Ok(handle)
    }
}

impl Drop for ConnectorRuntime {
    fn drop(&mut self) {
        let runtime = self
            .runtime
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.take() {
            // A future that blocks its thread must not keep the job from ending.
            runtime.shutdown_background();
        }
    }
}

/// The runtime as one shard sees it.
pub(crate) struct ShardRuntime {
    runtime: Arc<ConnectorRuntime>,
    /// Known from the first future on, so that the lock is taken once.
    handle: OnceCell<Handle>,
    mailbox: MailboxSender,
}

impl ShardRuntime {
    pub(crate) fn new(runtime: Arc<ConnectorRuntime>, shard: &Shard) -> Self {
        Self {
            runtime,
            handle: OnceCell::new(),
            mailbox: shard.mailbox(),
        }
    }
}

/// Ends the work when it is dropped.
struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AsyncRuntime for ShardRuntime {
    fn spawn(&self, work: AsyncWork) -> io::Result<Box<dyn Any>> {
        let handle = match self.handle.get() {
            Some(handle) => handle,
            None => {
                let handle = self.runtime.handle()?;
                self.handle.get_or_init(|| handle)
            }
        };
        Ok(Box::new(Abort(handle.spawn(work).abort_handle())))
    }

    fn waker_of(&self, task: TaskIndex) -> RemoteWaker {
        let mailbox = self.mailbox.clone();
        Arc::new(move || {
            let wake = move |shard: &mut Shard| {
                if let Some(waker) = shard.waker_of(task) {
                    waker.wake();
                }
            };
            // A shard that takes no more commands has ended, and its tasks with it; one whose mailbox
            // is full runs its tasks when it has run the commands.
            let _ = mailbox.send(Box::new(wake));
        })
    }

    fn drive(&self) {}

    fn is_ready(&self) -> bool {
        false
    }
}
