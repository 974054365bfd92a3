//! Windows against a model, with planted mistakes that must be found.

use std::cell::Cell;

/// A mistake that a test plants to see it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    /// Sessions that meet: the contents of one of them are lost.
    PaneLost,
    /// A window that speaks because of a late record speaks twice.
    LateTwice,
}

thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// What is planted in operators opened now, on this thread.
pub(super) fn planted() -> Option<Planted> {
    PLANTED.get()
}
