//! An accumulator per key into which every added value is folded, and of which a result is read.
//!
//! Entered by user functions while a key is current, and by windows. Invariant: an accumulator is made by
//! the first value that is added, and every value goes through the same functions. Lives on one shard's
//! thread.

use std::rc::Rc;

use thalweg_memory::{Key, Record};

use super::aging::{Expiring, Lasting};
use super::cells::Cells;
use super::context::KeyedContext;
use super::held::{Kept, on_tables};
use crate::error::StateError;
use crate::table::Namespace;

type Tables<K, ACC, N> = Kept<Cells<K, ACC, N, Lasting>, Cells<K, ACC, N, Expiring>>;

/// How values are gathered in an accumulator. Function pointers, so that the type of a state can be
/// written in a struct: closures that capture nothing.
pub struct Aggregation<IN, ACC, OUT> {
    create: fn() -> ACC,
    add: fn(&mut ACC, IN),
    result: fn(&ACC) -> OUT,
    merge: Option<fn(&mut ACC, ACC)>,
}

impl<IN, ACC, OUT> Clone for Aggregation<IN, ACC, OUT> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<IN, ACC, OUT> Copy for Aggregation<IN, ACC, OUT> {}

impl<IN, ACC, OUT> Aggregation<IN, ACC, OUT> {
    /// `create` makes the accumulator of no value, `add` takes a value in, `result` reads it.
    #[must_use]
    pub fn new(
        create: fn() -> ACC,
        add: fn(&mut ACC, IN),
        result: fn(&ACC) -> OUT,
    ) -> Aggregation<IN, ACC, OUT> {
        Aggregation {
            create,
            add,
            result,
            merge: None,
        }
    }

    /// The same with `merge`, which makes its second argument part of its first.
    #[must_use]
    pub fn with_merge(mut self, merge: fn(&mut ACC, ACC)) -> Self {
        self.merge = Some(merge);
        self
    }
}

/// An aggregate of the current key; of each namespace, where it has namespaces `N`.
///
/// ```
/// use thalweg_core::MaxParallelism;
/// use thalweg_memory::{Budget, Key, Str};
/// use thalweg_state::{Aggregation, KeyedBackend};
///
/// let slot = Budget::new("slot-0", 1 << 20);
/// let mut backend = KeyedBackend::<Str>::in_memory(0..128, MaxParallelism::default(), slot);
/// let average = Aggregation::<u64, (u64, u64), f64>::new(
///     || (0, 0),
///     |(sum, count), value| (*sum, *count) = (*sum + value, *count + 1),
///     |(sum, count)| *sum as f64 / *count as f64,
/// );
/// let mut average = backend.aggregating_state("average", average)?;
/// backend.context().set_current(Str::hash(&"ann"), &"ann");
/// for value in [1, 2, 6] {
///     average.add(value)?;
/// }
/// assert_eq!(average.get()?, Some(3.0));
/// # Ok::<(), thalweg_state::StateError>(())
/// ```
pub struct AggregatingState<K: Key, IN, ACC: Record, OUT, N: Namespace = ()> {
    pub(super) tables: Tables<K, ACC, N>,
    context: Rc<KeyedContext<K>>,
    functions: Aggregation<IN, ACC, OUT>,
}

impl<K: Key, IN, ACC: Record, OUT, N: Namespace> AggregatingState<K, IN, ACC, OUT, N> {
    pub(crate) fn new(
        tables: Tables<K, ACC, N>,
        context: Rc<KeyedContext<K>>,
        functions: Aggregation<IN, ACC, OUT>,
    ) -> Self {
        AggregatingState {
            tables,
            context,
            functions,
        }
    }

    /// Takes `value` in.
    ///
    /// # Errors
    /// Without a current key, inside a function of this state, and when there is no memory for it.
    #[inline]
    pub fn add_in(&mut self, namespace: &N, value: IN) -> Result<(), StateError> {
        let Aggregation { create, add, .. } = self.functions;
        let first = |value| {
            let mut accumulator = create();
            add(&mut accumulator, value);
            accumulator
        };
        on_tables!(self.tables, self.context, |cells, hash, key| cells
            .fold(hash, key, namespace, value, first, add))?
    }

    /// The result, if anything was added.
    ///
    /// # Errors
    /// Without a current key, and inside a function of this state.
    #[inline]
    pub fn get_in(&self, namespace: &N) -> Result<Option<OUT>, StateError> {
        let result = self.functions.result;
        on_tables!(self.tables, self.context, |cells, hash, key| cells.read(
            hash,
            key,
            namespace,
            |accumulator| accumulator.map(result)
        ))?
    }

    /// Forgets what was added.
    ///
    /// # Errors
    /// As [`AggregatingState::get_in`].
    pub fn clear_in(&mut self, namespace: &N) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |cells, hash, key| {
            cells.take(hash, key, namespace);
        })
    }

    /// Makes what the namespaces `from` gathered part of `into`, as when windows are merged.
    ///
    /// # Errors
    /// As [`AggregatingState::add_in`], and where the aggregation has no function for merging.
    pub fn merge_in(&mut self, into: &N, from: &[N]) -> Result<(), StateError> {
        let Some(merge) = self.functions.merge else {
            return Err(StateError::CannotMerge);
        };
        on_tables!(self.tables, self.context, |cells, hash, key| {
            for from in from.iter().filter(|from| *from != into) {
                if let Some(accumulator) = cells.take(hash, key, from) {
                    cells.fold(hash, key, into, accumulator, |other| other, merge)?;
                }
            }
            Ok(())
        })?
    }
}

impl<K: Key, IN, ACC: Record, OUT> AggregatingState<K, IN, ACC, OUT> {
    /// Takes `value` in.
    ///
    /// # Errors
    /// As [`AggregatingState::add_in`].
    #[inline]
    pub fn add(&mut self, value: IN) -> Result<(), StateError> {
        self.add_in(&(), value)
    }

    /// The result, if anything was added.
    ///
    /// # Errors
    /// As [`AggregatingState::get_in`].
    #[inline]
    pub fn get(&self) -> Result<Option<OUT>, StateError> {
        self.get_in(&())
    }

    /// Forgets what was added.
    ///
    /// # Errors
    /// As [`AggregatingState::get_in`].
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.clear_in(&())
    }
}
