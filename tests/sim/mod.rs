//! The simulator: a job with every kind of state on a simulated host that goes down again and again.
//!
//! A seed draws the [`knobs`]; `program` is the job, `model` what it must write, `larger` both where state is larger
//! than memory, `shelf` the sink it writes to; [`history`] lets processes begin, be killed and begin again on one disk, from what `caretaker` finds there, and
//! judges what is visible in the end: exactly what a job that was never disturbed writes; `total` runs many seeds.
//! [`plants`] are bugs made on purpose, each of which the judge must find. One thread, virtual time: the same seed is the same run.

mod alarms;
mod caretaker;
mod functions;
pub mod history;
pub mod knobs;
mod larger;
mod model;
pub mod plants;
mod program;
mod settings;
mod shelf;
mod total;

pub use history::{History, Trial, run};
pub use plants::Plant;
pub use total::{Total, run_all};

/// The command that runs a trial again.
#[must_use]
pub fn replay(trial: Trial) -> String {
    let seed = trial.seed;
    let mut command = format!(
        "cargo run -p thalweg-tests --bin sim -- --seeds {seed}..{}",
        seed + 1
    );
    if let Some(plant) = trial.plant {
        command.push_str(&format!(" --plant {plant}"));
    }
    if trial.larger_than_memory {
        command.push_str(" --larger-than-memory");
    }
    if trial.apart {
        command.push_str(" --apart");
    }
    if trial.at_least_once {
        command.push_str(" --at-least-once");
    }
    command
}
