//! Mistakes that tests make on purpose, to see that they are found.
//!
//! Invariant: in a build without tests none of this exists. One thread, one test.

use std::cell::Cell;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// An entry changes before its row is written.
    NothingWrittenAside,
    /// A removed entry leaves no tombstone.
    TombstonesLost,
    /// What changed before a cut that failed has no mark.
    MarksLost,
    /// A timer registered during a cut is written.
    NewTimersWritten,
    /// What has expired goes from a merged run even where older runs lie below it.
    ExpiredWithoutTombstone,
    /// What has expired leaves memory without a tombstone, though a merge has left it out of what held it.
    ExpiredDropped,
    /// A cut of changes builds on a copy that holds what merges have left out of all runs.
    CutsBuildOnExpired,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether the code that asks has this mistake in it.
pub(crate) fn is_in(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Runs `test` with a mistake.
pub(crate) fn with<R>(bug: Bug, test: impl FnOnce() -> R) -> R {
    struct Out;
    impl Drop for Out {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    let _out = Out;
    PLANTED.set(Some(bug));
    test()
}

/// How many of the seeds a drawn program fails for.
pub(crate) fn failures(bug: Bug, seeds: std::ops::Range<u64>, program: impl Fn(u64)) -> u64 {
    let fails = |seed: &u64| {
        let run = std::panic::AssertUnwindSafe(|| with(bug, || program(*seed)));
        std::panic::catch_unwind(run).is_err()
    };
    seeds.filter(fails).count() as u64
}
