//! The stall watchdog: notices a turn that runs too long, and names its task.
//!
//! A shard publishes which turn of which task it is in, with one plain store at the start and the end of
//! each turn ([`Pulse`]). One thread per process looks at all pulses a few times per threshold; a turn it
//! finds unchanged for longer than the threshold is reported, once, as a warning with shard, task and
//! duration, and counted. The watchdog uses its own clock, so that the shard reads none for it, and it
//! sees a shard that is stuck for ever.
//!
//! Which operator of the task is in work says the task itself ([`InWork`]), as far as user code goes.
//!
//! Invariants: one report per stalled turn; a turn shorter than the threshold is never reported, one that
//! also outlasts the next look always; the thread exists only while something is watched. The shard's
//! half lives on the shard's thread, the rest on the watchdog's; the table of names is behind a mutex
//! that only start and end of a task and a stall touch.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::in_work::InWork;
use crate::ids::ShardId;

/// Looks per threshold: a turn is seen first at most a quarter of it after it began.
const LOOKS_PER_THRESHOLD: u32 = 4;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// What a shard publishes of itself. Shared by the shard and the watchdog.
#[derive(Debug)]
pub struct Pulse {
    shard: ShardId,
    threshold: Duration,
    /// High half: number of the turn, which wraps. Low half: its task + 1, or 0 between turns.
    turn: AtomicU64,
    stalls: AtomicU64,
    tasks: Mutex<BTreeMap<u32, Known>>,
}

/// What is known of a task.
#[derive(Debug)]
struct Known {
    name: String,
    in_work: Option<Arc<InWork>>,
}

/// The low half of a pulse.
const TASK_MASK: u64 = u32::MAX as u64;

impl Pulse {
    /// The pulse of `shard`, whose turns may take `threshold` before they are reported. 0 reports none.
    #[must_use]
    pub fn new(shard: ShardId, threshold: Duration) -> Arc<Pulse> {
        Arc::new(Pulse {
            shard,
            threshold,
            turn: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            tasks: Mutex::default(),
        })
    }

    /// A turn of `task` begins. Only the shard's thread may say so.
    ///
    /// # Panics
    /// In debug builds, when the last turn has not ended.
    #[inline]
    pub fn turn_begins(&self, task: u32) {
        let before = self.turn.load(Ordering::Relaxed);
        debug_assert!(before & TASK_MASK == 0, "turns do not nest");
        debug_assert!(task < u32::MAX, "one number means none");
        let number = (before | TASK_MASK).wrapping_add(1);
        // Relaxed: the watchdog reads nothing else of the turn.
        self.turn
            .store(number | (u64::from(task) + 1), Ordering::Relaxed);
    }

    /// The turn has ended.
    #[inline]
    pub fn turn_ends(&self) {
        let turn = self.turn.load(Ordering::Relaxed);
        debug_assert!(turn & TASK_MASK != 0, "no turn has begun");
        self.turn.store(turn & !TASK_MASK, Ordering::Relaxed);
    }

    /// Says how `task` is called and which of its operators is in work, when it starts.
    pub fn name_task(&self, task: u32, name: &str, in_work: Option<Arc<InWork>>) {
        let name = name.to_owned();
        self.tasks().insert(task, Known { name, in_work });
    }

    /// Forgets `task`, when it ends.
    pub fn forget_task(&self, task: u32) {
        self.tasks().remove(&task);
    }

    /// How many turns were reported so far.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// The name of a task, and of its operator that is in work.
    fn name_of(&self, task: u32) -> (String, Option<String>) {
        match self.tasks().get(&task) {
            Some(Known { name, in_work }) => {
                let operator = in_work.as_ref().and_then(|in_work| in_work.operator());
                (name.clone(), operator)
            }
            None => (format!("task {task}"), None),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<u32, Known>> {
        // A task cannot be half inserted: a poisoned table is still a table.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interval(&self) -> Duration {
        (self.threshold / LOOKS_PER_THRESHOLD).max(SHORTEST_INTERVAL)
    }
}

/// A turn that runs too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The shard that is held up.
    pub shard: ShardId,
    /// The number of the task.
    pub task: u32,
    /// The name of the task.
    pub name: String,
    /// Its operator whose user code is in work, or it and those fused behind it, if any is: the engine itself may be.
    pub operator: Option<String>,
    /// How long the turn has taken so far, at least.
    pub lasted: Duration,
}

/// What the watchdog remembers of one pulse between two looks. No clock and no thread of its own.
#[derive(Debug)]
struct Watch {
    pulse: Arc<Pulse>,
    /// The pulse as first seen, and when.
    seen: u64,
    since: Duration,
    reported: bool,
}

impl Watch {
    fn new(pulse: Arc<Pulse>) -> Watch {
        Watch {
            pulse,
            seen: 0,
            since: Duration::ZERO,
            reported: false,
        }
    }

