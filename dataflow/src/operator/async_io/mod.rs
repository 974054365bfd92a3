//! `async_io`: asks something outside for each record, many at a time, without blocking.
//!
//! The function answers a future per record. Futures run on the connector runtime, results come
//! back into the chain in the order of the records or as they arrive, and never overtake a
//! watermark. When as many are under way as the capacity allows, the records wait: that is
//! back-pressure.

mod attempt;
mod queue;
mod stage;
mod unanswered;

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use thalweg_memory::record::Record;

use crate::function::FunctionError;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Head, Push};
use stage::AsyncStage;
pub use unanswered::Unanswered;

/// The highest capacity: there is room set aside for as many outcomes, twice.
const MOST_UNDER_WAY: usize = 1 << 19;

/// How asynchronous requests are made.
///
/// ```
/// use std::time::Duration;
/// use thalweg_dataflow::operator::{AsyncIo, Retry};
///
/// let how = AsyncIo::unordered()
///     .capacity(200)
///     .timeout(Duration::from_secs(1))
///     .retry(Retry::times(3).backoff(Duration::from_millis(50)));
/// ```
#[derive(Clone, Debug)]
pub struct AsyncIo {
    pub(super) ordered: bool,
    pub(super) capacity: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Retry,
}

impl AsyncIo {
    /// Results in the order of their records.
    pub fn ordered() -> Self {
        Self {
            ordered: true,
            capacity: 100,
            timeout: None,
            retry: Retry::times(0),
        }
    }

    /// Results as they arrive. A watermark still comes after the results of all records before it
    /// and before those of all records behind it.
    pub fn unordered() -> Self {
        Self {
            ordered: false,
            ..Self::ordered()
        }
    }

    /// How many records may be under way at once; 100 unless said otherwise, at least 1, at most half
    /// a million.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.clamp(1, MOST_UNDER_WAY);
        self
    }

    /// How long one attempt may take. Without it a request may take for ever.
    ///
    /// It counts anew for each attempt (Flink's counts for all attempts at a record together): with
    /// [`Retry::times`] of 2 a record may take three timeouts and two pauses. When the last attempt takes too long the
    /// job fails.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether and when a failed or timed out attempt is made again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

/// When a failed attempt is made again: after a pause that grows.
#[derive(Clone, Debug)]
pub struct Retry {
    times: u32,
    first: Duration,
    multiplier: u32,
    longest: Duration,
}

impl Retry {
    /// At most so many more attempts, 100 ms after a failure, then after 200 ms, 400 ms, …, at most
    /// 10 s.
    pub fn times(times: u32) -> Self {
        Self {
            times,
            first: Duration::from_millis(100),
            multiplier: 2,
            longest: Duration::from_secs(10),
        }
    }

