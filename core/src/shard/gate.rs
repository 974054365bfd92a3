//! The gate: count who is inside, so that a close can wait until all are out.
//!
//! Whoever starts something that outlives the call (a file operation, a connection, an upload) enters
//! and keeps the [`Pass`] until it has ended. Closing lets nobody else in and tells, once, when the last
//! one has left. Lives on its shard's thread; costs a counter.
//!
//! Invariants: nobody enters a closed gate; the closer is told exactly once, and only when nobody is
//! inside.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// A counted entry. Clones are the same gate.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use thalweg_core::shard::gate::Gate;
/// let gate = Gate::new("uploads");
/// let pass = gate.enter().unwrap();
/// let empty = Rc::new(Cell::new(false));
/// let told = Rc::clone(&empty);
/// gate.close(move || told.set(true));
/// assert!(gate.enter().is_err() && !empty.get());
/// drop(pass);
/// assert!(empty.get());
/// ```
#[derive(Clone)]
pub struct Gate(Rc<Inside>);

struct Inside {
    name: &'static str,
    count: Cell<usize>,
    closed: Cell<bool>,
    when_empty: RefCell<Option<Box<dyn FnOnce()>>>,
}

/// The gate does not let anybody in any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} are closing: nothing new is started")]
pub struct GateClosed(&'static str);

impl Gate {
    /// An open gate with nobody inside; `name` says in the plural what enters.
    #[must_use]
    pub fn new(name: &'static str) -> Gate {
        Gate(Rc::new(Inside {
            name,
            count: Cell::new(0),
            closed: Cell::new(false),
            when_empty: RefCell::new(None),
        }))
    }

    /// Enters; whoever holds the pass is inside.
    ///
    /// # Errors
    /// When the gate is closed.
    #[inline]
    pub fn enter(&self) -> Result<Pass, GateClosed> {
        if self.0.closed.get() {
            return Err(GateClosed(self.0.name));
        }
        self.0.count.set(self.0.count.get() + 1);
        Ok(Pass(Rc::clone(&self.0)))
    }

    /// Closes the gate for good; `when_empty` runs as soon as nobody is inside, at once if that is now.
    ///
    /// # Panics
    /// When the gate was closed before: only one can be told.
    pub fn close(&self, when_empty: impl FnOnce() + 'static) {
        assert!(
            !self.0.closed.replace(true),
            "the gate of {} was closed before",
            self.0.name
        );
        if self.0.count.get() == 0 {
            when_empty();
        } else {
            *self.0.when_empty.borrow_mut() = Some(Box::new(when_empty));
        }
    }

    /// Whether it lets nobody in.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.0.count.get()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inside {
            name,
            count,
            closed,
            ..
        } = &*self.0;
        write!(
            f,
            "Gate({name}, {} inside, closed: {})",
            count.get(),
            closed.get()
        )
    }
}

/// The right to be inside; dropping it is leaving.
#[must_use = "dropping the pass is leaving"]
pub struct Pass(Rc<Inside>);

impl Clone for Pass {
    /// A second one inside, also when the gate has closed meanwhile: it continues what was let in.
    fn clone(&self) -> Self {
        self.0.count.set(self.0.count.get() + 1);
        Pass(Rc::clone(&self.0))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let before = self.0.count.get();
        debug_assert!(before > 0, "somebody left who never entered");
        self.0.count.set(before - 1);
        if before == 1 && self.0.closed.get() {
            let when_empty = self.0.when_empty.borrow_mut().take();
            if let Some(tell) = when_empty {
                tell();
            }
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pass({})", self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> (Rc<Cell<u32>>, impl FnOnce() + 'static) {
        let told = Rc::new(Cell::new(0));
        let count = Rc::clone(&told);
        (told, move || count.set(count.get() + 1))
    }

    #[test]
    fn the_closer_is_told_once_when_the_last_one_has_left() {
        let gate = Gate::new("reads");
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        let (told, tell) = counter();
        gate.close(tell);
        assert_eq!((gate.inside(), told.get()), (2, 0));
        let continued = second.clone();
        drop(first);
        drop(second);
        assert_eq!((gate.inside(), told.get()), (1, 0));
        drop(continued);
        assert_eq!((gate.inside(), told.get()), (0, 1));
    }

    #[test]
    fn an_empty_gate_closes_at_once() {
        let gate = Gate::new("reads");
        drop(gate.enter().unwrap());
        let (told, tell) = counter();
        gate.close(tell);
        assert!(gate.is_closed() && told.get() == 1);
        let refusal = gate.enter().unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "reads are closing: nothing new is started"
        );
    }

    #[test]
    fn being_told_may_look_at_the_gate() {
        let gate = Gate::new("reads");
        let pass = gate.enter().unwrap();
        let same = gate.clone();
        gate.close(move || assert!(same.inside() == 0 && same.enter().is_err()));
        drop(pass);
    }

    #[test]
    #[should_panic(expected = "was closed before")]
    fn a_gate_closes_once() {
        let gate = Gate::new("reads");
        gate.close(|| {});
        gate.close(|| {});
    }
}
