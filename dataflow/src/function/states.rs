//! The kinds of keyed state a function can declare.
//!
//! Entered when a function opens. Invariant: a state that cannot be declared fails the job at its start,
//! with a message that says why; the function still gets a handle to be built with. Lives on one shard's
//! thread.

use thalweg_memory::record::{Key, Record, RecordKey};
use thalweg_state::{
    AggregatingState, Aggregation, ListState, MapState, ReducingState, StateDescriptor, ValueState,
};

use super::context::OpenContext;

impl<K: Key> OpenContext<K> {
    /// Declares a value per key. Two states of one operator cannot have the same name: the
    /// job then fails at its start, and the message names both.
    pub fn value_state<V: Record>(&mut self, name: &str) -> ValueState<K, V> {
        self.value_state_with(StateDescriptor::value::<V>(name))
    }

    /// Declares the value per key that `descriptor` describes, such as one with a time to live.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
    /// use thalweg_state::{StateDescriptor, StateTtl};
    ///
    /// let mut harness = TestHarness::<u64, (u64, u64)>::new(|users| {
    ///     users.key_by(|user: &u64| *user).process(|open: &mut OpenContext<u64>| {
    ///         let minute = StateTtl::new(Duration::from_secs(60));
    ///         let clicks = StateDescriptor::value::<u64>("clicks").with_ttl(minute);
    ///         let mut clicks = open.value_state_with::<u64>(clicks);
    ///         move |user: u64, _: &ProcessContext<u64>, out: &mut Collector<'_, (u64, u64)>| {
    ///             clicks.update(|clicks| *clicks += 1)?;
    ///             out.emit((user, clicks.get()?.unwrap_or_default()));
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// harness.push(7);
    /// harness.push(7);
    /// harness.advance_processing_time(Duration::from_secs(61));
    /// harness.push(7); // What was counted has expired.
    /// assert_eq!(harness.output(), [(7, 1), (7, 2), (7, 1)]);
    /// ```
    pub fn value_state_with<V: Record>(&mut self, descriptor: StateDescriptor) -> ValueState<K, V> {
        self.declare(descriptor, |backend, descriptor| {
            backend.value_state_of(descriptor)
        })
    }

    /// Declares a value per key that is folded from everything added to it.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
    ///
    /// let mut harness = TestHarness::<(u64, i64), i64>::new(|readings| {
    ///     let sensors = readings.key_by(|reading: &(u64, i64)| reading.0);
    ///     sensors.process(|open: &mut OpenContext<u64>| {
    ///         let higher = |highest: &mut i64, value: i64| *highest = value.max(*highest);
    ///         let mut highest = open.reducing_state("highest", higher);
    ///         move |reading: (u64, i64), _: &ProcessContext<u64>, out: &mut Collector<'_, i64>| {
    ///             highest.add(reading.1)?;
    ///             out.emit(highest.get()?.unwrap_or_default());
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// [(1, 5), (1, 9), (2, 3), (1, 7)].into_iter().for_each(|reading| harness.push(reading));
    /// assert_eq!(harness.output(), [5, 9, 3, 9]);
    /// ```
    pub fn reducing_state<V, F>(&mut self, name: &str, reduce: F) -> ReducingState<K, V, F>
    where
        V: Record,
        F: Fn(&mut V, V) + Clone,
    {
        self.reducing_state_with(StateDescriptor::reducing::<V>(name), reduce)
    }

    /// Declares the folded value per key that `descriptor` describes.
    pub fn reducing_state_with<V, F>(
        &mut self,
        descriptor: StateDescriptor,
        reduce: F,
    ) -> ReducingState<K, V, F>
    where
        V: Record,
        F: Fn(&mut V, V) + Clone,
    {
        self.declare(descriptor, |backend, descriptor| {
            backend.reducing_state_of(descriptor, reduce.clone())
        })
    }

