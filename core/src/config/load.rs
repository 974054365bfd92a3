//! From file, environment and arguments to one [`Configuration`].
//!
//! What comes later wins: default, profile, file, environment, `-D` arguments, calls of
//! [`Configuration::set`]. Entered once at the start of a process; lives on any thread. Invariant: every
//! entry has a known key and a text its option accepts; all else is refused with the place it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file;
use super::nearest::nearest;
use super::option::{AnyOption, ConfigOption};
use super::options;
use super::value::{CheckpointingMode, ConfigValue, IoDriver, Profile};
use crate::error::ErrorKind;

/// What environment variables for the engine start with; `__` in the rest stands for `.`, `_` for `-`.
pub const ENVIRONMENT_PREFIX: &str = "THALWEG__";

/// What other variables of Thalweg start with, which are no settings.
const OUR_PREFIX: &str = "THALWEG_";

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the value.
        line: u64,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// A `-D key=value` argument.
    Argument,
    /// An argument of its own, such as `--parallelism`.
    Flag(&'static str),
    /// The program itself.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Argument => f.write_str("argument -D"),
            Origin::Flag(name) => write!(f, "argument {name}"),
            Origin::Program => f.write_str("set by the program"),
        }
    }
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No option has this key.
    #[error("unknown setting `{key}` ({origin}): {}", advice(*.nearest))]
    Unknown {
        /// The key as written.
        key: String,
        /// Where it was written.
        origin: Origin,
        /// The key that may have been meant.
        nearest: Option<&'static str>,
    },
    /// The value is not one the option takes.
    #[error("setting `{key}` cannot be `{value}` ({origin}): expected {expected}")]
    Invalid {
        /// The option's key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// Where it was written.
        origin: Origin,
        /// What the option takes.
        expected: String,
    },
    /// Two environment variables stand for one key and disagree.
    #[error(
        "`{first}` and `{second}` both set `{key}`: remove one of the two environment variables"
    )]
    Twice {
        /// The key of both.
        key: &'static str,
        /// One variable.
        first: String,
        /// The other.
        second: String,
    },
    /// An environment variable that nobody looks at stands for a key, but for underscores that are missing.
    #[error("`{name}` sets nothing: as an environment variable `{key}` is written {instead}")]
    Underscores {
        /// The variable as written.
        name: String,
        /// The key it seems to mean.
        key: &'static str,
        /// How it is written.
        instead: String,
    },
    /// Each setting is fine, but they exclude each other.
    #[error("{0}")]
    Contradiction(String),
    /// The file cannot be read.
    #[error(
        "cannot read settings from {}: {source}; name a YAML file this user can read in THALWEG_CONFIG, or a \
         folder with a config.yaml in THALWEG_CONF_DIR, or unset both", .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not settings in YAML.
    #[error("{}, line {line}: {message}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, or 0 if it is not known.
        line: u64,
        /// What is wrong there.
        message: String,
    },
}

impl ConfigError {
    /// The same, where the `-D` argument it blames was written as another one, which `flag` answers for its
    /// key.
    #[must_use]
    pub fn written_as(mut self, flag: impl Fn(&str) -> Option<&'static str>) -> ConfigError {
        if let ConfigError::Invalid { key, origin, .. } = &mut self
            && *origin == Origin::Argument
            && let Some(flag) = flag(key)
        {
            *origin = Origin::Flag(flag);
        }
        self
    }

    /// Always [`ErrorKind::Invalid`], unless the file could not be read.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ConfigError::Unreadable { source, .. } => ErrorKind::of_io(source),
            _ => ErrorKind::Invalid,
        }
    }
}

fn advice(nearest: Option<&'static str>) -> String {
    match nearest {
        Some(key) => format!("did you mean `{key}`?"),
        None => "docs/reference/config.md lists all settings".to_owned(),
    }
}

#[derive(Clone, Debug)]
struct Entry {
    /// In the canonical form of its type.
    text: String,
    origin: Origin,
}

/// The settings of a process or a job: those set explicitly, and defaults for all others.
///
/// ```
/// use thalweg_core::config::{Configuration, options};
/// let overrides = [("parallelism.default".to_owned(), "4".to_owned())];
/// let environment = [("THALWEG__THALWEG__SHARD__PIN".to_owned(), "false".to_owned())];
/// let configuration = Configuration::load(None, environment.into_iter(), &overrides).unwrap();
/// assert_eq!(configuration.get(&options::PARALLELISM_DEFAULT), 4);
/// assert!(!configuration.get(&options::SHARD_PIN));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    entries: BTreeMap<&'static str, Entry>,
}

