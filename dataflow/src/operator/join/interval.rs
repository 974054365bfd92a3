//! `interval_join`: pairs of records of one key whose times lie within bounds of each other.
//!
//! Each record is looked up among those of the other stream and then kept until the watermark says
//! that no partner of it can come. Invariant: the pairs of a record are complete before the next
//! record is taken; where there is no room for them all, the join goes on when there is.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{StateError, StateVisitor};

use super::function::{Apply, JoinContext, OpenPair, OpenProcess, PairFunction};
use super::held_key::HeldKey;
use super::slices::{Place, TimeSlices};
use crate::checkpoint::Remembers;
use crate::function::{Collector, FunctionError, OpenContext, OutputTag};
use crate::operator::frame::{Firing, Lifecycle};
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator, join_inputs};
use crate::partition::Select;
use crate::stream::{DataStream, Draft, KeyedBoth, KeyedInput, KeyedStream, Pipe};
use crate::task::{BuildContext, BuildError, Push, SideOutputs};
use crate::time::{LateOutput, LateRecords};

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
    /// What the function captures beside the states it declares is scratch of its subtask and never part of a
    /// checkpoint.
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

/// How far a right record's time may be from a left one's, both ends included.
#[derive(Clone, Copy)]
struct Bounds {
    lower_ms: i64,
    upper_ms: i64,
}

impl Bounds {
    /// The times of right records that pair with a left one.
    fn of_left(self, at: Timestamp) -> (Timestamp, Timestamp) {
        (at.plus_ms(self.lower_ms), at.plus_ms(self.upper_ms))
    }

    /// The times of left records that pair with a right one.
    fn of_right(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let negated = |bound: i64| bound.saturating_neg();
        (
            at.plus_ms(negated(self.upper_ms)),
            at.plus_ms(negated(self.lower_ms)),
        )
    }

    fn span_ms(self) -> i64 {
        self.upper_ms.saturating_sub(self.lower_ms)
    }
}

struct OpenInterval<K, A: Item, B: Item, S, R, O> {
    keys: KeyedBoth<K, S, R>,
    bounds: Bounds,
    function: O,
    late: (Option<LateOutput<A>>, Option<LateOutput<B>>),
}

impl<K, A: Item, B: Item, S: Clone, R: Clone, O: Clone> Clone for OpenInterval<K, A, B, S, R, O> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            bounds: self.bounds,
            function: self.function.clone(),
            late: self.late.clone(),
        }
    }
}

impl<K, A, B, S, R, O> OpenTwoInputs<A, B> for OpenInterval<K, A, B, S, R, O>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
    O: OpenPair<A, B>,
{
    type Out = O::Out;
    type Operator = Interval<K, A, B, S, R, O::Function>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let refused = |error| context.refused(name, error);
        let span = self.bounds.span_ms();
        let keep_left = self.bounds.upper_ms;
        let keep_right = self.bounds.lower_ms.saturating_neg();
        Ok(Interval {
            keys: self.keys,
            bounds: self.bounds,
            left: TimeSlices::new(context, span, keep_left).map_err(refused)?,
            right: TimeSlices::new(context, span, keep_right).map_err(refused)?,
            function: self.function.open(name, context)?,
            late: LateRecords::open_two(self.late, name, context)?,
            side: context.side(),
            watermark: Timestamp::MIN,
            key: HeldKey::new(),
            rest: None,
        })
    }
}

/// The join in one subtask.
struct Interval<K: Key, A: Record, B: Record, S, R, G> {
    keys: KeyedBoth<K, S, R>,
    bounds: Bounds,
    left: TimeSlices<K, A>,
    right: TimeSlices<K, B>,
    function: G,
    late: (LateRecords<A>, LateRecords<B>),
    side: Rc<SideOutputs>,
    watermark: Timestamp,
    /// The key of the record in work.
    key: HeldKey<K>,
    rest: Option<Rest>,
}

/// A record whose pairs were interrupted; its key is the one that is held.
#[derive(Clone, Copy)]
struct Rest {
    hash: KeyHash,
    at: Timestamp,
    is_left: bool,
    /// Where it is kept.
    own: Place,
    /// The place of the next partner.
    from: Place,
}

