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
    pub fn value_state_with<V: Record>(&mut self, descriptor: StateDescriptor) -> ValueState<K, V> {
        self.declare(descriptor, |backend, descriptor| {
            backend.value_state_of(descriptor)
        })
    }

    /// Declares a value per key that is folded from everything added to it.
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
