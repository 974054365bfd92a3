//! A source of records made from their number, as fast as they are wanted or at a rate.
//!
//! Record *i* is `make(i)` and is emitted by subtask *i* mod *p*, in order; at a rate it is due at
//! start + *i* / rate, by timers of the shard. Invariant: what is emitted depends on the number alone,
//! so a generator can be replayed from any position.

use std::marker::PhantomData;

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::source::{Boundedness, Source, SourceError};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::Record;

use crate::stride::{Produce, Stride, StrideReader};

/// Emits the record of every number from 0 on.
///
/// ```
/// use thalweg_connectors::Generator;
/// let thousand = Generator::new(1000, |i| (i % 10, i));
/// let ticks = Generator::new(None, |i| i).rate(100.0);
/// ```
#[derive(Clone, Debug)]
pub struct Generator<P> {
    count: Option<u64>,
    produce: P,
    records_per_second: Option<f64>,
}

impl<T, F> Generator<Plain<T, F>>
where
    T: Record,
    F: Fn(u64) -> T + Clone + Send + 'static,
{
    /// The records of the numbers below `count`, or of all numbers if it is `None`.
    ///
    /// `make` must answer the same for the same number whenever it is asked.
    pub fn new(count: impl Into<Option<u64>>, make: F) -> Self {
        Self::of(count.into(), Plain(make, PhantomData))
    }
}

impl<T, F> Generator<Timed<T, F>>
where
    T: Record,
    F: Fn(u64) -> (T, Timestamp) + Clone + Send + 'static,
{
    /// Like [`Generator::new`], with records that have event times.
    ///
    /// A `make` that does much may become a call that hands each record over in memory. `#[inline(always)]` before the
    /// closure, written where it is passed, lets the operators behind it be compiled with it, and of a record that they
    /// drop, or want one field of, nothing else is made.
    pub fn timed(count: impl Into<Option<u64>>, make: F) -> Self {
        Self::of(count.into(), Timed(make, PhantomData))
    }
}

impl<P> Generator<P> {
    fn of(count: Option<u64>, produce: P) -> Self {
        Self {
            count,
            produce,
            records_per_second: None,
        }
    }

    /// Emits so many records a second, over all subtasks together: record *i* is due at
    /// start + *i* / rate. A generator that was held up emits what has become due meanwhile at once.
    pub fn rate(mut self, records_per_second: f64) -> Self {
        self.records_per_second = Some(records_per_second);
        self
    }

    /// Goes on until the job is stopped.
    pub fn unbounded(mut self) -> Self {
        self.count = None;
        self
    }
}

/// Makes records without event times.
pub struct Plain<T, F>(F, PhantomData<fn() -> T>);

impl<T, F: Clone> Clone for Plain<T, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T, F> Produce for Plain<T, F>
where
    T: Record,
    F: Fn(u64) -> T + Clone + Send + 'static,
{
    type Record = T;
    const TIMESTAMPS: bool = false;

    #[inline(always)]
    fn produce(&self, number: u64) -> (T, Timestamp) {
        ((self.0)(number), Timestamp::NONE)
    }
}

/// Makes records with event times.
pub struct Timed<T, F>(F, PhantomData<fn() -> T>);

impl<T, F: Clone> Clone for Timed<T, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T, F> Produce for Timed<T, F>
where
    T: Record,
    F: Fn(u64) -> (T, Timestamp) + Clone + Send + 'static,
{
    type Record = T;
    const TIMESTAMPS: bool = true;

    #[inline(always)]
    fn produce(&self, number: u64) -> (T, Timestamp) {
        (self.0)(number)
    }
}

impl<P: Produce> Source for Generator<P> {
    type Item = P::Record;
    type Split = Stride;
    type Reader = StrideReader<P>;

    fn name(&self) -> String {
        "generator".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        match self.count {
            Some(_) => Boundedness::Bounded,
            None => Boundedness::Unbounded,
        }
    }

    fn timestamps(&self) -> bool {
        P::TIMESTAMPS
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<Stride>, SourceError> {
        if let Some(rate) = self.records_per_second
            && !(rate.is_finite() && rate > 0.0)
        {
            let message = format!(
                "a generator cannot emit {rate} records a second: give .rate() a number above 0"
            );
            return Err(SourceError::new(ErrorKind::Invalid, message));
        }
        Ok(Stride::deal(0, self.count.map(u128::from), parallelism))
    }

    fn open(
        &self,
        splits: Vec<Stride>,
        _subtask: &SubtaskInfo,
    ) -> Result<StrideReader<P>, SourceError> {
        let produce = self.produce.clone();
        Ok(StrideReader::new(splits, produce, self.records_per_second))
    }
}
