//! Where the engine's own words go: standard error, from warnings on.
//!
//! Entered by `environment()` and by the binary. Invariant: a program that has set up its own
//! subscriber keeps it. Never in the path of records.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Holds what is logged, as `info` or `thalweg_core=debug,warn`.
const FILTER: &str = "THALWEG_LOG";

/// Logs to standard error, warnings and worse unless `THALWEG_LOG` says otherwise. Does nothing if the
/// process logs somewhere already. [`environment()`](crate::environment()) calls it.
pub fn log_to_stderr() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .with_env_var(FILTER)
        .from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_env_filter(filter)
        .finish();
    // Refused if there is one: then the program logs where it wants to.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
