//! `join` and `co_group`: what two keyed streams have in the same window.
//!
//! Both streams become one of [`Either`] and that is cut into windows, so everything that is true of
//! windows (triggers, evictors, lateness, sessions that merge over both streams) is true of joins.
//! Lives on one shard.

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_memory::record::{Item, Key, Record};

use super::either::{Either, EitherStream, SelectEither, either};
use super::pairs::Pairs;
use crate::function::{Collector, FunctionError, OutputTag};
use crate::partition::{Select, SelectOwned};
use crate::stream::{DataStream, Exchanged, Grouping, KeyedStream, Pipe, WindowedStream};
use crate::window::assigner::WindowAssigner;
use crate::window::evictor::Evictor;
use crate::window::function::{Eviction, NoEvictor, With};
use crate::window::trigger::Trigger;
use crate::window::{WindowContext, WindowElements, WindowFunction, WindowOpenContext};

/// A stream keyed by the closure `F`.
type KeyedBy<K, A, F, P> = KeyedStream<K, A, SelectOwned<F>, Grouping<A, P>>;

impl<A: Record, P: Pipe<Out = A>> DataStream<A, P> {
    /// Joins this stream (the left one) with another (the right one) by key and window:
    /// `.where_key(of left).equal_to(of right).window(…).apply(…)`.
    ///
    /// Bids and sales of one article in the same minute:
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// type Bid = (u64, u64);
    /// type Sale = (u64, String);
    /// let mut harness = TwoInputHarness::<Bid, Sale, String>::new(|bids, sales| {
    ///     (bids.join(sales))
    ///         .where_key(|bid: &Bid| bid.0)
    ///         .equal_to(|sale: &Sale| sale.0)
    ///         .window(TumblingWindows::event_time(Duration::from_secs(60)))
    ///         .apply(|bid: &Bid, sale: &Sale| format!("{} for {}", sale.1, bid.1))
    /// });
    /// harness.push_first_at((7, 100), Timestamp(1_000));
    /// harness.push_second_at((7, "tea".to_owned()), Timestamp(59_999));
    /// harness.push_first_at((7, 200), Timestamp(60_000));
    /// harness.finish();
    /// assert_eq!(harness.output(), ["tea for 100"]);
    /// ```
    pub fn join<B: Record, Q: Pipe<Out = B>>(
        self,
        right: DataStream<B, Q>,
    ) -> JoinStreams<A, B, P, Q> {
        JoinStreams { left: self, right }
    }
}

/// Two streams to be joined by a key.
#[must_use = "a join does nothing until it has keys, windows and a function"]
pub struct JoinStreams<A: Record, B: Record, P: Pipe<Out = A>, Q: Pipe<Out = B>> {
    left: DataStream<A, P>,
    right: DataStream<B, Q>,
}

impl<A: Record, B: Record, P: Pipe<Out = A>, Q: Pipe<Out = B>> JoinStreams<A, B, P, Q> {
    /// The key of a left record.
    pub fn where_key<K, F>(self, selector: F) -> JoinWhere<B, KeyedBy<K, A, F, P>, Q>
    where
        K: Key + Record,
        F: for<'b> Fn(&'b A) -> K + Clone + Send + 'static,
    {
        JoinWhere {
            left: self.left.key_by(selector),
            right: self.right,
        }
    }
}

/// Two streams of which the left one has a key.
#[must_use = "a join does nothing until it has keys, windows and a function"]
pub struct JoinWhere<B: Record, L, Q: Pipe<Out = B>> {
    left: L,
    right: DataStream<B, Q>,
}

impl<K, A, B, S, P, Q> JoinWhere<B, KeyedStream<K, A, S, Grouping<A, P>>, Q>
where
    K: Key + Record,
    A: Record,
    B: Record,
    S: Select<A, K>,
    P: Pipe<Out = A>,
    Q: Pipe<Out = B>,
{
    /// The key of a right record.
    pub fn equal_to<F>(self, selector: F) -> JoinedStreams<K, A, B, S, SelectOwned<F>>
    where
        F: for<'b> Fn(&'b B) -> K + Clone + Send + 'static,
    {
        self.left.join(self.right.key_by(selector))
    }
}

impl<K, A, S, P> KeyedStream<K, A, S, Grouping<A, P>>
where
    K: Key,
    A: Record,
    S: Select<A, K>,
    P: Pipe<Out = A>,
{
    /// Joins this stream (the left one) with another of the same key (the right one) by window: the
    /// same as [`DataStream::join`] where both streams have their keys already.
    pub fn join<B, R, Q>(
        self,
        right: KeyedStream<K, B, R, Grouping<B, Q>>,
    ) -> JoinedStreams<K, A, B, S, R>
    where
        B: Record,
        R: Select<B, K>,
        Q: Pipe<Out = B>,
    {
        JoinedStreams {
            both: either(self, right),
        }
    }
}

