//! `temporal_join`: each row of a stream with the version of a changing table that was valid at the
//! row's time.
//!
//! Rows wait until the watermark says that the versions of their time are complete. Invariant: of the
//! versions of a key, the one valid at the time reached and all newer ones are kept, so every row that
//! comes in time finds its version. Lives on one shard.

use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{KeyedTable, StateDescriptor, StateError, StateVisitor, TimerQueue};

use super::function::{Apply, JoinContext, OpenPair, OpenProcess, PairFunction};
use super::held_key::HeldKey;
use super::versions::{Version, Versions};
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
    /// Joins each record of this stream (a row) with the version of a changing table that was valid
    /// at the row's event time. The table is a stream of versions: each is valid from its own event
    /// time on, until the next one of its key.
    ///
    /// Amounts at the exchange rate of their time:
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// type Amount = (String, u64);
    /// type Rate = (String, u64);
    /// let mut harness = TwoInputHarness::<Amount, Rate, u64>::new(|amounts, rates| {
    ///     let amounts = amounts.key_by(|amount: &Amount| amount.0.clone());
    ///     let rates = rates.key_by(|rate: &Rate| rate.0.clone());
    ///     (amounts.temporal_join(rates)).apply(|amount: &Amount, rate: &Rate| amount.1 * rate.1)
    /// });
    /// let euro = || "EUR".to_owned();
    /// harness.push_first_at((euro(), 10), Timestamp(150));
    /// harness.push_second_at((euro(), 3), Timestamp(100));
    /// harness.push_second_at((euro(), 5), Timestamp(200));
    /// assert!(harness.output().is_empty(), "another rate of time 150 may still come");
    /// harness.advance_watermark(Timestamp(150));
    /// assert_eq!(harness.output(), [30]);
    /// ```
    pub fn temporal_join<B, R, J>(
        self,
        versions: KeyedStream<K, B, R, J>,
    ) -> TemporalJoin<K, A, B, S, R>
    where
        B: Record,
        R: Select<B, K>,
        J: KeyedInput<K, B, R>,
    {
        let (rows, of_rows) = self.into_draft();
        let (versions, of_versions) = versions.into_draft();
        TemporalJoin {
            rows,
            versions,
            keys: KeyedBoth::new(of_rows, of_versions),
            deletion: Deletion {
                is_one: |_| false,
                kept: None,
            },
            late: (None, None),
        }
    }
}

/// A stream of rows to be joined with the versions of a table.
///
/// **Time.** Rows and versions need event times; a record without fails the job. A row waits until the
/// watermark (the lower one of both streams) reaches its time; the result has the row's time. Of two
/// versions of one key and time, the one that comes last is valid.
///
/// **Late records**, those at or before the watermark: a late version is valid from its time on for
/// rows that are not joined yet. Where a newer one is valid already at the watermark, it is of no use
/// to any row that comes in time and goes where [`late_versions`](Self::late_versions) says. A late
/// row is joined at once if the version of its time is still kept; otherwise it goes where
/// [`late_rows`](Self::late_rows) says. Late records for which nothing is said are dropped and
/// counted in the accumulator [`LATE_RECORDS_DROPPED`](crate::time::LATE_RECORDS_DROPPED).
///
/// **State.** Rows that wait; of each key the version valid at the watermark and all newer ones. A
/// deletion is a version too, and stays until a newer one has replaced it, so that an older one that
/// comes late does not undo it; see [`forget_deletions_after`](Self::forget_deletions_after).
#[must_use = "a join does nothing until it has a function"]
pub struct TemporalJoin<K, A: Record, B: Record, S, R> {
    rows: Draft,
    versions: Draft,
    keys: KeyedBoth<K, S, R>,
    deletion: Deletion<B>,
    late: LateOutputs<A, B>,
}

/// What a deletion is.
struct Deletion<B> {
    is_one: fn(&B) -> bool,
    /// How long it is remembered, ms; none until a newer version replaces it.
    kept: Option<i64>,
}

impl<B> Clone for Deletion<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Deletion<B> {}

/// Where late rows and late versions go.
type LateOutputs<A, B> = (Option<LateOutput<A>>, Option<LateOutput<B>>);

impl<K, A, B, S, R> TemporalJoin<K, A, B, S, R>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
{
    /// Which records of the table say that from their time on there is no version of their key.
    /// None do unless this is called.
    pub fn deleted_when(mut self, deleted: fn(&B) -> bool) -> Self {
        self.deletion.is_one = deleted;
        self
    }

