//! Whether what is written to standard output and standard error can arrive anywhere.
//!
//! A program may be started with one of them closed. Rust's runtime then puts `/dev/null` in its place before
//! `main`, and its `Stdout` takes what a read-only descriptor refuses, so output would be lost without a word.
//! Entered before `main`, where the streams are looked at as they were given, and by whoever is about to write
//! to one. Callable from any thread.

use std::sync::atomic::{AtomicBool, Ordering};

/// A standard stream that is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

static OUTPUT_CLOSED: AtomicBool = AtomicBool::new(false);
static ERROR_CLOSED: AtomicBool = AtomicBool::new(false);

/// The loader calls what is listed in this section before it enters the program, and so before the runtime of
/// Rust has touched the streams.
#[used]
// SAFETY: the section is a list of functions of the C ABI, which the loader may call with arguments this one
// ignores; `look` needs nothing of Rust's runtime.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look;

extern "C" fn look() {
    for (stream, closed) in [
        (libc::STDOUT_FILENO, &OUTPUT_CLOSED),
        (libc::STDERR_FILENO, &ERROR_CLOSED),
    ] {
        // SAFETY: asks for the flags of a number that may be no descriptor, which is the question.
        let flags = unsafe { libc::fcntl(stream, libc::F_GETFD) };
        closed.store(flags == -1, Ordering::Relaxed);
    }
}

/// Whether the stream was open when the process began, and for writing.
#[must_use]
pub fn is_writable(stream: Stream) -> bool {
    let (closed, number) = match stream {
        Stream::Output => (&OUTPUT_CLOSED, libc::STDOUT_FILENO),
        Stream::Error => (&ERROR_CLOSED, libc::STDERR_FILENO),
    };
    // SAFETY: asks for the flags of a number that may be no descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    let refuses = flags == -1 || flags & libc::O_ACCMODE == libc::O_RDONLY;
    !refuses && !closed.load(Ordering::Relaxed)
}
