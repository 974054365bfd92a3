//! A user's program, as `run` and `info` name it: checked, then given this process.
//!
//! The program takes the place of the binary (`execve`), so signals, terminal and exit code are its
//! own. Invariant: settings are checked before the program starts, and nothing is started that was not
//! built on this engine.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use clap::Args;
use thalweg::Failure;
use thalweg::config::Configuration;
use thalweg::launch::{self, Launch, PlanFormat};
use thalweg_core::seam::standard_streams::{Stream, is_writable};

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error(
        "there is no program at {}: build it (cargo build --release) and give the path of the executable, \
         such as target/release/wordcount", .0.display()
    )]
    Missing(PathBuf),
    #[error("{} cannot be read: {source}; check its path and permissions", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{} is not built on thalweg: it was not started; programs call thalweg::environment()",
        .0.display()
    )]
    Foreign(PathBuf),
    #[error("{} cannot be started: {source}; check that it is an executable of this host", .path.display())]
    NotStarted { path: PathBuf, source: io::Error },
}

/// Which program, with which settings.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// An executable built on thalweg
    #[arg(value_name = "PROGRAM")]
    path: PathBuf,
    /// Parallelism of every operator that is not given one of its own
    #[arg(short, long, value_name = "N")]
    parallelism: Option<u32>,
    /// One setting; `thalweg config` lists them
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Whether results are emitted as they change or once at the end
    #[arg(long, value_name = "MODE", value_parser = ["streaming", "batch", "automatic"])]
    mode: Option<String>,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
    /// The arguments that stand for settings, by the key of the setting.
    #[arg(skip)]
    flags: Vec<(&'static str, &'static str)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write -D key=value".to_owned()),
    }
}

impl Program {
    /// Adds a setting that was given by the argument `flag`, as if it had been given by `-D`.
    pub(crate) fn set(&mut self, flag: &'static str, key: &'static str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
        self.flags.push((key, flag));
    }

    /// The argument the value of a setting came from, if it was not `-D`.
    fn flag_of(&self, key: &str) -> Option<&'static str> {
        let flag = self.flags.iter().find(|(of, _)| *of == key);
        flag.map(|(_, flag)| *flag)
    }

    /// Becomes the program. Answers only if it cannot be started.
    pub(crate) fn launch(mut self, plan: Option<PlanFormat>) -> Result<Infallible, Failure> {
        if let Some(parallelism) = self.parallelism {
            let flag = "--parallelism";
            self.set(flag, "parallelism.default", &parallelism.to_string());
        }
        if let Some(mode) = self.mode.take() {
            self.set("--mode", "execution.runtime-mode", &mode);
        }
        let file = launch::config_file();
        Configuration::load(file.as_deref(), launch::variables(), &self.settings)
            .map_err(|error| error.written_as(|key| self.flag_of(key)))?;
        let path = found(self.path)?;
        let launch = Launch {
            overrides: self.settings,
            plan,
        };
        let mut command = launch.command(&path, &self.arguments);
        if !is_writable(Stream::Output) {
            // The system has put something in its place that takes everything: the program is to know.
            let closed = File::open("/dev/null").map_err(|source| ProgramError::NotStarted {
                path: path.clone(),
                source,
            })?;
            command.stdout(closed);
        }
        let source = command.exec();
        Err(ProgramError::NotStarted { path, source }.into())
    }
}

/// The program's path in a form the operating system does not look up in PATH.
fn found(path: PathBuf) -> Result<PathBuf, ProgramError> {
    if !path.is_file() {
        return Err(ProgramError::Missing(path));
    }
    match launch::is_program(&path) {
        Ok(true) => {}
        Ok(false) => return Err(ProgramError::Foreign(path)),
        Err(source) => return Err(ProgramError::Unreadable { path, source }),
    }
    if path.components().count() == 1 && path.is_relative() {
        return Ok(Path::new(".").join(path));
    }
    Ok(path)
}
