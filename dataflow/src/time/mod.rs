//! Event time inside a task: how the marks of several channels become one.

mod combine;

pub(crate) use combine::WatermarkCombiner;
