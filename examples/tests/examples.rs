//! Runs every example as its user would and reads what it says.
//!
//! Each test starts the example's own executable, so what is checked is what `cargo run` shows.
#![forbid(unsafe_code)]
