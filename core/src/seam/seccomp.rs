//! A filter that forbids io_uring, as stock containers do, for the tests of the fallback.
//!
//! Entered by tests only. Invariant: after it was set, the calling thread and every thread and process
//! it starts get `EPERM` from the three io_uring calls, for good. Other threads are untouched.

use std::io;

/// Forbids io_uring for the calling thread and what it starts from now on.
///
/// # Errors
/// If the kernel takes no filter.
#[doc(hidden)]
pub fn forbid_io_uring_for_tests() -> io::Result<()> {
    // io_uring_setup, io_uring_enter, io_uring_register: the same numbers on all architectures.
    const FIRST: u32 = 425;
    const LAST: u32 = 427;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let mut program = [
        // Offset 0 of seccomp_data is the number of the call.
        filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        filter(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, FIRST, 0, 2),
        filter(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, LAST, 1, 0),
        filter(libc::BPF_RET | libc::BPF_K, refuse, 0, 0),
        filter(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `program` and the instructions it points to live until the call has copied them.
    let answer = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn filter(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}
