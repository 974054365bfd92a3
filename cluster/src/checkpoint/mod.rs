//! Checkpoints: when one is taken, what it is made of, when it is true, and which state goes back where.
//!
//! The way of a checkpoint, room by room:
//!
//! | room | what happens |
//! |---|---|
//! | [`schedule`] | interval, pause, limit: now |
//! | [`trigger`], [`tasks`] | a number is taken; who must answer is settled |
//! | [`pending`] | answers are counted; a refusal or the timeout ends it here |
//! | [`commits`] | what sinks prepared is noted |
//! | [`complete`], [`savepoint`] | metadata is written, files are copied: now it is true |
//! | [`store`], [`shared_files`] | the newest are kept, older ones forgotten, shared files counted |
//! | [`coordinator`], [`protocol`] | all of it behind one `step`; what it is told and answers |
//!
//! | room | what it is |
//! |---|---|
//! | [`settings`] | what the settings say, as plain values |
//! | [`metadata`] | the file that makes a checkpoint |
//! | [`storage`] | where checkpoints are kept |
//! | [`home`] | the directory of a job's checkpoints: names, which is the newest, who leads |
//! | [`restore`], `in_flight` | which state, and which records in flight, go to which task |
//!
//! Entered by the control thread of a job. The state machines do no I/O and know no clock.

pub mod commits;
pub mod complete;
pub mod coordinator;
pub mod home;
mod in_flight;
pub mod metadata;
pub mod pending;
pub mod protocol;
pub mod restore;
pub mod savepoint;
pub mod schedule;
pub mod settings;
pub mod shared_files;
pub mod storage;
pub mod store;
pub mod tasks;
pub mod trigger;

pub use coordinator::{CheckpointCoordinator, RestorePoint};
pub use protocol::{Input, Output};
pub use settings::CheckpointSettings;
