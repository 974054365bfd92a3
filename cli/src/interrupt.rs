//! Ctrl-C: the first one stops the job in good order, the second one the process.
//!
//! Entered before a job runs. The handler runs on a thread of its own, for SIGINT, SIGTERM and SIGHUP.
//! Invariant: one handler and one token per process, and a program that handles the signals itself
//! keeps doing so.

use std::io::Write as _;
use std::process;
use std::sync::OnceLock;

use thalweg_cluster::CancelToken;

use crate::report::CANCELLED;

/// The token that Ctrl-C cancels.
pub(crate) fn token() -> CancelToken {
    static TOKEN: OnceLock<CancelToken> = OnceLock::new();
    TOKEN.get_or_init(watch).clone()
}

fn watch() -> CancelToken {
    let token = CancelToken::new();
    let cancelled = token.clone();
    let handler = move || {
        // Nobody may be reading any more; the job is stopped all the same.
        let mut stderr = std::io::stderr().lock();
        if cancelled.is_cancelled() {
            let _ = writeln!(stderr, "exiting at once; nothing of this run was published");
            process::exit(i32::from(CANCELLED));
        }
        cancelled.cancel();
        let _ = writeln!(stderr, "stopping the job; once more exits at once");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!(%error, "the program handles Ctrl-C itself");
    }
    token
}
