//! Promises of the engine, one file each.

mod back_pressure;
mod extremes;
mod first_light;
mod lone_record;
mod panics;
mod refusals;
mod stopping;
mod word_count;
