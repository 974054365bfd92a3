//! State of a subtask that belongs to no key: a list, dealt out anew when the parallelism changes.
//!
//! Declared when a function opens, copied whole at each barrier, in the metadata of the
//! checkpoint: it is for a few things, such as positions or what was not sent yet. Invariants: a list that was declared is
//! part of every checkpoint, also after its subtask has ended; a list in the copy that is not declared, or is of
//! another type, is refused by name. Lives on one shard's thread.

use std::any::type_name;
use std::cell::RefCell;
use std::rc::Rc;

use thalweg_memory::SavedRecord;
use thalweg_memory::record::Record;
use thalweg_network::{Barrier, Event};
use thalweg_state::{OperatorPart, Redistribution};

use super::OpenContext;
use crate::checkpoint::TaskAnswers;
use crate::task::{BuildContext, BuildError};

/// What the names of parts begin with.
const LIST: &str = "list:";

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
    /// The name of its part: how it is called, and the type of its elements.
    part: String,
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
        let part = format!("{prefix}{}", type_name::<V>());
        let elements = self.elements(name, &prefix, &part)?;
        let list = SubtaskList(Rc::new(RefCell::new(elements)));
        declared.push(Declared {
            part,
            redistribution,
            list: Box::new(list.clone()),
        });
        Ok(list)
    }

    fn elements<V: Record>(&self, name: &str, prefix: &str, part: &str) -> Result<Vec<V>, String> {
        let mut saved = SavedRecord::new();
        let mut elements = Vec::new();
        for found in (self.0.restored.iter()).filter(|found| found.name.starts_with(prefix)) {
            if found.name != part {
                return Err(format!(
                    "the list '{name}' was of {} when the copy was written and is of {} now: declare it as it \
                     was, or give it another name and begin with nothing",
                    &found.name[prefix.len()..],
                    type_name::<V>()
                ));
            }
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
        let claimed = |part: &&OperatorPart| declared.iter().any(|list| list.part == part.name);
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
