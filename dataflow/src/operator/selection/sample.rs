//! `sample`: a share of the records, drawn at random.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::Item;

use crate::operator::pass_on;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Head, Push};

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// Keeps each record with the probability `share`, independently of the others.
    ///
    /// The same seed draws the same for the same sequence of records in the same subtask. A share
    /// of 1 or more keeps all, of 0 or less none.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| numbers.sample(0.25, 7));
    /// (0..4000).for_each(|number| harness.push(number));
    /// let kept = harness.output().len();
    /// assert!((900..1100).contains(&kept), "{kept}");
    /// ```
    pub fn sample(self, share: f64, seed: u64) -> DataStream<T, impl Pipe<Out = T>> {
        let threshold = (share.clamp(0.0, 1.0) * (1_u64 << 53) as f64) as u64;
        self.then("sample", |pipe, _place| Sample {
            pipe,
            threshold,
            seed,
        })
    }
}

#[derive(Clone)]
struct Sample<P> {
    pipe: P,
    /// A draw of 53 bits below it keeps the record.
    threshold: u64,
    seed: u64,
}

impl<P: Pipe> Pipe for Sample<P> {
    type Out = P::Out;

    fn build<N: Push<P::Out> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let subtask = KeyHash::of_u64(u64::from(context.info().index));
        let stage = SampleStage {
            threshold: self.threshold,
            seed: KeyHash::of_u64(self.seed).combine(subtask),
            drawn: 0,
            next,
        };
        self.pipe.build(stage, context)
    }
}

struct SampleStage<N> {
    threshold: u64,
    seed: KeyHash,
    drawn: u64,
    next: N,
}

impl<I: Item, N: Push<I>> Push<I> for SampleStage<N> {
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        let draw = self.seed.combine(KeyHash::of_u64(self.drawn));
        self.drawn = self.drawn.wrapping_add(1);
        if draw.0 >> 11 < self.threshold {
            self.next.push(item, at);
        }
    }

    pass_on!();
}

#[cfg(test)]
mod tests {
    use crate::harness::TestHarness;

    fn kept(share: f64, seed: u64) -> Vec<u64> {
        let mut harness = TestHarness::<u64, u64>::new(|numbers| numbers.sample(share, seed));
        (0..2000).for_each(|number| harness.push(number));
        harness.output()
    }

    #[test]
    fn the_ends_of_the_range_keep_all_and_none() {
        assert_eq!(kept(1.0, 1).len(), 2000);
        assert_eq!(kept(7.0, 1).len(), 2000);
        assert!(kept(0.0, 1).is_empty());
        assert!(kept(f64::NAN, 1).is_empty());
    }

    #[test]
    fn a_seed_draws_the_same_again_and_another_seed_differently() {
        let first = kept(0.5, 1);
        assert_eq!(first, kept(0.5, 1));
        assert_ne!(first, kept(0.5, 2));
        assert!((800..1200).contains(&first.len()), "{}", first.len());
    }
}
