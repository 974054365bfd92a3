//! State of a subtask that belongs to no key: a list, dealt out anew when the parallelism changes.
//!
//! Declared when a function opens, copied whole at each barrier, in the metadata of the
//! checkpoint: it is for a few things, such as positions or what was not sent yet. Invariants: a list that was declared is
//! part of every checkpoint, also after its subtask has ended; a list in the copy that is not declared, or is of
//! another type or one of other fields, is refused by name. Lives on one shard's thread.

use std::any::type_name;
use std::cell::RefCell;
use std::rc::Rc;

use thalweg_memory::record::Record;
use thalweg_memory::{SavedRecord, Schema};
use thalweg_network::{Barrier, Event};
use thalweg_state::{OperatorPart, Redistribution};

use super::OpenContext;
use crate::checkpoint::TaskAnswers;
use crate::task::{BuildContext, BuildError};

/// What the names of parts begin with.
const LIST: &str = "list:";
/// What stands in a name before what the elements are made of. Before a type's name, as in copies of older engines,
/// stands nothing, and no such name begins so.
const MADE_OF: char = '=';

/// A list of a subtask. Clones are the same list.
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
/// // Gives records out in pairs; the one that waits for another is part of checkpoints.
/// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
///     numbers.process(|open: &mut OpenContext| {
///         let waiting = open.list_of_subtask::<u64>("waiting");
///         move |number: u64, _: &ProcessContext, out: &mut Collector<'_, u64>| {
///             match waiting.take().pop() {
///                 Some(before) => out.emit(before + number),
///                 None => waiting.add(number),
///             }
///             Ok(())
///         }
///     })
/// });
/// for number in 1..=4 {
///     harness.push(number);
/// }
/// assert_eq!(harness.output(), [3, 7]);
/// ```
pub struct SubtaskList<V: Record>(Rc<RefCell<Vec<V>>>);

impl<V: Record> Clone for SubtaskList<V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<V: Record> Default for SubtaskList<V> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<V: Record> SubtaskList<V> {
    /// Adds an element behind the others.
    pub fn add(&self, element: V) {
        self.0.borrow_mut().push(element);
    }

    /// Takes all elements out.
    #[must_use]
    pub fn take(&self) -> Vec<V> {
        self.0.take()
    }

    /// Makes these the elements.
    pub fn set(&self, elements: Vec<V>) {
        self.0.replace(elements);
    }

    /// Calls with the elements, in order.
    pub fn with<R>(&self, read: impl FnOnce(&[V]) -> R) -> R {
        read(&self.0.borrow())
    }

