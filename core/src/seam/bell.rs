//! The bell at a shard's bed: an eventfd that any thread may write, and the sleep that it ends.
//!
//! Entered by the drivers. Two system calls per wake-up, `ppoll` and the read that resets the counter,
//! and one hop between threads: the shortest way there is to wake a thread that also waits for a
//! descriptor and a deadline. Invariant: a ring after the last sleep began, or before it and not yet
//! slept off, ends the sleep. Rung from any thread; slept on by the shard's own only.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::ptr;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

/// An eventfd that ends a sleep.
pub(crate) struct Bell(File);

impl Bell {
    /// # Errors
    /// When the process may not open another descriptor.
    pub(crate) fn new() -> io::Result<Bell> {
        // SAFETY: makes a new descriptor and touches no memory.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `event` was made just above and belongs to nobody else.
        Ok(Bell(unsafe { File::from_raw_fd(event) }))
    }

    /// Ends the sleep, or the next one if nobody sleeps.
    pub(crate) fn ring(&self) {
        if let Err(error) = (&self.0).write_all(&1_u64.to_ne_bytes()) {
            tracing::error!(%error, "cannot wake a shard that sleeps");
        }
    }

    /// Sleeps until the bell is rung, `other` can be read, or `longest` is over. May end for no reason.
    ///
    /// # Errors
    /// When the kernel refuses to wait, which it has no reason to.
    pub(crate) fn sleep(
        &self,
        other: Option<BorrowedFd<'_>>,
        longest: Duration,
    ) -> io::Result<()> {
        let readable = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // A negative descriptor is passed over.
        let other = other.map_or(-1, |other| other.as_raw_fd());
        let mut waited = [readable(self.0.as_raw_fd()), readable(other)];
        let longest = libc::timespec {
            tv_sec: longest.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        let count = waited.len() as libc::nfds_t;
        // SAFETY: `waited` and `longest` live until the call is over; there is no signal mask.
        let ready = unsafe { libc::ppoll(waited.as_mut_ptr(), count, &raw const longest, ptr::null()) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            };
        }
        if waited[0].revents != 0 {
            // The shard is the only reader: what is there to be read stays there.
            (&self.0).read_exact(&mut [0; 8])?;
        }
        Ok(())
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// Lets this thread's sleeps end when they are due: the kernel would else let them last up to 50 µs
/// longer, to wake several threads at a time.
pub(crate) fn sleep_precisely() {
    // SAFETY: sets a number of the calling thread and touches no memory.
    let refused = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) } < 0;
    if refused {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "timers of this shard may be late by 50 µs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::clock::monotonic_ns;

    const LONG: Duration = Duration::from_secs(30);

    fn lasted(bell: &Bell, other: Option<BorrowedFd<'_>>, longest: Duration) -> Duration {
        let began = monotonic_ns();
        bell.sleep(other, longest).unwrap();
        Duration::from_nanos(monotonic_ns() - began)
    }

    #[test]
    fn a_ring_before_the_sleep_ends_it_and_is_slept_off() {
        let bell = Arc::new(Bell::new().unwrap());
        bell.wake_by_ref();
        bell.wake_by_ref();
        assert!(lasted(&bell, None, LONG) < LONG);
        let short = Duration::from_millis(2);
        assert!(lasted(&bell, None, short) >= short, "rung twice, slept off once");
    }

    #[test]
    fn a_ring_from_another_thread_ends_the_sleep() {
        let bell = Arc::new(Bell::new().unwrap());
        let ringer = Arc::clone(&bell);
        let thread = std::thread::Builder::new()
            .spawn(move || ringer.wake())
            .unwrap();
        assert!(lasted(&bell, None, LONG) < LONG);
        thread.join().unwrap();
    }

    #[test]
    fn another_descriptor_ends_the_sleep_and_is_not_read() {
        let (bell, other) = (Bell::new().unwrap(), Arc::new(Bell::new().unwrap()));
        other.wake_by_ref();
        for _ in 0..2 {
            assert!(lasted(&bell, Some(other.as_fd()), LONG) < LONG);
        }
    }
}
