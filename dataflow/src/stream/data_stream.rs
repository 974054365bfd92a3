//! A stream of records, as a program sees it.
//!
//! The operators add their methods to it, each in its own file under [`crate::operator`];
//! here is what concerns the stream as such: names, parallelism, exchanges, sinks.

use std::marker::PhantomData;

use thalweg_memory::record::{Item, Key, Record, Str, View, Wire};

use super::exchange::{ExchangeTemplate, RouterTemplate};
use super::shared_stream::{SharedEdge, SharedStream};
use super::sink_handle::{SinkHandle, SinkTemplate};
use super::{BoxedPipe, Draft, ExchangeInput, Grouping, KeyedStream, Pipe};
use crate::graph::{Shape, SinkTarget};
use crate::partition::{
    Broadcast, Custom, EdgePattern, Forward, Global, Rebalance, Rescale, Router, SelectOwned,
    SelectStr, Shuffle,
};
use crate::sink::Sink;

/// A stream of `T`, produced by the chain `P`.
///
/// Methods consume the stream and answer the next one; nothing runs until
/// [`crate::Environment::execute`]. To read one stream twice, [`DataStream::share`] it.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct DataStream<T: Item, P: Pipe<Out = T>> {
    pub(crate) pipe: P,
    pub(crate) draft: Draft,
    /// Set right after a shared stream: the edge whose partitioner may still be chosen.
    pub(crate) shared: Option<SharedEdge<T>>,
}

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    pub(crate) fn new(pipe: P, draft: Draft) -> Self {
        Self {
            pipe,
            draft,
            shared: None,
        }
    }

    /// The stream behind one more operator: adds it to the chain and wraps the pipe.
    pub(crate) fn then<U: Item, Q: Pipe<Out = U>>(
        self,
        kind: &'static str,
        wrap: impl FnOnce(P, usize) -> Q,
    ) -> DataStream<U, Q> {
        let place = self.draft.add(kind, kind);
        DataStream::new(wrap(self.pipe, place), self.draft)
    }

    /// How plans, metrics and errors call the operator added last.
    pub fn name(self, name: &str) -> Self {
        self.draft.rename(name);
        self
    }

    /// The identity of the operator added last: it names its state in savepoints, so that
    /// the program around it may change.
    pub fn uid(self, uid: &str) -> Self {
        self.draft.identify(uid);
        self
    }

    /// How many subtasks run the operator added last and all that are chained to it.
    ///
    /// Chained operators share their subtasks, so this is said at the beginning of a chain:
    /// after the source, after an exchange, or after the first operator behind either.
    pub fn parallelism(self, parallelism: u32) -> Self {
        self.draft.set_parallelism(parallelism);
        self
    }

    /// Cuts the type of the chain: one virtual call per record, shorter types. Streams of
    /// different chains then have the same type.
    pub fn boxed(self) -> DataStream<T, BoxedPipe<T>> {
        DataStream {
            pipe: BoxedPipe::new(self.pipe),
            draft: self.draft,
            shared: self.shared,
        }
    }

    /// Ends the stream in a sink.
    pub fn sink<S: Sink<T>>(self, sink: S) -> SinkHandle {
        let place = self.draft.add("sink", &format!("sink: {}", sink.name()));
        self.draft.finish_sink(
            SinkTemplate::new(self.pipe, sink.clone(), place),
            SinkTarget {
                sink,
                item: PhantomData::<fn(T)>,
            },
        );
        SinkHandle::new(self.draft)
    }
}

/// Exchanges: from here records leave their chain.
impl<T: Wire, P: Pipe<Out = T>> DataStream<T, P> {
    /// Ends the chain in an exchange; answers the chain behind it.
    pub(crate) fn exchange<R: Router<T>>(
        self,
        partitioner: &'static str,
        shape: Shape,
        keyed: bool,
        router: R,
    ) -> Draft {
        if let Some(shared) = self.shared {
            shared.reroute(
                &self.draft,
                partitioner,
                shape,
                keyed,
                RouterTemplate(router),
            );
            return self.draft;
        }
        let next = Draft::begin(self.draft.graph());
        let edge = self.draft.edge_to(&next, partitioner, shape, keyed);
        self.draft.finish(ExchangeTemplate {
            pipe: self.pipe,
            router,
            edge,
        });
        next
    }

