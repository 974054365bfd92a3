//! What a task does for checkpoints: barriers met, states cut and written, answers given, states taken back.
//!
//! Entered by a deployer, which gives every task its [`TaskInbox`] and a [`CheckpointSetup`], and by the
//! stages of a chain as a barrier passes them. The walk of one checkpoint through a task:
//!
//! 1. The head meets the barrier: a source is told by its inbox ([`TaskCommand`]), a consumer waits until
//!    its channels have brought it (`align`).
//!    An unaligned one cuts at once, and what its barrier overtook is copied until it has come everywhere.
//! 2. The barrier walks down the chain. A stage with small state hands it over at once; an operator at the
//!    head cuts its keyed states, which takes microseconds, and the barrier goes on (`operator_cut`).
//! 3. The end of the chain sends the barrier on, or asks the sink's writer to prepare.
//! 4. Between turns the rows of the cut are written, a slice at a time, to a run (`upload`), for as
//!    much of a turn as `pace` says; runs of state
//!    larger than memory that no checkpoint has yet are copied as they are (`carry`).
//!    Copies of what was overtaken, before the task and behind it, go to files of their own (`in_flight`).
//! 5. When all of it is durable the task answers, with receipts, after it has answered all before (`answers`).
//!
//! Beside that it shows how large the states are (`state_sizes`).
//!
//! Invariants: the record path knows nothing of this; an answer is given only for what is durable; a failed
//! write declines the checkpoint and not the job. Lives on one shard's thread, but for commands and answers.

mod align;
mod answers;
mod broadcast_cut;
mod carry;
mod chain;
mod command;
mod in_flight;
mod operator_cut;
mod pace;
mod planted;
mod restored;
mod row_batch;
mod setup;
mod state_sizes;
mod statistics;
mod upload;

pub(crate) use align::{Alignment, Passage};
pub(crate) use answers::TaskAnswers;
pub use command::{Drain, TaskCommand, TaskInbox};
pub use in_flight::{
    FileDamage, RestoredSection, SectionContent, SectionDamage, check_file, read_section,
};
pub(crate) use in_flight::{Replay, Replayed};
pub(crate) use operator_cut::{Cutting, OperatorCut, Remembers};
pub use planted::{CrashListener, CrashPoint, Defect};
pub use restored::{RestoredOperator, RestoredState, RunFiles};
pub use setup::{ChannelPart, CheckpointAnswer, CheckpointSetup, SPLITS};
pub(crate) use state_sizes::{LOOK_NS, StateSizes};
pub use statistics::{CheckpointStatistics, CompletedCheckpoint};
