//! Starting the executables of this build, in an environment without settings, and reading their end.

use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The program the tests start, by its path.
pub(crate) fn program() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_thalweg"));
        let path = binary.with_file_name("examples").join("trouble");
        assert!(
            path.is_file(),
            "{} is not built: run the tests of the whole package, or `cargo build -p thalweg --examples`",
            path.display()
        );
        path.to_string_lossy().into_owned()
    })
}

/// The binary with arguments.
pub(crate) fn thalweg<const N: usize>(arguments: [&str; N]) -> Command {
    clean(env!("CARGO_BIN_EXE_thalweg"), &arguments)
}

/// The program with arguments, started directly.
pub(crate) fn trouble<const N: usize>(arguments: [&str; N]) -> Command {
    clean(program(), &arguments)
}

/// A command that sees no settings of whoever runs the tests.
fn clean(path: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null());
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.to_string_lossy().starts_with("THALWEG")) {
        command.env_remove(name);
    }
    command
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
    }

    /// It failed with this code and said all of this.
    #[track_caller]
    pub(crate) fn failed_with(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "`{part}` is missing in:\n{}",
                self.stderr
            );
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Ended {
    command.output().unwrap().into()
}
