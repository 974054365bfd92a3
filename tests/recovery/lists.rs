//! Lists that belong to a subtask outlive failures and stops, and are dealt out anew.

use std::collections::BTreeSet;

use thalweg_connectors::{FileSink, Generator};
use thalweg_dataflow::operator::{
    BroadcastContext, BroadcastOpenContext, BroadcastProcessFunction, CoProcessFunction,
    KeyedBroadcastProcessFunction, KeyedProcessFunction, ProcessFunction,
};
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment};
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext, SubtaskList};
use thalweg_memory::record::Key;

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

impl Gathering {
    fn open<K: Key>(open: &mut OpenContext<K>) -> Self {
        let told = open.union_of_subtasks("told");
        keep_in_one(&told, open.subtask().index);
        Gathering {
            waiting: open.list_of_subtask("waiting"),
            told,
        }
    }

    fn take(&self, number: u64, out: &mut Collector<'_, String>) -> Result<(), FunctionError> {
        self.waiting.add(number);
        if self.waiting.len() >= GATHERED {
            self.tell(out);
        }
        Ok(())
    }

    fn end(&self, out: &mut Collector<'_, String>) -> Result<(), FunctionError> {
        self.tell(out);
        Ok(())
    }
}

type Out<'o, 'c> = &'o mut Collector<'c, String>;

impl ProcessFunction<u64, String> for Gathering {
    fn process(
        &mut self,
        n: u64,
        _: &ProcessContext,
        out: Out<'_, '_>,
    ) -> Result<(), FunctionError> {
        self.take(n, out)
    }

    fn close(&mut self, out: Out<'_, '_>) -> Result<(), FunctionError> {
        self.end(out)
    }
}

impl<K: Key> KeyedProcessFunction<K, u64, String> for Gathering {
    fn process(
        &mut self,
        number: u64,
        _: &ProcessContext<K>,
        out: Out<'_, '_>,
    ) -> Result<(), FunctionError> {
        self.take(number, out)
    }

    fn close(&mut self, out: Out<'_, '_>) -> Result<(), FunctionError> {
        self.end(out)
    }
}

impl<K: Key> CoProcessFunction<K, u64, u64, String> for Gathering {
    fn process_first(
        &mut self,
        number: u64,
        _: &ProcessContext<K>,
        out: Out<'_, '_>,
    ) -> Result<(), FunctionError> {
        self.take(number, out)
    }

    fn process_second(
        &mut self,
        number: u64,
        _: &ProcessContext<K>,
        out: Out<'_, '_>,
    ) -> Result<(), FunctionError> {
        self.take(number, out)
    }

    fn close(&mut self, out: Out<'_, '_>) -> Result<(), FunctionError> {
        self.end(out)
    }
}

impl BroadcastProcessFunction<u64, u64, String> for Gathering {
    fn process(
        &mut self,
        n: u64,
        _: &ProcessContext,
        out: Out<'_, '_>,
    ) -> Result<(), FunctionError> {
        self.take(n, out)
    }

    fn process_broadcast(
        &mut self,
        _: u64,
        _: &BroadcastContext<'_>,
        _: Out<'_, '_>,
    ) -> Result<(), FunctionError> {
        Ok(())
    }

    fn close(&mut self, out: Out<'_, '_>) -> Result<(), FunctionError> {
        self.end(out)
    }
}

impl KeyedBroadcastProcessFunction<u64, u64, u64, String> for Gathering {
    fn process(
        &mut self,
        number: u64,
        _: &ProcessContext<u64>,
        out: Out<'_, '_>,
    ) -> Result<(), FunctionError> {
        self.take(number, out)
    }

    fn process_broadcast(
        &mut self,
        _: u64,
        _: &BroadcastContext<'_, u64>,
        _: Out<'_, '_>,
    ) -> Result<(), FunctionError> {
        Ok(())
    }