    /// The first pause.
    pub fn backoff(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// By what each pause is multiplied to get the next: 1 for equal pauses.
    pub fn multiplier(mut self, multiplier: u32) -> Self {
        self.multiplier = multiplier;
        self
    }

    /// The longest pause.
    pub fn at_most(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// The pause before attempt number `attempt` (1 is the first retry), if there is to be one.
    pub(super) fn pause(&self, attempt: u32) -> Option<Duration> {
        if attempt > self.times {
            return None;
        }
        let factor = self.multiplier.saturating_pow(attempt - 1);
        Some(self.first.saturating_mul(factor).min(self.longest))
    }
}

impl<T: Record + Clone, P: Pipe<Out = T>> DataStream<T, P> {
    /// Asks for each record and goes on with what the answers hold: none, one or more records each.
    /// They have the event time of the record they answer.
    ///
    /// A watermark, and a checkpoint's barrier, goes on when all records before it are answered: no
    /// request is part of a checkpoint, and after a failure the records behind the last one are asked
    /// about again. So a request that takes long holds up the checkpoint: give it a timeout.
    ///
    /// An attempt that fails or takes longer than the timeout is made again as [`AsyncIo::retry`]
    /// says; when none is left the job fails with the operator's name and the error. To go on
    /// instead, turn the error into a result inside the future: an error that was turned into one is never asked about
    /// again. The timeout of [`AsyncIo::timeout`] is no error the future sees: what becomes of a record that no attempt
    /// answered in time is for [`DataStream::async_io_or_else`] to say. What the closure captures is scratch of its
    /// subtask and never part of a checkpoint.
    ///
    /// The futures run on the connector runtime (`thalweg.connector.threads`), a tokio runtime:
    /// tokio's sockets and timers work in them. They must not block its threads.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::AsyncIo;
    ///
    /// let mut harness = TestHarness::<u64, String>::new(|numbers| {
    ///     numbers.async_io(AsyncIo::ordered(), |number| async move {
    ///         Ok([format!("answer to {number}")])
    ///     })
    /// });
    /// harness.push(7);
    /// assert_eq!(harness.output(), ["answer to 7"]);
    /// ```
    ///
    /// What cannot be answered is a result, and no attempt is made again for it; what may yet be answered is asked
    /// again, three times in all, and fails the job if that was in vain:
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_dataflow::FunctionError;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::{AsyncIo, Retry};
    /// # use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    /// # static BUSY: AtomicBool = AtomicBool::new(true);
    ///
    /// enum Unanswered {
    ///     NoSuchItem,
    ///     Busy,
    /// }
    /// # async fn price_of(item: u64) -> Result<u64, Unanswered> {
    /// #     match item {
    /// #         9 => Err(Unanswered::NoSuchItem),
    /// #         _ if BUSY.swap(false, Relaxed) => Err(Unanswered::Busy),
    /// #         _ => Ok(item * 10),
    /// #     }
    /// # }
    ///
    /// let mut harness = TestHarness::<u64, (u64, Option<u64>)>::new(|items| {
    ///     let how = AsyncIo::unordered()
    ///         .capacity(50)
    ///         .timeout(Duration::from_secs(1))
    ///         .retry(Retry::times(2).backoff(Duration::from_millis(20)));
    ///     items.async_io(how, |item| async move {
    ///         match price_of(item).await {
    ///             Ok(price) => Ok([(item, Some(price))]),
    ///             Err(Unanswered::NoSuchItem) => Ok([(item, None)]),
    ///             Err(Unanswered::Busy) => Err(FunctionError::new("the shop is busy")),
    ///         }
    ///     })
    /// });
    /// harness.push(3); // The shop is busy.
    /// harness.push(9);
    /// assert_eq!(harness.output(), [(9, None)]);
    /// harness.advance_processing_time(Duration::from_millis(20));
    /// assert_eq!(harness.output(), [(3, Some(30))]);
    /// ```
    pub fn async_io<U, R, A, F>(self, how: AsyncIo, ask: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        R: IntoIterator<Item = U> + Send + 'static,
        A: Future<Output = Result<R, FunctionError>> + Send + 'static,
        F: FnMut(T) -> A + Clone + Send + 'static,
    {
        self.async_io_or_else(how, ask, |_, unanswered: Unanswered| {
            Err(FunctionError::from(unanswered))
        })
    }

    /// As [`DataStream::async_io`]; where no attempt at a record is left, `otherwise` says what is to stand in place of
    /// its answer, by the record and why there is none. It runs on the shard, so it must not block; what it answers as
    /// an error fails the job. It is Flink's `AsyncFunction.timeout`, and hears of errors too.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_dataflow::FunctionError;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::{AsyncIo, Unanswered};
    /// # async fn price_of(item: u64) -> Result<u64, FunctionError> {
    /// #     if item == 9 { std::future::pending::<()>().await; }
    /// #     Ok(item * 10)
    /// # }
    ///
    /// let mut harness = TestHarness::<u64, (u64, Option<u64>)>::new(|items| {
    ///     items.async_io_or_else(
    ///         AsyncIo::unordered().timeout(Duration::from_millis(50)),
    ///         |item| async move { Ok([(item, Some(price_of(item).await?))]) },
    ///         |item, why: Unanswered| match why.timed_out() {
    ///             true => Ok([(item, None)]),
    ///             false => Err(why.into()),
    ///         },
    ///     )
    /// });
    /// harness.push(9);
    /// harness.push(3);
    /// assert_eq!(harness.output(), [(3, Some(30))]);
    /// harness.advance_processing_time(Duration::from_millis(50));
    /// assert_eq!(harness.output(), [(9, None)]);
    /// ```
    pub fn async_io_or_else<U, R, A, F, G>(
        self,
        how: AsyncIo,
        ask: F,
        otherwise: G,
    ) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        R: IntoIterator<Item = U> + Send + 'static,
        A: Future<Output = Result<R, FunctionError>> + Send + 'static,
        F: FnMut(T) -> A + Clone + Send + 'static,
        G: FnMut(T, Unanswered) -> Result<R, FunctionError> + Clone + Send + 'static,
    {
        self.then("async_io", |pipe, place| AsyncPipe {
            pipe,
            how,
            functions: (ask, otherwise),
            place,
            out: PhantomData,
        })
    }
}

/// `F`: what asks, and what answers otherwise.
struct AsyncPipe<P, F, U> {
    pipe: P,
    how: AsyncIo,
    functions: F,
    place: usize,
    out: PhantomData<fn() -> U>,
}

impl<P: Clone, F: Clone, U> Clone for AsyncPipe<P, F, U> {
    fn clone(&self) -> Self {
        Self {
            pipe: self.pipe.clone(),
            how: self.how.clone(),
            functions: self.functions.clone(),
            place: self.place,
            out: PhantomData,
        }
    }
}

impl<P, U, R, A, F, G> Pipe for AsyncPipe<P, (F, G), U>
where
    P: Pipe<Out: Record + Clone>,
    U: Record,
    R: IntoIterator<Item = U> + Send + 'static,
    A: Future<Output = Result<R, FunctionError>> + Send + 'static,
    F: FnMut(P::Out) -> A + Clone + Send + 'static,
    G: FnMut(P::Out, Unanswered) -> Result<R, FunctionError> + Clone + Send + 'static,
{
    type Out = U;

    fn build<N: Push<U> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let name = context.operator_name(self.place);
        let next = context.telling(self.place, next);
        let stage = AsyncStage::new(name, self.how, self.functions, next, context);
        self.pipe.build(stage, context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Poll;

    use super::*;
    use crate::harness::TestHarness;

    /// Pending so many times.
    async fn later(times: u64) {
        let mut left = times;
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn asked(how: AsyncIo) -> Vec<u64> {
        let mut harness = TestHarness::<u64, u64>::new(|numbers| {
            numbers
                .flat_map(|count: u64, out: &mut crate::Collector<u64>| {
                    (0..count).for_each(|number| out.emit(number));
                })
                .async_io(how, |number| async move {
                    later((7 * number) % 11).await;
                    Ok([number])
                })
        });
        harness.push(100);
        harness.finish();
        harness.output()
    }

    #[test]
    fn answers_come_in_the_order_of_their_records_or_as_they_arrive() {
        let all: Vec<u64> = (0..100).collect();
        for capacity in [1, 3, 1000] {
            assert_eq!(asked(AsyncIo::ordered().capacity(capacity)), all);
        }
        let mut arrived = asked(AsyncIo::unordered().capacity(50));
        assert_ne!(arrived, all, "the slow ones come later");
        arrived.sort_unstable();
        assert_eq!(arrived, all);
    }

    fn failing(times: u32, how: AsyncIo) -> (Vec<u32>, Option<String>) {
        let tried = Arc::new(AtomicU32::new(0));
        let mut harness = TestHarness::<u64, u32>::new(|numbers| {
            numbers.async_io(how, move |_| {
                let tried = Arc::clone(&tried);
                async move {
                    let before = tried.fetch_add(1, Ordering::Relaxed);
                    if before < times {
                        return Err(FunctionError::new("the line is busy"));
                    }
                    Ok([before])
                }
            })
        });
        harness.push(1);
        harness.finish();
        (0..4).for_each(|_| harness.advance_processing_time(Duration::from_secs(1)));
        (harness.output(), harness.failure())
    }

    #[test]
    fn a_failed_attempt_is_made_again_and_the_last_fails_the_job() {
        let how = AsyncIo::ordered().retry(Retry::times(3));
        assert_eq!(failing(3, how.clone()), (vec![3], None));
        let (output, failure) = failing(4, how);
        assert!(output.is_empty());
        let failure = failure.unwrap_or_default();
        assert!(
            failure.contains("async_io") && failure.contains("the line is busy"),
            "{failure}"
        );
        assert!(failure.contains("attempt 4 of 4"), "{failure}");
    }

    #[test]
    fn what_takes_too_long_is_ended_and_made_again() {
        let tried = Arc::new(AtomicU32::new(0));
        let mut harness = TestHarness::<u64, u32>::new(|numbers| {
            let how = AsyncIo::unordered()
                .timeout(Duration::from_millis(5))
                .retry(Retry::times(1));
            numbers.async_io(how, move |_| {
                let before = tried.fetch_add(1, Ordering::Relaxed);
                async move {
                    if before == 0 {
                        std::future::pending::<()>().await;
                    }
                    Ok([before])
                }
            })
        });
        harness.push(1);
        harness.finish();
        assert!(harness.output().is_empty());
        harness.advance_processing_time(Duration::from_millis(5));
        harness.advance_processing_time(Duration::from_millis(100));
        assert_eq!(harness.output(), [1]);
    }

    #[test]
    fn what_no_attempt_answers_may_be_answered_otherwise_in_its_place() {
        let mut harness = TestHarness::<u64, String>::new(|numbers| {
            let how = AsyncIo::ordered()
                .timeout(Duration::from_millis(5))
                .retry(Retry::times(1).backoff(Duration::from_millis(1)));
            let ask = |number: u64| async move {
                match number {
                    1 => std::future::pending().await,
                    2 => Err(FunctionError::new("the line is busy")),
                    _ => Ok(vec![number.to_string()]),
                }
            };
            numbers.async_io_or_else(how, ask, |number, why: Unanswered| {
                let (attempts, late, message) = (why.attempts(), why.timed_out(), why.message());
                Ok(vec![format!("{number} {attempts} {late} {message}")])
            })
        });
        (0..4).for_each(|number| harness.push(number));
        assert_eq!(harness.output(), ["0"]);
        (0..12).for_each(|_| harness.advance_processing_time(Duration::from_millis(1)));
        let otherwise = [
            "1 2 true no answer within 5ms",
            "2 2 false the line is busy",
        ];
        assert_eq!(harness.output(), [otherwise[0], otherwise[1], "3"]);
        assert_eq!(harness.failure(), None);
    }

    #[test]
    fn an_attempt_to_be_made_again_waits_for_room_without_turns() {
        let tried = Arc::new(AtomicU32::new(0));
        let mut harness = TestHarness::<u64, u64>::new(|numbers| {
            let how = AsyncIo::ordered()
                .capacity(1)
                .timeout(Duration::from_secs(1))
                .retry(Retry::times(1).backoff(Duration::from_millis(10)));
            numbers
                .flat_map(|count: u64, out: &mut crate::Collector<u64>| {
                    (0..count).for_each(|number| out.emit(number));
                })
                .async_io(how, move |number| {
                    let before = tried.fetch_add(1, Ordering::Relaxed);
                    async move {
                        if before == 0 {
                            return Err(FunctionError::new("the line is busy"));
                        }
                        if before == 1 {
                            std::future::pending::<()>().await;
                        }
                        Ok([number])
                    }
                })
        });
        harness.push(2);
        harness.advance_processing_time(Duration::from_millis(999));
        assert!(harness.output().is_empty(), "the second one is asked still");
        harness.advance_processing_time(Duration::from_millis(20));
        assert_eq!(harness.output(), [0, 1]);
    }

    #[test]
    fn a_panic_in_a_future_fails_the_job_by_name() {
        let mut harness = TestHarness::<u64, u64>::new(|numbers| {
            numbers.async_io(AsyncIo::ordered(), |number| async move {
                assert!(number < 7, "seven is too many");
                Ok([number])
            })
        });
        harness.push(6);
        harness.push(7);
        let failure = harness.failure().unwrap_or_default();
        assert!(
            failure.contains("async_io") && failure.contains("seven is too many"),
            "{failure}"
        );
        assert_eq!(harness.output(), [6]);
    }

    #[test]
    fn pauses_grow_to_the_longest() {
        let retry = Retry::times(4)
            .backoff(Duration::from_millis(10))
            .multiplier(3)
            .at_most(Duration::from_millis(50));
        let pauses: Vec<_> = (1..=5).map(|attempt| retry.pause(attempt)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(pauses, [ms(10), ms(30), ms(50), ms(50), None]);
    }
}
