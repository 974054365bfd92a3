//! `temporal_join`: each row of a stream with the version of a changing table that was valid at the
//! row's time.
//!
//! Here is what programs say of one: what a deletion is, late records, the function. `operator` is the join in a
//! subtask, `versions` how it keeps those of the table, `row` what is made of a row, `resident` what is sought of both
//! where they may be on disk.

mod operator;
mod resident;
mod row;
#[cfg(test)]
mod tests;
mod versions;

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_core::event_time::covering_ms;
use thalweg_memory::record::{Item, Key, Record};

use self::operator::OpenTemporal;
use self::row::{Inner, OpenRow, Outer};
use super::function::{Apply, JoinContext, OpenProcess};
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
        self.deletion.kept = Some(covering_ms(time));
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
    /// What the function captures is scratch of its subtask and never part of a checkpoint. It has no keyed states:
    /// one that is declared fails the job at its start.
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
