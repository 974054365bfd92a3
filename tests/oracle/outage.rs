//! The deaths of the server that holds the tables, drawn before the processes that live through them.
//!
//! Plain data. Invariant: everything follows from the dice, which are others than those of the processes: with and
//! without a server these live the same lives.

use std::time::Duration;

use thalweg_core::seam::clock::Random;

use super::life::{Death, Life};

/// How long the server may take to come back, in what is reckoned of the life of a process.
pub(super) const AWAY: Duration = Duration::from_secs(1);
/// Makes the dice others.
const OTHER: u64 = 0x5e_17e5;

/// The server is killed while a process runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// When, counted as the life of the process is.
    pub(super) at: Duration,
    /// Whether it comes back at once, and the process goes on with it; else the process ends first.
    pub(super) is_short: bool,
}

impl Outage {
    /// What each of these processes lives through; none where there is no server.
    pub(super) fn draw(seed: u64, lives: &[Life], has_server: bool) -> Vec<Option<Outage>> {
        let mut dice = Random::new(seed ^ OTHER);
        let one = |life: &Life| Outage::one(&mut dice, life).filter(|_| has_server);
        lives.iter().map(one).collect()
    }

    /// One process of three sees one. One that is killed before it runs does not: who cannot reach a server when it
    /// begins is refused.
    fn one(dice: &mut Random, life: &Life) -> Option<Outage> {
        let (drawn, at, short) = (dice.below(3), dice.below(100), dice.below(3));
        let stops = matches!(life.death, Death::Stop);
        (drawn == 0 && life.begins_first).then(|| Outage {
            at: life.lasts.mul_f64(at as f64 / 100.0),
            // A job that is to end well has to commit.
            is_short: short > 0 || stops,
        })
    }
}
