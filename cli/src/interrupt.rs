//! Ctrl-C: the first one stops the job in good order, the second one the process.
//!
//! Entered before a job runs. The handler runs on a thread of its own, for SIGINT, SIGTERM and SIGHUP.
//! Invariant: one handler and one token per process, and a program that handles the signals itself
//! keeps doing so.

use std::io::{self, Write as _};
use std::process;
use std::sync::OnceLock;

use thalweg_cluster::CancelToken;
use thalweg_core::seam::clock::monotonic_ns;

use crate::report::CANCELLED;

/// Signals that follow each other so closely are one wish: whoever signals a process and then its whole
/// group (as `timeout` does) reaches it twice. In ns.
const SAME_WISH: u64 = 300_000_000;

/// The token that Ctrl-C cancels.
pub(crate) fn token() -> CancelToken {
    static TOKEN: OnceLock<CancelToken> = OnceLock::new();
    TOKEN.get_or_init(watch).clone()
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Stop,
    SaidAlready,
    ExitAtOnce,
}

/// Reads the wish out of a signal, given when the first one came.
fn wish(first: Option<u64>, now: u64) -> Wish {
    match first {
        None => Wish::Stop,
        Some(first) if now.saturating_sub(first) < SAME_WISH => Wish::SaidAlready,
        Some(_) => Wish::ExitAtOnce,
    }
}

fn watch() -> CancelToken {
    let token = CancelToken::new();
    let cancelled = token.clone();
    let mut first = None;
    let handler = move || {
        let now = monotonic_ns();
        let wish = wish(first, now);
        first.get_or_insert(now);
        match wish {
            Wish::SaidAlready => {}
            Wish::Stop => {
                cancelled.interrupt();
                say("stopping the job; what checkpoints it has stay; once more exits at once");
            }
            Wish::ExitAtOnce => {
                say("exiting at once, without waiting for the job to stop");
                process::exit(i32::from(CANCELLED));
            }
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!(%error, "the program handles Ctrl-C itself");
    }
    token
}

/// Nobody may be reading any more; what is done is done all the same.
fn say(words: &str) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_wish_twice_at_once_is_one_and_later_another() {
        assert_eq!(wish(None, 5), Wish::Stop);
        assert_eq!(wish(Some(5), 5), Wish::SaidAlready);
        assert_eq!(wish(Some(5), 4 + SAME_WISH), Wish::SaidAlready);
        assert_eq!(wish(Some(5), 5 + SAME_WISH), Wish::ExitAtOnce);
    }
}
