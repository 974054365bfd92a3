//! What an operator shows of each of its states: how much is in it, in memory and on disk.
//!
//! Looked at between turns, ten times a second at most, so that it costs records nothing; the states count anyway, so
//! nothing is walked over. Invariant: gauges show the states as they were at the end of some turn not longer ago than
//! that, and in the end as they were at the last. Lives on the task's shard.

use std::cell::Cell;
use std::rc::Rc;

use thalweg_core::metrics::{Definition, MetricError, Registry, vocabulary};
use thalweg_core::shard::step::TurnContext;
use thalweg_state::{Snapshot, StateDescriptor, StateSize};

use super::operator_cut::Remembers;
use crate::task::{BuildContext, BuildError};

/// Time between two looks while records flow, ns.
pub(crate) const LOOK_NS: u64 = 100_000_000;

/// A state by name, and how large it was at the last look.
type Shown = (String, Rc<Cell<StateSize>>);

/// The sizes of the states of one operator in one subtask.
pub(crate) struct StateSizes {
    states: Vec<Shown>,
    every_ns: u64,
    looked_ns: Option<u64>,
}

impl StateSizes {
    /// Registers the states that the operator has, as large as they are now.
    pub(crate) fn open(
        operator: &mut impl Remembers,
        name: &str,
        context: &BuildContext,
    ) -> Result<StateSizes, BuildError> {
        let mut states: Vec<Shown> = Vec::new();
        each(operator, |state, size| match find(&states, state) {
            Some(shown) => add(shown, size),
            None => states.push((state.to_owned(), Rc::new(Cell::new(size)))),
        });
        let registry = context.operator_metrics(name);
        for (state, shown) in &states {
            register(&registry.within("state", state), shown)
                .map_err(|error| context.refused(name, error))?;
        }
        Ok(StateSizes {
            states,
            every_ns: context.looks_at_states_every(),
            looked_ns: None,
        })
    }

    /// The end of a turn: looks at the states if it is time, and once the input has ended.
    pub(crate) fn look(
        &mut self,
        operator: &mut impl Remembers,
        context: &TurnContext<'_>,
        ended: bool,
    ) {
        let now = context.now();
        let due = |before: u64| now.saturating_sub(before) >= self.every_ns;
        if !ended && !self.looked_ns.is_none_or(due) {
            return;
        }
        self.looked_ns = Some(now);
        for (_, shown) in &self.states {
            shown.set(StateSize::default());
        }
        each(operator, |state, size| {
            if let Some(shown) = find(&self.states, state) {
                add(shown, size);
            }
        });
    }
}

/// Calls for each state.
fn each(operator: &mut impl Remembers, mut work: impl FnMut(&str, StateSize)) {
    let mut show = |state: &StateDescriptor, held: &mut dyn Snapshot| {
        work(state.name(), held.size());
        Ok(())
    };
    let shown = operator
        .visit_states(&mut show)
        .and_then(|()| operator.visit_broadcast(&mut show));
    debug_assert!(shown.is_ok(), "a look refuses nothing");
}

fn find<'s>(states: &'s [Shown], name: &str) -> Option<&'s Cell<StateSize>> {
    let shown = states.iter().find(|(known, _)| known == name);
    shown.map(|(_, size)| &**size)
}

fn add(shown: &Cell<StateSize>, size: StateSize) {
    let mut sum = shown.get();
    sum += size;
    shown.set(sum);
}

fn register(registry: &Registry, shown: &Rc<Cell<StateSize>>) -> Result<(), MetricError> {
    let level = |definition: &'static Definition, of: fn(StateSize) -> u64| {
        let shown = Rc::clone(shown);
        registry.level(definition, move || Some(of(shown.get()) as f64))
    };
    level(vocabulary::STATE_ENTRIES, |size| size.entries)?;
    level(vocabulary::STATE_BYTES, |size| size.memory_bytes)?;
    level(vocabulary::STATE_DISK_ROWS, |size| size.disk_rows)?;
    level(vocabulary::STATE_DISK_BYTES, |size| size.disk_bytes)
}
