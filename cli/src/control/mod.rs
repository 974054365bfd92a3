//! How a running job is reached from another process of this host: a Unix socket for each job.
//!
//! | room | what it is |
//! |---|---|
//! | `run_directory` | where sockets are, who may enter, which are left over |
//! | `message` | one question and one answer, a line each |
//! | `server` | the job's side |
//! | [`caller`] | the asking side, of the command |
//!
//! Invariant: only the user whose process runs the job (and root) can ask it anything: the directory is theirs
//! alone, and one that is not is refused. Lives on threads of its own beside the job's control thread.

pub mod caller;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod message;
#[cfg(test)]
#[path = "../../../fuzz/mutants.rs"]
mod mutants;
mod run_directory;
mod server;

pub use caller::{CallError, Reached, reach, reached};
pub use message::Ask;
pub(crate) use server::Server;
