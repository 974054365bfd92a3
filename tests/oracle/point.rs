//! The named points at which a process ends itself: those of the engine, and those between it and its sinks.
//!
//! Plain data, by which the oracle draws and the job's process is told.

use std::fmt;

use thalweg_cluster::CrashPoint;

/// Where a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    Engine(CrashPoint),
    Sink(SinkPoint),
}

/// Between the engine and a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SinkPoint {
    /// A writer is about to be told that its epoch ends.
    BeforePrepare,
    /// Its epoch is durable; nobody knows that yet.
    AfterPrepare,
    /// The same of what it wrote last, after the end of its input.
    AfterLastPrepare,
    /// Some of the output of one sink is committed, and the rest is not.
    BetweenCommits,
    /// What will never be committed is about to be removed.
    BeforeAbort,
    /// It was.
    AfterAbort,
}

impl Point {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Point> {
        let engine = CrashPoint::ALL.into_iter().map(Point::Engine);
        engine.chain(SinkPoint::ALL.into_iter().map(Point::Sink))
    }

    /// Whether a process comes there that is told to stop, or has ended, and seldom else.
    pub(super) fn is_of_the_end(self) -> bool {
        matches!(
            self,
            Point::Engine(CrashPoint::BeforeCopy | CrashPoint::BeforeEnd | CrashPoint::AfterEnd)
                | Point::Sink(SinkPoint::AfterLastPrepare)
        )
    }

    /// How often a process comes there: about so often with each checkpoint; not again where it is 0.
    pub(super) fn times(self) -> u64 {
        match self {
            point if point.is_of_the_end() => 0,
            Point::Engine(
                CrashPoint::TakenOver | CrashPoint::BeforeRestore | CrashPoint::AfterRestore,
            )
            | Point::Sink(SinkPoint::BeforeAbort | SinkPoint::AfterAbort) => 0,
            // Of each file: metadata and the pointer to it.
            Point::Engine(
                CrashPoint::BeforeSync | CrashPoint::BeforeName | CrashPoint::AfterName,
            ) => 2,
            // Of each task, or operator, or sink.
            Point::Engine(
                CrashPoint::Aligned
                | CrashPoint::Frozen
                | CrashPoint::BeforeStateSync
                | CrashPoint::StateDurable
                | CrashPoint::BeforeBarrier
                | CrashPoint::AfterBarrier
                | CrashPoint::BeforeAnswer
                | CrashPoint::AfterAnswer,
            ) => 12,
            // Only once, but by many operators.
            Point::Engine(CrashPoint::GivenBack) => 2,
            Point::Sink(_) => 5,
            Point::Engine(_) => 1,
        }
    }
}

impl SinkPoint {
    const ALL: [SinkPoint; 6] = [
        SinkPoint::BeforePrepare,
        SinkPoint::AfterPrepare,
        SinkPoint::AfterLastPrepare,
        SinkPoint::BetweenCommits,
        SinkPoint::BeforeAbort,
        SinkPoint::AfterAbort,
    ];
}

/// As a command line names it. No two are named alike.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Engine(point) => point.fmt(f),
            Point::Sink(point) => f.write_str(match point {
                SinkPoint::BeforePrepare => "before-prepare",
                SinkPoint::AfterPrepare => "after-prepare",
                SinkPoint::AfterLastPrepare => "after-last-prepare",
                SinkPoint::BetweenCommits => "between-commits",
                SinkPoint::BeforeAbort => "before-abort",
                SinkPoint::AfterAbort => "after-abort",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_points_are_named_alike() {
        let names: Vec<String> = Point::all().map(|point| point.to_string()).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
