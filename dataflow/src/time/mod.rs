//! Time inside a task: how the marks of several channels become one, timers, the wall clock.

mod combine;
mod task_clock;
mod timer_service;

pub(crate) use combine::WatermarkCombiner;
pub(crate) use task_clock::TaskClock;
pub(crate) use timer_service::TimerTable;
pub use timer_service::{FiredTimer, TimeDomain, TimerService};
