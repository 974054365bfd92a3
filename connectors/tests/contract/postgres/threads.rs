//! A runtime with a thread for the futures of writers, and how a test waits for them.
//!
//! The thread is shared by all tests of the process.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use thalweg_core::shard::step::TaskIndex;
use thalweg_dataflow::task::{AsyncRuntime, AsyncWork, RemoteWaker};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

/// How long it is waited for a ring before the next turn. Nothing depends on it: work under way is looked at
/// in every turn.
const A_WHILE: Duration = Duration::from_millis(5);

pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    })
}

/// Waits for something asynchronous.
pub(crate) fn wait_for<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}

/// The runtime as one shard sees it.
pub(crate) struct Threads {
    /// Work that was not dropped.
    live: Rc<Cell<usize>>,
    rung: Receiver<()>,
    ring: SyncSender<()>,
}

impl Default for Threads {
    fn default() -> Self {
        let (ring, rung) = sync_channel(1);
        Self {
            live: Rc::default(),
            rung,
            ring,
        }
    }
}

impl Threads {
    /// Waits a little for work under way to tell something.
    pub(crate) fn wait(&self) {
        if self.live.get() > 0 {
            let _ = self.rung.recv_timeout(A_WHILE);
        }
    }
}

struct Live(Rc<Cell<usize>>, AbortHandle);

impl Drop for Live {
    fn drop(&mut self) {
        self.1.abort();
        self.0.set(self.0.get() - 1);
    }
}

impl AsyncRuntime for Threads {
    fn spawn(&self, work: AsyncWork) -> io::Result<Box<dyn Any>> {
        self.live.set(self.live.get() + 1);
        let handle = runtime().spawn(work).abort_handle();
        Ok(Box::new(Live(Rc::clone(&self.live), handle)))
    }

    fn waker_of(&self, _task: TaskIndex) -> RemoteWaker {
        let ring = self.ring.clone();
        std::sync::Arc::new(move || {
            // One that was not heard yet tells of this one too.
            let _ = ring.try_send(());
        })
    }

    fn drive(&self) {}

    fn is_ready(&self) -> bool {
        false
    }
}