    /// Changes the elements. The list must not be used meanwhile.
    pub fn update<R>(&self, change: impl FnOnce(&mut Vec<V>) -> R) -> R {
        change(&mut self.0.borrow_mut())
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A list, its type cut.
trait Copied {
    fn items(&self) -> Vec<Vec<u8>>;
}

impl<V: Record> Copied for SubtaskList<V> {
    fn items(&self) -> Vec<Vec<u8>> {
        let mut saved = SavedRecord::new();
        let elements = self.0.borrow();
        let items = elements.iter().map(|it| saved.archive(it).to_vec());
        items.collect()
    }
}

struct Declared {
    /// The name of its part: how it is called, and what its elements are made of.
    part: String,
    /// How the names of its parts begin.
    prefix: String,
    redistribution: Redistribution,
    list: Box<dyn Copied>,
}

/// The lists of one operator of one subtask. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct SubtaskLists(Rc<Lists>);

#[derive(Default)]
struct Lists {
    /// What the operator is restored from.
    restored: Vec<OperatorPart>,
    declared: RefCell<Vec<Declared>>,
}

/// Refuses elements of another type than those of the list are now.
fn check_type<V: Record>(name: &str, found: &str, now: &Schema) -> Result<(), String> {
    let refused = |was: &str, is: &str, changes: &str| {
        Err(format!(
            "the list '{name}' was of {was} when the copy was written and is of {is} now{changes}: declare it as it \
             was, or give it another name and begin with nothing"
        ))
    };
    let Some(text) = found.strip_prefix(MADE_OF) else {
        return match type_name::<V>() {
            is if is == found => Ok(()),
            is => refused(found, is, ""),
        };
    };
    match Schema::stored(text) {
        Some(was) if was == *now => Ok(()),
        Some(was) => {
            let changes = was.changes(now).join("; ");
            refused(&was.to_string(), &now.to_string(), &format!(" ({changes})"))
        }
        None => Err(format!(
            "the copy of the list '{name}' is damaged: what its elements are made of is longer than it can be; restore \
             from another copy"
        )),
    }
}

/// The name of a part of a checkpoint as people may read it: of a list with what its elements are made of.
#[must_use]
pub fn shown_part(name: &str) -> String {
    let list = name
        .strip_prefix(LIST)
        .and_then(|list| list.split_once(':'));
    let Some((list, kind)) = list else {
        return name.to_owned();
    };
    match kind.strip_prefix(MADE_OF).and_then(Schema::stored) {
        Some(schema) => format!("{LIST}{list}:{schema}"),
        None => name.to_owned(),
    }
}

/// The beginning of the names of all parts of a list.
fn prefix(name: &str) -> String {
    format!("{LIST}{name}:")
}

impl SubtaskLists {
    /// The lists of the operator at this place of the chain.
    pub(crate) fn of(context: &BuildContext, place: usize) -> Self {
        let restored = context.restored(place);
        let parts = restored.map_or_else(Vec::new, |(_, operator)| operator.parts);
        Self(Rc::new(Lists {
            restored: parts,
            declared: RefCell::default(),
        }))
    }

    /// Declares a list, with what it is restored from.
    pub(crate) fn declare<V: Record>(
        &self,
        name: &str,
        redistribution: Redistribution,
    ) -> Result<SubtaskList<V>, String> {
        if name.contains(':') {
            return Err(format!(
                "the list '{name}' has a colon in its name: leave it out"
            ));
        }
        let prefix = prefix(name);
        let mut declared = self.0.declared.borrow_mut();
        if declared.iter().any(|list| list.part.starts_with(&prefix)) {
            return Err(format!(
                "two lists of one operator are called '{name}': give each its own name"
            ));
        }
        let schema = Schema::of::<V>();
        let elements = self.elements(name, &prefix, &schema)?;
        let list = SubtaskList(Rc::new(RefCell::new(elements)));
        declared.push(Declared {
            part: format!("{prefix}{MADE_OF}{}", schema.as_str()),
            prefix,
            redistribution,
            list: Box::new(list.clone()),
        });
        Ok(list)
    }

    fn elements<V: Record>(
        &self,
        name: &str,
        prefix: &str,
        schema: &Schema,
    ) -> Result<Vec<V>, String> {
        let mut saved = SavedRecord::new();
        let mut elements = Vec::new();
        for found in (self.0.restored.iter()).filter(|found| found.name.starts_with(prefix)) {
            check_type::<V>(name, &found.name[prefix.len()..], schema)?;
            for item in &found.items {
                let element = saved.revive(item);
                elements.push(element.map_err(|error| format!("the list '{name}': {error}"))?);
            }
        }
        Ok(elements)
    }

    /// Refuses lists of the copy that were not declared, unless that is allowed.
    pub(crate) fn check(&self, context: &BuildContext, place: usize) -> Result<(), BuildError> {
        let allowed = (context.restored(place)).is_none_or(|(copy, _)| copy.allow_unclaimed);
        let declared = self.0.declared.borrow();
        let claimed = |part: &&OperatorPart| {
            let mut declared = declared.iter();
            declared.any(|list| part.name.starts_with(&list.prefix))
        };
        let mut lists = (self.0.restored.iter()).filter(|part| part.name.starts_with(LIST));
        match lists.find(|part| !claimed(part)) {
            Some(part) if !allowed => Err(context.state_refused(
                place,
                format!(
                    "the copy holds the list '{}', which this operator does not declare any more: declare it, \
                     give the operator another uid, or allow it to be left behind \
                     (execution.state-recovery.ignore-unclaimed-state: true)",
                    part.name[LIST.len()..].split(':').next().unwrap_or_default()
                ),
            )),
            _ => Ok(()),
        }
    }

    fn parts(&self) -> Vec<OperatorPart> {
        let declared = self.0.declared.borrow();
        let parts = declared.iter().map(|list| OperatorPart {
            name: list.part.clone(),
            redistribution: list.redistribution,
            items: list.list.items(),
        });
        parts.collect()
    }
}

/// The lists of the operator at one place of a chain, and their way into checkpoints.
pub(crate) struct ListsOfStage {
    lists: SubtaskLists,
    place: usize,
    answers: TaskAnswers,
    remembered: Rc<RefCell<Vec<(usize, OperatorPart)>>>,
    left: bool,
}

impl ListsOfStage {
    /// The lists of the operator at this place of the chain.
    pub(crate) fn of(context: &BuildContext, place: usize) -> Self {
        Self {
            lists: SubtaskLists::of(context, place),
            place,
            answers: context.answers(),
            remembered: context.counters().remembered,
            left: false,
        }
    }

    /// Opens the function of the operator `name` without key, which may declare them. One that declares a state is told
    /// to do this `instead`.
    pub(crate) fn open<F>(
        name: &str,
        context: &BuildContext,
        (place, instead): (usize, &'static str),
        open: impl FnOnce(&mut OpenContext) -> F,
    ) -> Result<(Self, F), BuildError> {
        let lists = Self::of(context, place);
        let opening = OpenContext::without_key(name, context, instead);
        let mut opening = opening.with_lists(lists.lists());
        let function = open(&mut opening);
        opening
            .finish()
            .map_err(|refusal| context.refused(name, refusal))?;
        lists.check(context)?;
        Ok((lists, function))
    }

    /// What declares them.
    pub(crate) fn lists(&self) -> &SubtaskLists {
        &self.lists
    }

    /// Refuses lists of the copy that were not declared, unless that is allowed.
    pub(crate) fn check(&self, context: &BuildContext) -> Result<(), BuildError> {
        self.lists.check(context, self.place)
    }

    /// An event passes: at a barrier the lists are copied.
    pub(crate) fn event(&self, event: Event) {
        if let Event::Barrier(barrier) = event {
            self.copy_at(barrier);
        }
    }

    /// Copies the lists.
    pub(crate) fn copy_at(&self, barrier: Barrier) {
        for part in self.lists.parts() {
            self.answers.add_part(barrier.checkpoint, self.place, part);
        }
    }

    /// The subtask has come to its end: what it remembers is part of later checkpoints.
    pub(crate) fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            let parts = self.lists.parts().into_iter();
            let parts = parts.map(|part| (self.place, part));
            self.remembered.borrow_mut().extend(parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(parts: &[OperatorPart]) -> SubtaskLists {
        SubtaskLists(Rc::new(Lists {
            restored: parts.to_vec(),
            declared: RefCell::default(),
        }))
    }

    /// As an engine wrote it that kept names only.
    fn of_before(kind: &str) -> OperatorPart {
        let mut saved = SavedRecord::new();
        OperatorPart {
            name: format!("list:waiting:{kind}"),
            redistribution: Redistribution::Split,
            items: vec![saved.archive(&7_u64).to_vec()],
        }
    }

    mod first {
        #[thalweg_memory::record(crate = thalweg_memory)]
        pub(super) struct Visit {
            pub(super) of: u64,
            pub(super) at: u64,
        }
    }

    mod then {
        #[thalweg_memory::record(crate = thalweg_memory)]
        pub(super) struct Visit {
            pub(super) at: u64,
            pub(super) of: u64,
        }
    }

    #[test]
    fn lists_come_back_from_copies_of_now_and_of_before() {
        let old = of_before("u64");
        let written = lists(std::slice::from_ref(&old));
        let list = written.declare::<u64>("waiting", Redistribution::Split);
        assert_eq!(list.unwrap().take(), [7]);
        let refused = lists(&[of_before("u32")]).declare::<u64>("waiting", Redistribution::Split);
        let refused = refused.err().unwrap();
        assert!(
            refused.contains("u32") && refused.contains("u64"),
            "{refused}"
        );

        let written = lists(&[]);
        let list = written.declare("waiting", Redistribution::Split).unwrap();
        list.set(vec![1_u64, 2]);
        let [part]: [OperatorPart; 1] = written.parts().try_into().unwrap();
        // A copy may hold both: of subtasks that had come to their end, and of others.
        let both = lists(&[old, part]);
        let list = both.declare::<u64>("waiting", Redistribution::Split);
        assert_eq!(list.unwrap().take(), [7, 1, 2]);
    }

    #[test]
    fn elements_of_other_fields_are_refused_by_name() {
        let written = lists(&[]);
        let list = written.declare("visits", Redistribution::Union).unwrap();
        list.add(first::Visit { of: 1, at: 2 });
        let parts = written.parts();
        let again = lists(&parts).declare::<first::Visit>("visits", Redistribution::Union);
        let visits = again.unwrap().take();
        assert_eq!((visits[0].of, visits[0].at), (1, 2));
        let refused = lists(&parts).declare::<then::Visit>("visits", Redistribution::Union);
        let refused = refused.err().unwrap();
        for part in ["'visits'", "changed places: of, at before, at, of now"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        let shown = shown_part(&parts[0].name);
        assert_eq!(shown, "list:visits:Visit{of: u64, at: u64}");
        assert_eq!(shown_part("splits"), "splits");
    }
}
