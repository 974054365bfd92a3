//! How another thread wakes a shard that sleeps, at no cost while it does not.
//!
//! Entered by producers (mesh, mailbox), which ring, and by the drivers, which park. Invariant: if a
//! producer makes something visible and then rings, the consumer either sees it in the re-check that
//! follows its announcement, or is woken: no wake-up is lost. Rung from any thread; parked only by the
//! shard's own.
//!
//! The protocol is [`ParkFlag`], generic over its flag so that the same code is model-checked with
//! shuttle's atomics and runs with the real ones:
//!
//! | consumer | producer |
//! |---|---|
//! | 1. announce: parked = true | 1. publish |
//! | 2. fence | 2. fence |
//! | 3. look at everything again | 3. if parked: swap it to false; who got true wakes |
//! | 4. nothing there: sleep until parked is false | |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Waker;

use atomic_waker::AtomicWaker;

/// The flag of the protocol: sequentially consistent in every operation.
#[doc(hidden)]
pub trait SharedFlag: Default {
    /// Reads the flag.
    fn get(&self) -> bool;
    /// Writes the flag and answers what it was.
    fn replace(&self, value: bool) -> bool;
    /// Orders what was done before against what is done after.
    fn fence();
}

impl SharedFlag for AtomicBool {
    #[inline]
    fn get(&self) -> bool {
        self.load(Ordering::SeqCst)
    }

    #[inline]
    fn replace(&self, value: bool) -> bool {
        self.swap(value, Ordering::SeqCst)
    }

    #[inline]
    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// The park and wake protocol, without the sleeping itself.
#[doc(hidden)]
#[derive(Default, Debug)]
pub struct ParkFlag<F>(F);

impl<F: SharedFlag> ParkFlag<F> {
    /// Announces the park and looks again: true if the consumer may sleep until [`Self::parked`] is
    /// false. `quiet` answers whether there is still nothing to do.
    pub fn try_park(&self, quiet: impl FnOnce() -> bool) -> bool {
        self.0.replace(true);
        F::fence();
        if quiet() {
            return true;
        }
        self.0.replace(false);
        false
    }

    /// Ends a park, whoever ended the sleep.
    pub fn unpark(&self) {
        self.0.replace(false);
    }

    /// Whether the consumer sleeps or is about to.
    #[inline]
    pub fn parked(&self) -> bool {
        self.0.get()
    }

    /// Producer, after publishing: true if the caller has to wake the consumer.
    #[inline]
    pub fn claim_wake(&self) -> bool {
        F::fence();
        self.0.get() && self.0.replace(false)
    }
}

/// The doorbell of one shard, shared by everyone who sends to it.
#[derive(Default, Debug)]
pub struct Doorbell {
    flag: ParkFlag<AtomicBool>,
    sleeper: AtomicWaker,
}

impl Doorbell {
    /// A doorbell of a shard that does not sleep yet. Needs no driver: one is chosen later.
    pub fn new() -> Arc<Doorbell> {
        Arc::new(Doorbell::default())
    }

    /// Wakes the shard if it sleeps. Call after what it shall see has been published. No syscall and
    /// no write to shared memory while the shard is awake.
    #[inline]
    pub fn ring(&self) {
        if self.flag.claim_wake() {
            self.sleeper.wake();
        }
    }

    /// Whether the shard sleeps or is about to.
    #[inline]
    pub fn is_parked(&self) -> bool {
        self.flag.parked()
    }

    /// Driver: announces the park and looks again (`quiet`); true if the shard may sleep.
    pub(crate) fn try_park(&self, quiet: impl FnOnce() -> bool) -> bool {
        self.flag.try_park(quiet)
    }

    /// Driver: the sleep has ended.
    pub(crate) fn unpark(&self) {
        self.flag.unpark();
    }

    /// Driver: who is to be woken by a ring. Set before the announcement or, if it changes during the
    /// sleep, followed by a look at [`Self::is_parked`].
    pub(crate) fn set_sleeper(&self, waker: &Waker) {
        self.sleeper.register(waker);
    }
}