    /// Forgets a deletion when the watermark has passed its time by so much, and its key with it: for
    /// tables whose keys do not come again. A version that is older than the deletion, and comes later
    /// than that, is then taken for a new one of its key.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// type Login = (u64, bool);
    /// let mut harness = TwoInputHarness::<u64, Login, bool>::new(|clicks, logins| {
    ///     let clicks = clicks.key_by(|session: &u64| *session);
    ///     let logins = logins.key_by(|login: &Login| login.0);
    ///     let joined = clicks.temporal_join(logins).deleted_when(|login| !login.1);
    ///     let joined = joined.forget_deletions_after(Duration::from_secs(60));
    ///     joined.apply_outer(|_: &u64, login: Option<&Login>| login.is_some())
    /// });
    /// harness.push_second_at((7, false), Timestamp(20));
    /// harness.advance_watermark(Timestamp(30));
    /// harness.push_second_at((7, true), Timestamp(10)); // Late: logged out since.
    /// harness.push_first_at(7, Timestamp(40));
    /// harness.finish();
    /// assert_eq!(harness.output(), [false]);
    /// ```
    pub fn forget_deletions_after(mut self, time: Duration) -> Self {
        self.deletion.kept = Some(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        self
    }

    /// Sends late rows whose version is forgotten to a side output.
    pub fn late_rows(mut self, tag: &OutputTag<A>) -> Self {
        self.late.0 = Some(LateOutput::new(tag));
        self
    }

    /// Sends versions that come when a newer one is valid already to a side output.
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::OutputTag;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// type Rate = (u64, u64);
    /// let late = OutputTag::<Rate>::new("late rates");
    /// let mut harness = TwoInputHarness::<u64, Rate, u64>::new(|amounts, rates| {
    ///     let amounts = amounts.key_by(|_: &u64| 0);
    ///     let joined = (amounts.temporal_join(rates.key_by(|_: &Rate| 0)))
    ///         .late_versions(&late)
    ///         .apply(|amount: &u64, rate: &Rate| amount * rate.1);
    ///     let corrections = joined.side_output(&late);
    ///     joined.union(corrections.map(|rate: Rate| rate.0))
    /// });
    /// harness.push_second_at((1, 3), Timestamp(100));
    /// harness.advance_watermark(Timestamp(150));
    /// harness.push_second_at((77, 4), Timestamp(90));
    /// assert_eq!(harness.output(), [77]);
    /// ```
    pub fn late_versions(mut self, tag: &OutputTag<B>) -> Self {
        self.late.1 = Some(LateOutput::new(tag));
        self
    }

    /// Makes a result of each row and its version. Rows without a version have none.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    pub fn apply<U, F>(self, f: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        F: FnMut(&A, &B) -> U + Clone + Send + 'static,
    {
        self.each(Inner(Apply::new(f)))
    }

    /// Makes a result of every row, with its version if there was one.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// type Version = (u64, Option<String>);
    /// let mut harness = TwoInputHarness::<u64, Version, String>::new(|visits, names| {
    ///     let visits = visits.key_by(|user: &u64| *user);
    ///     let names = names.key_by(|version: &Version| version.0);
    ///     let joined = visits.temporal_join(names).deleted_when(|version| version.1.is_none());
    ///     joined.apply_outer(|user: &u64, version: Option<&Version>| match version {
    ///         Some((_, Some(name))) => name.clone(),
    ///         _ => format!("user {user}"),
    ///     })
    /// });
    /// harness.push_second_at((7, Some("Ada".to_owned())), Timestamp(10));
    /// harness.push_second_at((7, None), Timestamp(20));
    /// for at in [5, 10, 20] {
    ///     harness.push_first_at(7, Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), ["user 7", "Ada", "user 7"]);
    /// ```
    pub fn apply_outer<U, F>(self, f: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        F: FnMut(&A, Option<&B>) -> U + Clone + Send + 'static,
    {
        self.each(Outer {
            f,
            out: PhantomData,
        })
    }

    /// Processes each row that has a version, with both times, accumulators and side outputs.
    ///
    /// What the function captures beside the states it declares is scratch of its subtask and never part of a
    /// checkpoint.
    pub fn process<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
        G: FnMut(&A, &B, &JoinContext, &mut Collector<'_, U>) -> Result<(), FunctionError>
            + 'static,
    {
        self.each(Inner(OpenProcess::new(open)))
    }

    fn each<O: OpenRow<A, B>>(
        self,
        function: O,
    ) -> DataStream<O::Out, impl Pipe<Out = O::Out> + use<K, A, B, S, R, O>> {
        let open = OpenTemporal {
            keys: self.keys,
            function,
            deletion: self.deletion,
            late: self.late,
        };
        join_inputs::<A, B, _>(self.rows, self.versions, "temporal_join", open)
    }
}

/// What is made of a row, at work in one subtask.
trait RowFunction<A: Record, B: Record, U: Item>: 'static {
    fn call<N: Push<U>>(
        &mut self,
        row: (&A, Timestamp),
        version: Option<&Version<B>>,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<(), FunctionError>;
}

/// The template of what is made of a row.
trait OpenRow<A: Record, B: Record>: Clone + Send + 'static {
    type Out: Item;
    type Function: RowFunction<A, B, Self::Out>;
    fn open(self, name: &str, context: &BuildContext) -> Result<Self::Function, BuildError>;
}

/// Only rows with a version.
#[derive(Clone)]
struct Inner<O>(O);

impl<A: Record, B: Record, O: OpenPair<A, B>> OpenRow<A, B> for Inner<O> {
    type Out = O::Out;
    type Function = Inner<O::Function>;

    fn open(self, name: &str, context: &BuildContext) -> Result<Self::Function, BuildError> {
        Ok(Inner(self.0.open(name, context)?))
    }
}

impl<A: Record, B: Record, U: Item, G: PairFunction<A, B, U>> RowFunction<A, B, U> for Inner<G> {
    fn call<N: Push<U>>(
        &mut self,
        (row, at): (&A, Timestamp),
        version: Option<&Version<B>>,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<(), FunctionError> {
        let Some((since, Some(version))) = version else {
            return Ok(());
        };
        let context = JoinContext::new(at, Timestamp(*since));
        self.0.call(row, version, &context, next, side)
    }
}

/// All rows.
struct Outer<F, U> {
    f: F,
    out: PhantomData<fn() -> U>,
}

impl<F: Clone, U> Clone for Outer<F, U> {
    fn clone(&self) -> Self {
        Self {
            f: self.f.clone(),
            out: PhantomData,
        }
    }
}

impl<A, B, U, F> OpenRow<A, B> for Outer<F, U>
where
    A: Record,
    B: Record,
    U: Record,
    F: FnMut(&A, Option<&B>) -> U + Clone + Send + 'static,
{
    type Out = U;
    type Function = Self;

    fn open(self, _name: &str, _context: &BuildContext) -> Result<Self, BuildError> {
        Ok(self)
    }
}

impl<A, B, U, F> RowFunction<A, B, U> for Outer<F, U>
where
    A: Record,
    B: Record,
    U: Record,
    F: FnMut(&A, Option<&B>) -> U + 'static,
{
    fn call<N: Push<U>>(
        &mut self,
        (row, at): (&A, Timestamp),
        version: Option<&Version<B>>,
        next: &mut N,
        _side: &SideOutputs,
    ) -> Result<(), FunctionError> {
        let version = version.and_then(|(_, version)| version.as_ref());
        next.push((self.f)(row, version), at);
        Ok(())
    }
}

struct OpenTemporal<K, A: Item, B: Item, S, R, O> {
    keys: KeyedBoth<K, S, R>,
    function: O,
    deletion: Deletion<B>,
    late: LateOutputs<A, B>,
}

impl<K, A: Item, B: Item, S: Clone, R: Clone, O: Clone> Clone for OpenTemporal<K, A, B, S, R, O> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            function: self.function.clone(),
            deletion: self.deletion,
            late: self.late.clone(),
        }
    }
}

