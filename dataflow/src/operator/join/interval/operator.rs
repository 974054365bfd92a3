//! The interval join in a subtask.
//!
//! Each record is looked up among those of the other stream and then kept until the watermark says
//! that no partner of it can come. Invariant: the pairs of a record are complete before the next
//! record is taken; where there is no room for them all, the join goes on when there is. Lives on one shard.

use std::ops::ControlFlow;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{Pressure, StateError, StateVisitor};

use super::slices::{Place, TimeSlices};
use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::operator::frame::{Firing, Lifecycle};
use crate::operator::join::function::{JoinContext, OpenPair, PairFunction};
use crate::operator::join::held_key::HeldKey;
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator};
use crate::partition::Select;
use crate::stream::KeyedBoth;
use crate::task::{BuildContext, BuildError, OverflowCells, Push, SideOutputs};
use crate::time::{LateOutput, LateRecords};

/// How far a right record's time may be from a left one's, both ends included.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) lower_ms: i64,
    pub(super) upper_ms: i64,
}

impl Bounds {
    /// The times of right records that pair with a left one.
    pub(super) fn of_left(self, at: Timestamp) -> (Timestamp, Timestamp) {
        (at.plus_ms(self.lower_ms), at.plus_ms(self.upper_ms))
    }

    /// The times of left records that pair with a right one.
    pub(super) fn of_right(self, at: Timestamp) -> (Timestamp, Timestamp) {
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

/// Opens the join in a subtask.
pub(super) struct OpenInterval<K, A: Item, B: Item, S, R, O> {
    pub(super) keys: KeyedBoth<K, S, R>,
    pub(super) bounds: Bounds,
    pub(super) function: O,
    pub(super) late: (Option<LateOutput<A>>, Option<LateOutput<B>>),
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
        let span = self.bounds.span_ms();
        let keep_left = self.bounds.upper_ms;
        let keep_right = self.bounds.lower_ms.saturating_neg();
        let left = TimeSlices::new(context, "left", span, keep_left);
        let right = TimeSlices::new(context, "right", span, keep_right);
        Ok(Interval {
            keys: self.keys,
            bounds: self.bounds,
            left: left.map_err(|error| context.refused(name, error))?,
            right: right.map_err(|error| context.refused(name, error))?,
            shown: OverflowCells::open(name, context, context.may_spill())?,
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
pub(super) struct Interval<K: Key, A: Record, B: Record, S, R, G> {
    pub(super) keys: KeyedBoth<K, S, R>,
    pub(super) bounds: Bounds,
    pub(super) left: TimeSlices<K, A>,
    pub(super) right: TimeSlices<K, B>,
    /// What is shown of state on disk.
    pub(super) shown: OverflowCells,
    function: G,
    late: (LateRecords<A>, LateRecords<B>),
    side: Rc<SideOutputs>,
    pub(super) watermark: Timestamp,
    /// The key of the record in work.
    pub(super) key: HeldKey<K>,
    rest: Option<Rest>,
}

/// A record whose pairs were interrupted; its key is the one that is held.
#[derive(Clone, Copy)]
pub(super) struct Rest {
    pub(super) hash: KeyHash,
    pub(super) at: Timestamp,
    pub(super) is_left: bool,
    /// Where it is kept.
    pub(super) own: Place,
    /// The place of the next partner.
    pub(super) from: Place,
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
        self.left.visit_states(visitor)?;
        self.right.visit_states(visitor)
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
            if self.is_active() && !self.seek_rest(rest) {
                return Ok(Firing::Waiting);
            }
            self.go_on(rest, next)?;
            if self.rest.is_some() {
                return Ok(Firing::More);
            }
        }
        // Behind the last record nothing needs to be forgotten one by one.
        if self.watermark == Timestamp::MAX {
            return Ok(Firing::Done);
        }
        let left = self.left.forget(self.watermark, limit);
        let right = self.right.forget(self.watermark, limit);
        Ok(match (left, right) {
            (Firing::Done, Firing::Done) => Firing::Done,
            (Firing::More, _) | (_, Firing::More) => Firing::More,
            (Firing::Waiting, _) | (_, Firing::Waiting) => Firing::Waiting,
        })
    }

    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        self.left.begin_turn(context)?;
        Ok(self.right.begin_turn(context)?)
    }

    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        Ok(self.end_on_disk(context, waiting)?)
    }

    fn may_be_cut(&self) -> bool {
        !self.left.ends.is_moving() && !self.right.ends.is_moving()
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
    fn overflows(&self) -> bool {
        self.is_active()
    }

    fn has_room(&mut self, input: u32, records: usize) -> bool {
        match input {
            0 => self.left.has_room(records),
            _ => self.right.has_room(records),
        }
    }

    fn let_in(&mut self, input: u32, records: usize) -> usize {
        match input {
            0 => self.left.let_in(records),
            _ => self.right.let_in(records),
        }
    }

    fn seek_first(&mut self, place: u8, of: (KeyHash, Timestamp), item: &A) -> bool {
        self.seek_left(place, of, item)
    }

    fn seek_second(&mut self, place: u8, of: (KeyHash, Timestamp), item: &B) -> bool {
        self.seek_right(place, of, item)
    }

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