    fn repartition<R: Router<T>>(
        self,
        partitioner: &'static str,
        pattern: EdgePattern,
        router: R,
    ) -> DataStream<T, ExchangeInput<T>> {
        let draft = self.exchange(partitioner, Shape::Fixed(pattern), false, router);
        DataStream::new(ExchangeInput::new(), draft)
    }

    /// Subtask i to subtask i, order kept; both sides must have the same parallelism.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.filter(|n| *n > 0).forward().map(|n| n * 2)
    /// });
    /// (1..=3).for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [2, 4, 6]);
    /// ```
    pub fn forward(self) -> DataStream<T, ExchangeInput<T>> {
        self.repartition("forward", EdgePattern::Forward, Forward)
    }

    /// Records round robin over all subtasks of what follows.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.rebalance().map(|n| n * 2).name("in many subtasks")
    /// });
    /// (1..=3).for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [2, 4, 6]);
    /// ```
    pub fn rebalance(self) -> DataStream<T, ExchangeInput<T>> {
        self.repartition("rebalance", EdgePattern::AllToAll, Rebalance::default())
    }

    /// Records round robin over the near subtasks only: each producer has its share.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.rescale().map(|n| n * 2).name("near by")
    /// });
    /// (1..=3).for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [2, 4, 6]);
    /// ```
    pub fn rescale(self) -> DataStream<T, ExchangeInput<T>> {
        self.repartition("rescale", EdgePattern::Pointwise, Rescale::default())
    }

    /// Each record to a subtask drawn at random.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.shuffle().map(|n| n * 2)
    /// });
    /// (1..=3).for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [2, 4, 6]);
    /// ```
    pub fn shuffle(self) -> DataStream<T, ExchangeInput<T>> {
        self.repartition("shuffle", EdgePattern::AllToAll, Shuffle::default())
    }

    /// Every record to every subtask.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.broadcast().map(|n| n * 2).name("in every subtask")
    /// });
    /// (1..=3).for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [2, 4, 6]);
    /// ```
    pub fn broadcast(self) -> DataStream<T, ExchangeInput<T>> {
        self.repartition("broadcast", EdgePattern::AllToAll, Broadcast)
    }

    /// All records to the first subtask.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.global().map(|n| n * 2).name("in one subtask")
    /// });
    /// (1..=3).for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [2, 4, 6]);
    /// ```
    pub fn global(self) -> DataStream<T, ExchangeInput<T>> {
        self.repartition("global", EdgePattern::AllToAll, Global)
    }

    /// Each record to the subtask `choose(&record, subtasks)`, taken modulo their number.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     let by_size = numbers.partition_custom(|n, subtasks| match *n {
    ///         0..1000 => 0,
    ///         _ => subtasks - 1,
    ///     });
    ///     by_size.map(|n| n * 2)
    /// });
    /// (1..=3).for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [2, 4, 6]);
    /// ```
    pub fn partition_custom<F>(self, choose: F) -> DataStream<T, ExchangeInput<T>>
    where
        F: for<'a, 'b> FnMut(&'b T::Of<'a>, usize) -> usize + Clone + Send + 'static,
    {
        self.repartition("custom", EdgePattern::AllToAll, Custom::<T, F>::new(choose))
    }

    /// Ends the chain here: what follows runs as tasks of its own, subtask to subtask.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.map(|number| number + 1).start_new_chain().map(|number| number * 2)
    /// });
    /// harness.push(4);
    /// assert_eq!(harness.output(), [10]);
    /// ```
    pub fn start_new_chain(self) -> DataStream<T, ExchangeInput<T>> {
        let draft = self.exchange(
            "forward",
            Shape::ForwardOrRebalance,
            false,
            Rebalance::default(),
        );
        DataStream::new(ExchangeInput::new(), draft)
    }