impl<K, A, B, S, R, O> OpenTwoInputs<A, B> for OpenTemporal<K, A, B, S, R, O>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
    O: OpenRow<A, B>,
{
    type Out = O::Out;
    type Operator = Temporal<K, A, B, S, R, O::Function>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let (max, budget) = (info.max_parallelism, context.budget());
        let refused = |error| context.refused(name, error);
        Ok(Temporal {
            keys: self.keys,
            rows: KeyedTable::new(groups.clone(), max, budget.clone()).map_err(refused)?,
            versions: Versions::new(context, self.deletion.kept).map_err(refused)?,
            due: TimerQueue::new(groups, max, budget.clone()),
            function: self.function.open(name, context)?,
            deleted: self.deletion.is_one,
            late: LateRecords::open_two(self.late, name, context)?,
            side: context.side(),
            watermark: Timestamp::MIN,
            key: HeldKey::new(),
            joining: None,
        })
    }
}

/// The join in one subtask.
struct Temporal<K: Key, A: Record, B: Record, S, R, G> {
    keys: KeyedBoth<K, S, R>,
    /// Rows that wait, by key and time.
    rows: KeyedTable<K, Vec<A>, Timestamp>,
    versions: Versions<K, B>,
    /// When rows wait no more.
    due: TimerQueue<K>,
    function: G,
    deleted: fn(&B) -> bool,
    late: (LateRecords<A>, LateRecords<B>),
    side: Rc<SideOutputs>,
    watermark: Timestamp,
    key: HeldKey<K>,
    joining: Option<Joining<K, A>>,
}