impl Configuration {
    /// Nothing but defaults.
    #[must_use]
    pub fn new() -> Configuration {
        Configuration::default()
    }

    /// Settings from a YAML file, then from environment variables that start with
    /// [`ENVIRONMENT_PREFIX`] (others are not looked at, but for those that would be a setting's with more underscores:
    /// they are refused), then from `-D` arguments: later ones win.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown, a value is not accepted, or settings exclude each
    /// other. The message names the place and the mend.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Configuration, ConfigError> {
        let mut configuration = Configuration::new();
        if let Some(path) = file {
            configuration.add_file(path)?;
        }
        configuration.add_environment(env)?;
        for (key, value) in overrides {
            configuration.put(key, value, Origin::Argument)?;
        }
        configuration.check()?;
        Ok(configuration)
    }

    /// The value of `option`: the one set, else the profile's, else the default.
    #[must_use]
    pub fn get<T: ConfigValue>(&self, option: &ConfigOption<T>) -> T {
        let Some(entry) = self.entries.get(option.key) else {
            return match option.low_latency {
                Some(default) if self.profile() == Profile::LowLatency => default(),
                _ => (option.default)(),
            };
        };
        match option.read(&entry.text) {
            Ok(value) => value,
            Err(_) => unreachable!(
                "`{}` holds `{}`, which was accepted when set: two options share the key",
                option.key, entry.text
            ),
        }
    }

    /// Sets `option` from within the program.
    ///
    /// # Panics
    /// When `value` is out of the option's bounds; use [`Configuration::set_str`] for what users write.
    pub fn set<T: ConfigValue>(&mut self, option: &ConfigOption<T>, value: T) {
        let text = value.show();
        let refusal = option.read(&text).err();
        assert!(
            refusal.is_none(),
            "{} cannot be {text}: expected {refusal:?}",
            option.key
        );
        self.entries.insert(
            option.key,
            Entry {
                text,
                origin: Origin::Program,
            },
        );
    }

    /// Sets `option` from within the program, to a value that came from elsewhere.
    ///
    /// # Errors
    /// When the value is out of the option's bounds.
    pub fn try_set<T: ConfigValue>(
        &mut self,
        option: &ConfigOption<T>,
        value: T,
    ) -> Result<(), ConfigError> {
        self.put(option.key, &value.show(), Origin::Program)
    }

    /// Sets the option called `key` from a text, as a `-D key=value` argument does.
    ///
    /// # Errors
    /// When the key is unknown or the value is not accepted.
    pub fn set_str(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        self.put(key, value, Origin::Argument)
    }

    /// Whether `option` was set explicitly, and where.
    #[must_use]
    pub fn origin<T>(&self, option: &ConfigOption<T>) -> Option<&Origin> {
        self.entries.get(option.key).map(|entry| &entry.origin)
    }

    /// All settings that were set explicitly, by key, as (key, value, where it came from).
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, &str, &Origin)> {
        self.entries
            .iter()
            .map(|(key, entry)| (*key, entry.text.as_str(), &entry.origin))
    }

    /// Checks what holds between settings. [`Configuration::load`] has done it; do it again after
    /// [`Configuration::set_str`].
    ///
    /// # Errors
    /// When settings exclude each other; the message names both.
    pub fn check(&self) -> Result<(), ConfigError> {
        let parallelism = self.get(&options::PARALLELISM_DEFAULT);
        let groups = self.get(&options::MAX_PARALLELISM);
        if parallelism > groups {
            return Err(ConfigError::Contradiction(format!(
                "parallelism.default is {parallelism}, but pipeline.max-parallelism allows {groups}: lower \
                 the one or raise the other"
            )));
        }
        let segment = self.get(&options::SEGMENT_SIZE);
        let network = self.get(&options::NETWORK_MEMORY_SIZE);
        if network.0 / segment.0 < 2 {
            return Err(ConfigError::Contradiction(format!(
                "taskmanager.memory.network.size of {network} does not hold two segments of \
                 taskmanager.memory.segment-size {segment}: raise the one or lower the other"
            )));
        }
        self.check_checkpoints()?;
        let epoll = self.get(&options::IO_DRIVER) == IoDriver::Epoll;
        if epoll && self.get(&options::REQUIRE_IO_URING) {
            return Err(ConfigError::Contradiction(
                "thalweg.io.require-io-uring excludes thalweg.io.driver: epoll; remove one of them"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn check_checkpoints(&self) -> Result<(), ConfigError> {
        let periodic = self.get(&options::CHECKPOINT_INTERVAL).is_some();
        if periodic && self.get(&options::CHECKPOINT_DIRECTORY).is_none() {
            return Err(ConfigError::Contradiction(
                "execution.checkpointing.interval asks for checkpoints, but execution.checkpointing.dir does \
                 not say where to keep them: set it"
                    .to_owned(),
            ));
        }
        if self.get(&options::UNALIGNED_CHECKPOINTS) {
            let once = self.get(&options::CHECKPOINTING_MODE) == CheckpointingMode::ExactlyOnce;
            if !once || self.get(&options::MAX_CONCURRENT_CHECKPOINTS) > 1 {
                return Err(ConfigError::Contradiction(
                    "execution.checkpointing.unaligned.enabled needs execution.checkpointing.mode: \
                     EXACTLY_ONCE and execution.checkpointing.max-concurrent-checkpoints: 1"
                        .to_owned(),
                ));
            }
        }
        let initial = self.get(&options::INITIAL_BACKOFF);
        let longest = self.get(&options::MAX_BACKOFF);
        if initial > longest {
            return Err(ConfigError::Contradiction(format!(
                "restart-strategy.exponential-delay.initial-backoff of {} is beyond max-backoff, which is {}: \
                 lower the one or raise the other",
                initial.show(),
                longest.show()
            )));
        }
        Ok(())
    }

    fn profile(&self) -> Profile {
        match self.entries.get(options::PROFILE.key) {
            Some(entry) => options::PROFILE
                .read(&entry.text)
                .unwrap_or(Profile::Default),
            None => (options::PROFILE.default)(),
        }
    }

    fn put(&mut self, key: &str, value: &str, origin: Origin) -> Result<(), ConfigError> {
        match options::find(key.trim()) {
            Some(option) => self.put_known(option, value, origin),
            None => Err(ConfigError::Unknown {
                key: key.to_owned(),
                origin,
                nearest: nearest(key.trim(), options::ALL.iter().map(|option| option.key())),
            }),
        }
    }

    fn put_known(
        &mut self,
        option: &'static dyn AnyOption,
        value: &str,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        match option.check(value) {
            Ok(text) => {
                self.entries.insert(option.key(), Entry { text, origin });
                Ok(())
            }
            Err(expected) => Err(ConfigError::Invalid {
                key: option.key(),
                value: value.to_owned(),
                origin,
                expected,
            }),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let yaml = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let lines = file::parse(&yaml).map_err(|malformed| ConfigError::Malformed {
            path: path.to_owned(),
            line: malformed.line,
            message: malformed.message,
        })?;
        for line in lines {
            let origin = Origin::File {
                path: path.to_owned(),
                line: line.line,
            };
            self.put(&line.key, &line.text, origin)?;
        }
        Ok(())
    }

    fn add_environment(
        &mut self,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let mut ours: Vec<(String, String)> = env
            .filter(|(name, _)| name.starts_with(OUR_PREFIX))
            .collect();
        // The order of an environment means nothing, so it may not decide anything.
        ours.sort();
        for (name, value) in ours {
            if !name.starts_with(ENVIRONMENT_PREFIX) {
                refuse_other_spelling(name)?;
                continue;
            }
            let written = name[ENVIRONMENT_PREFIX.len()..].replace("__", ".");
            let same =
                |option: &&&dyn AnyOption| in_environment(option.key()) == in_environment(&written);
            let Some(option) = options::ALL.iter().find(same).copied() else {
                let keys = options::ALL.iter().map(|option| option.key());
                let nearest = nearest(&written.replace('_', "-"), keys);
                let origin = Origin::Environment(name);
                return Err(ConfigError::Unknown {
                    key: written.to_lowercase(),
                    origin,
                    nearest,
                });
            };
            let before = self
                .entries
                .get(option.key())
                .map(|entry| entry.origin.clone());
            if let Some(Origin::Environment(first)) = before {
                return Err(ConfigError::Twice {
                    key: option.key(),
                    first,
                    second: name,
                });
            }
            self.put_known(option, &value, Origin::Environment(name))?;
        }
        Ok(())
    }
}

/// Refuses a variable that is spelled as that of a setting, but for the number of underscores.
fn refuse_other_spelling(name: String) -> Result<(), ConfigError> {
    let bare = |key: &str| in_environment(key).replace('.', "_");
    let (whole, rest) = (bare(&name), bare(&name[OUR_PREFIX.len()..]));
    let mut options = options::ALL.iter().map(|option| option.key());
    let Some(key) = options.find(|key| [&whole, &rest].contains(&&bare(key))) else {
        return Ok(());
    };
    let spelled = in_environment(key).replace('.', "__").to_ascii_uppercase();
    Err(ConfigError::Underscores {
        name,
        key,
        instead: format!("{ENVIRONMENT_PREFIX}{spelled}"),
    })
}

/// A key as far as an environment variable can tell it: no case, and no hyphen.
fn in_environment(key: &str) -> String {
    key.to_ascii_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::super::value::{MemorySize, RuntimeMode};
    use super::*;
    use std::io::Write;
    use std::time::Duration;

    fn load(
        yaml: &str,
        env: &[(&str, &str)],
        overrides: &[(&str, &str)],
    ) -> Result<Configuration, ConfigError> {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        file.write_all(yaml.as_bytes()).unwrap();
        Configuration::load(Some(file.path()), own(env).into_iter(), &own(overrides))
    }

    fn refusal(yaml: &str, env: &[(&str, &str)], overrides: &[(&str, &str)]) -> String {
        load(yaml, env, overrides).unwrap_err().to_string()
    }

    #[test]
    fn without_settings_everything_has_its_default() {
        let configuration = load("", &[], &[]).unwrap();
        assert_eq!(configuration.get(&options::MAX_PARALLELISM), 128);
        assert_eq!(
            configuration.get(&options::SEGMENT_SIZE),
            MemorySize::kib(32)
        );
        assert_eq!(
            configuration.get(&options::RUNTIME_MODE),
            RuntimeMode::Streaming
        );
        assert_eq!(configuration.get(&options::SHARD_SPIN), Duration::ZERO);
        assert_eq!(configuration.entries().count(), 0);
    }

    #[test]
    fn arguments_go_before_environment_and_environment_before_file() {
        let yaml = "parallelism.default: 2\ntaskmanager:\n  memory:\n    segment-size: 1kb\nthalweg.shard.count: 5\n";
        let env = [
            ("THALWEG__PARALLELISM__DEFAULT", "3"),
            ("THALWEG__THALWEG__SHARD__COUNT", "6"),
        ];
        let configuration = load(yaml, &env, &[("parallelism.default", "4")]).unwrap();
        assert_eq!(configuration.get(&options::PARALLELISM_DEFAULT), 4);
        assert_eq!(configuration.get(&options::SHARD_COUNT), 6);
        assert_eq!(
            configuration.get(&options::SEGMENT_SIZE),
            MemorySize::kib(1)
        );
        assert_eq!(
            configuration.origin(&options::PARALLELISM_DEFAULT),
            Some(&Origin::Argument)
        );
        let origin = configuration.origin(&options::SEGMENT_SIZE);
        assert!(
            matches!(origin, Some(Origin::File { line: 4, .. })),
            "{origin:?}"
        );
        assert_eq!(configuration.origin(&options::SHARD_PIN), None);
    }

    #[test]
    fn flat_and_nested_files_mean_the_same() {
        let flat = load(
            "execution.runtime-mode: batch\nthalweg.shard.spin: 5us\n",
            &[],
            &[],
        )
        .unwrap();
        let nested = load(
            "execution:\n  runtime-mode: BATCH\nthalweg:\n  shard: {spin: 5 us}\n",
            &[],
            &[],
        )
        .unwrap();
        let texts = |configuration: &Configuration| -> Vec<(&'static str, String)> {
            configuration
                .entries()
                .map(|(key, text, _)| (key, text.to_owned()))
                .collect()
        };
        assert_eq!(texts(&flat), texts(&nested));
        assert_eq!(
            texts(&flat),
            [
                ("execution.runtime-mode", "BATCH".to_owned()),
                ("thalweg.shard.spin", "5us".to_owned()),
            ]
        );
    }

    #[test]
    fn environment_names_know_neither_case_nor_hyphens() {
        let env = [
            ("THALWEG__taskmanager__numberoftaskslots", "3"),
            ("THALWEG__PIPELINE__MAX_PARALLELISM", "7"),
            ("PATH", "not ours"),
            ("THALWEG_HOME", "not ours either"),
        ];
        let configuration = load("", &env, &[]).unwrap();
        assert_eq!(configuration.get(&options::NUMBER_OF_TASK_SLOTS), 3);
        assert_eq!(configuration.get(&options::MAX_PARALLELISM), 7);
    }

    #[test]
    fn environment_names_with_too_few_underscores_are_refused() {
        let cases = [
            (
                "THALWEG_PARALLELISM_DEFAULT",
                "THALWEG__PARALLELISM__DEFAULT",
            ),
            ("THALWEG_SHARD_COUNT", "THALWEG__THALWEG__SHARD__COUNT"),
            (
                "THALWEG_taskmanager_memory_segment_size",
                "THALWEG__TASKMANAGER__MEMORY__SEGMENT_SIZE",
            ),
        ];
        for (name, instead) in cases {
            let message = refusal("", &[(name, "3")], &[]);
            assert!(message.contains(name), "{message}");
            assert!(message.ends_with(instead), "{message}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_place_and_nearest_key() {
        let message = refusal("parallelism:\n  defualt: 2\n", &[], &[]);
        assert!(
            message.contains("unknown setting `parallelism.defualt`"),
            "{message}"
        );
        assert!(message.contains(".yaml, line 2)"), "{message}");
        assert!(
            message.contains("did you mean `parallelism.default`?"),
            "{message}"
        );

        let message = refusal("", &[("THALWEG__PARALELISM__DEFAULT", "2")], &[]);
        assert!(
            message.contains("environment variable THALWEG__PARALELISM__DEFAULT"),
            "{message}"
        );
        assert!(message.contains("`parallelism.default`"), "{message}");

        let message = refusal("", &[], &[("segment-size", "1kb")]);
        assert!(message.contains("argument -D"), "{message}");
        assert!(
            message.contains("`taskmanager.memory.segment-size`"),
            "{message}"
        );

        let message = refusal("", &[], &[("Parallelism.Default", "1")]);
        assert!(
            message.contains("did you mean `parallelism.default`?"),
            "{message}"
        );

        let message = refusal("", &[], &[("wholly.other.words.that.nobody.knows", "1kb")]);
        assert!(message.contains("docs/reference/config.md"), "{message}");
    }

    #[test]
    fn values_out_of_type_or_bounds_are_refused_with_what_is_expected() {
        let message = refusal("parallelism.default: many\n", &[], &[]);
        assert!(
            message.contains("cannot be `many`") && message.contains("line 1"),
            "{message}"
        );
        assert!(
            message.contains("a whole number from 1 to 32768"),
            "{message}"
        );
        let message = refusal("parallelism.default: 0\n", &[], &[]);
        assert!(message.contains("from 1 to 32768"), "{message}");
        for size in ["256b", "3kb", "256kb"] {
            let message = refusal("", &[], &[("taskmanager.memory.segment-size", size)]);
            assert!(
                message.contains("a power of two from 512b to 128kb"),
                "{message}"
            );
        }
        let message = refusal("thalweg.shard.spin:\n", &[], &[]);
        assert!(
            message.contains("cannot be ``") && message.contains("duration"),
            "{message}"
        );
        let message = refusal("", &[("THALWEG__EXECUTION__RUNTIME_MODE", "live")], &[]);
        assert!(message.contains("STREAMING, BATCH, AUTOMATIC"), "{message}");
    }

    #[test]
    fn the_low_latency_profile_spins_unless_told_otherwise() {
        let profile = ("thalweg.profile", "low-latency");
        let configuration = load("", &[], &[profile]).unwrap();
        assert_eq!(
            configuration.get(&options::SHARD_SPIN),
            Duration::from_micros(50)
        );
        let told = load("thalweg.shard.spin: 0\n", &[], &[profile]).unwrap();
        assert_eq!(told.get(&options::SHARD_SPIN), Duration::ZERO);
        let other = load("", &[], &[("thalweg.profile", "default")]).unwrap();
        assert_eq!(other.get(&options::SHARD_SPIN), Duration::ZERO);
    }

    #[test]
    fn settings_that_exclude_each_other_are_refused_by_name() {
        let message = refusal("parallelism.default: 200\n", &[], &[]);
        assert!(
            message.contains("pipeline.max-parallelism allows 128"),
            "{message}"
        );
        let memory = [
            ("taskmanager.memory.network.size", "64kb"),
            ("taskmanager.memory.segment-size", "64kb"),
        ];
        assert!(refusal("", &[], &memory).contains("two segments"));
        let io = [
            ("thalweg.io.driver", "epoll"),
            ("thalweg.io.require-io-uring", "true"),
        ];
        assert!(refusal("", &[], &io).contains("thalweg.io.require-io-uring excludes"));
        let fine = load(
            "",
            &[],
            &[
                ("parallelism.default", "200"),
                ("pipeline.max-parallelism", "200"),
            ],
        );
        assert!(fine.is_ok());
    }

    #[test]
    fn checkpoints_want_a_place_and_unaligned_ones_exactly_once() {
        let set = |pairs: &[(&str, &str)]| refusal("", &[], pairs);
        let interval = ("execution.checkpointing.interval", "1s");
        assert!(set(&[interval]).contains("execution.checkpointing.dir"));
        let unaligned = ("execution.checkpointing.unaligned.enabled", "true");
        let mode = ("execution.checkpointing.mode", "at_least_once");
        assert!(set(&[unaligned, mode]).contains("EXACTLY_ONCE"));
        let two = ("execution.checkpointing.max-concurrent-checkpoints", "2");
        assert!(set(&[unaligned, two]).contains("max-concurrent-checkpoints: 1"));
        let backoff = ("restart-strategy.exponential-delay.initial-backoff", "2min");
        assert!(set(&[backoff]).contains("max-backoff, which is 1min"));
        let place = (
            "execution.checkpointing.dir".to_owned(),
            "/tmp/x".to_owned(),
        );
        let both = [(interval.0.to_owned(), interval.1.to_owned()), place];
        let configuration = Configuration::load(None, std::iter::empty(), &both).unwrap();
        let every = configuration.get(&options::CHECKPOINT_INTERVAL);
        assert_eq!(every, Some(std::time::Duration::from_secs(1)));
    }

    #[test]
    fn one_key_by_two_environment_variables_is_refused() {
        let env = [
            ("THALWEG__PARALLELISM__DEFAULT", "2"),
            ("THALWEG__parallelism__default", "3"),
        ];
        let message = refusal("", &env, &[]);
        assert!(message.contains("remove one of the two"), "{message}");
    }

    #[test]
    fn a_file_that_is_missing_or_not_yaml_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("absent.yaml");
        let error = Configuration::load(Some(&path), std::iter::empty(), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("absent.yaml"), "{error}");
        assert!(error.to_string().contains("THALWEG_CONFIG"), "{error}");
        let message = refusal("a: [1\n", &[], &[]);
        assert!(message.contains(".yaml, line "), "{message}");
    }

    #[test]
    fn programs_set_typed_values() {
        let mut configuration = Configuration::new();
        configuration.set(&options::SHARD_SPIN, Duration::from_nanos(1_500));
        assert_eq!(
            configuration.get(&options::SHARD_SPIN),
            Duration::from_nanos(1_500)
        );
        assert_eq!(
            configuration.origin(&options::SHARD_SPIN),
            Some(&Origin::Program)
        );
        configuration.set_str("thalweg.shard.spin", "2ms").unwrap();
        assert_eq!(
            configuration.get(&options::SHARD_SPIN),
            Duration::from_millis(2)
        );
        assert!(configuration.set_str("thalweg.shard.spine", "2ms").is_err());
        let refused = configuration.try_set(&options::PARALLELISM_DEFAULT, 0);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("set by the program"), "{message}");
    }

    #[test]
    #[should_panic(expected = "a power of two from 512b to 128kb")]
    fn programs_may_not_leave_the_bounds() {
        Configuration::new().set(&options::SEGMENT_SIZE, MemorySize(1_000));
    }
}
