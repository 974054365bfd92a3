//! Which operator a panic came from, and which one is in work.
//!
//! A chain of fused operators enters an [`OperatorScope`] around each call into user code and leaves it
//! by forgetting it. Only unwinding drops a scope, and the drop writes the operator's name into this
//! thread's cell, from where the executor takes it after it has caught the panic. Lives on the shard's
//! thread; the cell belongs to that thread alone. While it is entered the operator is said to be in work, but where
//! its code becomes part of another operator's loop over records ([`FusedScope`]): a store for each record there takes
//! two thirds of the speed of what the compiler makes of a loop without.
//!
//! Invariants: scopes nest, and the innermost one is dropped first, so the first name written stands;
//! a name is left over only between a panic and [`take_panicked_operator`].

use std::cell::RefCell;
use std::mem;

use super::in_work::OperatorName;

pub use super::catch::catch;

thread_local! {
    static PANICKED_IN: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The stretch of code in which user code of one operator runs.
///
/// ```
/// use thalweg_core::shard::in_work::InWork;
/// use thalweg_core::shard::panic::{OperatorScope, take_panicked_operator};
/// let in_work = InWork::new(["count words"]);
/// let name = in_work.name(0, "");
/// let scope = OperatorScope::enter(&name);
/// assert_eq!(in_work.operator().as_deref(), Some("count words"));
/// let words = 2 + 2; // user code
/// scope.leave();
/// assert_eq!((words, in_work.operator(), take_panicked_operator()), (4, None, None));
/// ```
#[must_use = "leave the scope after the user code, or every end of it counts as a panic"]
pub struct OperatorScope<'a> {
    // Where the name is, not the name itself: a place that does not change in a loop costs nothing there.
    name: &'a OperatorName,
    /// What was in work before.
    before: u32,
}

impl<'a> OperatorScope<'a> {
    /// Enters the operator called `name`.
    #[inline(always)]
    pub fn enter(name: &'a OperatorName) -> OperatorScope<'a> {
        let before = name.begins();
        OperatorScope { name, before }
    }

    /// Leaves it in peace.
    #[inline(always)]
    pub fn leave(self) {
        self.name.ends(self.before);
        mem::forget(self);
    }
}

impl Drop for OperatorScope<'_> {
    #[cold]
    fn drop(&mut self) {
        self.name.ends(self.before);
        note_panic(self.name);
    }
}

/// The stretch of code in which user code of an operator runs that is fused into the loop of another: it is named when
/// it panics, and not said to be in work. Costs nothing while nothing panics.
///
/// ```
/// use thalweg_core::shard::panic::{FusedScope, take_panicked_operator};
/// let scope = FusedScope::enter("double");
/// let doubled = 2 * 2; // user code
/// scope.leave();
/// assert_eq!((doubled, take_panicked_operator()), (4, None));
/// ```
#[must_use = "leave the scope after the user code, or every end of it counts as a panic"]
pub struct FusedScope<'a, N: AsRef<str> + ?Sized = str> {
    // Where the name is, not the name itself: a place that does not change in a loop costs nothing there.
    name: &'a N,
}

impl<'a, N: AsRef<str> + ?Sized> FusedScope<'a, N> {
    /// Enters the operator called `name`.
    #[inline(always)]
    pub const fn enter(name: &'a N) -> FusedScope<'a, N> {
        FusedScope { name }
    }

    /// Leaves it in peace. Costs nothing.
    #[inline(always)]
    pub const fn leave(self) {
        mem::forget(self);
    }
}

impl<N: AsRef<str> + ?Sized> Drop for FusedScope<'_, N> {
    #[cold]
    fn drop(&mut self) {
        note_panic(self.name.as_ref());
    }
}

/// A scope of this operator has been dropped.
fn note_panic(operator: &str) {
    // A scope that is dropped by an early return or `?` is not a panic.
    if !std::thread::panicking() {
        return;
    }
    // Not `with`: the thread may be ending, and a panic while unwinding would abort the process.
    let _ = PANICKED_IN.try_with(|cell| {
        if let Ok(mut name) = cell.try_borrow_mut() {
            name.get_or_insert_with(|| operator.to_owned());
        }
    });
}

/// The innermost operator the last caught panic came from, if it came from one; asked once per panic, by
/// whoever caught it.
pub fn take_panicked_operator() -> Option<String> {
    PANICKED_IN.with(RefCell::take)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::in_work::InWork;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    #[test]
    fn the_innermost_operator_is_named_and_none_is_in_work_any_more() {
        let in_work = InWork::new(["outer", "before", "inner"]);
        let [outer, before, inner] = [0, 1, 2].map(|place| in_work.name(place, "none"));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let outer = OperatorScope::enter(&outer);
            let before = OperatorScope::enter(&before);
            assert_eq!(in_work.operator().as_deref(), Some("before"));
            before.leave();
            assert_eq!(in_work.operator().as_deref(), Some("outer"));
            let inner = OperatorScope::enter(&inner);
            assert_eq!(in_work.operator().as_deref(), Some("inner"));
            assert!(std::hint::black_box(false), "user code failed");
            inner.leave();
            outer.leave();
        }));
        let payload = outcome.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"user code failed"));
        assert_eq!(in_work.operator(), None);
        assert_eq!(take_panicked_operator().as_deref(), Some("inner"));
        assert_eq!(take_panicked_operator(), None, "taken once");
    }

    #[test]
    fn a_panic_outside_any_operator_names_none() {
        let name = OperatorName::alone("done before");
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            OperatorScope::enter(&name).leave();
            assert!(std::hint::black_box(false), "not in user code");
        }));
        assert!(outcome.is_err());
        assert_eq!(take_panicked_operator(), None);
    }

    #[test]
    fn an_early_end_of_a_scope_is_not_a_panic() {
        let in_work = InWork::new(["returned early"]);
        drop(OperatorScope::enter(&in_work.name(0, "none")));
        assert_eq!((take_panicked_operator(), in_work.operator()), (None, None));
    }

    #[test]
    fn a_fused_operator_is_named_when_it_panics_and_leaving_it_is_nothing() {
        let name: Rc<str> = "fused".into();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let outer = OperatorName::alone("outer");
            let outer = OperatorScope::enter(&outer);
            FusedScope::enter("done before").leave();
            let scope = FusedScope::enter(&name);
            assert!(std::hint::black_box(false), "user code failed");
            scope.leave();
            outer.leave();
        }));
        assert!(outcome.is_err());
        assert_eq!(take_panicked_operator().as_deref(), Some("fused"));
        drop(FusedScope::enter("returned early"));
        assert_eq!(take_panicked_operator(), None);
        assert_eq!(mem::size_of::<FusedScope<'_>>(), mem::size_of::<&str>());
    }

    #[test]
    fn an_operator_the_chain_does_not_have_goes_by_another_name_and_is_not_told() {
        let in_work = InWork::new(["first"]);
        let name = in_work.name(1, "another");
        let scope = OperatorScope::enter(&name);
        assert_eq!((&*name, in_work.operator()), ("another", None));
        scope.leave();
    }
}
