//! Promises of the engine, one file each.

mod async_io;
mod back_pressure;
mod buffer_timeout;
mod extremes;
mod first_light;
mod lone_record;
mod metrics;
mod modes;
mod panics;
mod partitioners;
mod refusals;
mod sockets;
mod stopping;
mod turns;
mod word_count;
