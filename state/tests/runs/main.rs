//! Runs proved from outside: what is written comes back, and what was damaged does not.
//!
//! `model` draws rows and says what must come back; `round_trip` writes and reads; `merging` goes in order,
//! searches and merges; `damage` flips, cuts, swaps and invents bytes.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking and may say what it saw"
)]

mod damage;
mod merging;
mod model;
mod round_trip;
