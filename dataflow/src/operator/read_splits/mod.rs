//! `read_splits`: records that name pieces of an input, read where they arrive.
//!
//! For inputs that one task discovers and many read: the discoverer is a source whose records are the
//! splits of another source, an exchange deals them out, and this operator hosts that other source's
//! reader. Invariants: splits of one subtask are read in the order in which they came, as far as the
//! reader keeps it; a watermark passes when everything that came before it was read; a checkpoint holds the
//! splits that were not read to their end, with their positions.

mod stage;

use thalweg_memory::record::Record;

use self::stage::ReadStage;
use crate::source::{Source, SourceReader};
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Head, Push};

/// A reader that can be given more to read while it reads.
pub trait SplitReader: SourceReader {
    /// One more split, to be read after those it has.
    ///
    /// The reader may have said that it has finished: it goes on then.
    fn add(&mut self, split: Self::Split);

    /// How many splits it has and has not read to their end.
    fn unread(&self) -> usize;
}

impl<T: Record, P: Pipe<Out = T>> DataStream<T, P> {
    /// Reads the splits that come as records with the reader of `source`, whose own splits are not
    /// asked for.
    ///
    /// Where the records of one piece of input are to stay in order, send its splits to one subtask. The
    /// records have the event times the reader gives them; a watermark strategy that is to see them
    /// stands behind this operator.
    pub fn read_splits<S>(self, source: S) -> DataStream<S::Item, impl Pipe<Out = S::Item>>
    where
        S: Source<Split = T>,
        S::Reader: SplitReader,
    {
        self.then("read_splits", |pipe, place| ReadSplits {
            pipe,
            source,
            place,
        })
    }
}

#[derive(Clone)]
struct ReadSplits<P, S> {
    pipe: P,
    source: S,
    place: usize,
}

impl<T, P, S> Pipe for ReadSplits<P, S>
where
    T: Record,
    P: Pipe<Out = T>,
    S: Source<Split = T>,
    S::Reader: SplitReader,
{
    type Out = S::Item;

    fn build<N: Push<S::Item> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let name = context.operator_name(self.place);
        let restored = context.restored_splits(self.place)?.unwrap_or_default();
        let opened = self.source.open(restored, context.info());
        let reader = opened.map_err(|error| context.refused(&name, error))?;
        let next = context.telling(self.place, next);
        let stage = ReadStage::new(name, self.place, reader, next, context);
        self.pipe.build(stage, context)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use thalweg_core::event_time::Timestamp;
    use thalweg_core::shard::step::TurnContext;

    use super::*;
    use crate::harness::TestHarness;
    use crate::source::{Boundedness, SourceError, SourceOutput, SourceStatus};
    use crate::task::SubtaskInfo;

    /// Reads each split as so many numbers, of which it gives one at a time and sleeps in between.
    #[derive(Clone)]
    struct CountDown;

    struct CountDownReader {
        left: VecDeque<u64>,
        slept: bool,
    }

    impl Source for CountDown {
        type Item = u64;
        type Split = u64;
        type Reader = CountDownReader;

        fn name(&self) -> String {
            "count down".to_owned()
        }
        fn boundedness(&self) -> Boundedness {
            Boundedness::Unbounded
        }
        fn splits(&self, _: u32) -> Result<Vec<u64>, SourceError> {
            panic!("its splits come as records")
        }
        fn open(&self, splits: Vec<u64>, _: &SubtaskInfo) -> Result<CountDownReader, SourceError> {
            Ok(CountDownReader {
                left: splits.into(),
                slept: false,
            })
        }
    }

    impl SourceReader for CountDownReader {
        type Item = u64;
        type Split = u64;

        fn poll<O: SourceOutput<u64>>(
            &mut self,
            out: &mut O,
            context: &mut TurnContext<'_>,
        ) -> Result<SourceStatus, SourceError> {
            loop {
                let Some(next) = self.left.front_mut() else {
                    return Ok(SourceStatus::Finished);
                };
                if *next == 13 {
                    return Err(SourceError::new(
                        thalweg_core::ErrorKind::Data,
                        "13 cannot be read",
                    ));
                }
                if *next == 0 {
                    self.left.pop_front();
                    continue;
                }
                if !std::mem::replace(&mut self.slept, true) {
                    context.waker().wake();
                    return Ok(SourceStatus::Waiting);
                }
                if !out.wanted() {
                    return Ok(SourceStatus::More);
                }
                self.slept = false;
                out.emit(*next, Timestamp::NONE);
                *next -= 1;
            }
        }
        fn snapshot(&self) -> Vec<u64> {
            self.left.iter().copied().collect()
        }
    }

    impl SplitReader for CountDownReader {
        fn add(&mut self, split: u64) {
            self.left.push_back(split);
        }
        fn unread(&self) -> usize {
            self.left.len()
        }
    }

    #[test]
    fn splits_are_read_in_order_and_marks_wait_for_those_before_them() {
        let mut harness = TestHarness::<u64, u64>::new(|splits| splits.read_splits(CountDown));
        harness.push(3);
        harness.advance_watermark(Timestamp(10));
        harness.push(0);
        harness.push(2);
        assert_eq!(harness.output(), [3, 2, 1, 2, 1]);
        assert_eq!(harness.watermark(), Timestamp(10));
        assert!(harness.output().is_empty());
        harness.push(1);
        harness.finish();
        assert_eq!(harness.output(), [1]);
        assert_eq!(harness.watermark(), Timestamp::MAX);
    }

    #[test]
    fn more_splits_than_fit_hold_the_input_back_until_they_are_read() {
        let mut harness = TestHarness::<u64, u64>::new(|splits| splits.read_splits(CountDown));
        let pushed = 10 * super::stage::MOST_UNREAD as u64;
        (0..pushed).for_each(|number| harness.push(number % 3));
        harness.finish();
        let expected = (0..pushed).flat_map(|number| (1..=number % 3).rev());
        assert_eq!(harness.output(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_split_that_cannot_be_read_fails_the_job_by_the_operators_name() {
        let mut harness = TestHarness::<u64, u64>::new(|splits| splits.read_splits(CountDown));
        harness.push(13);
        let failure = harness.failure().unwrap_or_default();
        assert!(failure.contains("read_splits"), "{failure}");
        assert!(failure.contains("13 cannot be read"), "{failure}");
    }
}
