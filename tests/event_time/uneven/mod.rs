//! Joins and timers where splits promise too much, fall silent and end before others.
//!
//! Which records are late is not known beforehand then, but must be consistent: what an operator hands
//! out as late may have been late, and of everything else its results are the model's, exactly.

/// The tests of a check, in simulation and on shards.
macro_rules! both {
    ($check:ident: $simulated:ident, $on_shards:ident) => {
        #[test]
        fn $simulated() {
            let test = stringify!($simulated);
            run(
                |seeds, test, run| trial::simulate(seeds, test, run),
                test,
                $check,
            );
        }

        #[test]
        fn $on_shards() {
            let test = stringify!($on_shards);
            run(
                |seeds, test, run| trial::on_shards(seeds, test, run),
                test,
                $check,
            );
        }
    };
}

mod joins;
mod script;
mod timers;
mod versions;
mod windows;

use std::cell::Cell;

use super::trial::{self, Trial};

/// Runs a check with so many seeds, in simulation or on shards.
type OnSeeds = fn(u64, &str, &dyn Fn(&mut Trial) -> Result<(), String>);

/// Runs trials, each of which answers how much in it was late: together that must be enough to prove
/// something.
fn run(on: OnSeeds, test: &str, one: fn(&mut Trial) -> Result<usize, String>) {
    let late = Cell::new(0);
    on(200, test, &|trial| {
        let found = one(trial).map_err(|wrong| format!("{wrong}\n\ntrial: {trial:?}"));
        late.set(late.get() + found?);
        Ok(())
    });
    let late = late.get();
    assert!(!trial::runs_all_seeds() || late > 200, "{late} were late");
}
