//! Checkpoints: when one is taken, what it is made of, when it is true, and which state goes back where.
//!
//! | room | what it is |
//! |---|---|
//! | [`metadata`] | the file that makes a checkpoint |
//! | [`storage`] | where checkpoints are kept |
//! | [`layout`], [`pointer`] | the names of a job's checkpoints in storage; which is the newest |
//!
//! Entered by the control thread.

pub mod layout;
pub mod metadata;
pub mod pointer;
pub mod storage;
