//! Functions that are called with the rows of windows put together from slices, whose states are larger than memory
//! too: how often each window and each key was told of is what a count says, however often the job is stopped and at any
//! parallelism.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use thalweg_connectors::FileSink;
use thalweg_dataflow::window::assigner::SlidingWindows;
use thalweg_dataflow::window::{WindowContext, WindowOpenContext, WindowValueState};
use thalweg_dataflow::{Collector, Environment, FunctionError};
use thalweg_state::ValueState;

use super::super::counting::{Poison, lines};
use super::super::larger::Large;
use super::marker;
use super::slices::{
    CountAndSum, LATENESS, Numbers, SIZE, STEP, Windows, in_sliding, late_time_of, ms,
};

/// Less than other windows on disk are tested with: each row reads what is kept of its key.
const NUMBERS: Numbers = Numbers {
    records: 30_000,
    keys: 15_000,
    time_of: late_time_of,
};

/// Of each key, the rows that were told; of each of its windows too.
fn counted(
    open: &mut WindowOpenContext<String>,
) -> impl FnMut(String, &WindowContext<String>, &mut Collector<'_, String>) -> Result<(), FunctionError>
+ 'static
+ use<> {
    let mut of_window: WindowValueState<String, u64> = open.window_value_state("of window");
    let mut of_key: ValueState<String, (u64, String)> = open.value_state("of key");
    move |row, context, out| {
        let first = || (1, context.with_key(ToString::to_string));
        of_key.upsert(first, |(rows, _)| *rows += 1)?;
        of_window.update(|rows| *rows += 1)?;
        let (of_key, key) = of_key.get()?.unwrap_or_default();
        if context.with_key(|its| *its != key) {
            return Err(FunctionError::new("what is kept is another key's"));
        }
        let of_window = of_window.get()?.unwrap_or_default();
        out.emit(format!("{row} {of_window} {of_key}"));
        Ok(())
    }
}

fn program(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    NUMBERS
        .come(environment, rate, poison, into)
        .key_by(|number: &u64| NUMBERS.key_of(*number))
        .window(SlidingWindows::event_time(ms(SIZE), ms(STEP)))
        .allowed_lateness(ms(LATENESS))
        .aggregate_process(CountAndSum, counted)
        .uid("windows")
        .sink(FileSink::new(into))
        .uid("told");
}

/// Of each window the rows it told: how many numbers, their sum, which of its rows it was.
type Told = BTreeMap<(String, i64, i64), BTreeMap<u64, (u64, u64)>>;

/// Looks whether each window has told of all its numbers in the end, that its rows are counted as they came, each with
/// more numbers than the one before, and the rows of each key without one twice or none.
fn check(into: &Path) {
    let mut told = Told::new();
    let mut of_keys: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for (line, times) in lines(into) {
        let row: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| row[at].parse::<u64>().unwrap();
        let (start, end) = (row[1].parse().unwrap(), row[2].parse().unwrap());
        let rows = told.entry((row[0].to_owned(), start, end)).or_default();
        let before = rows.insert(number(3), (number(4), number(5)));
        let of_key = of_keys.entry(row[0].to_owned()).or_default();
        let new = of_key.insert(number(6));
        assert!(times == 1 && before.is_none() && new, "twice: {line}");
    }
    let mut again = 0;
    for (window, rows) in &told {
        again += rows.len() - 1;
        let counted: Vec<u64> = rows.values().map(|(_, counted)| *counted).collect();
        let expected: Vec<u64> = (1..=rows.len() as u64).collect();
        assert_eq!(counted, expected, "{window:?}");
    }
    for (key, rows) in of_keys {
        let last = rows.last().copied();
        assert_eq!(last, Some(rows.len() as u64), "rows of {key}");
    }
    let last = |(window, mut rows): (_, BTreeMap<u64, (u64, u64)>)| {
        let (count, (sum, _)) = rows.pop_last()?;
        Some((window, (count, sum)))
    };
    let last: Windows = told.into_iter().filter_map(last).collect();
    assert!(last == NUMBERS.windows(in_sliding), "other windows");
    assert!(again > 200, "{again} rows of windows that fired again");
    assert!(marker(into).exists(), "nothing has gone to disk");
}

const CALLED: Large = Large {
    name: "functions that are called with rows of slices on disk",
    memory: "3mb",
    program,
    check,
};

#[test]
fn functions_called_with_rows_of_slices_go_on_at_another_parallelism() {
    CALLED.goes_on_at_another_parallelism();
}
