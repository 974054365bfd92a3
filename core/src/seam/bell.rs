//! The bell at a shard's bed: an eventfd that any thread may write, and the sleep that it ends.
//!
//! Entered by the drivers. One system call and one hop between threads from a ring to the shard's next
//! round: the shortest way there is to wake a thread that also waits for a descriptor and a deadline. The
//! counter is reset when the shard goes to sleep again, when nobody waits for it, and not when it wakes.
//! Invariant: a ring after [`Bed::make`] ends the sleep that follows it. Rung from any thread; slept on
//! by the shard's own only.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::ptr;
use std::sync::Arc;
use std::task::{Wake, Waker};
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

/// Where one thread sleeps until its bell is rung.
pub(crate) struct Bed {
    bell: Arc<Bell>,
    /// The bell has ended a sleep and was not reset since.
    rung: bool,
}

impl Bed {
    /// # Errors
    /// When the process may not open another descriptor.
    pub(crate) fn new() -> io::Result<Bed> {
        Ok(Bed {
            bell: Arc::new(Bell::new()?),
            rung: false,
        })
    }

    /// Rings the bell.
    pub(crate) fn sleeper(&self) -> Waker {
        Waker::from(Arc::clone(&self.bell))
    }

    /// Forgets the rings so far. To be done before the sleep is announced: a ring that it swallows has to
    /// be one whose cause the look after the announcement sees.
    ///
    /// # Errors
    /// When the kernel refuses to reset the bell, which it has no reason to.
    pub(crate) fn make(&mut self) -> io::Result<()> {
        if self.rung {
            // This thread is the only reader: what was there to be read is still there.
            (&self.bell.0).read_exact(&mut [0; 8])?;
            self.rung = false;
        }
        Ok(())
    }

    /// Sleeps until the bell is rung, `other` can be read, or `longest` is over. May end for no reason.
    ///
    /// # Errors
    /// When the kernel refuses to wait, which it has no reason to.
    pub(crate) fn sleep(
        &mut self,
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
        let mut waited = [readable(self.bell.0.as_raw_fd()), readable(other)];
        let longest = libc::timespec {
            tv_sec: longest.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        let count = waited.len() as libc::nfds_t;
        // SAFETY: `waited` and `longest` live until the call is over; there is no signal mask.
        let ready =
            unsafe { libc::ppoll(waited.as_mut_ptr(), count, &raw const longest, ptr::null()) };
        self.rung |= ready > 0 && waited[0].revents != 0;
        if ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(())
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

    fn lasted(bed: &mut Bed, other: Option<BorrowedFd<'_>>, longest: Duration) -> Duration {
        let began = monotonic_ns();
        bed.sleep(other, longest).unwrap();
        Duration::from_nanos(monotonic_ns() - began)
    }

    #[test]
    fn a_ring_ends_the_sleep_until_the_bed_is_made() {
        let mut bed = Bed::new().unwrap();
        bed.make().unwrap();
        for _ in 0..2 {
            bed.sleeper().wake();
            assert!(lasted(&mut bed, None, LONG) < LONG);
        }
        bed.make().unwrap();
        let short = Duration::from_millis(2);
        assert!(lasted(&mut bed, None, short) >= short);
        bed.make().unwrap();
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "the tests start threads of their own"
    )]
    fn a_ring_from_another_thread_ends_the_sleep() {
        let mut bed = Bed::new().unwrap();
        let sleeper = bed.sleeper();
        let thread = std::thread::Builder::new()
            .spawn(move || sleeper.wake())
            .unwrap();
        assert!(lasted(&mut bed, None, LONG) < LONG);
        thread.join().unwrap();
    }

    #[test]
    fn another_descriptor_ends_the_sleep_and_is_not_read() {
        let (mut bed, other) = (Bed::new().unwrap(), Bell::new().unwrap());
        other.ring();
        for _ in 0..2 {
            assert!(lasted(&mut bed, Some(other.as_fd()), LONG) < LONG);
            bed.make().unwrap();
        }
    }
}
