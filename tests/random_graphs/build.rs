//! Writes a drawn program down for the engine. Runs on the test's thread; the closures run on shards.
//!
//! Streams are boxed after each step, so that a program made at run time has one type.

use thalweg_connectors::{Collected, Collection, Collects, Generator};
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment, Pipe};
use thalweg_dataflow::{Collector, OpenContext, OutputTag, ProcessContext};
use thalweg_memory::KeyValue;

use super::functions::{Datum, Pair};
use super::program::{Aggregate, Counting, End, Exchange, Input, Keyed, Last, Partitioner, Step};

/// Names of side outputs: one for each that a program may have.
pub(crate) const TAGS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// The accumulator that unkeyed processes count in.
pub(crate) const PROCESSED: &str = "processed";

type Stream<T> = DataStream<T, BoxedPipe<T>>;

/// A stream of either type.
enum Flow {
    Numbers(Stream<u64>),
    Pairs(Stream<Pair>),
}

/// What [`Flow`] needs to know of its two types.
trait Flows: Datum {
    fn flow(stream: Stream<Self>) -> Flow;
    fn other(stream: Stream<Self::Other>) -> Flow;
    fn of(flow: Flow) -> Stream<Self>;
}

impl Flows for u64 {
    fn flow(stream: Stream<u64>) -> Flow {
        Flow::Numbers(stream)
    }
    fn other(stream: Stream<Pair>) -> Flow {
        Flow::Pairs(stream)
    }
    fn of(flow: Flow) -> Stream<u64> {
        match flow {
            Flow::Numbers(stream) => stream,
            Flow::Pairs(_) => unreachable!("branches end with the type they begin with"),
        }
    }
}

impl Flows for Pair {
    fn flow(stream: Stream<Pair>) -> Flow {
        Flow::Pairs(stream)
    }
    fn other(stream: Stream<u64>) -> Flow {
        Flow::Numbers(stream)
    }
    fn of(flow: Flow) -> Stream<Pair> {
        match flow {
            Flow::Pairs(stream) => stream,
            Flow::Numbers(_) => unreachable!("branches end with the type they begin with"),
        }
    }
}

/// The whole program; what it gathers is text, to be one type.
pub(crate) fn program(
    environment: &Environment,
    input: &Input,
    steps: &[Step],
    end: End,
) -> Collected<Pair> {
    match all(environment, source(environment, input), steps) {
        Flow::Numbers(stream) => ended(stream, end),
        Flow::Pairs(stream) => ended(stream, end),
    }
}

fn source(environment: &Environment, input: &Input) -> Flow {
    match input.pairs {
        true => Flow::Pairs(source_of(environment, input)),
        false => Flow::Numbers(source_of(environment, input)),
    }
}

fn source_of<T: Datum>(environment: &Environment, input: &Input) -> Stream<T> {
    if input.collection {
        let records = (0..input.count).map(|number| T::make(input, number));
        return environment.source(Collection::new(records)).boxed();
    }
    let make = {
        let input = input.clone();
        move |number| T::make(&input, number)
    };
    let stream = environment.source(Generator::new(input.count, make));
    match input.parallelism {
        Some(parallelism) => stream.parallelism(parallelism).boxed(),
        None => stream.boxed(),
    }
}

fn all(environment: &Environment, flow: Flow, steps: &[Step]) -> Flow {
    steps.iter().fold(flow, |flow, step| match flow {
        Flow::Numbers(stream) => one(environment, stream, step),
        Flow::Pairs(stream) => one(environment, stream, step),
    })
}