    fn close(&mut self, out: Out<'_, '_>) -> Result<(), FunctionError> {
        self.end(out)
    }
}

type Numbers = DataStream<u64, BoxedPipe<u64>>;
type Told = DataStream<String, BoxedPipe<String>>;

/// All numbers from `first` on, each `by` behind the one before.
fn numbers(environment: &Environment, (first, by): (u64, u64), poison: &Poison) -> Numbers {
    let (poison, name) = (poison.clone(), format!("numbers from {first}"));
    environment
        .source(Generator::new(RECORDS / by, move |number| first + by * number).rate(RATE))
        .uid(&name)
        .parallelism(1)
        .map(move |number: u64| {
            poison.taste(number);
            number
        })
        .rebalance()
        .boxed()
}

fn unkeyed(environment: &Environment, poison: &Poison) -> Told {
    let numbers = numbers(environment, (0, 1), poison);
    numbers
        .process_function(Gathering::open)
        .uid("gathering")
        .boxed()
}

fn keyed(environment: &Environment, poison: &Poison) -> Told {
    let numbers = numbers(environment, (0, 1), poison).key_by(|number: &u64| number % 50);
    numbers
        .process_function(Gathering::open)
        .uid("gathering")
        .boxed()
}

fn connected(environment: &Environment, poison: &Poison) -> Told {
    let [even, odd] = [0, 1].map(|first| numbers(environment, (first, 2), poison));
    let both = even.connect(odd);
    both.process(Gathering::open::<()>).uid("gathering").boxed()
}

fn keys_connected(environment: &Environment, poison: &Poison) -> Told {
    let [even, odd] = [0, 1].map(|first| numbers(environment, (first, 2), poison));
    let even = even.key_by(|number: &u64| number % 50);
    let both = even.connect(odd.key_by(|number: &u64| number % 50));
    both.process(Gathering::open::<u64>)
        .uid("gathering")
        .boxed()
}

fn beside_broadcast(environment: &Environment, poison: &Poison) -> Told {
    let rules = environment
        .source(Generator::new(10, |rule| rule))
        .uid("rules");
    let both = numbers(environment, (0, 1), poison).connect(rules.broadcast_stream());
    let gathering = both.process(|open: &mut BroadcastOpenContext<'_>| Gathering::open(open));
    gathering.uid("gathering").boxed()
}

fn keys_beside_broadcast(environment: &Environment, poison: &Poison) -> Told {
    let rules = environment
        .source(Generator::new(10, |rule| rule))
        .uid("rules");
    let numbers = numbers(environment, (0, 1), poison).key_by(|number: &u64| number % 50);
    let both = numbers.connect(rules.broadcast_stream());
    let gathering = both.process(|open: &mut BroadcastOpenContext<'_, u64>| Gathering::open(open));
    gathering.uid("gathering").boxed()
}

/// Runs it through failures and stops: each number was told once.
fn gathers(gathering: fn(&Environment, &Poison) -> Told) {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("out");
    run_through_failures_and_stops("gathering", &[], |environment, poison| {
        let told = gathering(environment, &poison);
        told.sink(FileSink::new(&into)).uid("out");
    });
    let (mut count, mut sum) = (0, 0);
    for (line, times) in lines(&into) {
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        count += numbers[0] * u64::from(times);
        sum += numbers[1] * u64::from(times);
    }
    assert_eq!((count, sum), (RECORDS, (0..RECORDS).sum()));
}

#[test]
fn what_a_subtask_gathers_is_told_once_after_failures_and_stops_at_any_parallelism() {
    gathers(unkeyed);
}

#[test]
fn so_it_is_where_records_have_keys() {
    gathers(keyed);
}

#[test]
fn so_it_is_of_two_streams_with_and_without_keys() {
    gathers(connected);
    gathers(keys_connected);
}

#[test]
fn so_it_is_beside_broadcast_records_with_and_without_keys() {
    gathers(beside_broadcast);
    gathers(keys_beside_broadcast);
}
