//! Count windows against their model: so many records each, or the last so many; by key and over all.

use std::collections::BTreeMap;

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::window::{TimeWindow, WindowOpenContext};
use thalweg_memory::record::Key;

use super::drawn::Rec;
use super::model::{GLOBAL, Row};
use super::{Made, numbers, row_of};
use crate::event_time::script::{Event as Emitted, Script};
use crate::event_time::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

/// Windows and what comes to them.
#[derive(Clone, Debug)]
struct Counted {
    size: u64,
    /// Every so many records, the last `size` of them; otherwise every `size` records those.
    slide: Option<u64>,
    /// Over all keys.
    all: bool,
    records: Vec<Rec>,
}

fn draw(dice: &mut Dice) -> Counted {
    let keys = dice.pick(&[1, 3, 40]);
    let count = dice.below(300);
    Counted {
        size: 1 + dice.below(12),
        slide: dice.chance(50).then(|| 1 + dice.below(15)),
        all: dice.chance(40),
        records: (0..count)
            .map(|number| (dice.below(keys), number))
            .collect(),
    }
}

/// What must come out, worked out record by record.
fn expected(counted: &Counted) -> Vec<Row> {
    let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut rows = Vec::new();
    for (key, number) in &counted.records {
        let key = if counted.all { 0 } else { *key };
        let numbers = seen.entry(key).or_default();
        numbers.push(*number);
        let every = counted.slide.unwrap_or(counted.size) as usize;
        if numbers.len().is_multiple_of(every) {
            let first = numbers.len().saturating_sub(counted.size as usize);
            rows.push((key, GLOBAL.0, GLOBAL.1, numbers[first..].to_vec()));
        }
    }
    rows
}

/// Opens the function that gives the numbers of a window, under the number of its key.
fn whole<K: Key>(
    key: impl Fn(&K::Of<'_>) -> u64 + Clone + Send + 'static,
) -> impl Fn(&mut WindowOpenContext<K>) -> Made<K> + Clone + Send + 'static {
    move |_| {
        let key = key.clone();
        Box::new(move |elements, context, out| {
            assert_eq!(context.window(), TimeWindow::GLOBAL);
            let key = context.with_key(|one| key(one));
            out.emit(row_of(key, context.window(), numbers(elements)));
            Ok(())
        })
    }
}

fn program(counted: &Counted, environment: &Environment) -> Collected<Row> {
    let times = (1..).map(|at| at * 3 % 50);
    let emitted = (counted.records.iter().zip(times))
        .map(|(record, at)| Emitted::Record(*record, at))
        .collect();
    let records = environment.source(Script::of(vec![emitted]));
    let size = counted.size;
    match (counted.all, counted.slide) {
        (false, None) => {
            let windows = records.key_by(|record: &Rec| record.0).count_window(size);
            windows.process(whole::<u64>(|key| *key)).collect()
        }
        (false, Some(slide)) => {
            let keyed = records.key_by(|record: &Rec| record.0);
            let windows = keyed.count_window_sliding(size as usize, slide);
            windows.process(whole::<u64>(|key| *key)).collect()
        }
        (true, None) => {
            let windows = records.count_window_all(size);
            windows.process(whole::<()>(|_| 0)).collect()
        }
        (true, Some(slide)) => {
            let windows = records.count_window_all_sliding(size as usize, slide);
            windows.process(whole::<()>(|_| 0)).collect()
        }
    }
}

fn windows(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let counted = draw(&mut trial.dice.clone());
    let rows = expected(&counted);
    let compared = trial.compare(rows, |environment| program(&counted, environment));
    compared.map_err(|difference| format!("{difference}\n\ncase: {counted:?}"))
}

#[test]
fn count_windows_are_the_models_in_simulation() {
    trial::simulate(300, "count_windows_are_the_models_in_simulation", windows);
}

#[test]
fn count_windows_are_the_models_on_shards() {
    trial::on_shards(200, "count_windows_are_the_models_on_shards", windows);
}
