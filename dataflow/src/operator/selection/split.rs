//! `split` and `select`: one stream as several, by tags that a function gives each record.

use thalweg_memory::record::{Item, Wire};

use crate::stream::{DataStream, Pipe, SharedStream};

impl<T: Wire, P: Pipe<Out = T>> DataStream<T, P> {
    /// Splits the stream by a tag that `choose` gives each record. [`SplitStream::select`] reads
    /// the records of one tag; a record whose tag nobody selects goes nowhere.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     let parts = numbers.split(|n| if n % 2 == 0 { "even" } else { "odd" });
    ///     let tenfold = parts.select("even").map(|n: u64| n * 10);
    ///     tenfold.union(parts.select("odd"))
    /// });
    /// (1..=4).for_each(|n| harness.push(n));
    /// let mut output = harness.output();
    /// output.sort();
    /// assert_eq!(output, [1, 3, 20, 40]);
    /// ```
    pub fn split<G, F>(self, choose: F) -> SplitStream<T, F>
    where
        G: PartialEq + Clone + Send + 'static,
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> G + Clone + Send + 'static,
    {
        SplitStream {
            shared: self.share(),
            choose,
        }
    }
}

/// A stream split by tags.
pub struct SplitStream<T: Wire, F> {
    shared: SharedStream<T>,
    choose: F,
}

impl<T: Wire, F> SplitStream<T, F> {
    /// The records of one tag.
    pub fn select<G>(&self, tag: G) -> DataStream<T, impl Pipe<Out = T> + use<T, F, G>>
    where
        G: PartialEq + Clone + Send + 'static,
        F: for<'a, 'b> Fn(&'b <T as Item>::Of<'a>) -> G + Clone + Send + 'static,
    {
        let choose = self.choose.clone();
        self.shared
            .stream()
            .filter(move |item| choose(item) == tag)
            .name("select")
    }
}
