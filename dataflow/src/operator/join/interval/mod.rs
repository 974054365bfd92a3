//! `interval_join`: pairs of records of one key whose times lie within bounds of each other.
//!
//! Here is what programs say of one: bounds, late records, the function. `operator` is the join in a subtask,
//! `slices` how it keeps the records of a stream, `resident` what it seeks of them where they may be on disk.

mod operator;
mod resident;
mod slices;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use thalweg_memory::record::{Item, Key, Record};

use self::operator::{Bounds, OpenInterval};
use super::function::{Apply, JoinContext, OpenPair, OpenProcess};
use crate::function::{Collector, FunctionError, OpenContext, OutputTag};
use crate::operator::two_inputs::join_inputs;
use crate::partition::Select;
use crate::stream::{DataStream, Draft, KeyedBoth, KeyedInput, KeyedStream, Pipe};
use crate::time::LateOutput;

impl<K, A, S, I> KeyedStream<K, A, S, I>
where
    K: Key,
    A: Record,
    S: Select<A, K>,
    I: KeyedInput<K, A, S>,
{
    /// Joins this stream (the left one) with another of the same key (the right one): every pair of
    /// a left and a right record of one key whose times are within bounds of each other.
    ///
    /// Shipments of an order within an hour of it:
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// type Order = (u64, String);
    /// type Shipment = (u64, String);
    /// let mut harness = TwoInputHarness::<Order, Shipment, String>::new(|orders, shipments| {
    ///     let orders = orders.key_by(|order: &Order| order.0);
    ///     let shipments = shipments.key_by(|shipment: &Shipment| shipment.0);
    ///     (orders.interval_join(shipments))
    ///         .between(0, 3_600_000)
    ///         .apply(|order: &Order, shipment: &Shipment| format!("{} {}", order.1, shipment.1))
    /// });
    /// harness.push_first_at((7, "tea".to_owned()), Timestamp(1_000));
    /// harness.push_second_at((7, "by boat".to_owned()), Timestamp(3_601_000));
    /// harness.push_second_at((7, "too late".to_owned()), Timestamp(3_601_001));
    /// assert_eq!(harness.output(), ["tea by boat"]);
    /// ```
    pub fn interval_join<B, R, J>(
        self,
        right: KeyedStream<K, B, R, J>,
    ) -> IntervalJoin<K, A, B, S, R>
    where
        B: Record,
        R: Select<B, K>,
        J: KeyedInput<K, B, R>,
    {
        let (left, of_left) = self.into_draft();
        let (right, of_right) = right.into_draft();
        IntervalJoin {
            left,
            right,
            keys: KeyedBoth::new(of_left, of_right),
            types: PhantomData,
        }
    }
}

/// Two keyed streams to be joined by time; [`IntervalJoin::between`] says by which.
#[must_use = "a join does nothing until it has bounds and a function"]
pub struct IntervalJoin<K, A, B, S, R> {
    left: Draft,
    right: Draft,
    keys: KeyedBoth<K, S, R>,
    types: PhantomData<fn(A, B)>,
}

impl<K, A: Record, B: Record, S, R> IntervalJoin<K, A, B, S, R> {
    /// The bounds: a right record pairs with a left one of time `t` if its own time is from
    /// `t + lower_ms` to `t + upper_ms`, both included. Either may be negative.
    ///
    /// Bounds between which there is nothing are a mistake of the program, told when it is executed.
    pub fn between(self, lower_ms: i64, upper_ms: i64) -> IntervalJoinBetween<K, A, B, S, R> {
        IntervalJoinBetween {
            join: self,
            lower_ms,
            upper_ms,
            late_left: None,
            late_right: None,
        }
    }
}

/// An interval join with its bounds.
///
/// **Time.** Every record needs an event time; one without fails the job. A result has the later time
/// of its two records. **Late records**, those at or before the watermark, are not joined: their
/// partners may be forgotten already. They are dropped and counted in the accumulator
/// [`LATE_RECORDS_DROPPED`](crate::time::LATE_RECORDS_DROPPED), or go where
/// [`late_left`](Self::late_left) and [`late_right`](Self::late_right) say. **State.** A left record is kept until the watermark
/// reaches its time plus the upper bound, a right one until it reaches its time minus the lower
/// bound: from then on whatever comes in time is out of bounds.
#[must_use = "a join does nothing until it has a function"]
pub struct IntervalJoinBetween<K, A: Record, B: Record, S, R> {
    join: IntervalJoin<K, A, B, S, R>,
    lower_ms: i64,
    upper_ms: i64,
    late_left: Option<LateOutput<A>>,
    late_right: Option<LateOutput<B>>,
}