    /// Looks at the pulse at time `now`; answers a stall the first time it is one.
    fn look(&mut self, now: Duration) -> Option<Stall> {
        let turn = self.pulse.turn.load(Ordering::Relaxed);
        if turn != self.seen {
            (self.seen, self.since, self.reported) = (turn, now, false);
            return None;
        }
        let lasted = now.saturating_sub(self.since);
        let between_turns = turn & TASK_MASK == 0;
        if between_turns || self.reported || lasted < self.pulse.threshold {
            return None;
        }
        self.reported = true;
        self.pulse.stalls.fetch_add(1, Ordering::Relaxed);
        let task = ((turn & TASK_MASK) - 1) as u32;
        let (name, operator) = self.pulse.name_of(task);
        Some(Stall {
            shard: self.pulse.shard,
            task,
            name,
            operator,
            lasted,
        })
    }
}

/// All that is watched in this process.
struct Watched {
    list: Vec<Watch>,
    /// Whether the thread runs.
    awake: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched {
    list: Vec::new(),
    awake: false,
});
static CHANGED: Condvar = Condvar::new();

fn watched() -> MutexGuard<'static, Watched> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a pulse watched until the guard is dropped. The first one starts the process's watchdog thread,
/// and after the last one it ends.
///
/// # Errors
/// When the thread cannot be started; the pulse is then not watched.
pub fn watch(pulse: &Arc<Pulse>) -> io::Result<WatchGuard> {
    let guard = WatchGuard(Arc::clone(pulse));
    if pulse.threshold.is_zero() {
        return Ok(guard);
    }
    let mut watched = watched();
    if !watched.awake {
        thread::Builder::new()
            .name("thalweg-stall".to_owned())
            .spawn(keep_watch)?;
        watched.awake = true;
    }
    watched.list.push(Watch::new(Arc::clone(pulse)));
    CHANGED.notify_one();
    drop(watched);
    Ok(guard)
}

/// Keeps a pulse watched.
#[derive(Debug)]
#[must_use = "a pulse is watched as long as the guard lives"]
pub struct WatchGuard(Arc<Pulse>);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        watched()
            .list
            .retain(|watch| !Arc::ptr_eq(&watch.pulse, &self.0));
        CHANGED.notify_one();
    }
}