fn one<T: Flows>(environment: &Environment, stream: Stream<T>, step: &Step) -> Flow {
    match step {
        Step::Map(by) => {
            let by = *by;
            T::flow(stream.map(move |record: T| record.mapped(by)).boxed())
        }
        Step::Filter(by) => {
            let by = *by;
            T::flow(stream.filter(move |record: &T| record.kept(by)).boxed())
        }
        Step::FlatMap(most) => {
            let most = *most;
            let copy = move |record: T, out: &mut Collector<T>| {
                (0..record.copies(most)).for_each(|_| out.emit(record.clone()));
            };
            T::flow(stream.flat_map(copy).boxed())
        }
        Step::Inspect => {
            let look = |record: &T| assert!(record.weight() < 1_000_003);
            T::flow(stream.inspect(look).boxed())
        }
        Step::Process => T::flow(processed(stream)),
        Step::Convert(by) => {
            let by = *by;
            T::other(stream.map(move |record: T| record.converted(by)).boxed())
        }
        Step::Exchange(exchange) => T::flow(exchanged(stream, *exchange)),
        Step::NewChain { disable: true } => T::flow(stream.disable_chaining().boxed()),
        Step::NewChain { disable: false } => T::flow(stream.start_new_chain().boxed()),
        Step::Keyed(keyed) => Flow::Pairs(counted(stream, *keyed)),
        Step::Union(input, steps) => {
            let other = all(environment, source(environment, input), steps);
            T::flow(stream.union(T::of(other)).boxed())
        }
        Step::Diamond(left, right) => {
            let shared = stream.share();
            let left = all(environment, T::flow(shared.stream().boxed()), left);
            let right = all(environment, T::flow(shared.stream().boxed()), right);
            T::flow(T::of(left).union(T::of(right)).boxed())
        }
        Step::Side {
            modulus,
            tag,
            steps,
        } => {
            let (main, aside) = parted(stream, *modulus, TAGS[*tag]);
            let aside = all(environment, T::flow(aside), steps);
            T::flow(main.union(T::of(aside)).boxed())
        }
    }
}

fn processed<T: Datum>(stream: Stream<T>) -> Stream<T> {
    let open = |open: &mut OpenContext| {
        let count = open.accumulator(PROCESSED);
        move |record: T, _: &ProcessContext, out: &mut Collector<'_, T>| {
            count.add(1);
            out.emit(record);
            Ok(())
        }
    };
    stream.process(open).boxed()
}

fn parted<T: Datum>(stream: Stream<T>, modulus: u64, name: &'static str) -> (Stream<T>, Stream<T>) {
    let tag = OutputTag::new(name);
    let part = move |record: T, out: &mut Collector<T>| match record.aside(modulus) {
        true => out.side(&tag, record),
        false => out.emit(record),
    };
    let main = stream.flat_map(part).boxed();
    let aside = main.side_output(&tag).boxed();
    (main, aside)
}

fn exchanged<T: Datum>(stream: Stream<T>, exchange: Exchange) -> Stream<T> {
    let stream = match exchange.by {
        Partitioner::Forward => stream.forward(),
        Partitioner::Rebalance => stream.rebalance(),
        Partitioner::Rescale => stream.rescale(),
        Partitioner::Shuffle => stream.shuffle(),
        Partitioner::Broadcast => stream.broadcast(),
        Partitioner::Global => stream.global(),
        Partitioner::Custom => {
            stream.partition_custom(|record: &T, _subtasks| record.weight() as usize)
        }
    };
    let stream = match exchange.parallelism {
        Some(parallelism) => stream.parallelism(parallelism),
        None => stream,
    };
    match exchange.view {
        true => stream.view().map(T::revive).boxed(),
        false => stream.boxed(),
    }
}

/// Rows of a count as pairs.
fn rows<P: Pipe<Out = KeyValue<u64, u64>>>(
    counts: DataStream<KeyValue<u64, u64>, P>,
) -> Stream<Pair> {
    counts.map(|(key, count)| (key, count.to_string())).boxed()
}

fn counted<T: Datum>(stream: Stream<T>, keyed: Keyed) -> Stream<Pair> {
    let modulus = keyed.modulus;
    if keyed.by == Counting::CountByText {
        return counted_by_text(stream, keyed);
    }
    let mut groups = stream.key_by(move |record: &T| record.key(modulus));
    if let Some(parallelism) = keyed.parallelism {
        groups = groups.parallelism(parallelism);
    }
    match keyed.by {
        Counting::Count => rows(groups.count()),
        Counting::CountInPlace => {
            let key = move |view: &&T::Archived| T::revive(view).key(modulus);
            rows(groups.view(key).count())
        }
        Counting::SumOfOnes => rows(groups.sum(|_: &T| 1_u64)),
        Counting::Fold => rows(groups.fold(0_u64, |count: &mut u64, _: T| *count += 1)),
        Counting::ValueState => {
            let open = |open: &mut OpenContext<u64>| {
                let mut count = open.value_state::<u64>("count");
                move |_: T, context: &ProcessContext<u64>, out: &mut Collector<'_, Pair>| {
                    count.update(|count| *count += 1)?;
                    let key = context.with_key(|key| *key).unwrap_or_default();
                    out.emit((key, count.get()?.unwrap_or_default().to_string()));
                    Ok(())
                }
            };
            groups.process(open).boxed()
        }
        Counting::ReducingState => {
            let open = |open: &mut OpenContext<u64>| {
                let add = |sum: &mut u64, more: u64| *sum += more;
                let mut count = open.reducing_state::<u64, _>("count", add);
                move |_: T, context: &ProcessContext<u64>, out: &mut Collector<'_, Pair>| {
                    count.add(1)?;
                    let key = context.with_key(|key| *key).unwrap_or_default();
                    out.emit((key, count.get()?.unwrap_or_default().to_string()));
                    Ok(())
                }
            };
            groups.process(open).boxed()
        }
        Counting::CountByText => unreachable!("counted above"),
    }
}

