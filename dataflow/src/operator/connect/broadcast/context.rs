//! What functions over a broadcast stream are opened with, and what they see of a broadcast record.
//!
//! Invariant: a [`BroadcastContext`] exists only while a broadcast record is in work, and only it may
//! change broadcast state. Lives on one shard.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::metrics::MetricGroup;
use thalweg_memory::Budget;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    BroadcastState, KeyedState, KeysOfState, MayWrite, Snapshot, StateDescriptor, StateError,
    StateVisitor,
};

use crate::function::{OpenContext, ProcessContext};
use crate::task::{BuildContext, SubtaskInfo};

/// What a function over a broadcast stream is opened with: an [`OpenContext`] that also declares
/// broadcast states.
pub struct BroadcastOpenContext<'o, K: Key = ()> {
    open: &'o mut OpenContext<K>,
    ground: BroadcastGround,
}

/// What broadcast states of a subtask are made from.
#[derive(Clone)]
pub(super) struct BroadcastGround {
    pub(super) budget: Budget,
    pub(super) states: BroadcastStates,
}

/// The broadcast states a function has declared. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct BroadcastStates(Rc<RefCell<Vec<DeclaredBroadcast>>>);

/// A broadcast state, as what copies it sees it.
type DeclaredBroadcast = (StateDescriptor, Rc<RefCell<dyn Snapshot>>);

impl BroadcastStates {
    /// Shows all of them, in the order of declaration.
    pub(super) fn visit(&self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        for (descriptor, state) in &*self.0.borrow() {
            visitor.visit(descriptor, &mut *state.borrow_mut())?;
        }
        Ok(())
    }
}

impl<'o, K: Key> BroadcastOpenContext<'o, K> {
    pub(super) fn new(open: &'o mut OpenContext<K>, ground: BroadcastGround) -> Self {
        Self { open, ground }
    }

    /// The slot's memory and an empty list of states, for what is opened next.
    pub(super) fn ground_of(context: &BuildContext) -> BroadcastGround {
        BroadcastGround {
            budget: context.budget().clone(),
            states: BroadcastStates::default(),
        }
    }

    /// Declares a map that is the same in every subtask. Two of one operator cannot have the same
    /// name: the job then fails at its start, and the message gives it.
    pub fn broadcast_state<B: Record + Ord, V: Record>(
        &mut self,
        name: &str,
    ) -> BroadcastState<B, V> {
        self.broadcast_state_with(StateDescriptor::broadcast::<B, V>(name))
    }

    /// Declares the map that `descriptor` describes, such as one whose values were of another type.
    pub fn broadcast_state_with<B: Record + Ord, V: Record>(
        &mut self,
        descriptor: StateDescriptor,
    ) -> BroadcastState<B, V> {
        let mut states = self.ground.states.0.borrow_mut();
        let name = descriptor.name();
        if states.iter().any(|(known, _)| known.name() == name) {
            self.open.refuse(format!(
                "two broadcast states of one operator are called '{name}': give each its own name"
            ));
        }
        let state = BroadcastState::new(self.ground.budget.clone());
        states.push((descriptor, state.snapshot()));
        state
    }
}

impl<K: Key> Deref for BroadcastOpenContext<'_, K> {
    type Target = OpenContext<K>;

    fn deref(&self) -> &OpenContext<K> {
        self.open
    }
}

impl<K: Key> DerefMut for BroadcastOpenContext<'_, K> {
    fn deref_mut(&mut self) -> &mut OpenContext<K> {
        self.open
    }
}

/// The states whose keys are to be visited, in the order in which that was asked for.
pub(super) struct Visits<K: Key> {
    budget: Budget,
    states: RefCell<VecDeque<KeysOfState<K>>>,
}

impl<K: Key> Visits<K> {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            states: RefCell::default(),
        }
    }

    /// Whether there is nothing to visit.
    pub(super) fn is_empty(&self) -> bool {
        self.states.borrow().is_empty()
    }

    /// The states left to visit.
    pub(super) fn states(&mut self) -> &mut VecDeque<KeysOfState<K>> {
        self.states.get_mut()
    }
}

/// What a function sees of a broadcast record. It has no key; it is what may change broadcast state:
/// `rules.put(context, name, rule)?`.
pub struct BroadcastContext<'c, K: Key = ()> {
    pub(super) view: &'c ProcessContext<K>,
    pub(super) visits: Option<&'c Visits<K>>,
}

impl<K: Key> MayWrite for BroadcastContext<'_, K> {}

impl<K: Key> BroadcastContext<'_, K> {
    /// Has the function visit every key of this subtask that has something in `state`, each with that
    /// key current: `apply_to_key` is called for them behind this call and before the next record of
    /// either stream, or a timer, is looked at.
    ///
    /// Nothing happens where the stream beside the broadcast one has no key.
    pub fn apply_to_each_key(&self, state: &impl KeyedState<K>) {
        if let Some(visits) = self.visits {
            let keys = KeysOfState::new(state, visits.budget.clone());
            visits.states.borrow_mut().push_back(keys);
        }
    }

    /// The record's event time, [`Timestamp::NONE`] where none was assigned.
    pub fn timestamp(&self) -> Timestamp {
        self.view.timestamp()
    }

    /// The watermark, as [`ProcessContext::watermark`].
    pub fn watermark(&self) -> Timestamp {
        self.view.watermark()
    }

    /// The wall clock, as [`ProcessContext::processing_time`].
    pub fn processing_time(&self) -> Timestamp {
        self.view.processing_time()
    }

    /// The subtask's place in its job.
    pub fn subtask(&self) -> &SubtaskInfo {
        self.view.subtask()
    }

    /// Makes metrics by name; see [`ProcessContext::metrics`].
    pub fn metrics(&self) -> &MetricGroup {
        self.view.metrics()
    }
}
