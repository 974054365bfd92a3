//! How do I send results back into the stream they come from, until nothing changes?
//!
//! How far is every place from Basel? A loop is begun, keyed by the place: its records say that a place
//! can be reached in so many minutes. Whatever is better than what is known of the place is remembered,
//! leaves the loop as a result, and goes back as what it means for the neighbours. When nothing better is
//! found anywhere, nothing is in the loop, and it ends by itself.
//!
//! ```text
//! cargo run --bin shortest_ways
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;

use thalweg::prelude::*;

/// From, to, minutes; roads lead both ways.
const ROADS: [(&str, &str, u64); 7] = [
    ("Basel", "Freiburg", 45),
    ("Basel", "Mulhouse", 30),
    ("Mulhouse", "Freiburg", 40),
    ("Mulhouse", "Colmar", 25),
    ("Colmar", "Strasbourg", 40),
    ("Freiburg", "Strasbourg", 60),
    ("Strasbourg", "Karlsruhe", 50),
];

/// A place can be reached in so many minutes.
#[record]
#[derive(Clone)]
struct Reached {
    place: String,
    minutes: u64,
}

fn reached(place: &str, minutes: u64) -> Reached {
    Reached {
        place: place.to_owned(),
        minutes,
    }
}

/// The neighbours of a place that was reached.
fn onward(from: &Reached) -> impl Iterator<Item = Reached> {
    let both_ways = ROADS
        .iter()
        .flat_map(|(one, other, minutes)| [(*one, *other, *minutes), (*other, *one, *minutes)]);
    let leading = both_ways.filter(|road| road.0 == from.place);
    leading.map(|(_, to, minutes)| reached(to, from.minutes + minutes))
}

/// Lets through what is better than all that came before for a place.
fn better(
    open: &mut OpenContext<String>,
) -> impl FnMut(
    Reached,
    &ProcessContext<String>,
    &mut Collector<'_, Reached>,
) -> Result<(), FunctionError>
+ use<> {
    let mut least: ValueState<String, u64> = open.value_state("least minutes");
    move |reached, _, out| {
        if least.get()?.is_none_or(|known| reached.minutes < known) {
            least.set(reached.minutes)?;
            out.emit(reached);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    thalweg::report(run())
}

#[allow(clippy::print_stdout, reason = "an example shows its result")]
fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    environment.set_parallelism(2);
    let starts = environment.from_collection([reached("Basel", 0)]);
    let starts = starts.key_by(|reached: &Reached| reached.place.clone());
    let found = starts.iterate().close_with(|reached| {
        let better = reached.process(better).name("better").share();
        let neighbours =
            better
                .stream()
                .flat_map(|from: Reached, out: &mut Collector<'_, Reached>| {
                    onward(&from).for_each(|reached| out.emit(reached));
                });
        (neighbours, better.stream())
    });
    let found = found.collect();
    environment.execute("shortest ways")?;
    // A place may have been found several times, each time in fewer minutes.
    let mut least = BTreeMap::new();
    for Reached { place, minutes } in found.take() {
        let known = least.entry(place).or_insert(minutes);
        *known = minutes.min(*known);
    }
    for (place, minutes) in least {
        println!("{place}: {minutes} min");
    }
    Ok(())
}
