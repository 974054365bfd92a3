//! `thalweg checkpoint`: looks at checkpoints and savepoints where they lie.
//!
//! Nothing is changed. Invariant: exit code 0 only if what was looked at can be used.

mod inspect;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use thalweg::Failure;
use thalweg_cluster::checkpoint::home::{Found, find};
use thalweg_cluster::checkpoint::storage::{AnyStorage, Location};

use super::output::Output;

/// Look at a checkpoint or savepoint
#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
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
