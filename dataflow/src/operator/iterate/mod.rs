//! `iterate`: a part of a program whose output comes back as its input.
//!
//! The room is entered from two sides. Programs enter through [`DataStream::iterate`] and
//! [`KeyedStream::iterate`], which put an edge into the graph that leads back to the head of the loop.
//! Tasks enter through the head of that chain (`circuit`), which reads what came back first and finds
//! out, together with the heads of the other subtasks (`rest`, `laps`), when nothing is left in the
//! loop.
//!
//! Invariant: the edge that leads back never stops its writer, so no task of a loop waits for itself.
//! What finds no credit on it waits in segments, as bytes, charged to the slot of the writer.

mod circuit;
mod laps;
mod rest;

pub(crate) use circuit::{Circuit, IterationPlan, Onward};
pub(crate) use laps::LapCombiner;

use std::time::Duration;

use thalweg_memory::record::{Key, Wire};

use crate::partition::Select;
use crate::stream::{
    DataStream, Draft, ExchangeInput, Exchanged, Grouping, KeyedInput, KeyedStream, Pipe,
};

/// The accumulator in which a loop that was given up counts the records that came back after that.
pub const FEEDBACK_DROPPED: &str = "numFeedbackRecordsDropped";

/// The inputs of a head: from outside, back from the body, from the other heads.
pub(crate) const OUTSIDE: u32 = 0;
pub(crate) const FEEDBACK: u32 = 1;
pub(crate) const VOTES: u32 = 2;

