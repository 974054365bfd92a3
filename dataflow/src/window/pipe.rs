//! The chain of a window aggregate: put together from slices, or by the general operator.
//!
//! Which of the two is known when the program is written; both give the same results.

use thalweg_memory::record::{Item, Key, Wire};

use super::WindowAggregate;
use super::assigner::WindowAssigner;
use super::function::{OpenLogic, WindowLogic};
use super::operator::OpenWindows;
use super::slice::{OpenVoice, SlicePipe, Voice};
use super::trigger::Trigger;
use crate::operator::KeyedPipe;
use crate::partition::Select;
use crate::stream::Pipe;
use crate::task::{BuildContext, BuildError, Head, Push};

/// A chain that begins with a window aggregate.
pub(crate) enum WindowPipe<K, T: Item, S, A, G, L, B, V> {
    /// Aligned windows with their own trigger.
    Slices(SlicePipe<K, T, S, B, V>),
    /// All others.
    Whole(KeyedPipe<K, T, S, OpenWindows<T, A, G, L>>),
}

impl<K, T, S, A, G, L, B, V> Clone for WindowPipe<K, T, S, A, G, L, B, V>
where
    T: Item,
    S: Clone,
    A: Clone,
    G: Clone,
    L: Clone,
    B: Clone,
    V: Clone,
{
    fn clone(&self) -> Self {
        match self {
            Self::Slices(pipe) => Self::Slices(pipe.clone()),
            Self::Whole(pipe) => Self::Whole(pipe.clone()),
        }
    }
}

impl<K, T, S, A, G, L, B, V> Pipe for WindowPipe<K, T, S, A, G, L, B, V>
where
    K: Key + Wire,
    T: Wire,
    S: Select<T, K>,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    L: OpenLogic<K, T>,
    B: WindowAggregate<K, T>,
    V: OpenVoice<K, B::Row>,
    L::Logic: WindowLogic<K, T, Out = <V::Voice as Voice<K, B::Row>>::Out>,
{
    type Out = <V::Voice as Voice<K, B::Row>>::Out;

    fn build<N: Push<Self::Out> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        match self {
            Self::Slices(pipe) => pipe.build(next, context),
            Self::Whole(pipe) => pipe.build(next, context),
        }
    }
}
