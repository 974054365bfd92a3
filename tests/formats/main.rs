//! Every format and every parser of outside bytes against what was well written and drawn changes of it: what the
//! fuzzer's targets check, with every run of the tests.
//!
//! The targets' bodies are in `fuzz/bodies`; those of private formats, and their tests, in the crates' own `fuzz.rs`.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;
#[path = "../../fuzz/mutants.rs"]
mod mutants;
mod seeds;

use mutants::each_mutant;

/// Changes of what was well written, for each format.
const CHANGES: u64 = 20_000;

#[test]
fn what_checkpoints_are_made_of_is_read_exactly_or_refused() {
    each_mutant(&seeds::pointers(), CHANGES, bodies::pointer::check);
    each_mutant(&seeds::metadata(), CHANGES, bodies::metadata::check);
    each_mutant(&seeds::descriptors(), CHANGES, bodies::descriptor::check);
    each_mutant(&seeds::keys(), CHANGES, bodies::keys::check);
    each_mutant(&seeds::names(), CHANGES, bodies::names::check);
    each_mutant(&seeds::sections(), CHANGES, bodies::in_flight::check);
}

#[test]
fn runs_and_the_rows_in_them_are_taken_back_or_refused() {
    each_mutant(&seeds::runs(), CHANGES / 10, bodies::run::check);
    each_mutant(&seeds::rows(), CHANGES, bodies::rows::check);
}

#[test]
fn positions_archives_and_settings_are_read_or_refused() {
    each_mutant(&seeds::positions(), CHANGES, bodies::positions::check);
    each_mutant(&seeds::archives(), CHANGES, bodies::archive::check);
    each_mutant(
        &seeds::settings(),
        CHANGES / 10,
        bodies::configuration::check,
    );
}