/// Two streams with the same key, to be joined by window.
#[must_use = "a join does nothing until it has windows and a function"]
pub struct JoinedStreams<K: Key, A: Record, B: Record, S, R> {
    both: EitherStream<K, A, B, S, R>,
}

impl<K, A, B, S, R> JoinedStreams<K, A, B, S, R>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
{
    /// The windows in which records meet.
    pub fn window<W: WindowAssigner<Either<A, B>>>(
        self,
        assigner: W,
    ) -> WindowJoin<K, A, B, S, R, W, W::DefaultTrigger> {
        WindowJoin {
            windows: self.both.window(assigner),
        }
    }
}

type EitherWindows<K, A, B, S, R, W, G, E> =
    WindowedStream<K, Either<A, B>, SelectEither<S, R>, Exchanged, W, G, E>;

/// A join of two streams by key and window.
///
/// A window of a key holds the records of both streams and speaks when its trigger says so, by default
/// when the watermark (the lower one of both streams) passes its end. What is emitted has the window's
/// last time. Sessions merge over both streams: a record of either keeps them open.
///
/// [`apply`](Self::apply) and [`process`](Self::process) are inner joins: a record without a partner
/// in its window gives nothing. [`co_group`](Self::co_group) is called with all records of a window,
/// also where one stream has none: left, right and full outer joins are written with it.
///
/// **Memory.** The records of both streams are kept until their window is forgotten. The pairs of a
/// window are made as there is room downstream, a bounded number in a turn: a key with very many pairs
/// takes time, but no memory for them. While a window gives out its pairs, the records behind it wait.
/// What a co-group makes of a window is made in one call; what of that finds no room waits in memory of
/// the slot, and where that is used up the job fails and says so.
#[must_use = "a join does nothing until it has a function"]
pub struct WindowJoin<K: Key, A: Record, B: Record, S, R, W, G, E = NoEvictor> {
    windows: EitherWindows<K, A, B, S, R, W, G, E>,
}

impl<K: Key, A: Record, B: Record, S, R, W, G, E> WindowJoin<K, A, B, S, R, W, G, E> {
    /// Lets another trigger say when windows speak; see [`WindowedStream::trigger`].
    pub fn trigger<H: Trigger<Either<A, B>>>(
        self,
        trigger: H,
    ) -> WindowJoin<K, A, B, S, R, W, H, E> {
        WindowJoin {
            windows: self.windows.trigger(trigger),
        }
    }

    /// Keeps windows for so long after the watermark has passed their end: a record that comes by
    /// then lets its window speak again, with all it holds. See [`WindowedStream::allowed_lateness`].
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self {
            windows: self.windows.allowed_lateness(lateness),
        }
    }

    /// Sends records that come too late for all their windows to a side output.
    pub fn late_output(self, tag: &OutputTag<Either<A, B>>) -> Self {
        Self {
            windows: self.windows.late_output(tag),
        }
    }
}

impl<K, A, B, S, R, W, G> WindowJoin<K, A, B, S, R, W, G, NoEvictor>
where
    K: Key,
    A: Record + Clone,
    B: Record + Clone,
{
    /// Lets an evictor remove records from windows that speak; see [`WindowedStream::evictor`].
    pub fn evictor<E: Evictor<Either<A, B>>>(
        self,
        evictor: E,
    ) -> WindowJoin<K, A, B, S, R, W, G, With<E>> {
        WindowJoin {
            windows: self.windows.evictor(evictor),
        }
    }
}

