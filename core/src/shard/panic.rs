//! Which operator a panic came from, at no cost while nothing panics.
//!
//! A chain of fused operators enters an [`OperatorScope`] around each call into user code and leaves it
//! by forgetting it. Only unwinding drops a scope, and the drop writes the operator's name into this
//! thread's cell, from where the executor takes it after it has caught the panic. Lives on the shard's
//! thread; the cell belongs to that thread alone.
//!
//! Invariants: scopes nest, and the innermost one is dropped first, so the first name written stands;
//! a name is left over only between a panic and [`take_panicked_operator`].

use std::cell::RefCell;
use std::mem;

pub use super::catch::catch;

thread_local! {
    static PANICKED_IN: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The stretch of code in which user code of one operator runs.
///
/// ```
/// use thalweg_core::shard::panic::{OperatorScope, take_panicked_operator};
/// let guard = OperatorScope::enter("count words");
/// let words = 2 + 2; // user code
/// guard.leave();
/// assert_eq!((words, take_panicked_operator()), (4, None));
/// ```
#[must_use = "leave the scope after the user code, or every end of it counts as a panic"]
pub struct OperatorScope<'a, N: AsRef<str> + ?Sized = str> {
    // Where the name is, not the name itself: a place that does not change in a loop costs nothing there.
    name: &'a N,
}

impl<'a, N: AsRef<str> + ?Sized> OperatorScope<'a, N> {
    /// Enters the operator called `name`.
    #[inline(always)]
    pub const fn enter(name: &'a N) -> OperatorScope<'a, N> {
        OperatorScope { name }
    }

    /// Leaves it in peace. Costs nothing.
    #[inline(always)]
    pub const fn leave(self) {
        mem::forget(self);
    }
}

impl<N: AsRef<str> + ?Sized> Drop for OperatorScope<'_, N> {
    #[cold]
    fn drop(&mut self) {
        // A scope that is dropped by an early return or `?` is not a panic.
        if !std::thread::panicking() {
            return;
        }
        // Not `with`: the thread may be ending, and a panic while unwinding would abort the process.
        let _ = PANICKED_IN.try_with(|cell| {
            if let Ok(mut name) = cell.try_borrow_mut() {
                name.get_or_insert_with(|| self.name.as_ref().to_owned());
            }
        });
    }
}

/// The innermost operator the last caught panic came from, if it came from one; asked once per panic, by
/// whoever caught it.
pub fn take_panicked_operator() -> Option<String> {
    PANICKED_IN.with(RefCell::take)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn the_innermost_operator_is_named() {
        let outcome = catch_unwind(|| {
            let outer = OperatorScope::enter("outer");
            let before = OperatorScope::enter("before");
            before.leave();
            let inner = OperatorScope::enter("inner");
            assert!(std::hint::black_box(false), "user code failed");
            inner.leave();
            outer.leave();
        });
        let payload = outcome.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"user code failed"));
        assert_eq!(take_panicked_operator().as_deref(), Some("inner"));
        assert_eq!(take_panicked_operator(), None, "taken once");
    }

    #[test]
    fn a_panic_outside_any_operator_names_none() {
        let outcome = catch_unwind(|| {
            OperatorScope::enter("done before").leave();
            assert!(std::hint::black_box(false), "not in user code");
        });
        assert!(outcome.is_err());
        assert_eq!(take_panicked_operator(), None);
    }

    #[test]
    fn an_early_end_of_a_scope_is_not_a_panic() {
        drop(OperatorScope::enter("returned early"));
        assert_eq!(take_panicked_operator(), None);
    }

    #[test]
    fn a_scope_is_two_words_and_forgetting_it_is_all_that_leaving_does() {
        assert_eq!(mem::size_of::<OperatorScope<'_>>(), mem::size_of::<&str>());
    }
}
