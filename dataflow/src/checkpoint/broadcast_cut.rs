//! The broadcast states of an operator in checkpoints: each is a part of which every subtask has a copy.
//!
//! Owned by the cut of the operator. A part begins with the description of its state; an item for each entry
//! follows. Invariants: entries are those at the barrier, whatever changes while they are written; a part that
//! no state claims is refused by name, unless its user allowed that. Lives on one shard's thread.

use thalweg_core::{Epoch, KeyGroup};
use thalweg_state::{
    CutKind, OperatorPart, Redistribution, Row, Scan, Snapshot, StateDescriptor, StateError,
};

use super::operator_cut::Remembers;

/// What the names of parts begin with.
const BROADCAST: &str = "broadcast:";
/// Entries written between two looks at the clock.
const SLICE_ROWS: usize = 128;

/// The broadcast states of one operator at one barrier.
#[derive(Default)]
pub(super) struct BroadcastCut {
    parts: Vec<OperatorPart>,
    /// How many of them are whole.
    whole: usize,
}

impl BroadcastCut {
    /// Freezes every broadcast state.
    pub(super) fn freeze(
        operator: &mut impl Remembers,
        epoch: Epoch,
        kind: CutKind,
    ) -> Result<Self, StateError> {
        let mut cut = BroadcastCut::default();
        operator.visit_broadcast(
            &mut |descriptor: &StateDescriptor, state: &mut dyn Snapshot| {
                state.freeze(epoch, kind);
                let mut described = Vec::new();
                descriptor.encode(&mut described);
                cut.parts.push(OperatorPart {
                    name: format!("{BROADCAST}{}", descriptor.name()),
                    redistribution: Redistribution::Broadcast,
                    items: vec![described],
                });
                Ok(())
            },
        )?;
        Ok(cut)
    }

    /// Whether there is any state.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Writes some more entries; done when all are written.
    pub(super) fn emit(&mut self, operator: &mut impl Remembers) -> Result<Scan, StateError> {
        let (mut at, whole) = (0, self.whole);
        let Some(part) = self.parts.get_mut(whole) else {
            return Ok(Scan::Done);
        };
        let mut scan = Scan::Done;
        operator.visit_broadcast(&mut |_: &StateDescriptor, state: &mut dyn Snapshot| {
            if at == whole {
                scan = state.emit(SLICE_ROWS, &mut |row: Row<'_>| {
                    part.items.extend(item_of(row));
                })?;
            }
            at += 1;
            Ok(())
        })?;
        self.whole += usize::from(scan == Scan::Done);
        match self.whole == self.parts.len() {
            true => Ok(Scan::Done),
            false => Ok(Scan::More),
        }
    }

    /// The parts, once all are written.
    pub(super) fn into_parts(self) -> Vec<OperatorPart> {
        debug_assert_eq!(self.whole, self.parts.len(), "all is written");
        self.parts
    }
}

/// An entry as an item: how long its key is, the key, the value. A map that is written in full has no tombstones.
fn item_of(row: Row<'_>) -> Option<Vec<u8>> {
    let value = row.value?;
    let mut item = Vec::with_capacity(size_of::<u32>() + row.key.len() + value.len());
    // A key is a record, which is shorter than a gibibyte.
    item.extend_from_slice(&(row.key.len() as u32).to_le_bytes());
    item.extend_from_slice(row.key);
    item.extend_from_slice(value);
    Some(item)
}

