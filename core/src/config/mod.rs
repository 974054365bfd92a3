//! Settings: typed, documented, bounded, and refused by name when unknown.
//!
//! | room | what it is |
//! |---|---|
//! | [`value`] | what a setting may be: numbers, sizes, durations, choices; their text forms |
//! | [`option`] | one setting: key, type, default, bounds, doc |
//! | [`options`] | all settings of the engine |
//! | `fault_tolerance` | those of checkpoints, recovery and restarts |
//! | `file` | a YAML file as a list of keys |
//! | [`load`] | file, environment and `-D` arguments become one [`Configuration`] |
//! | `nearest` | what somebody who mistyped a key may have meant |
//! | [`mod@reference`] | the reference page, generated |
//!
//! Entered once, at the start of a process; shards get plain values. Lives on any thread. Invariant: a
//! [`Configuration`] holds only known keys with values that their options accept.

mod fault_tolerance;
mod file;
pub mod load;
mod nearest;
pub mod option;
pub mod options;
pub mod reference;
pub mod value;

pub use load::{ConfigError, Configuration, Origin};
pub use option::{AnyOption, ConfigOption};
pub use reference::reference_markdown;
pub use value::{
    CheckpointRetention, CheckpointingMode, ConfigValue, FailoverStrategy, IoDriver, MemorySize,
    Profile, RestartStrategyKind, RuntimeMode, StateBackendKind,
};
