//! `thalweg checkpoint`: has a running job take one, and looks at checkpoints and savepoints where they lie.
//!
//! Where they lie nothing is changed. Invariant: exit code 0 only if the checkpoint is complete, or what was looked at
//! can be used.

mod inspect;
mod trigger;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use thalweg::Failure;
use thalweg_cluster::checkpoint::home::{Found, find};
use thalweg_cluster::checkpoint::storage::{AnyStorage, Location};

use super::output::Output;

/// Take a checkpoint of a running job, or look at one or a savepoint
#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Trigger(trigger::Trigger),
    /// List what it holds: operators, states, keys, runs, sizes, rows
    Inspect(Place),
    /// Read and check every byte of it
    Verify(Place),
}

#[derive(Debug, Args)]
struct Place {
    /// Its directory, its `_metadata` file, or the directory of a job's checkpoints, of which the newest is taken
    path: String,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Checkpoint {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        match self.what {
            What::Trigger(trigger) => trigger.execute(),
            What::Inspect(place) => place.look(inspect::inspect),
            What::Verify(place) => place.look(verify::verify),
        }
    }
}

impl Place {
    fn look(
        &self,
        with: impl FnOnce(&mut AnyStorage, &Found, Output) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        let at = Location::parse(&self.path)?;
        let mut storage = AnyStorage::new();
        let found = find(&mut storage, &at)?;
        with(&mut storage, &found, self.output)
    }
}
