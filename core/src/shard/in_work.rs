//! Which operator of a chain is in work, for whoever watches the shard from outside.
//!
//! The operators of a task are fused into straight code: from outside nobody could tell in which of them a turn is.
//! Most write their place down when user code of theirs begins, and the place that was there before when it ends
//! ([`OperatorScope`](super::panic::OperatorScope)): two plain stores to memory that nobody else writes, once for many
//! records where a head works on many at a time. Those that become part of another operator's loop do not: of these
//! it is known behind which one they come.
//!
//! Invariants: only the thread of the shard writes the place; the names never change. The place is read by the stall
//! watchdog, and may be over when its name is told.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The operators of one task, and which of them is in work.
#[derive(Debug)]
pub struct InWork {
    /// The place of the operator and 1, or 0 while none is in work.
    place: AtomicU32,
    operators: Vec<Operator>,
}

#[derive(Debug)]
struct Operator {
    name: Box<str>,
    /// Whether it is in work unsaid, while the one before it is said to be.
    fused: AtomicBool,
}

impl InWork {
    /// No operator of these, in the order of their chain, is in work.
    #[must_use]
    pub fn new<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Arc<InWork> {
        let operators = names.into_iter().map(|name| Operator {
            name: name.into(),
            fused: AtomicBool::new(false),
        });
        Arc::new(InWork {
            place: AtomicU32::new(0),
            operators: operators.collect(),
        })
    }

    /// The operator that is in work, if one is: itself or one of those that are fused behind it, if there are any.
    #[must_use]
    pub fn operator(&self) -> Option<String> {
        let place = self.place.load(Ordering::Relaxed).checked_sub(1)?;
        let mut operators = self.operators.get(place as usize..)?.iter();
        let mut told = operators.next()?.name.to_string();
        for fused in operators.take_while(|behind| behind.fused.load(Ordering::Relaxed)) {
            told.push_str(" or ");
            told.push_str(&fused.name);
        }
        Some(told)
    }

    /// The operator at this place, to be marked by. One that the chain does not have goes by `otherwise`, and is never
    /// told to be in work.
    #[must_use]
    pub fn name(self: &Arc<Self>, place: usize, otherwise: &str) -> OperatorName {
        OperatorName {
            name: self.name_of(place, otherwise).into(),
            mark: u32::try_from(place + 1).unwrap_or(u32::MAX),
            in_work: Arc::clone(self),
        }
    }

    /// The operator at this place, which is fused into the loop of one before it.
    pub fn fused(&self, place: usize, otherwise: &str) -> Rc<str> {
        if let Some(operator) = self.operators.get(place) {
            operator.fused.store(true, Ordering::Relaxed);
        }
        self.name_of(place, otherwise).into()
    }

    fn name_of<'a>(&'a self, place: usize, otherwise: &'a str) -> &'a str {
        let operator = self.operators.get(place);
        operator.map_or(otherwise, |operator| &operator.name)
    }
}

/// What an operator is called, and where it says that it is in work. Lives on its shard's thread.
#[derive(Clone, Debug)]
pub struct OperatorName {
    name: Rc<str>,
    mark: u32,
    in_work: Arc<InWork>,
}

impl OperatorName {
    /// An operator on its own, which nobody watches.
    #[must_use]
    pub fn alone(name: &str) -> OperatorName {
        InWork::new([name]).name(0, name)
    }

    /// The operator is in work; answers what was before, to be told to [`OperatorName::ends`].
    #[inline(always)]
    pub(super) fn begins(&self) -> u32 {
        // Relaxed: whoever reads it reads nothing that was written with it.
        let before = self.in_work.place.load(Ordering::Relaxed);
        self.in_work.place.store(self.mark, Ordering::Relaxed);
        before
    }

    /// It is not any more.
    #[inline(always)]
    pub(super) fn ends(&self, before: u32) {
        self.in_work.place.store(before, Ordering::Relaxed);
    }
}

impl Deref for OperatorName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl AsRef<str> for OperatorName {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::panic::OperatorScope;

    #[test]
    fn those_that_are_fused_behind_the_one_in_work_are_told_with_it() {
        let chain = ["source", "map", "filter", "process", "map", "exchange"];
        let in_work = InWork::new(chain);
        let fused = [1, 2, 4].map(|place| in_work.fused(place, "none"));
        assert_eq!(fused, ["map", "filter", "map"].map(Rc::from));
        let [source, process, exchange] = [0, 3, 5].map(|place| in_work.name(place, "none"));
        assert_eq!(in_work.operator(), None);
        let outer = OperatorScope::enter(&source);
        assert_eq!(
            in_work.operator().as_deref(),
            Some("source or map or filter")
        );
        let inner = OperatorScope::enter(&process);
        assert_eq!(in_work.operator().as_deref(), Some("process or map"));
        let innermost = OperatorScope::enter(&exchange);
        assert_eq!(in_work.operator().as_deref(), Some("exchange"));
        innermost.leave();
        inner.leave();
        assert_eq!(
            in_work.operator().as_deref(),
            Some("source or map or filter")
        );
        outer.leave();
        assert_eq!(in_work.operator(), None);
    }
}
