//! What depends on event time, against naive models over vectors; and what depends on processing time,
//! against what must hold whatever the clock does ([`processing`], over [`paced`] input).
//!
//! A seed draws the input, its disorder, its splits and the settings ([`trial`]); [`script`] is the
//! source that emits records and watermarks as drawn, [`on_time`] the stage that finds a result behind
//! its watermark. Each further file is one family of operators with its models. Nothing of the engine
//! is in a model.
//!
//! `THALWEG_SEED=n` runs one seed only, `THALWEG_SEEDS=n` so many from 0 on,
//! `THALWEG_MOST_SEEDS_ON_SHARDS=n` no more than so many outside of simulation.

mod braid;
mod broadcast;
mod invariance;
mod joins;
pub(crate) mod on_time;
mod paced;
mod processing;
pub(crate) mod script;
mod skew;
mod slices;
mod split_script;
mod timers;
pub(crate) mod trial;
mod uneven;
mod watermarks;
mod window_joins;
mod windows;