/// The watchdog thread.
#[allow(
    clippy::disallowed_methods,
    reason = "the watchdog watches shards from outside, and their seams stand still with them"
)]
fn keep_watch() {
    let start = Instant::now();
    let mut watched = watched();
    while let Some(interval) = watched
        .list
        .iter()
        .map(|watch| watch.pulse.interval())
        .min()
    {
        let waited = CHANGED.wait_timeout(watched, interval);
        (watched, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let now = start.elapsed();
        let looks = watched.list.iter_mut().filter_map(|watch| watch.look(now));
        let stalls: Vec<Stall> = looks.collect();
        if !stalls.is_empty() {
            // Not under the lock: a log may be slow, and shards start and end meanwhile.
            drop(watched);
            stalls.iter().for_each(report);
            watched = self::watched();
        }
    }
    // Under the lock, so that whoever comes next sees that a new thread is needed.
    watched.awake = false;
}

fn report(stall: &Stall) {
    tracing::warn!(
        shard = stall.shard.0,
        task = stall.task,
        name = stall.name,
        operator = stall.operator,
        lasted_ms = stall.lasted.as_millis() as u64,
        "a turn runs too long and holds up its shard: user code must not block or compute for long \
         (thalweg.shard.stall-threshold sets when this is said)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::panic::OperatorScope;

    const MS: Duration = Duration::from_millis(1);

    fn watch_of(threshold: Duration) -> (Arc<Pulse>, Watch) {
        let pulse = Pulse::new(ShardId(2), threshold);
        pulse.name_task(7, "source -> slow map", None);
        (Arc::clone(&pulse), Watch::new(pulse))
    }

    #[test]
    fn a_turn_over_the_threshold_is_reported_once_with_its_task() {
        let (pulse, mut watch) = watch_of(100 * MS);
        pulse.turn_begins(7);
        assert_eq!(watch.look(1_000 * MS), None);
        assert_eq!(watch.look(1_099 * MS), None);
        let stall = watch.look(1_100 * MS).unwrap();
        assert_eq!((&*stall.name, stall.operator), ("source -> slow map", None));
        assert_eq!(
            (stall.shard, stall.task, stall.lasted),
            (ShardId(2), 7, 100 * MS)
        );
        assert_eq!(watch.look(9_000 * MS), None, "once per stall");
        pulse.turn_ends();
        assert_eq!((watch.look(9_001 * MS), pulse.stalls()), (None, 1));
        pulse.turn_begins(7);
        assert_eq!(watch.look(9_002 * MS), None);
        assert!(
            watch.look(9_200 * MS).is_some(),
            "the next stall is another one"
        );
        assert_eq!(pulse.stalls(), 2);
    }

    #[test]
    fn the_operator_that_is_in_work_when_a_turn_is_too_long_is_told() {
        let (pulse, mut watch) = watch_of(100 * MS);
        let in_work = InWork::new(["source", "slow map", "sink"]);
        pulse.name_task(8, "source -> slow map -> sink", Some(Arc::clone(&in_work)));
        let [source, map] = [0, 1].map(|place| in_work.name(place, "none"));
        pulse.turn_begins(8);
        let source = OperatorScope::enter(&source);
        assert_eq!(watch.look(1_000 * MS), None);
        let map = OperatorScope::enter(&map);
        let stall = watch.look(1_100 * MS).unwrap();
        assert_eq!(stall.name, "source -> slow map -> sink");
        assert_eq!(stall.operator.as_deref(), Some("slow map"));
        map.leave();
        source.leave();
        pulse.turn_ends();
        pulse.turn_begins(8);
        assert_eq!(watch.look(2_000 * MS), None);
        let stall = watch.look(2_100 * MS).unwrap();
        assert_eq!(stall.operator, None, "the engine itself is at work");
    }

    #[test]
    fn many_short_turns_of_one_task_are_no_stall() {
        let (pulse, mut watch) = watch_of(10 * MS);
        for look in 1..100 {
            pulse.turn_begins(7);
            assert_eq!(watch.look(look * 10 * MS), None);
            pulse.turn_ends();
        }
        assert_eq!(pulse.stalls(), 0);
    }

    #[test]
    fn a_shard_between_turns_may_rest_for_ever() {
        let (pulse, mut watch) = watch_of(10 * MS);
        pulse.turn_begins(7);
        pulse.turn_ends();
        assert_eq!(watch.look(MS), None);
        assert_eq!(watch.look(1_000_000 * MS), None);
    }

    #[test]
    fn a_task_without_a_name_is_told_by_its_number() {
        let (pulse, mut watch) = watch_of(MS);
        pulse.forget_task(7);
        pulse.turn_begins(7);
        assert_eq!(watch.look(MS), None);
        assert_eq!(watch.look(5 * MS).unwrap().name, "task 7");
    }

    #[test]
    fn turn_numbers_wrap() {
        let (pulse, _) = watch_of(MS);
        pulse.turn.store(u64::MAX << 32, Ordering::Relaxed);
        pulse.turn_begins(0);
        assert_eq!(pulse.turn.load(Ordering::Relaxed), 1);
        pulse.turn_ends();
        assert_eq!(pulse.turn.load(Ordering::Relaxed), 0);
    }

    /// With the real thread: a turn that does not end is counted, and a threshold of 0 watches nothing.
    #[test]
    fn the_thread_notices_a_turn_that_does_not_end() {
        let pulse = Pulse::new(ShardId(0), 2 * MS);
        let unwatched = Pulse::new(ShardId(1), Duration::ZERO);
        let guards = (watch(&pulse).unwrap(), watch(&unwatched).unwrap());
        pulse.turn_begins(1);
        unwatched.turn_begins(1);
        while pulse.stalls() == 0 {
            thread::yield_now();
        }
        assert_eq!(unwatched.stalls(), 0);
        pulse.turn_ends();
        drop(guards);
        assert!(
            watched()
                .list
                .iter()
                .all(|watch| !Arc::ptr_eq(&watch.pulse, &pulse))
        );
    }
}