    /// Keeps the operator added last from being chained to what follows.
    ///
    /// The same as [`DataStream::start_new_chain`] for the operators behind it. **Unlike in Flink it does
    /// not cut before the operator**: with what stands before it, that is fused into one type already. To
    /// have the operator in tasks of its own, cut on both sides:
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     let numbers = numbers.filter(|number| number % 2 == 0).start_new_chain();
    ///     numbers.map(|number| number * number).disable_chaining()
    /// });
    /// harness.push(4);
    /// assert_eq!(harness.output(), [16]);
    /// ```
    ///
    /// Operators that stand right behind an exchange (those on keyed, windowed, joined and connected
    /// streams) begin a chain anyway: there one cut is enough.
    pub fn disable_chaining(self) -> DataStream<T, ExchangeInput<T>> {
        self.start_new_chain()
    }

    /// Groups the stream by a key: records of one key meet in one subtask, which keeps
    /// their state.
    ///
    /// The selector must answer the same key for the same record whenever it is asked.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|payments| {
    ///     let accounts = payments.key_by(|payment: &(u64, u64)| payment.0);
    ///     accounts.sum(|payment: &(u64, u64)| payment.1).map(|(account, total)| (account, total))
    /// });
    /// [(7, 20), (8, 5), (7, 1)].into_iter().for_each(|payment| harness.push(payment));
    /// assert_eq!(harness.output(), [(7, 20), (8, 5), (7, 21)]);
    /// ```
    pub fn key_by<K, F>(self, selector: F) -> KeyedStream<K, T, SelectOwned<F>, Grouping<T, P>>
    where
        K: Key + Record,
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> K + Clone + Send + 'static,
    {
        KeyedStream::new(Grouping(self), SelectOwned(selector))
    }

    /// Groups the stream by a string inside the record, without copying it.
    ///
    /// ```
    /// use thalweg_dataflow::Collector;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_memory::Str;
    ///
    /// let mut harness = TestHarness::<String, (String, u64)>::new(|lines| {
    ///     lines
    ///         .flat_map(|line: String, out: &mut Collector<'_, Str>| {
    ///             line.split(' ').for_each(|word| out.emit(word));
    ///         })
    ///         .key_by_str(|word| word)
    ///         .count()
    ///         .map(|(word, count)| (word.to_owned(), count))
    /// });
    /// harness.push("to be or not to be".to_owned());
    /// assert_eq!(harness.output().last(), Some(&("be".to_owned(), 2)));
    /// ```
    pub fn key_by_str<F>(self, selector: F) -> KeyedStream<Str, T, SelectStr<F>, Grouping<T, P>>
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> &'b str + Clone + Send + 'static,
    {
        KeyedStream::new(Grouping(self), SelectStr(selector))
    }

    /// Lets several chains read this stream. The chain up to here runs once.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     let numbers = numbers.map(|number| number + 1).share();
    ///     let even = numbers.stream().filter(|number| number % 2 == 0);
    ///     even.union(numbers.stream().map(|number| number * 100))
    /// });
    /// harness.push(1);
    /// harness.push(2);
    /// let mut output = harness.output();
    /// output.sort();
    /// assert_eq!(output, [2, 200, 300]);
    /// ```
    pub fn share(self) -> SharedStream<T> {
        SharedStream::new(self.pipe, self.draft)
    }
}

impl<T: Record> DataStream<T, ExchangeInput<T>> {
    /// Reads the records of the exchange in place instead of as owned values.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<(u64, String), u64>::new(|rows| {
    ///     rows.rebalance().view().map(|row| row.1.len() as u64)
    /// });
    /// harness.push((1, "read where it lies".to_owned()));
    /// assert_eq!(harness.output(), [18]);
    /// ```
    pub fn view(self) -> DataStream<View<T>, ExchangeInput<View<T>>> {
        DataStream::new(ExchangeInput::new(), self.draft)
    }
}
