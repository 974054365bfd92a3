//! How a process is told to run its program: the contract between the `thalweg` binary and programs.
//!
//! The binary writes a [`Launch`] into the environment variables of the program it starts; the program
//! reads it back when it makes its environment. Invariant: both sides use this file and nothing else,
//! and a program without such variables runs locally. Lives on any thread.

use std::ffi::OsString;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use thalweg_core::config::{ConfigError, Origin};

/// Names the file of settings.
pub const CONFIG_FILE: &str = "THALWEG_CONFIG";
/// Names the folder in which `config.yaml` lies.
pub const CONFIG_FOLDER: &str = "THALWEG_CONF_DIR";
/// Holds the `-D` arguments: a JSON list of `[key, value]`.
pub const OVERRIDES: &str = "THALWEG_OVERRIDES";
/// Holds what is to be done with the program: `run`, or `plan:` and a format.
pub const MODE: &str = "THALWEG_MODE";

/// In every executable that makes an environment: tells programs of this engine from others.
static MARK: &[u8] = b"\x7fthalweg program, launch contract 1\x7f";

/// How a plan is to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For Graphviz.
    Dot,
}

impl PlanFormat {
    /// All formats with their words.
    pub const ALL: [(PlanFormat, &'static str); 3] = [
        (PlanFormat::Text, "text"),
        (PlanFormat::Json, "json"),
        (PlanFormat::Dot, "dot"),
    ];

    /// The word it is asked for by.
    pub fn name(self) -> &'static str {
        match self {
            PlanFormat::Text => "text",
            PlanFormat::Json => "json",
            PlanFormat::Dot => "dot",
        }
    }
}

/// What a program is told by whoever started it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// Settings that go before those of files and variables.
    pub overrides: Vec<(String, String)>,
    /// Print the plan in this format and do not run; `None` runs.
    pub plan: Option<PlanFormat>,
}

impl Launch {
    /// What the variables of this process say.
    ///
    /// # Errors
    /// A variable that this engine did not write.
    pub fn of_this_process() -> Result<Self, ConfigError> {
        let read =
            |name: &str| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned());
        Self::parse(read(OVERRIDES), read(MODE))
    }

    fn parse(overrides: Option<String>, mode: Option<String>) -> Result<Self, ConfigError> {
        let overrides = match overrides {
            None => Vec::new(),
            Some(text) => serde_json::from_str(&text).map_err(|error| {
                let expected = format!("a JSON list of [key, value] ({error})");
                refused(OVERRIDES, text, expected)
            })?,
        };
        let plan = match mode.as_deref() {
            None | Some("" | "run") => None,
            Some(word) => {
                let format = PlanFormat::ALL
                    .into_iter()
                    .find(|(_, name)| word.strip_prefix("plan:") == Some(name));
                let Some((format, _)) = format else {
                    let expected = "run, plan:text, plan:json or plan:dot".to_owned();
                    return Err(refused(MODE, word.to_owned(), expected));
                };
                Some(format)
            }
        };
        Ok(Self { overrides, plan })
    }

    /// The command that starts the program at `path` with this launch.
    pub fn command(&self, path: &Path, arguments: &[OsString]) -> Command {
        let mut command = Command::new(path);
        let overrides = serde_json::Value::from_iter(
            self.overrides
                .iter()
                .map(|(key, value)| serde_json::json!([key, value])),
        );
        let mode = self.plan.map_or_else(
            || "run".to_owned(),
            |format| format!("plan:{}", format.name()),
        );
        command
            .args(arguments)
            .env(OVERRIDES, overrides.to_string())
            .env(MODE, mode);
        command
    }
}

fn refused(key: &'static str, value: String, expected: String) -> ConfigError {
    ConfigError::Invalid {
        key,
        value,
        origin: Origin::Environment(key.to_owned()),
        expected,
    }
}

/// The file of settings this process was given, if it was.
pub fn config_file() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty());
    let file = given(CONFIG_FILE).map(PathBuf::from);
    file.or_else(|| given(CONFIG_FOLDER).map(|folder| Path::new(&folder).join("config.yaml")))
}

/// The variables of this process that are text; no setting has one that is not.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Keeps the mark in every executable that comes by here.
pub(crate) fn keep_mark() {
    black_box(MARK);
}

/// Whether the file is an executable built on this engine, or a script that may start one.
///
/// # Errors
/// The file cannot be read.
pub fn is_program(path: &Path) -> io::Result<bool> {
    const BLOCK: usize = 1 << 20;
    let mut file = File::open(path)?;
    let finder = memchr::memmem::Finder::new(MARK);
    let mut block = Vec::with_capacity(BLOCK + MARK.len());
    let mut first = true;
    loop {
        let read = (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
        if (first && block.starts_with(b"#!")) || finder.find(&block).is_some() {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        first = false;
        // The mark may straddle two blocks.
        let kept = block.len().min(MARK.len() - 1);
        block.drain(..block.len() - kept);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_the_launcher_writes_the_program_reads() {
        for (plan, _) in PlanFormat::ALL {
            let launch = Launch {
                overrides: vec![("a.b".to_owned(), "\"1\"".to_owned())],
                plan: Some(plan),
            };
            let command = launch.command(Path::new("/bin/program"), &[]);
            let written = |name: &str| {
                let value = command.get_envs().find(|(key, _)| *key == name)?.1?;
                Some(value.to_str().unwrap().to_owned())
            };
            assert_eq!(
                Launch::parse(written(OVERRIDES), written(MODE)).unwrap(),
                launch
            );
        }
        assert_eq!(Launch::parse(None, None).unwrap(), Launch::default());
    }

    #[test]
    fn variables_of_somebody_else_are_refused_by_name() {
        let refusal = Launch::parse(Some("a=1".to_owned()), None).unwrap_err();
        assert!(
            refusal.to_string().contains("THALWEG_OVERRIDES"),
            "{refusal}"
        );
        let refusal = Launch::parse(None, Some("plan:yaml".to_owned())).unwrap_err();
        assert!(refusal.to_string().contains("plan:json"), "{refusal}");
    }

    #[test]
    fn the_mark_is_found_wherever_it_lies() {
        for before in [0, 1, (1 << 20) - 7, 1 << 20, (2 << 20) - 30] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&vec![b'x'; before]).unwrap();
            assert!(!is_program(file.path()).unwrap(), "{before}");
            file.write_all(MARK).unwrap();
            file.write_all(b"after").unwrap();
            assert!(is_program(file.path()).unwrap(), "{before}");
        }
    }
}