fn counted_by_text<T: Datum>(stream: Stream<T>, keyed: Keyed) -> Stream<Pair> {
    let modulus = keyed.modulus;
    let texts = stream.map(move |record: T| (record.weight(), record.text_key(modulus)));
    let mut groups = texts.key_by_str(|pair: &Pair| pair.1.as_str());
    if let Some(parallelism) = keyed.parallelism {
        groups = groups.parallelism(parallelism);
    }
    let number = |text: &str| text["key ".len()..].parse().unwrap_or(u64::MAX);
    let rows = groups.count();
    rows.map(move |(text, count): (&str, u64)| (number(text), count.to_string()))
        .boxed()
}

fn ended<T: Datum>(stream: Stream<T>, end: End) -> Collected<Pair> {
    match end {
        End::Collect => stream
            .map(|record: T| (record.number(), format!("{record:?}")))
            .collect(),
        End::Last(last) => last_rows(stream, last).collect(),
    }
}

fn shown<V: thalweg_memory::Record + std::fmt::Debug, P: Pipe<Out = KeyValue<u64, V>>>(
    rows: DataStream<KeyValue<u64, V>, P>,
) -> Stream<Pair> {
    rows.map(|(key, value): (u64, V)| (key, format!("{value:?}")))
        .boxed()
}

fn last_rows<T: Datum>(stream: Stream<T>, last: Last) -> Stream<Pair> {
    let modulus = last.modulus;
    let mut groups = stream.key_by(move |record: &T| record.key(modulus));
    if let Some(parallelism) = last.parallelism {
        groups = groups.parallelism(parallelism);
    }
    let record = move |row: T| (row.key(modulus), format!("{row:?}"));
    match last.by {
        Aggregate::Count => shown(groups.count()),
        Aggregate::Sum => shown(groups.sum(|record: &T| record.weight())),
        Aggregate::Min => shown(groups.min(|record: &T| record.weight())),
        Aggregate::Max => shown(groups.max(|record: &T| record.weight())),
        Aggregate::MinBy => groups.min_by(T::clone).map(record).boxed(),
        Aggregate::MaxBy => groups.max_by(T::clone).map(record).boxed(),
        Aggregate::Average => shown(groups.avg(|record: &T| record.weight() as f64)),
        Aggregate::Fold => {
            let fold = |folded: &mut u64, record: T| *folded ^= record.weight();
            shown(groups.fold(7_u64, fold))
        }
        Aggregate::Reduce => {
            let join = move |so_far: &mut T, next: T| so_far.join(next, modulus);
            groups.reduce(join).map(record).boxed()
        }
        Aggregate::ValueState => {
            let open = |open: &mut OpenContext<u64>| {
                let mut sum = open.value_state::<u64>("sum");
                let mut longest = open.value_state::<String>("longest");
                move |record: T, context: &ProcessContext<u64>, out: &mut Collector<'_, Pair>| {
                    sum.update(|sum| *sum += record.weight())?;
                    let text = format!("{record:?}");
                    longest.update(|longest| *longest = std::mem::take(longest).max(text))?;
                    let key = context.with_key(|key| *key).unwrap_or_default();
                    let row = (sum.get()?, longest.get()?);
                    out.emit((key, format!("{row:?}")));
                    Ok(())
                }
            };
            groups.process(open).boxed()
        }
        Aggregate::ReducingState => {
            let open = |open: &mut OpenContext<u64>| {
                let greatest = |so_far: &mut u64, next: u64| *so_far = (*so_far).max(next);
                let mut greatest = open.reducing_state::<u64, _>("greatest", greatest);
                move |record: T, context: &ProcessContext<u64>, out: &mut Collector<'_, Pair>| {
                    greatest.add(record.weight())?;
                    let key = context.with_key(|key| *key).unwrap_or_default();
                    out.emit((key, format!("{:?}", greatest.get()?)));
                    Ok(())
                }
            };
            groups.process(open).boxed()
        }
    }
}
