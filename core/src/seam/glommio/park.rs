//! The two ways in which a shard of the default driver sleeps.
//!
//! Entered by the loop. With no socket operation in flight glommio has nothing to wait for, so the shard
//! sleeps on its own bell and its ring of files: one hop from whoever wakes it. Else it sleeps in
//! glommio's ring, where the sockets are. Invariant: who rings the doorbell wakes the bed that the shard
//! announced; a completion of the ring of files wakes either. Lives on the shard's thread.
//!
//! glommio has no public way to wait for a descriptor, so the bell of its bed, written by the doorbell
//! and by the ring of files, is read as if it were a file: one read that is always under way on glommio's
//! main ring. (A glommio waker woken from the foreign thread works too, by a channel and a second ring.)

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;

use super::{HEARTBEAT, Shared, poll_glommio};
use crate::seam::bell::Bed;
use crate::seam::clock;
use crate::shard::doorbell::Doorbell;
use crate::shard::executor::Shard;

/// Where a shard lies down.
pub(super) struct Beds {
    /// Rung while no socket operation is in flight.
    own: Bed,
    own_sleeper: Waker,
    /// Rung while the shard sleeps in glommio's ring.
    ring_sleeper: Waker,
}

impl Beds {
    pub(super) fn new(shared: &Shared) -> io::Result<Beds> {
        let own = Bed::new()?;
        Ok(Beds {
            own_sleeper: own.sleeper(),
            own,
            ring_sleeper: Waker::from(Arc::clone(&shared.bell)),
        })
    }

    /// Sleeps until there is something to do, or for no longer than a heartbeat.
    pub(super) async fn park(
        &mut self,
        shard: &mut Shard,
        shared: &Rc<Shared>,
        doorbell: &Doorbell,
        next_timer: Option<u64>,
    ) {
        let mut wait = HEARTBEAT;
        if let Some(deadline) = next_timer {
            let left = deadline.saturating_sub(clock::monotonic_ns());
            if left == 0 {
                return;
            }
            wait = wait.min(Duration::from_nanos(left));
        }
        if shared.tasks.get() > 0 {
            self.park_in_ring(shard, shared, doorbell, wait).await;
        } else if shared.ended.take() {
            // Socket operations that were given up are told to the kernel by glommio's next look.
            poll_glommio().await;
        } else {
            let slept = self.park_alone(shard, shared, doorbell, wait);
            if let Err(error) = slept {
                tracing::error!(%error, "a shard cannot sleep: it polls");
            }
        }
    }

    fn park_alone(
        &mut self,
        shard: &mut Shard,
        shared: &Shared,
        doorbell: &Doorbell,
        wait: Duration,
    ) -> io::Result<()> {
        self.own.make()?;
        doorbell.set_sleeper(&self.own_sleeper);
        if !doorbell.try_park(|| shard.quiet() && !shared.thread.borrow().has_answers()) {
            return Ok(());
        }
        let slept = self.own.sleep(shared.files.borrow().completions(), wait);
        doorbell.unpark();
        slept
    }

    async fn park_in_ring(
        &self,
        shard: &mut Shard,
        shared: &Rc<Shared>,
        doorbell: &Doorbell,
        wait: Duration,
    ) {
        listen(shared);
        let mut timer = Timer::new(wait);
        shared.landed.set(false);
        doorbell.set_sleeper(&self.ring_sleeper);
        if !doorbell.try_park(|| shard.quiet() && !shared.thread.borrow().has_answers()) {
            return;
        }
        poll_fn(|cx| poll_parked(shared, doorbell, &mut timer, cx)).await;
        doorbell.unpark();
        shared.parked.take();
    }
}

fn poll_parked(
    shared: &Shared,
    doorbell: &Doorbell,
    timer: &mut Timer,
    cx: &mut Context<'_>,
) -> Poll<()> {
    shared.parked.replace(Some(cx.waker().clone()));
    if !doorbell.is_parked() || shared.landed.get() {
        return Poll::Ready(());
    }
    Pin::new(timer).poll(cx).map(|_| ())
}

/// From the first time on keeps one read of the bell under way; each that ends wakes the shard if it is
/// parked in the ring.
fn listen(shared: &Rc<Shared>) {
    let Some(event) = shared.unheard.take() else {
        return;
    };
    // SAFETY: the descriptor was owned by `event` alone, which gives it away to glommio here.
    let event = unsafe { BufferedFile::from_raw_fd(event.into_raw_fd()) };
    let shared = Rc::clone(shared);
    glommio::spawn_local(async move {
        while !shared.stopping.get() {
            // Ends when the counter is not zero, and resets it.
            if let Err(error) = event.read_at(0, 8).await {
                tracing::error!(%error, "cannot wait for the bell of a shard: it polls");
                Timer::new(Duration::from_millis(1)).await;
            }
            shared.rouse();
        }
        if let Err(error) = event.close().await {
            tracing::debug!(%error, "the bell of a shard was not closed");
        }
        shared.stopped.set(true);
        shared.rouse();
    })
    .detach();
}

/// Ends the read of the bell.
pub(super) async fn stop_listening(shared: &Shared) {
    if shared.unheard.take().is_some() {
        return;
    }
    shared.stopping.set(true);
    shared.bell.ring();
    poll_fn(|cx| {
        shared.parked.replace(Some(cx.waker().clone()));
        if shared.stopped.get() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
