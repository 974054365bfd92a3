//! Many seeds: run on several threads, and what was done in all.
//!
//! A seed runs on one thread, so what it does does not depend on how many there are; they are told of in their
//! order.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use super::history::{History, Trial, run};

/// What was done in all.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// Seeds that were run.
    pub seeds: u64,
    /// Seeds in which something was wrong.
    pub failed: u64,
    /// Seeds in which state was on disk that memory did not hold.
    pub spilled: u64,
    /// Seeds in which the job went on from a savepoint.
    pub went_on: u64,
    /// Seeds in which the disk had little room for a process.
    pub cramped: u64,
    /// Seeds in which a process was killed before its first round.
    pub killed_at_start: u64,
    /// The numbers of all histories, added up.
    pub sum: History,
}

impl Total {
    /// Adds a seed; without a history it is one that failed.
    pub fn add(&mut self, history: Option<&History>) {
        self.seeds += 1;
        let Some(history) = history else {
            self.failed += 1;
            return;
        };
        self.spilled += u64::from(history.overflowed > 0);
        self.went_on += u64::from(history.stops + history.died_stopping > 0);
        self.cramped += u64::from(history.cramped > 0);
        self.killed_at_start += u64::from(history.killed_at_start > 0);
        let sum = &mut self.sum;
        sum.processes += history.processes;
        sum.kills += history.kills;
        sum.power_cuts += history.power_cuts;
        sum.failures += history.failures;
        sum.stops += history.stops;
        sum.died_stopping += history.died_stopping;
        sum.cramped += history.cramped;
        sum.killed_at_start += history.killed_at_start;
        sum.overflowed += history.overflowed;
        sum.rounds += history.rounds;
        sum.virtual_ms += history.virtual_ms;
        sum.doubled += history.doubled;
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let History {
            processes,
            kills,
            power_cuts,
            failures,
            stops,
            died_stopping,
            cramped,
            killed_at_start,
            rounds,
            virtual_ms,
            doubled,
            ..
        } = &self.sum;
        writeln!(f, "{} seeds, {} failed", self.seeds, self.failed)?;
        writeln!(
            f,
            "{processes} processes: {kills} killed ({power_cuts} with the power, {killed_at_start} while they \
             began), {failures} ended by the disk, {stops} stopped with a savepoint, {died_stopping} died while they stopped; {cramped} had little room on \
             the disk"
        )?;
        writeln!(
            f,
            "seeds with state on disk that memory did not hold: {}; that went on from a savepoint: {}; with little \
             room on the disk: {}; with a kill while a process began: {}",
            self.spilled, self.went_on, self.cramped, self.killed_at_start
        )?;
        write!(
            f,
            "{rounds} rounds, {virtual_ms} ms of virtual time, {doubled} lines too many"
        )
    }
}

/// Runs a trial with each of these seeds, on so many threads, and tells of each in their order.
#[allow(
    clippy::disallowed_methods,
    reason = "each seed is a world of its own, and none knows of the others"
)]
pub fn run_all(
    trial: Trial,
    seeds: Range<u64>,
    threads: usize,
    mut tell: impl FnMut(Trial, Result<History, String>),
) {
    let next = AtomicU64::new(seeds.start);
    let of = |seed| Trial { seed, ..trial };
    let work = |done: &mut dyn FnMut(u64, Result<History, String>)| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            done(seed, run(of(seed)));
        }
    };
    if threads == 1 {
        return work(&mut |seed, result| tell(of(seed), result));
    }
    let (sender, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, work) = (sender.clone(), &work);
            scope.spawn(move || {
                work(&mut |seed, result| {
                    // The other end is there until all threads have ended.
                    let _ = sender.send((seed, result));
                });
            });
        }
        drop(sender);
        let (mut early, mut due) = (BTreeMap::new(), seeds.start);
        for (seed, result) in results {
            early.insert(seed, result);
            while let Some(result) = early.remove(&due) {
                tell(of(due), result);
                due += 1;
            }
        }
    });
}
