//! Which driver this host allows, and why not the default.
//!
//! Entered by `shard::start` before every shard and by whoever reports it. Invariant: glommio is only
//! ever entered after a ring could be set up, used and torn down here, because it panics where io_uring
//! is forbidden. Callable from any thread; what it finds holds for that thread (a filter may be set per
//! thread), so nothing is cached.

use std::io;
use std::sync::Once;

use io_uring::{IoUring, opcode};

use crate::seam::mend::{Limited, soft_limit};
use crate::seam::reactor::{DriverChoice, DriverKind};

/// glommio refuses a lower limit of locked memory.
const MIN_MEMLOCK: u64 = 512 << 10;

/// Why io_uring cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{cause}; {mend}")]
pub struct Refusal {
    /// What was refused.
    pub cause: String,
    /// What allows it.
    pub mend: &'static str,
}

/// What the host allows.
#[derive(Debug)]
pub struct Probe {
    /// Whether io_uring can be used.
    pub io_uring: Result<(), Refusal>,
}

/// Tries io_uring: sets up a ring, sends a no-op through it, looks at the limit of locked memory.
pub fn probe() -> Probe {
    Probe {
        io_uring: try_ring().and_then(|()| check_memlock()),
    }
}

/// The driver to take.
///
/// # Errors
/// If io_uring is asked for and forbidden.
pub(crate) fn choose(choice: DriverChoice) -> io::Result<DriverKind> {
    static WARNED: Once = Once::new();
    if choice == DriverChoice::Epoll {
        return Ok(DriverKind::Epoll);
    }
    match (probe().io_uring, choice) {
        (Ok(()), _) => Ok(DriverKind::Glommio),
        (Err(refusal), DriverChoice::IoUring) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "io_uring is asked for and cannot be used: {refusal}, or set \
                 thalweg.io.driver: auto and thalweg.io.require-io-uring: false"
            ),
        )),
        (Err(refusal), _) => {
            WARNED.call_once(|| {
                tracing::warn!(
                    cause = refusal.cause,
                    mend = refusal.mend,
                    "io_uring cannot be used; running on epoll, with a thread per shard for files"
                );
            });
            Ok(DriverKind::Epoll)
        }
    }
}

fn try_ring() -> Result<(), Refusal> {
    let mut ring = IoUring::new(4).map_err(|error| refused("io_uring_setup", &error))?;
    {
        let nop = opcode::Nop::new().build().user_data(7);
        let mut queue = ring.submission();
        // SAFETY: a no-op points to nothing.
        let pushed = unsafe { queue.push(&nop) };
        debug_assert!(pushed.is_ok(), "a new queue has room");
    }
    ring.submit_and_wait(1)
        .map_err(|error| refused("io_uring_enter", &error))?;
    match ring.completion().next() {
        Some(entry) if entry.user_data() == 7 && entry.result() == 0 => Ok(()),
        answer => Err(Refusal {
            cause: format!("a no-op through io_uring came back as {answer:?}"),
            mend: "use a kernel of Linux 5.8 or newer",
        }),
    }
}

fn refused(call: &str, error: &io::Error) -> Refusal {
    let mend = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "set sysctl kernel.io_uring_disabled=0, and in a container allow io_uring_setup, \
             io_uring_enter and io_uring_register in its seccomp profile"
        }
        Some(libc::ENOSYS) => "use a kernel of Linux 5.8 or newer with io_uring built in",
        Some(libc::ENOMEM) => "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (ulimit -n)",
        _ => "see the kernel's log",
    };
    Refusal {
        cause: format!("{call} answers: {error}"),
        mend,
    }
}

fn check_memlock() -> Result<(), Refusal> {
    if let Some(limit) = soft_limit(Limited::LockedMemory)
        && limit < MIN_MEMLOCK
    {
        return Err(Refusal {
            cause: format!(
                "only {} KiB of memory may be locked, {} KiB are needed",
                limit >> 10,
                MIN_MEMLOCK >> 10
            ),
            mend: "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::seccomp::forbid_io_uring_for_tests;

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "a filter holds for the thread that sets it"
    )]
    fn a_forbidden_ring_is_refused_with_cause_and_mend() {
        // The filter holds for this thread and what it starts.
        let answer = std::thread::Builder::new()
            .spawn(|| {
                forbid_io_uring_for_tests().unwrap();
                (
                    probe(),
                    choose(DriverChoice::Auto),
                    choose(DriverChoice::IoUring),
                )
            })
            .unwrap()
            .join()
            .unwrap();
        let (probe, auto, demanded) = answer;
        let refusal = probe.io_uring.unwrap_err();
        assert!(refusal.cause.contains("io_uring_setup"), "{refusal}");
        assert!(refusal.mend.contains("seccomp"), "{refusal}");
        assert_eq!(auto.unwrap(), DriverKind::Epoll);
        assert!(
            demanded
                .unwrap_err()
                .to_string()
                .contains("thalweg.io.require-io-uring")
        );
    }
}
