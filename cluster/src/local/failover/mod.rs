//! What nothing connects with a task that failed runs on: regions begin again alone.
//!
//! A region is a set of subtasks that exchanges connect, directly or over others: four subtasks of a pipeline without
//! exchanges are four regions, two pipelines of one job are two at least. When a task of one fails, only its tasks are
//! taken off their shards and built anew there, from the newest completed checkpoint; the job is not restarted. Entered
//! by the control thread, between two looks at what tasks said. The rules:
//!
//! - The tasks of the region are taken off first, on every shard, and it is waited until nothing is being written for
//!   them; only then sinks take back what they wrote since the checkpoint, and the restart strategy's delay begins. It
//!   counts failures of the job, whichever region they are of; what fails of a region that is being stopped does not
//!   count. Where it gives up the job fails.
//! - What is under way to tasks that have gone finds nobody: the new ones have channels with numbers of their own.
//! - Sources go on from the checkpoint; where there is none, or it does not know them, from the splits they had been
//!   dealt: they are not enumerated again, others may have been given what is found then.
//! - Alignment groups connect nothing: they bound how far sources run apart, and no result depends on them.
//! - All of the job begins again where a region cannot alone: where a sink of it commits and cannot take back what some
//!   of its subtasks wrote ([`Committer::rolls_back`](thalweg_dataflow::sink::Committer::rolls_back)), or, without
//!   checkpoints, any sink of it cannot; where runs are uploaded to an object store, of which those on their way are told
//!   apart by the job's attempt; while a savepoint to stop with is taken, because sources have stopped for it; where a
//!   task cannot be built, or its region does not go in time; and for what is no task's failure.

mod checkpoints;
mod post;
mod rebuilding;
mod regions;
mod restarting;
mod taking_back;

pub(crate) use self::post::Post;
pub(crate) use self::regions::Regions;
pub(crate) use self::restarting::{Failover, Ways};