impl<K, A, B, S, R> IntervalJoinBetween<K, A, B, S, R>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
{
    /// Leaves out the lower bound itself.
    pub fn lower_bound_exclusive(mut self) -> Self {
        self.lower_ms = self.lower_ms.saturating_add(1);
        self
    }

    /// Leaves out the upper bound itself.
    pub fn upper_bound_exclusive(mut self) -> Self {
        self.upper_ms = self.upper_ms.saturating_sub(1);
        self
    }

    /// Sends late left records to a side output.
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::OutputTag;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// let late = OutputTag::<u64>::new("late clicks");
    /// let mut harness = TwoInputHarness::<u64, u64, u64>::new(|clicks, views| {
    ///     let (clicks, views) = (clicks.key_by(|page| *page), views.key_by(|page| *page));
    ///     let joined = clicks.interval_join(views).between(-10, 0).late_left(&late);
    ///     let joined = joined.apply(|click: &u64, _: &u64| *click);
    ///     let late = joined.side_output(&late);
    ///     joined.union(late.map(|click: u64| click + 1_000))
    /// });
    /// harness.push_second_at(7, Timestamp(0));
    /// harness.push_first_at(7, Timestamp(5));
    /// harness.advance_watermark(Timestamp(6));
    /// harness.push_first_at(7, Timestamp(6));
    /// assert_eq!(harness.output(), [7, 1_007]);
    /// ```
    pub fn late_left(mut self, tag: &OutputTag<A>) -> Self {
        self.late_left = Some(LateOutput::new(tag));
        self
    }

    /// Sends late right records to a side output.
    pub fn late_right(mut self, tag: &OutputTag<B>) -> Self {
        self.late_right = Some(LateOutput::new(tag));
        self
    }

    /// Makes one result of each pair.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    pub fn apply<U, F>(self, f: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        F: FnMut(&A, &B) -> U + Clone + Send + 'static,
    {
        self.pairs(Apply::new(f))
    }

    /// Processes each pair with both times, accumulators and side outputs.
    ///
    /// What the function captures is scratch of its subtask and never part of a checkpoint. It has no keyed states:
    /// one that is declared fails the job at its start.
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    /// use thalweg_dataflow::operator::JoinContext;
    /// use thalweg_dataflow::{Collector, OpenContext};
    ///
    /// let mut harness = TwoInputHarness::<u64, u64, (u64, i64)>::new(|clicks, views| {
    ///     let (clicks, views) = (clicks.key_by(|page| *page), views.key_by(|page| *page));
    ///     let joined = clicks.interval_join(views).between(-10, 0);
    ///     joined.process(|open: &mut OpenContext| {
    ///         let pairs = open.accumulator("pairs");
    ///         move |page: &u64, _: &u64, times: &JoinContext, out: &mut Collector<'_, (u64, i64)>| {
    ///             pairs.add(1);
    ///             out.emit((*page, times.left_timestamp().0 - times.right_timestamp().0));
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// harness.push_second_at(7, Timestamp(-5));
    /// harness.push_first_at(7, Timestamp(4));
    /// assert_eq!(harness.output(), [(7, 9)]);
    /// ```
    pub fn process<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
        G: FnMut(&A, &B, &JoinContext, &mut Collector<'_, U>) -> Result<(), FunctionError>
            + 'static,
    {
        self.pairs(OpenProcess::new(open))
    }

    fn pairs<O: OpenPair<A, B>>(
        self,
        function: O,
    ) -> DataStream<O::Out, impl Pipe<Out = O::Out> + use<K, A, B, S, R, O>> {
        let bounds = Bounds {
            lower_ms: self.lower_ms,
            upper_ms: self.upper_ms,
        };
        let IntervalJoin {
            left, right, keys, ..
        } = self.join;
        if bounds.lower_ms > bounds.upper_ms {
            left.graph().borrow_mut().problem(format!(
                "an interval join is between {} ms and {} ms: nothing is, give the lower bound first",
                bounds.lower_ms, bounds.upper_ms
            ));
        }
        let open = OpenInterval {
            keys,
            bounds,
            function,
            late: (self.late_left, self.late_right),
        };
        join_inputs::<A, B, _>(left, right, "interval_join", open)
    }
}
