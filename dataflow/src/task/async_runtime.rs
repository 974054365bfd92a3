//! Where futures of user functions run: never on a shard's record path.
//!
//! A deployer gives each task an [`AsyncRuntime`]. In production it is a runtime with threads of its
//! own; in simulations and test harnesses it is [`InlineRuntime`], which polls on the shard between
//! turns, in order, so that a seed decides everything.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use thalweg_core::shard::step::TaskIndex;

/// Work for a runtime. It tells its outcome by itself.
pub type AsyncWork = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Wakes one task of a shard, from any thread.
pub type RemoteWaker = Arc<dyn Fn() + Send + Sync>;

/// Runs futures for the tasks of one shard.
pub trait AsyncRuntime {
    /// Starts `work`. Dropping the answer ends it, wherever it stands.
    ///
    /// # Errors
    /// Why the runtime cannot start.
    fn spawn(&self, work: AsyncWork) -> io::Result<Box<dyn Any>>;

    /// What wakes a task of this shard when an outcome has been told.
    fn waker_of(&self, task: TaskIndex) -> RemoteWaker;

    /// Called in every turn of a task with work under way: polls here what is not polled elsewhere.
    fn drive(&self);

    /// Whether work waits to be driven, so that the task shall have another turn at once.
    fn is_ready(&self) -> bool;
}

/// Polls futures on the shard itself, in the order in which they were started.
///
/// Only for futures that need no thread of their own: a future that waits for one is never woken.
#[derive(Default)]
pub struct InlineRuntime {
    running: RefCell<Vec<Weak<Running>>>,
}

struct Running {
    work: RefCell<Option<AsyncWork>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl AsyncRuntime for InlineRuntime {
    fn spawn(&self, work: AsyncWork) -> io::Result<Box<dyn Any>> {
        let running = Rc::new(Running {
            work: RefCell::new(Some(work)),
            woken: Arc::new(Woken(AtomicBool::new(true))),
        });
        self.running.borrow_mut().push(Rc::downgrade(&running));
        Ok(Box::new(running))
    }

    fn waker_of(&self, _task: TaskIndex) -> RemoteWaker {
        // The task whose turn drives the work is awake.
        Arc::new(|| {})
    }

    fn drive(&self) {
        let started: Vec<_> = self
            .running
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for running in &started {
            if !running.woken.0.swap(false, Ordering::AcqRel) {
                continue;
            }
            let waker = Waker::from(Arc::clone(&running.woken));
            let mut work = running.work.borrow_mut();
            let poll = work
                .as_mut()
                .map(|work| work.as_mut().poll(&mut Context::from_waker(&waker)));
            if poll == Some(Poll::Ready(())) {
                *work = None;
            }
        }
        drop(started);
        let alive = |running: &Weak<Running>| {
            let running = running.upgrade();
            running.is_some_and(|running| running.work.borrow().is_some())
        };
        self.running.borrow_mut().retain(alive);
    }

    fn is_ready(&self) -> bool {
        let running = self.running.borrow();
        let woken = |running: Rc<Running>| running.woken.0.load(Ordering::Acquire);
        running.iter().filter_map(Weak::upgrade).any(woken)
    }
}