impl<K, A, B, S, R, W, G, E> WindowJoin<K, A, B, S, R, W, G, E>
where
    K: Key,
    A: Record + Clone,
    B: Record + Clone,
    S: Select<A, K>,
    R: Select<B, K>,
    W: WindowAssigner<Either<A, B>>,
    G: Trigger<Either<A, B>>,
    E: Eviction<K, Either<A, B>> + Evictor<Either<A, B>>,
{
    /// Makes one result of each pair of a left and a right record in the same window.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    pub fn apply<U, F>(self, f: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        F: FnMut(&A, &B) -> U + Clone + Send + 'static,
    {
        self.process(move |_open: &mut WindowOpenContext<K>| {
            let mut f = f.clone();
            move |left: &A, right: &B, _: &WindowContext<K>, out: &mut Collector<'_, U>| {
                out.emit(f(left, right));
                Ok(())
            }
        })
    }

    /// Processes each pair of a left and a right record in the same window, with the window, states of
    /// the key, accumulators and side outputs.
    ///
    /// What the function captures beside the states it declares is scratch of its subtask and never part of a
    /// checkpoint.
    pub fn process<U, F, H>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
        H: FnMut(&A, &B, &WindowContext<K>, &mut Collector<'_, U>) -> Result<(), FunctionError>
            + 'static,
    {
        let windows = self.windows;
        windows.speak("window join", move |context: &mut WindowOpenContext<K>| {
            let budget = context.budget().clone();
            Pairs::<A, B, _>::new(open(context), budget)
        })
    }

    /// Calls a function with all left and all right records of each window, in the order in which
    /// they came. One of the two may be empty.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// Every order with its payments, also where there are none:
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::Collector;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// type Order = (u64, String);
    /// type Payment = (u64, u64);
    /// let mut harness = TwoInputHarness::<Order, Payment, String>::new(|orders, payments| {
    ///     let orders = orders.key_by(|order: &Order| order.0);
    ///     let joined = orders.join(payments.key_by(|payment: &Payment| payment.0));
    ///     let hours = joined.window(TumblingWindows::event_time(Duration::from_secs(3_600)));
    ///     hours.co_group(|orders: &[&Order], payments: &[&Payment], out: &mut Collector<'_, String>| {
    ///         let paid: u64 = payments.iter().map(|payment| payment.1).sum();
    ///         orders.iter().for_each(|order| out.emit(format!("{}: {paid}", order.1)));
    ///     })
    /// });
    /// harness.push_first_at((1, "tea".to_owned()), Timestamp(5));
    /// harness.push_second_at((1, 20), Timestamp(6));
    /// harness.push_second_at((1, 15), Timestamp(7));
    /// harness.push_first_at((1, "milk".to_owned()), Timestamp(3_600_000));
    /// harness.finish();
    /// assert_eq!(harness.output(), ["tea: 35", "milk: 0"]);
    /// ```
    pub fn co_group<U, F>(self, f: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: for<'a, 'b, 'c> FnMut(&'a [&'a A], &'a [&'a B], &'b mut Collector<'c, U>)
            + Clone
            + Send
            + 'static,
    {
        self.co_group_process(move |_open: &mut WindowOpenContext<K>| {
            let mut f = f.clone();
            move |left: &[&A],
                  right: &[&B],
                  _context: &WindowContext<K>,
                  out: &mut Collector<'_, U>| {
                f(left, right, out);
                Ok(())
            }
        })
    }

    /// The same with the window, states of the key, accumulators and side outputs.
    ///
    /// What the function captures beside the states it declares is scratch of its subtask and never part of a
    /// checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::Collector;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    /// use thalweg_dataflow::window::{WindowContext, WindowOpenContext};
    ///
    /// let mut harness = TwoInputHarness::<u64, u64, (i64, u64)>::new(|views, clicks| {
    ///     let (views, clicks) = (views.key_by(|page| *page), clicks.key_by(|page| *page));
    ///     let joined = views.join(clicks).window(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     joined.co_group_process(|open: &mut WindowOpenContext<u64>| {
    ///         let mut unseen = open.value_state::<u64>("views without clicks");
    ///         move |views: &[&u64], clicks: &[&u64], context: &WindowContext<u64>, out: &mut Collector<'_, _>| {
    ///             if clicks.is_empty() {
    ///                 unseen.update(|unseen| *unseen += views.len() as u64)?;
    ///             }
    ///             out.emit((context.window().end.0, unseen.get()?.unwrap_or_default()));
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// harness.push_first_at(7, Timestamp(3));
    /// harness.push_first_at(7, Timestamp(13));
    /// harness.push_second_at(7, Timestamp(14));
    /// harness.push_first_at(7, Timestamp(25));
    /// harness.finish();
    /// assert_eq!(harness.output(), [(10, 1), (20, 1), (30, 2)]);
    /// ```
    pub fn co_group_process<U, F, H>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
        H: FnMut(
                &[&A],
                &[&B],
                &WindowContext<K>,
                &mut Collector<'_, U>,
            ) -> Result<(), FunctionError>
            + 'static,
    {
        let windows = self.windows;
        windows.process_function(move |context: &mut WindowOpenContext<K>| {
            Groups(open(context), PhantomData)
        })
    }
}

/// The records of a window, apart.
fn apart<A: Record, B: Record>(elements: &WindowElements<Either<A, B>>) -> (Vec<&A>, Vec<&B>) {
    let left = elements.iter().filter_map(Either::left).collect();
    let right = elements.iter().filter_map(Either::right).collect();
    (left, right)
}

/// Calls a function with both sides of a window.
struct Groups<A, B, H>(H, PhantomData<fn(A, B)>);

impl<K, A, B, U, H> WindowFunction<K, Either<A, B>, U> for Groups<A, B, H>
where
    K: Key,
    A: Record,
    B: Record,
    U: Item,
    H: FnMut(&[&A], &[&B], &WindowContext<K>, &mut Collector<'_, U>) -> Result<(), FunctionError>
        + 'static,
{
    fn process(
        &mut self,
        elements: &WindowElements<Either<A, B>>,
        context: &WindowContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError> {
        let (left, right) = apart(elements);
        (self.0)(&left, &right, context, out)
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
