//! The contracts of sources and sinks, held against every connector.
//!
//! Readers and writers are driven over a reactor that completes operations late and in part, cut into
//! turns by seeded dice, so that every place where they may be interrupted is met. One thread, no shard.
//!
//! The rooms are `cfg(test)` only so that lints know them for tests.

#[cfg(test)]
mod drive;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod files;
#[cfg(test)]
mod monitor;
#[cfg(test)]
mod pace;
#[cfg(feature = "postgres")]
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod reactor;
#[cfg(test)]
mod rolling;
#[cfg(test)]
mod sinks;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod stops;
