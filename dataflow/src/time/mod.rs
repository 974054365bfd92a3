//! Time inside a task: event times and watermarks, timers, the wall clock.
//!
//! | room | what it is |
//! |---|---|
//! | `strategy`, `generator` | what a program says of event times and watermarks |
//! | `assign` | the strategy's place in a chain: behind a source, or in the middle |
//! | `timed`, `splits` | the stage that does it, and the splits it keeps apart |
//! | `align` | sources that wait for one another |
//! | `late` | what becomes of records that come too late |
//! | `combine` | how the marks of several channels become one |
//! | `told` | what each operator of a chain has been told, and has told |
//! | `timer_service` | who wants to be called when |
//! | `task_clock` | the processing time of a task |

mod align;
mod assign;
mod combine;
mod generator;
mod late;
mod splits;
mod strategy;
mod task_clock;
#[cfg(test)]
mod tests;
mod timed;
mod timer_service;
mod told;

pub(crate) use align::{AlignedPart, AlignmentGroup};
pub use assign::{TimedPipe, TimedSourcePipe};
pub(crate) use combine::{Said, WatermarkCombiner};
pub use generator::{
    BoundedDisorder, GeneratorTemplate, HighestSoFar, MadeBy, NoWatermarks, Punctuated,
    WatermarkGenerator, WatermarkOutput,
};
pub use late::LATE_RECORDS_DROPPED;
pub(crate) use late::{LateOutput, LateRecords};
pub use strategy::{AssignBy, IngestionTime, KeepTimestamps, TimestampAssigner, WatermarkStrategy};
pub(crate) use task_clock::TaskClock;
pub(crate) use timer_service::TimerTable;
pub use timer_service::{FiredTimer, TimeDomain, TimerService};
pub(crate) use told::{Telling, Told};