    /// Declares a list per key.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
    ///
    /// let mut harness = TestHarness::<(u64, u64), Vec<u64>>::new(|rows| {
    ///     rows.key_by(|row: &(u64, u64)| row.0).process(|open: &mut OpenContext<u64>| {
    ///         let mut three = open.list_state::<u64>("three");
    ///         move |row: (u64, u64), _: &ProcessContext<u64>, out: &mut Collector<'_, Vec<u64>>| {
    ///             three.add(row.1)?;
    ///             if three.len()? == 3 {
    ///                 out.emit(three.get()?);
    ///                 three.clear()?;
    ///             }
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// (0..7).for_each(|number| harness.push((number % 2, number)));
    /// assert_eq!(harness.output(), [[0, 2, 4], [1, 3, 5]]);
    /// ```
    pub fn list_state<V: Record>(&mut self, name: &str) -> ListState<K, V> {
        self.list_state_with(StateDescriptor::list::<V>(name))
    }

    /// Declares the list per key that `descriptor` describes.
    pub fn list_state_with<V: Record>(&mut self, descriptor: StateDescriptor) -> ListState<K, V> {
        self.declare(descriptor, |backend, descriptor| {
            backend.list_state_of(descriptor)
        })
    }

    /// Declares a map per key.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
    ///
    /// let mut harness = TestHarness::<(u64, String), u64>::new(|visits| {
    ///     visits.key_by(|visit: &(u64, String)| visit.0).process(|open: &mut OpenContext<u64>| {
    ///         let mut pages = open.map_state::<String, u64>("pages");
    ///         move |visit: (u64, String), _: &ProcessContext<u64>, out: &mut Collector<'_, u64>| {
    ///             let before = pages.get(&visit.1)?.unwrap_or_default();
    ///             pages.put(visit.1, before + 1)?;
    ///             out.emit(pages.len()?);
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// for page in ["start", "basket", "start"] {
    ///     harness.push((7, page.to_owned()));
    /// }
    /// assert_eq!(harness.output(), [1, 2, 2]);
    /// ```
    pub fn map_state<UK: RecordKey + Eq, UV: Record>(&mut self, name: &str) -> MapState<K, UK, UV> {
        self.map_state_with(StateDescriptor::map::<UK, UV>(name))
    }

    /// Declares the map per key that `descriptor` describes.
    pub fn map_state_with<UK: RecordKey + Eq, UV: Record>(
        &mut self,
        descriptor: StateDescriptor,
    ) -> MapState<K, UK, UV> {
        self.declare(descriptor, |backend, descriptor| {
            backend.map_state_of(descriptor)
        })
    }

    /// Declares an accumulator per key, in which `functions` gather what is added.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
    /// use thalweg_state::Aggregation;
    ///
    /// let mut harness = TestHarness::<(u64, f64), f64>::new(|readings| {
    ///     readings.key_by(|reading: &(u64, f64)| reading.0).process(|open: &mut OpenContext<u64>| {
    ///         let mean = Aggregation::<f64, (f64, u64), f64>::new(
    ///             || (0.0, 0),
    ///             |(sum, count), value| (*sum, *count) = (*sum + value, *count + 1),
    ///             |(sum, count)| sum / *count as f64,
    ///         );
    ///         let mut mean = open.aggregating_state("mean", mean);
    ///         move |reading: (u64, f64), _: &ProcessContext<u64>, out: &mut Collector<'_, f64>| {
    ///             mean.add(reading.1)?;
    ///             out.emit(mean.get()?.unwrap_or_default());
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// harness.push((1, 2.0));
    /// harness.push((1, 4.0));
    /// assert_eq!(harness.output(), [2.0, 3.0]);
    /// ```
    pub fn aggregating_state<IN, ACC: Record, OUT>(
        &mut self,
        name: &str,
        functions: Aggregation<IN, ACC, OUT>,
    ) -> AggregatingState<K, IN, ACC, OUT> {
        self.aggregating_state_with(StateDescriptor::aggregating::<ACC>(name), functions)
    }

    /// Declares the accumulator per key that `descriptor` describes.
    pub fn aggregating_state_with<IN, ACC: Record, OUT>(
        &mut self,
        descriptor: StateDescriptor,
        functions: Aggregation<IN, ACC, OUT>,
    ) -> AggregatingState<K, IN, ACC, OUT> {
        self.declare(descriptor, |backend, descriptor| {
            backend.aggregating_state_of(descriptor, functions)
        })
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
