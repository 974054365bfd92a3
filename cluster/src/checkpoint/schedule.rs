//! When the next periodic checkpoint starts.
//!
//! Asked by the coordinator at every step, told when one starts and when one ends. A plain state machine in
//! ms of the monotonic clock. Invariant: from the end of any checkpoint to the start of a periodic one at
//! least the pause has passed, and never are more under way than allowed.

use super::settings::CheckpointSettings;

/// The schedule of one job.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_ms: Option<u64>,
    min_pause_ms: u64,
    max_concurrent: usize,
    /// When the next one is due by the interval; `None` while the job does not run.
    due_ms: Option<u64>,
    /// Before when the pause after the last one is not over.
    pause_until_ms: u64,
}

impl Schedule {
    /// A schedule that stands still until [`Schedule::run`].
    #[must_use]
    pub fn new(settings: &CheckpointSettings) -> Schedule {
        Schedule {
            interval_ms: settings.interval_ms,
            min_pause_ms: settings.min_pause_ms,
            max_concurrent: settings.max_concurrent,
            due_ms: None,
            pause_until_ms: 0,
        }
    }

    /// The job runs: the first one is due after one interval.
    pub fn run(&mut self, now_ms: u64) {
        self.due_ms = self
            .interval_ms
            .map(|interval| now_ms.saturating_add(interval));
    }

    /// The job does not run any more: nothing is due.
    pub fn stand_still(&mut self) {
        self.due_ms = None;
    }

    /// Whether a periodic one is to start, with so many under way.
    #[must_use]
    pub fn is_due(&self, now_ms: u64, under_way: usize) -> bool {
        self.wake_ms(under_way).is_some_and(|wake| wake <= now_ms)
    }

    /// When a periodic one is to start; `None` if something else must happen first.
    #[must_use]
    pub fn wake_ms(&self, under_way: usize) -> Option<u64> {
        let due = self.due_ms.filter(|_| under_way < self.max_concurrent)?;
        Some(due.max(self.pause_until_ms))
    }

    /// A periodic one starts. The next is due one interval after this one was; what was missed meanwhile is
    /// not made up for.
    pub fn started(&mut self, now_ms: u64) {
        let (Some(due), Some(interval)) = (self.due_ms, self.interval_ms) else {
            return;
        };
        let missed = now_ms.saturating_sub(due) / interval;
        let next = due.saturating_add(missed.saturating_add(1).saturating_mul(interval));
        self.due_ms = Some(next);
    }

    /// Any one has ended, well or badly.
    pub fn ended(&mut self, now_ms: u64) {
        self.pause_until_ms = now_ms.saturating_add(self.min_pause_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::config::Configuration;

    use super::*;

    fn schedule(interval: Option<u64>, pause: u64, most: usize) -> Schedule {
        let mut settings = CheckpointSettings::of(&Configuration::new()).unwrap();
        settings.interval_ms = interval;
        settings.min_pause_ms = pause;
        settings.max_concurrent = most;
        Schedule::new(&settings)
    }

    #[test]
    fn the_interval_is_kept_and_what_was_missed_is_not_made_up_for() {
        let mut schedule = schedule(Some(100), 0, 1);
        assert!(!schedule.is_due(1_000_000, 0), "the job does not run");
        schedule.run(1_000);
        assert_eq!(schedule.wake_ms(0), Some(1_100));
        assert!(!schedule.is_due(1_099, 0) && schedule.is_due(1_100, 0));
        schedule.started(1_103);
        assert_eq!(schedule.wake_ms(0), Some(1_200));
        schedule.started(1_555);
        assert_eq!(schedule.wake_ms(0), Some(1_600));
        schedule.stand_still();
        assert_eq!(schedule.wake_ms(0), None);
    }

    #[test]
    fn without_interval_none_is_ever_due() {
        let mut schedule = schedule(None, 0, 1);
        schedule.run(0);
        assert!(!schedule.is_due(u64::MAX, 0));
    }

    proptest! {
        /// Drawn lengths of checkpoints, ticks late by chance: pause, interval and limit hold.
        #[test]
        fn pause_and_limit_hold(
            interval in 1..50_u64,
            pause in 0..80_u64,
            most in 1..4_usize,
            steps in proptest::collection::vec((1..30_u64, any::<bool>()), 1..200),
        ) {
            let mut schedule = schedule(Some(interval), pause, most);
            schedule.run(0);
            let (mut now, mut under_way, mut last_end, mut starts) = (0, 0_usize, None::<u64>, 0_u64);
            for (step, ends) in steps {
                now += step;
                if ends && under_way > 0 {
                    under_way -= 1;
                    last_end = Some(now);
                    schedule.ended(now);
                }
                if schedule.is_due(now, under_way) {
                    prop_assert!(under_way < most);
                    prop_assert!(last_end.is_none_or(|end| now - end >= pause));
                    starts += 1;
                    prop_assert!(starts * interval <= now, "no more than the interval allows");
                    under_way += 1;
                    schedule.started(now);
                } else if let Some(wake) = schedule.wake_ms(under_way) {
                    prop_assert!(wake > now);
                }
            }
        }
    }
}
