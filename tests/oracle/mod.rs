//! The oracle of exactly-once: a job with every kind of state, as a real process that is killed with SIGKILL again
//! and again.
//!
//! A [`trial`] starts the process on a `host`, ends it at drawn instants and starts it anew, at another parallelism,
//! from the newest checkpoint or from a savepoint it was stopped by (`origin`); `life` is what is drawn of a process,
//! and a kill may wait for a dangerous `moment`, come from within at a named `point` of recovery or of a checkpoint, or
//! take the `power` with it. [`job`] is that process and what it runs
//! over the `input`; `model` works out what must be written, without the engine; `output`
//! compares, while the job runs and when it has ended, what lies in files and, where there is a database, in tables of
//! PostgreSQL, whose server has its `outage`s. The seed decides what is drawn, not how the machine takes it.

mod ground;
mod host;
mod input;
pub mod job;
mod life;
mod model;
mod moment;
mod origin;
mod outage;
mod output;
mod point;
pub mod power;
mod process;
pub mod trial;

pub use trial::{Report, Trial, lacking, replay, run};
