//! Who the findings of a verb are printed for. Plain data.

use clap::ValueEnum;

/// The form of what is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}
