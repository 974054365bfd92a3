//! Lists that belong to a subtask outlive failures and stops, and are dealt out anew.

use std::collections::BTreeSet;
use std::path::Path;

use thalweg_connectors::{FileSink, Generator};
use thalweg_dataflow::operator::ProcessFunction;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext, SubtaskList};

use super::counting::{Poison, lines};
use super::savepoints::run_through_failures_and_stops;

const RECORDS: u64 = 12_000;
const RATE: f64 = 30_000.0;
/// How many numbers are gathered before their sum is told.
const GATHERED: usize = 97;

/// Gathers numbers and tells how many there were and their sum.
struct Gathering {
    waiting: SubtaskList<u64>,
    /// The first number and the sum of all that was ever told, until the next restore by this subtask alone.
    told: SubtaskList<(u64, u64)>,
}

/// Every subtask was given what all of them had told. One goes on with it: kept by all, the union of the next
/// restore would hold it as often as there are subtasks.
fn keep_in_one(told: &SubtaskList<(u64, u64)>, subtask: u32) {
    let firsts: BTreeSet<u64> = told.with(|told| told.iter().map(|(first, _)| *first).collect());
    assert_eq!(
        firsts.len(),
        told.len(),
        "the union holds each element once"
    );
    if subtask != 0 {
        told.set(Vec::new());
    }
}

impl Gathering {
    fn tell(&self, out: &mut Collector<'_, String>) {
        let numbers = self.waiting.take();
        let (count, sum) = (numbers.len() as u64, numbers.iter().sum::<u64>());
        if let Some(first) = numbers.first() {
            self.told.add((*first, sum));
        }
        out.emit(format!("{count} {sum}"));
    }
}

impl ProcessFunction<u64, String> for Gathering {
    fn process(
        &mut self,
        number: u64,
        _context: &ProcessContext,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.waiting.add(number);
        if self.waiting.len() >= GATHERED {
            self.tell(out);
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Collector<'_, String>) -> Result<(), FunctionError> {
        self.tell(out);
        Ok(())
    }
}

fn program(environment: &Environment, poison: Poison, into: &Path) {
    environment
        .source(Generator::new(RECORDS, |number| number).rate(RATE))
        .uid("numbers")
        .parallelism(1)
        .map(move |number: u64| {
            poison.taste(number);
            number
        })
        .rebalance()
        .process_function(|open: &mut OpenContext| {
            let told = open.union_of_subtasks("told");
            keep_in_one(&told, open.subtask().index);
            Gathering {
                waiting: open.list_of_subtask("waiting"),
                told,
            }
        })
        .uid("gathering")
        .sink(FileSink::new(into))
        .uid("out");
}

#[test]
fn what_a_subtask_gathers_is_told_once_after_failures_and_stops_at_any_parallelism() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("out");
    run_through_failures_and_stops("gathering", &[], |environment, poison| {
        program(environment, poison, &into);
    });
    let (mut count, mut sum) = (0, 0);
    for (line, times) in lines(&into) {
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        count += numbers[0] * u64::from(times);
        sum += numbers[1] * u64::from(times);
    }
    assert_eq!((count, sum), (RECORDS, (0..RECORDS).sum()));
}
