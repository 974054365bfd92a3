//! The environment of this process: what its settings and its launcher say.
//!
//! Entered once at the beginning of a program. Invariant: a setting that is not understood stops the
//! program here, before it did anything. Lives on the program's thread.

use std::sync::Arc;

use thalweg_core::config::{ConfigError, Configuration};
use thalweg_dataflow::stream::Environment;

use crate::launch::{self, Launch};
use crate::logging::log_to_stderr;
use crate::runner::ProcessRunner;

/// An empty program that runs as this process is told to: started directly, on the cores of this
/// process; by `thalweg run`, with the settings given there; by `thalweg info`, not at all, its plan is
/// printed instead.
///
/// Settings come, the later ones winning, from the file named by `THALWEG_CONFIG` (or `config.yaml` in
/// the folder named by `THALWEG_CONF_DIR`), from variables such as `THALWEG__PARALLELISM__DEFAULT=4`,
/// from the `-D` arguments of `thalweg run`, and from the program itself. Logs go to standard error,
/// warnings and worse unless `THALWEG_LOG` says otherwise.
///
/// # Errors
/// A setting that is unknown or not accepted, or a file that cannot be read; the message says where it
/// was set and names the nearest key.
pub fn environment() -> Result<Environment, ConfigError> {
    log_to_stderr();
    launch::keep_mark();
    let launch = Launch::of_this_process()?;
    let configuration = Configuration::load(
        launch::config_file().as_deref(),
        launch::variables(),
        &launch.overrides,
    )?;
    let runner = ProcessRunner::new(launch.plan);
    Ok(Environment::with_executor(Arc::new(runner), configuration))
}
