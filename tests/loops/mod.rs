//! Loops against models that work one record after the other.
//!
//! A seed draws the input, the way back and the settings (`event_time/trial`); each further file is one
//! kind of loop with its model: records on their own ([`numbers`]), state per key ([`graphs`]), and what
//! is refused or fails ([`unsound`]). Nothing of the engine is in a model.
//!
//! `THALWEG_SEED=n` runs one seed only, `THALWEG_SEEDS=n` so many from 0 on.

mod graphs;
mod numbers;
mod unsound;