/// Whether to go on with the pairs of one record: not after an error, not without room.
#[inline(always)]
fn flow<U: Item, N: Push<U>>(
    called: Result<(), FunctionError>,
    outcome: &mut Result<(), FunctionError>,
    next: &N,
) -> ControlFlow<()> {
    if called.is_err() || !next.ready() {
        *outcome = called;
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}

impl<K, A, B, S, R, G> Interval<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
{
    /// Whether a record comes in time.
    ///
    /// # Errors
    /// When it has no time.
    #[inline(always)]
    fn in_time(&self, at: Timestamp) -> Result<bool, FunctionError> {
        if !at.is_some() {
            return Err(FunctionError::new(
                "a record without event time reached an interval join: give both streams \
                 timestamps and watermarks",
            ));
        }
        Ok(at > self.watermark)
    }

    /// Goes on with the pairs that were interrupted.
    fn go_on<U, N>(&mut self, rest: Rest, next: &mut N) -> Result<(), FunctionError>
    where
        U: Item,
        G: PairFunction<A, B, U>,
        N: Push<U>,
    {
        let Some(key) = self.key.lend() else {
            unreachable!("the key stays while its record is in work");
        };
        let (left, right, function) = (&self.left, &self.right, &mut self.function);
        let (at, from, mut outcome) = (rest.at, Some(rest.from), Ok(()));
        let stopped = if rest.is_left {
            let Some(item) = left.at(rest.hash, &key, rest.own) else {
                unreachable!("a record is kept while it is in work");
            };
            right.visit(
                rest.hash,
                &key,
                self.bounds.of_left(at),
                from,
                |other, partner| {
                    let context = JoinContext::new(at, other);
                    let called = function.call(item, partner, &context, next, &self.side);
                    flow(called, &mut outcome, next)
                },
            )
        } else {
            let Some(item) = right.at(rest.hash, &key, rest.own) else {
                unreachable!("a record is kept while it is in work");
            };
            left.visit(
                rest.hash,
                &key,
                self.bounds.of_right(at),
                from,
                |other, partner| {
                    let context = JoinContext::new(other, at);
                    let called = function.call(partner, item, &context, next, &self.side);
                    flow(called, &mut outcome, next)
                },
            )
        };
        self.rest = stopped.map(|from| Rest { from, ..rest });
        outcome
    }
}

impl<K, A, B, S, R, G> Remembers for Interval<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    S: 'static,
    R: 'static,
    G: 'static,
{
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.left.visit_states("left", visitor)?;
        self.right.visit_states("right", visitor)
    }
}

impl<K, A, B, U, S, R, G> Lifecycle<U> for Interval<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    U: Item,
    S: Select<A, K>,
    R: Select<B, K>,
    G: PairFunction<A, B, U>,
{
    fn unfinished(&self) -> bool {
        self.rest.is_some()
    }

    fn watermark(&mut self, to: Timestamp) {
        debug_assert!(
            self.rest.is_none(),
            "a record's pairs come before a watermark"
        );
        self.watermark = to;
    }

    fn fire<N: Push<U>>(&mut self, next: &mut N, limit: usize) -> Result<Firing, FunctionError> {
        if let Some(rest) = self.rest {
            self.go_on(rest, next)?;
            if self.rest.is_some() {
                return Ok(Firing::More);
            }
        }
        // Behind the last record nothing needs to be forgotten one by one.
        if self.watermark == Timestamp::MAX {
            return Ok(Firing::Done);
        }
        let more_left = self.left.forget(self.watermark, limit);
        let more_right = self.right.forget(self.watermark, limit);
        Ok(match more_left || more_right {
            true => Firing::More,
            false => Firing::Done,
        })
    }
}

impl<K, A, B, U, S, R, G> TwoInputOperator<A, B, U> for Interval<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    U: Item,
    S: Select<A, K>,
    R: Select<B, K>,
    G: PairFunction<A, B, U>,
{
    #[inline(always)]
    fn first<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: A,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        if !self.in_time(at)? {
            self.late.0.take(item, at);
            return Ok(());
        }
        let key = self.key.hold(&self.keys.first.select(&item));
        let (function, side) = (&mut self.function, &self.side);
        let mut outcome = Ok(());
        let range = self.bounds.of_left(at);
        let stopped = self.right.visit(hash, &key, range, None, |other, partner| {
            let context = JoinContext::new(at, other);
            let called = function.call(&item, partner, &context, next, side);
            flow(called, &mut outcome, next)
        });
        outcome?;
        if stopped.is_none() && !self.left.needs(at, self.watermark) {
            return Ok(());
        }
        let own = self.left.insert(hash, &key, at, item)?;
        self.rest = stopped.map(|from| Rest {
            hash,
            at,
            is_left: true,
            own,
            from,
        });
        Ok(())
    }

    #[inline(always)]
    fn second<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: B,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        if !self.in_time(at)? {
            self.late.1.take(item, at);
            return Ok(());
        }
        let key = self.key.hold(&self.keys.second.select(&item));
        let (function, side) = (&mut self.function, &self.side);
        let mut outcome = Ok(());
        let range = self.bounds.of_right(at);
        let stopped = self.left.visit(hash, &key, range, None, |other, partner| {
            let context = JoinContext::new(other, at);
            let called = function.call(partner, &item, &context, next, side);
            flow(called, &mut outcome, next)
        });
        outcome?;
        if stopped.is_none() && !self.right.needs(at, self.watermark) {
            return Ok(());
        }
        let own = self.right.insert(hash, &key, at, item)?;
        self.rest = stopped.map(|from| Rest {
            hash,
            at,
            is_left: false,
            own,
            from,
        });
        Ok(())
    }
}

#[cfg(test)]
#[path = "interval_tests.rs"]
mod tests;
