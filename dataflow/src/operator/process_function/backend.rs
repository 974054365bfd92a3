//! The states of a keyed user function, in memory or partly on disk.
//!
//! Entered when the operator opens, for records ahead, and once per turn. Invariant: the function is called only
//! once all that its key has is in memory, or nowhere. Lives on one shard's thread.

use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::Key;
use thalweg_state::{KeyedBackend, Pressure, Residency};

use crate::function::{FunctionError, ListsOfStage, OpenContext, ProcessContext};
use crate::operator::frame::HEAD;
use crate::task::{BuildContext, BuildError, OverflowCells};

/// The backend of a function's states, with what it shows of them.
pub(crate) struct FunctionBackend<K: Key> {
    pub(crate) states: KeyedBackend<K>,
    pub(crate) lists: ListsOfStage,
    on_disk: OverflowCells,
}

impl<K: Key> FunctionBackend<K> {
    /// Opens a function by `open`, which declares its states.
    pub(crate) fn open<F>(
        name: &str,
        context: &mut BuildContext,
        open: impl FnOnce(&mut OpenContext<K>) -> F,
    ) -> Result<(Self, F), BuildError> {
        let info = context.info().clone();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let budget = context.budget().clone();
        let mut backend = KeyedBackend::in_memory(groups, info.max_parallelism, budget);
        if let Some(make) = context.overflows() {
            backend = backend.overflowing(make);
        }
        if let Some(make) = context.restores_late() {
            backend = backend.restoring(make);
        }
        let lists = ListsOfStage::of(context, HEAD);
        let opening = OpenContext::keyed(name, context, backend);
        let mut opening = opening.with_lists(lists.lists());
        let function = open(&mut opening);
        let backend = opening
            .finish()
            .map_err(|refusal| context.refused(name, refusal))?;
        let Some(states) = backend else {
            unreachable!("the backend was just given to the opening");
        };
        lists.check(context)?;
        let on_disk = OverflowCells::open(name, context, states.may_overflow())?;
        let backend = Self {
            states,
            lists,
            on_disk,
        };
        Ok((backend, function))
    }

    /// Brings near the states of these keys, of records ahead of which the first has the place `from`
    /// in the window.
    pub(crate) fn approach(
        &mut self,
        from: u8,
        hashes: &[KeyHash],
        view: &ProcessContext<K>,
    ) -> Result<(), FunctionError> {
        self.states.set_processing_time(view.processing_time());
        self.states.clean_expired(2 * hashes.len())?;
        match self.states.residency(from, hashes)? {
            Residency::Ready => Ok(()),
            Residency::Pending => Err(FunctionError::new(
                "the state backend answered that state is on its way before it was sought",
            )),
        }
    }

    /// A turn begins: takes in what was read of state that is on disk.
    pub(crate) fn begin_turn(
        &mut self,
        context: &mut TurnContext<'_>,
    ) -> Result<(), FunctionError> {
        Ok(self.states.begin_turn(context)?)
    }

    /// A turn ends: asks for state that is on disk, makes room for it. Beside it so many bytes are on disk.
    pub(crate) fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
        beside: u64,
    ) -> Result<Pressure, FunctionError> {
        let pressure = self.states.end_turn(context, waiting)?;
        if !self.states.may_overflow() {
            return Ok(pressure);
        }
        self.on_disk.clear();
        self.on_disk.add_bytes(beside);
        self.states
            .show_overflow(|overflow| self.on_disk.add(overflow));
        Ok(pressure)
    }
}