impl<T: Wire, P: Pipe<Out = T>> DataStream<T, P> {
    /// Begins a loop: what [`Iteration::close_with`] sends back joins this stream.
    ///
    /// Numbers that count down at their own pace:
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<i64, i64>::new(|numbers| {
    ///     numbers.iterate().close_with(|numbers| {
    ///         let less = numbers.map(|number| number - 3).share();
    ///         let again = less.stream().filter(|number| *number >= 3);
    ///         let done = less.stream().filter(|number| *number < 3);
    ///         (again, done)
    ///     })
    /// });
    /// harness.push(10);
    /// harness.push(3);
    /// harness.finish();
    /// let mut rests = harness.output();
    /// rests.sort();
    /// assert_eq!(rests, [0, 1]);
    /// assert_eq!(harness.failure(), None);
    /// ```
    pub fn iterate(self) -> Iteration<DataStream<T, ExchangeInput<T>>> {
        let head = Draft::begin(self.draft.graph());
        self.into_input().absorb_into(&head, OUTSIDE);
        head.add("iterate", "iterate");
        head.begin_iteration(VOTES);
        Iteration {
            head: head.same(),
            body: DataStream::new(ExchangeInput::new(), head),
        }
    }
}

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Begins a loop whose records are grouped by the key of this stream, those from outside and those
    /// that come back: the first operator of the body may keep state per key, without an exchange of
    /// its own.
    ///
    /// The nearest of some places, each reached over roads of a length:
    ///
    /// ```
    /// use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// /// From, to, length.
    /// const ROADS: [(u64, u64, u64); 4] = [(1, 2, 7), (1, 3, 2), (3, 2, 3), (2, 4, 1)];
    /// type Reached = (u64, u64);
    ///
    /// let mut harness = TestHarness::<Reached, Reached>::new(|starts| {
    ///     starts.key_by(|reached: &Reached| reached.0).iterate().close_with(|reached| {
    ///         let nearer = reached.process(|open: &mut OpenContext<u64>| {
    ///             let mut nearest = open.value_state::<u64>("nearest");
    ///             move |reached: Reached, _: &ProcessContext<u64>, out: &mut Collector<'_, Reached>| {
    ///                 if nearest.get()?.is_none_or(|known| reached.1 < known) {
    ///                     nearest.set(reached.1)?;
    ///                     out.emit(reached);
    ///                 }
    ///                 Ok(())
    ///             }
    ///         });
    ///         let nearer = nearer.share();
    ///         let on = nearer.stream().flat_map(|(place, so_far): Reached, out: &mut Collector<'_, Reached>| {
    ///             for (_, to, length) in ROADS.iter().filter(|road| road.0 == place) {
    ///                 out.emit((*to, so_far + length));
    ///             }
    ///         });
    ///         (on, nearer.stream())
    ///     })
    /// });
    /// harness.push((1, 0));
    /// harness.finish();
    /// let mut nearest = std::collections::BTreeMap::new();
    /// for (place, length) in harness.output() {
    ///     nearest.entry(place).and_modify(|least: &mut u64| *least = length.min(*least)).or_insert(length);
    /// }
    /// assert_eq!(nearest.into_iter().collect::<Vec<_>>(), [(1, 0), (2, 5), (3, 2), (4, 6)]);
    /// ```
    pub fn iterate(self) -> Iteration<KeyedStream<K, T, S, Exchanged>> {
        let (head, selector) = self.into_draft();
        head.begin_iteration(VOTES);
        Iteration {
            head: head.same(),
            body: KeyedStream::new(Exchanged(head), selector),
        }
    }
}

/// A loop that has begun: `B` is the stream its body reads.
///
/// **What comes back.** The body reads the records from outside and those it sends back, in no order
/// between them; each edge on the way keeps its order, and what came back is read first. A stream that
/// was just repartitioned keeps its partitioner on the way back, others go subtask to subtask; in a
/// keyed loop they are grouped by the key again. The body may be any part of a program: exchanges, keyed
/// operators with state, timers and windows, other streams that join it.
///
/// **End.** When every stream from outside has ended, those that join the body too, and nothing is left
/// in the loop, the body's input ends. That is found out, not guessed from a pause: marks follow the
/// records around the loop until a round in which nothing came back to any subtask. An operator that
/// emits only when its input ends must not send that back: the job fails then and names the loop. A loop
/// over a stream without end does not end.
///
/// **Event time.** Records keep their times on the way back. The edge that leads back holds no watermark
/// back: that of the body is the one from outside, so records that come back may be late for windows and
/// timers, of the body and behind it. Only the last watermark, which says that all has come, waits until
/// nothing is left in the loop; what windows of the body send back then goes around once more.
///
/// **Memory.** What is in the loop is bounded by what the exchanges of its body hold as long as records
/// do not multiply in it, because nothing is taken from outside while something waits at the head. What
/// finds no credit on the edge that leads back waits in segments, charged to the slot; where they are
/// used up the job fails and names the settings to raise.
///
/// **Limits.** Jobs with loops run in STREAMING mode and without checkpoints: what is on its way back is in
/// none yet. Loops may follow one another, but not contain one another.
#[must_use = "a loop does nothing until it is closed"]
pub struct Iteration<B> {
    head: Draft,
    body: B,
}

impl<B> Iteration<B> {
    /// Gives the loop up when nothing has come back for so long after the streams from outside have
    /// ended, though something may be on its way: for bodies that wait for something that may never come.
    /// Without it the loop waits until it is empty. Each subtask waits by itself.
    ///
    /// What comes back later is dropped, and counted in the accumulator [`FEEDBACK_DROPPED`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::AsyncIo;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|requests| {
    ///     requests.iterate().max_wait(Duration::from_secs(10)).close_with(|requests| {
    ///         let answers = requests.async_io(AsyncIo::ordered(), |number| async move {
    ///             if number > 2 {
    ///                 std::future::pending::<()>().await; // Nobody answers.
    ///             }
    ///             Ok([number + 1])
    ///         });
    ///         let answers = answers.share();
    ///         (answers.stream(), answers.stream())
    ///     })
    /// });
    /// harness.push(1);
    /// harness.finish();
    /// harness.advance_processing_time(Duration::from_secs(11));
    /// assert_eq!(harness.output(), [2, 3]);
    /// ```
    pub fn max_wait(self, wait: Duration) -> Self {
        self.head.iteration(|plan| plan.max_wait = Some(wait));
        self
    }
}

impl<T: Wire> Iteration<DataStream<T, ExchangeInput<T>>> {
    /// Closes the loop: `body` makes of its stream what goes back and what leaves the loop, which may be
    /// a stream, several or none. Answers the latter.
    pub fn close_with<Q, O>(
        self,
        body: impl FnOnce(DataStream<T, ExchangeInput<T>>) -> (DataStream<T, Q>, O),
    ) -> O
    where
        Q: Pipe<Out = T>,
    {
        let (back, out) = body(self.body);
        back.into_input().lead_back_to(&self.head, FEEDBACK);
        out
    }
}

impl<K, T, S> Iteration<KeyedStream<K, T, S, Exchanged>>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
{
    /// Closes the loop: `body` makes of its stream what goes back, where it is grouped by the key again,
    /// and what leaves the loop, which may be a stream, several or none. Answers the latter.
    pub fn close_with<Q, O>(
        self,
        body: impl FnOnce(KeyedStream<K, T, S, Exchanged>) -> (DataStream<T, Q>, O),
    ) -> O
    where
        Q: Pipe<Out = T>,
    {
        let selector = self.body.selector.clone();
        let (back, out) = body(self.body);
        let (back, _) = KeyedStream::<K, T, S, _>::new(Grouping(back), selector).into_draft();
        back.lead_back_to(&self.head, FEEDBACK);
        out
    }
}

#[cfg(test)]
mod tests;
