//! `map_partition`, `sort_partition`, `reduce_partition` on what each subtask got.

use std::cmp::Reverse;
use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_memory::Mark;
use thalweg_memory::record::Record;
use thalweg_network::Event;
use thalweg_state::{OperatorPart, Redistribution};

use super::kept::Kept;
use crate::checkpoint::TaskAnswers;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, ChainTurn, Failure, Head, InputStatus, Push, Stage};

/// Which way a partition is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest first.
    Ascending,
    /// Greatest first.
    Descending,
}

impl<T: Record, P: Pipe<Out = T>> DataStream<T, P> {
    /// At the end of input, turns all records of a subtask into what `map` answers for them.
    ///
    /// Results have no event time.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.map_partition(|all: Vec<u64>| [all.len() as u64, all.iter().sum()])
    /// });
    /// [5, 6, 7].into_iter().for_each(|number| harness.push(number));
    /// harness.finish();
    /// assert_eq!(harness.output(), [3, 18]);
    /// ```
    pub fn map_partition<U, R, F>(self, map: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        R: IntoIterator<Item = U, IntoIter: 'static>,
        F: FnMut(Vec<T>) -> R + Clone + Send + 'static,
    {
        let mut map = map;
        self.at_the_end("map_partition", move |kept: Vec<(T, Timestamp)>| {
            let records = kept.into_iter().map(|(record, _)| record).collect();
            let results = map(records).into_iter();
            results.map(|result| (result, Timestamp::NONE))
        })
    }

    /// At the end of input, gives out the records of a subtask in the order of `key`. Of equals the
    /// one that came first is first. Records keep their event times.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::Order;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.sort_partition(|n| *n, Order::Descending)
    /// });
    /// [5, 9, 7].into_iter().for_each(|number| harness.push(number));
    /// harness.finish();
    /// assert_eq!(harness.output(), [9, 7, 5]);
    /// ```
    pub fn sort_partition<V, F>(self, key: F, order: Order) -> DataStream<T, impl Pipe<Out = T>>
    where
        V: Ord,
        F: FnMut(&T) -> V + Clone + Send + 'static,
    {
        let mut key = key;
        self.at_the_end("sort_partition", move |mut kept: Vec<(T, Timestamp)>| {
            match order {
                Order::Ascending => kept.sort_by_cached_key(|(record, _)| key(record)),
                Order::Descending => kept.sort_by_cached_key(|(record, _)| Reverse(key(record))),
            }
            kept.into_iter()
        })
    }

    /// At the end of input, reduces the records of a subtask to one. Without records there is none.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.reduce_partition(|sum, n| sum + n)
    /// });
    /// [5, 6, 7].into_iter().for_each(|number| harness.push(number));
    /// harness.finish();
    /// assert_eq!(harness.output(), [18]);
    /// ```
    pub fn reduce_partition<F>(self, reduce: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        F: FnMut(T, T) -> T + Clone + Send + 'static,
    {
        let mut reduce = reduce;
        self.at_the_end("reduce_partition", move |kept: Vec<(T, Timestamp)>| {
            let records = kept.into_iter().map(|(record, _)| record);
            let reduced = records.reduce(&mut reduce);
            reduced.map(|record| (record, Timestamp::NONE)).into_iter()
        })
    }

    /// Keeps all records and gives out what `answer` makes of them when the input has ended.
    fn at_the_end<U, R, F>(
        self,
        kind: &'static str,
        answer: F,
    ) -> DataStream<U, impl Pipe<Out = U> + use<T, P, U, R, F>>
    where
        U: Record,
        R: Iterator<Item = (U, Timestamp)> + 'static,
        F: FnMut(Vec<(T, Timestamp)>) -> R + Clone + Send + 'static,
    {
        self.then(kind, |pipe, place| AtTheEnd {
            pipe,
            answer,
            place,
            out: PhantomData,
        })
    }
}

struct AtTheEnd<P, F, U> {
    pipe: P,
    answer: F,
    place: usize,
    out: PhantomData<fn() -> U>,
}

impl<P: Clone, F: Clone, U> Clone for AtTheEnd<P, F, U> {
    fn clone(&self) -> Self {
        Self {
            pipe: self.pipe.clone(),
            answer: self.answer.clone(),
            place: self.place,
            out: PhantomData,
        }
    }
}

impl<P, U, R, F> Pipe for AtTheEnd<P, F, U>
where
    P: Pipe<Out: Record>,
    U: Record,
    R: Iterator<Item = (U, Timestamp)> + 'static,
    F: FnMut(Vec<(P::Out, Timestamp)>) -> R + Clone + Send + 'static,
{
    type Out = U;

    fn build<N: Push<U> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let mut kept = Kept::new(context.budget().clone());
        let restored = context
            .restored(self.place)
            .and_then(|(_, from)| from.items(KEPT));
        if let Some(items) = restored {
            let given = kept.restore(&items);
            given.map_err(|error| context.refused(&context.operator_name(self.place), error))?;
        }
        let next = context.telling(self.place, next);
        let stage = AtTheEndStage {
            name: context.operator_name(self.place),
            place: self.place,
            answers: context.answers(),
            kept,
            answer: self.answer,
            results: None,
            failure: context.failure(),
            next,
        };
        self.pipe.build(stage, context)
    }
}

/// The part of a checkpoint that holds the records kept so far. All of them are written each time.
const KEPT: &str = "kept";

struct AtTheEndStage<T: Record, F, R, N> {
    name: OperatorName,
    place: usize,
    answers: TaskAnswers,
    kept: Kept<T>,
    answer: F,
    /// What is still to be given out, once the input has ended.
    results: Option<R>,
    failure: Failure,
    next: N,
}

/// Results given out between two looks at the clock.
const SLICE: usize = 128;

impl<T, U, R, F, N> AtTheEndStage<T, F, R, N>
where
    T: Record,
    U: Record,
    R: Iterator<Item = (U, Timestamp)>,
    F: FnMut(Vec<(T, Timestamp)>) -> R,
    N: Push<U>,
{
    /// Gives out results while there is room and time.
    fn give_out(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let scope = OperatorScope::enter(&self.name);
        let (answer, kept) = (&mut self.answer, &mut self.kept);
        let results = self.results.get_or_insert_with(|| answer(kept.take()));
        let mut given = 0;
        let stage = loop {
            if !self.next.ready() {
                break Stage::Waiting;
            }
            let Some((result, at)) = results.next() else {
                break Stage::Done;
            };
            self.next.push(result, at);
            given += 1;
            if given % SLICE == 0 && turn.expired() {
                break Stage::Unfinished;
            }
        };
        scope.leave();
        stage
    }
}

impl<T, U, R, F, N> Push<T> for AtTheEndStage<T, F, R, N>
where
    T: Record,
    U: Record,
    R: Iterator<Item = (U, Timestamp)>,
    F: FnMut(Vec<(T, Timestamp)>) -> R,
    N: Push<U>,
{
    #[inline]
    fn push(&mut self, item: T, at: Timestamp) {
        if let Err(error) = self.kept.push(item, at) {
            self.failure
                .set(&self.name, error.to_string(), error.kind());
        }
    }

    fn ready(&self) -> bool {
        self.next.ready()
    }

    /// Marks speak of records that are held back here: they come out at the end, when no promise
    /// about their order is left to keep.
    fn mark(&mut self, mark: Mark) {
        if matches!(mark, Mark::Idle | Mark::Active) {
            self.next.mark(mark);
        }
    }

    fn event(&mut self, event: Event) {
        if let Event::Barrier(barrier) = event {
            let part = OperatorPart {
                name: KEPT.to_owned(),
                redistribution: Redistribution::Split,
                items: self.kept.to_items(),
            };
            self.answers.add_part(barrier.checkpoint, self.place, part);
        }
        self.next.event(event);
    }

    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        if turn.input() != InputStatus::Ended {
            return self.next.end_turn(turn);
        }
        match self.give_out(turn) {
            Stage::Done => self.next.end_turn(turn),
            held => {
                let waited = held == Stage::Waiting;
                self.next.end_turn(&mut turn.with_input(InputStatus::Idle));
                // Room may have been found while the turn ended, and nobody else would tell.
                if waited && !self.next.ready() {
                    Stage::Waiting
                } else {
                    Stage::Unfinished
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TestHarness;

    #[test]
    fn more_results_than_fit_the_exchange_come_out_whole() {
        let mut harness = TestHarness::<u64, u64>::new(|numbers| {
            numbers
                .map_partition(|all: Vec<u64>| all[0]..all[1])
                .rebalance()
        });
        harness.push(0);
        harness.push(100_000);
        assert!(harness.output().is_empty());
        harness.finish();
        assert_eq!(harness.output(), (0..100_000).collect::<Vec<u64>>());
    }

    #[test]
    fn equals_keep_their_order_either_way() {
        for (order, expected) in [
            (Order::Ascending, [(1, 1), (1, 3), (2, 0), (2, 2)]),
            (Order::Descending, [(2, 0), (2, 2), (1, 1), (1, 3)]),
        ] {
            let mut harness = TestHarness::<(u8, u8), (u8, u8)>::new(|records| {
                records.sort_partition(|record| record.0, order)
            });
            for record in [(2, 0), (1, 1), (2, 2), (1, 3)] {
                harness.push(record);
            }
            harness.finish();
            assert_eq!(harness.output(), expected);
        }
    }
}