/// The entry an item is of.
fn entry_of(item: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = item.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Gives the broadcast states of an operator back what the parts hold.
pub(super) fn give_back(
    operator: &mut impl Remembers,
    parts: &[OperatorPart],
    allow_unclaimed: bool,
) -> Result<(), String> {
    let mut given = Vec::new();
    let mut refused = None;
    let visited = operator.visit_broadcast(
        &mut |declared: &StateDescriptor, state: &mut dyn Snapshot| {
            let name = format!("{BROADCAST}{}", declared.name());
            let part = parts.iter().find(|part| part.name == name);
            if let Some(part) = part
                && let Err(refusal) = give(declared, &part.items, state)
            {
                refused.get_or_insert(refusal);
            }
            given.push(name);
            Ok(())
        },
    );
    visited.map_err(|error| error.to_string())?;
    if let Some(refused) = refused {
        return Err(refused);
    }
    let mut names = parts.iter().map(|part| &part.name);
    let unclaimed = names.find(|name| name.starts_with(BROADCAST) && !given.contains(name));
    match unclaimed {
        Some(name) if !allow_unclaimed => Err(format!(
            "the copy holds the broadcast state '{}', which this operator does not declare any more: \
             declare it, give the operator another uid, or allow it to be left behind \
             (execution.state-recovery.ignore-unclaimed-state: true)",
            &name[BROADCAST.len()..]
        )),
        _ => Ok(()),
    }
}

fn give(
    declared: &StateDescriptor,
    items: &[Vec<u8>],
    state: &mut dyn Snapshot,
) -> Result<(), String> {
    let name = declared.name();
    let damaged = |what: &dyn std::fmt::Display| {
        format!(
            "the copy of broadcast state '{name}' is damaged ({what}): restore from another copy"
        )
    };
    let Some((described, entries)) = items.split_first() else {
        return Err(damaged(&"it has no description"));
    };
    let found = StateDescriptor::decode(&mut &described[..]).map_err(|error| damaged(&error))?;
    let by = (declared.restores_from(&found)).map_err(|error| error.to_string())?;
    for item in entries {
        let (key, value) = entry_of(item).ok_or_else(|| damaged(&"an entry is cut off"))?;
        let made = by.map(|by| by.convert(value, false)).transpose();
        let made = made.map_err(|error| error.to_string())?;
        let restored = state.restore(Row {
            group: KeyGroup(0),
            key,
            namespace: &[],
            value: Some(made.as_deref().unwrap_or(value)),
        });
        restored.map_err(|error| format!("broadcast state '{name}': {error}"))?;
    }
    state.restored().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use thalweg_memory::Budget;
    use thalweg_state::{BroadcastState, MayWrite, StateVisitor};

    use super::*;

    struct Writer;
    impl MayWrite for Writer {}

    type Shown = (StateDescriptor, Rc<RefCell<dyn Snapshot>>);

    struct Operator(Vec<Shown>);

    impl Remembers for Operator {
        fn visit_states(&mut self, _: &mut dyn StateVisitor) -> Result<(), StateError> {
            Ok(())
        }

        fn visit_broadcast(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
            for (descriptor, state) in &self.0 {
                visitor.visit(descriptor, &mut *state.borrow_mut())?;
            }
            Ok(())
        }
    }

    fn rules() -> (BroadcastState<String, u64>, Shown) {
        let state = BroadcastState::new(Budget::new("slot", 1 << 20));
        let shown = state.snapshot();
        (
            state,
            (StateDescriptor::broadcast::<String, u64>("rules"), shown),
        )
    }

    fn parts(operator: &mut Operator) -> Vec<OperatorPart> {
        let mut cut = BroadcastCut::freeze(operator, Epoch(1), CutKind::Changes).unwrap();
        while cut.emit(operator).unwrap() == Scan::More {}
        cut.into_parts()
    }

    fn filled() -> (Vec<OperatorPart>, Vec<(String, u64)>) {
        let (mut state, shown) = rules();
        let entries: Vec<(String, u64)> = (0..300).map(|n| (format!("rule {n:03}"), n)).collect();
        for (name, limit) in &entries {
            state.put(&Writer, name.clone(), *limit).unwrap();
        }
        (parts(&mut Operator(vec![shown])), entries)
    }

    #[test]
    fn entries_come_back_and_damage_is_refused() {
        let (parts, entries) = filled();
        let (state, shown) = rules();
        give_back(&mut Operator(vec![shown]), &parts, false).unwrap();
        let back: Vec<(String, u64)> = state.entries().clone().into_iter().collect();
        assert_eq!(back, entries);
        for at in [0, 1, 300] {
            for end in [0, 3, 5] {
                let mut parts = parts.clone();
                parts[0].items[at].truncate(end);
                let (_, shown) = rules();
                let refused = give_back(&mut Operator(vec![shown]), &parts, false).unwrap_err();
                assert!(refused.contains("'rules'"), "{refused}");
            }
        }
        let mut parts = parts;
        parts[0].items.clear();
        let (_, shown) = rules();
        assert!(give_back(&mut Operator(vec![shown]), &parts, false).is_err());
    }

    #[test]
    fn what_nobody_claims_is_refused_by_name_and_what_changed_too() {
        let (parts, _) = filled();
        let mut nothing = Operator(Vec::new());
        let refused = give_back(&mut nothing, &parts, false).unwrap_err();
        assert!(refused.contains("'rules'"), "{refused}");
        give_back(&mut nothing, &parts, true).unwrap();
        let (_, (_, shown)) = rules();
        let narrow = StateDescriptor::broadcast::<String, u32>("rules");
        let refused = give_back(&mut Operator(vec![(narrow, shown)]), &parts, false).unwrap_err();
        assert!(refused.contains("type of values"), "{refused}");
    }
}