/// The rows of one key and time, while they are joined.
struct Joining<K: Key, A> {
    hash: KeyHash,
    key: K::Stored,
    at: Timestamp,
    rows: Vec<A>,
    joined: usize,
}

fn without_time() -> FunctionError {
    FunctionError::new(
        "a record without event time reached a temporal join: give rows and versions timestamps and \
         watermarks",
    )
}

impl<K, A, B, S, R, G> Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
{
    /// Joins rows of one key and time while there is room; whether all are joined.
    fn join<U, N>(
        &mut self,
        joining: &mut Joining<K, A>,
        next: &mut N,
    ) -> Result<bool, FunctionError>
    where
        U: Item,
        G: RowFunction<A, B, U>,
        N: Push<U>,
    {
        let version = self
            .versions
            .at(joining.hash, &K::lend(&joining.key), joining.at);
        while let Some(row) = joining.rows.get(joining.joined) {
            if !next.ready() {
                return Ok(false);
            }
            let row = (row, joining.at);
            self.function.call(row, version, next, &self.side)?;
            joining.joined += 1;
        }
        Ok(true)
    }

    /// The next rows that wait no more.
    fn next_rows(&mut self) -> Option<Joining<K, A>> {
        let timer = self.due.pop_due(self.watermark)?;
        let rows = self
            .rows
            .remove_in(timer.hash, &K::lend(&timer.key), &timer.at);
        debug_assert!(rows.is_some(), "rows wait for each timer");
        Some(Joining {
            hash: timer.hash,
            key: timer.key,
            at: timer.at,
            rows: rows.unwrap_or_default(),
            joined: 0,
        })
    }
}

impl<K, A, B, S, R, G> Remembers for Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    S: 'static,
    R: 'static,
    G: 'static,
{
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        let rows = StateDescriptor::list::<A>("thalweg.rows").of_keys::<K, Timestamp>();
        visitor.visit(&rows, &mut self.rows)?;
        let due = StateDescriptor::timers("thalweg.due-rows").of_keys::<K, ()>();
        visitor.visit(&due, &mut self.due)?;
        self.versions.visit_states(visitor)
    }
}

impl<K, A, B, U, S, R, G> Lifecycle<U> for Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    U: Item,
    S: Select<A, K>,
    R: Select<B, K>,
    G: RowFunction<A, B, U>,
{
    fn prepare(&mut self, input: u32, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        if input == 1 {
            self.versions.prefetch(hashes);
        }
        Ok(())
    }

    fn watermark(&mut self, to: Timestamp) {
        self.watermark = to;
    }

    fn fire<N: Push<U>>(&mut self, next: &mut N, limit: usize) -> Result<Firing, FunctionError> {
        for _ in 0..limit {
            let Some(mut joining) = self.joining.take().or_else(|| self.next_rows()) else {
                return Ok(match self.versions.forget(self.watermark, limit)? {
                    true => Firing::More,
                    false => Firing::Done,
                });
            };
            if !self.join(&mut joining, next)? {
                self.joining = Some(joining);
                return Ok(Firing::More);
            }
        }
        Ok(Firing::More)
    }
}

impl<K, A, B, U, S, R, G> TwoInputOperator<A, B, U> for Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    U: Item,
    S: Select<A, K>,
    R: Select<B, K>,
    G: RowFunction<A, B, U>,
{
    fn first<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: A,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let key = self.key.hold(&self.keys.first.select(&item));
        if at <= self.watermark {
            if !at.is_some() {
                return Err(without_time());
            }
            match self.versions.at(hash, &key, at) {
                None => self.late.0.take(item, at),
                version => self.function.call((&item, at), version, next, &self.side)?,
            }
            return Ok(());
        }
        let rows = self.rows.fold_in(
            hash,
            &key,
            &at,
            item,
            |row| vec![row],
            |rows, row| rows.push(row),
        )?;
        if rows.len() == 1 {
            self.due.register(hash, &key, &(), at)?;
        }
        Ok(())
    }

    fn second<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: B,
        at: Timestamp,
        _next: &mut N,
    ) -> Result<(), FunctionError> {
        if !at.is_some() {
            return Err(without_time());
        }
        let key = self.key.hold(&self.keys.second.select(&item));
        if at < self.watermark && self.versions.is_replaced(hash, &key, at, self.watermark) {
            self.late.1.take(item, at);
            return Ok(());
        }
        let version = (!(self.deleted)(&item)).then_some(item);
        self.versions.insert(hash, &key, at, version)?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "temporal_tests.rs"]
mod tests;
