//! Whether a failed job starts again, and after how long.
//!
//! Entered by the control thread once for each failure of the job, or of a region of it that begins again alone, with
//! the time of the monotonic clock in ms. Plain state machines: no clock, no timer, and chance only from the seed they were given. Invariant: a
//! strategy that has once given up gives up for good.

use std::collections::VecDeque;
use std::time::Duration;

use thalweg_core::config::{Configuration, RestartStrategyKind, options};
use thalweg_core::seam::clock::Random;

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start again after so long.
    After(Duration),
    /// Do not start again.
    GiveUp(
        /// Why, in words that follow "the job is not started again:".
        String,
    ),
}

/// One job's strategy, with what it remembers of earlier failures.
///
/// ```
/// use std::time::Duration;
/// use thalweg_cluster::job_manager::{RestartDecision, RestartStrategy};
/// let mut strategy = RestartStrategy::fixed_delay(1, Duration::from_secs(2));
/// assert_eq!(strategy.failed(0), RestartDecision::After(Duration::from_secs(2)));
/// assert!(matches!(strategy.failed(60_000), RestartDecision::GiveUp(_)));
/// ```
#[derive(Clone, Debug)]
pub struct RestartStrategy {
    rule: Rule,
    /// Why it has given up.
    given_up: Option<String>,
}

#[derive(Clone, Debug)]
enum Rule {
    Never { why: &'static str },
    FixedDelay(FixedDelay),
    FailureRate(FailureRate),
    ExponentialDelay(ExponentialDelay),
}

impl RestartStrategy {
    /// The strategy the settings name; `checkpoints` says whether the job takes any, `seed` is where jitter
    /// comes from.
    #[must_use]
    pub fn of(settings: &Configuration, checkpoints: bool, seed: u64) -> RestartStrategy {
        let kind = match settings.get(&options::RESTART_STRATEGY) {
            RestartStrategyKind::Auto if checkpoints => RestartStrategyKind::ExponentialDelay,
            RestartStrategyKind::Auto => {
                return RestartStrategy::never(
                    "it takes no checkpoints, and restart-strategy.type names no other strategy",
                );
            }
            named => named,
        };
        match kind {
            RestartStrategyKind::Auto | RestartStrategyKind::None => {
                RestartStrategy::never("restart-strategy.type is none")
            }
            RestartStrategyKind::FixedDelay => RestartStrategy::fixed_delay(
                settings.get(&options::FIXED_DELAY_ATTEMPTS),
                settings.get(&options::FIXED_DELAY),
            ),
            RestartStrategyKind::FailureRate => RestartStrategy::failure_rate(
                settings.get(&options::MAX_FAILURES_PER_INTERVAL),
                settings.get(&options::FAILURE_RATE_INTERVAL),
                settings.get(&options::FAILURE_RATE_DELAY),
            ),
            RestartStrategyKind::ExponentialDelay => {
                let backoff = Backoff {
                    initial: settings.get(&options::INITIAL_BACKOFF),
                    longest: settings.get(&options::MAX_BACKOFF),
                    multiplier: settings.get(&options::BACKOFF_MULTIPLIER),
                    jitter: settings.get(&options::JITTER_FACTOR),
                    reset_after: settings.get(&options::RESET_BACKOFF_THRESHOLD),
                    attempts: settings.get(&options::ATTEMPTS_BEFORE_RESET),
                };
                RestartStrategy::exponential_delay(backoff, seed)
            }
        }
    }

    /// Never starts again; `why` follows "the job is not started again:".
    #[must_use]
    pub fn never(why: &'static str) -> RestartStrategy {
        RestartStrategy::by(Rule::Never { why })
    }

    /// Starts again `attempts` times over the life of the job, each after `delay`.
    #[must_use]
    pub fn fixed_delay(attempts: u32, delay: Duration) -> RestartStrategy {
        RestartStrategy::by(Rule::FixedDelay(FixedDelay {
            attempts,
            left: attempts,
            delay,
        }))
    }

    /// Starts again after `delay` as long as no more than `most` failures fall within any `interval`.
    #[must_use]
    pub fn failure_rate(most: u32, interval: Duration, delay: Duration) -> RestartStrategy {
        RestartStrategy::by(Rule::FailureRate(FailureRate {
            most,
            interval,
            delay,
            failures: VecDeque::new(),
        }))
    }

    /// Starts again after delays that grow with every failure until the job has run well for a while.
    #[must_use]
    pub fn exponential_delay(backoff: Backoff, seed: u64) -> RestartStrategy {
        RestartStrategy::by(Rule::ExponentialDelay(ExponentialDelay {
            next: backoff.initial.min(backoff.longest),
            backoff,
            restarts: 0,
            runs_from_ms: None,
            random: Random::new(seed),
        }))
    }

    fn by(rule: Rule) -> RestartStrategy {
        RestartStrategy {
            rule,
            given_up: None,
        }
    }

    /// Whether a failure may be followed by another start.
    #[must_use]
    pub fn may_begin_again(&self) -> bool {
        self.given_up.is_none() && !matches!(self.rule, Rule::Never { .. })
    }

    /// The job failed at `now_ms`: what to do. Times must not go back; one that does counts as no time passed.
    pub fn failed(&mut self, now_ms: u64) -> RestartDecision {
        if let Some(why) = &self.given_up {
            return RestartDecision::GiveUp(why.clone());
        }
        let decision = match &mut self.rule {
            Rule::Never { why } => RestartDecision::GiveUp((*why).to_owned()),
            Rule::FixedDelay(rule) => rule.failed(),
            Rule::FailureRate(rule) => rule.failed(now_ms),
            Rule::ExponentialDelay(rule) => rule.failed(now_ms),
        };
        if let RestartDecision::GiveUp(why) = &decision {
            self.given_up = Some(why.clone());
        }
        decision
    }
}

#[derive(Clone, Debug)]
struct FixedDelay {
    attempts: u32,
    left: u32,
    delay: Duration,
}

impl FixedDelay {
    fn failed(&mut self) -> RestartDecision {
        if self.left == 0 {
            return RestartDecision::GiveUp(format!(
                "it has been started again {} times, which is \
                 restart-strategy.fixed-delay.attempts",
                self.attempts
            ));
        }
        self.left -= 1;
        RestartDecision::After(self.delay)
    }
}

#[derive(Clone, Debug)]
struct FailureRate {
    most: u32,
    interval: Duration,
    delay: Duration,
    /// When the last failures were, oldest first; never more than `most`.
    failures: VecDeque<u64>,
}

impl FailureRate {
    fn failed(&mut self, now_ms: u64) -> RestartDecision {
        let within = |at: u64| Duration::from_millis(now_ms.saturating_sub(at)) < self.interval;
        while self.failures.front().is_some_and(|at| !within(*at)) {
            self.failures.pop_front();
        }
        if self.failures.len() >= self.most as usize {
            return RestartDecision::GiveUp(format!(
                "{} failures within {:?} are more than \
                 restart-strategy.failure-rate.max-failures-per-interval allows",
                self.failures.len() + 1,
                self.interval
            ));
        }
        self.failures.push_back(now_ms);
        RestartDecision::After(self.delay)
    }
}

/// How delays grow.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The delay after the first failure.
    pub initial: Duration,
    /// The longest delay.
    pub longest: Duration,
    /// By how much the delay grows with every further failure; 1 or more.
    pub multiplier: f64,
    /// The part of a delay by which it is drawn longer or shorter, 0 to 1; never beyond the longest.
    pub jitter: f64,
    /// A job that ran this long is treated as if it had never failed.
    pub reset_after: Duration,
    /// How often it starts again without having run that long; none is without end.
    pub attempts: Option<u32>,
}

#[derive(Clone, Debug)]
struct ExponentialDelay {
    backoff: Backoff,
    /// The next delay, without jitter.
    next: Duration,
    /// Restarts since the delay was the initial one.
    restarts: u32,
    /// When the last restart was due.
    runs_from_ms: Option<u64>,
    random: Random,
}

impl ExponentialDelay {
    fn failed(&mut self, now_ms: u64) -> RestartDecision {
        let ran = self.runs_from_ms.map(|from| now_ms.saturating_sub(from));
        if ran.is_some_and(|ran| Duration::from_millis(ran) >= self.backoff.reset_after) {
            self.restarts = 0;
            self.next = self.backoff.initial.min(self.backoff.longest);
        }
        if self
            .backoff
            .attempts
            .is_some_and(|most| self.restarts >= most)
        {
            return RestartDecision::GiveUp(format!(
                "it has failed again after {} restarts without running well for {:?} in between, which is \
                 restart-strategy.exponential-delay.attempts-before-reset-backoff",
                self.restarts, self.backoff.reset_after
            ));
        }
        let delay = self.with_jitter(self.next);
        self.restarts = self.restarts.saturating_add(1);
        self.next = times(self.next, self.backoff.multiplier).min(self.backoff.longest);
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.runs_from_ms = Some(now_ms.saturating_add(delay_ms));
        RestartDecision::After(delay)
    }

    fn with_jitter(&mut self, delay: Duration) -> Duration {
        // 53 bits are what a float holds exactly: even over [-1, 1).
        let drawn = (self.random.draw() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        times(delay, 1.0 + drawn * self.backoff.jitter).min(self.backoff.longest)
    }
}

/// `duration` times `factor`, at most some 584 years.
fn times(duration: Duration, factor: f64) -> Duration {
    let product = duration.as_secs_f64() * factor.max(0.0);
    Duration::try_from_secs_f64(product).unwrap_or(Duration::from_nanos(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn backoff(jitter: f64, attempts: Option<u32>) -> Backoff {
        Backoff {
            initial: SECOND,
            longest: 10 * SECOND,
            multiplier: 2.0,
            jitter,
            reset_after: 60 * SECOND,
            attempts,
        }
    }

    fn delay(decision: RestartDecision) -> Option<Duration> {
        match decision {
            RestartDecision::After(delay) => Some(delay),
            RestartDecision::GiveUp(_) => None,
        }
    }

    #[test]
    fn the_settings_choose_the_strategy() {
        let mut settings = Configuration::new();
        let mut without = RestartStrategy::of(&settings, false, 0);
        assert!(
            matches!(without.failed(0), RestartDecision::GiveUp(why) if why.contains("checkpoints"))
        );
        let first = delay(RestartStrategy::of(&settings, true, 0).failed(0)).unwrap();
        assert!((0.9..=1.1).contains(&first.as_secs_f64()), "{first:?}");
        settings.set(&options::RESTART_STRATEGY, RestartStrategyKind::None);
        assert_eq!(
            delay(RestartStrategy::of(&settings, true, 0).failed(0)),
            None
        );
        settings.set(&options::RESTART_STRATEGY, RestartStrategyKind::FixedDelay);
        settings.set(&options::FIXED_DELAY, 3 * SECOND);
        let mut fixed = RestartStrategy::of(&settings, false, 0);
        assert_eq!(delay(fixed.failed(0)), Some(3 * SECOND));
        settings.set(&options::RESTART_STRATEGY, RestartStrategyKind::FailureRate);
        settings.set(&options::FAILURE_RATE_DELAY, 4 * SECOND);
        let mut rate = RestartStrategy::of(&settings, false, 0);
        assert_eq!(delay(rate.failed(0)), Some(4 * SECOND));
        assert_eq!(delay(rate.failed(59_999)), None);
    }

    #[test]
    fn delays_double_up_to_the_longest_and_start_over_after_a_good_run() {
        let mut strategy = RestartStrategy::exponential_delay(backoff(0.0, None), 1);
        let mut now = 0;
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(delay(strategy.failed(now)), Some(seconds * SECOND));
            now += u64::from(seconds) * 1_000 + 59_999;
        }
        // The last restart was due a minute ago.
        now += 1;
        assert_eq!(delay(strategy.failed(now)), Some(SECOND));
    }

    #[test]
    fn attempts_count_until_a_good_run_and_are_then_over_for_good() {
        let mut strategy = RestartStrategy::exponential_delay(backoff(0.0, Some(2)), 1);
        assert!(delay(strategy.failed(0)).is_some());
        assert!(delay(strategy.failed(61_000)).is_some(), "a good run");
        assert!(delay(strategy.failed(62_000)).is_some());
        assert_eq!(delay(strategy.failed(64_000)), None);
        assert_eq!(delay(strategy.failed(10_000_000)), None);
    }

    proptest! {
        #[test]
        fn jitter_keeps_to_its_part_and_to_the_longest(seed: u64, failures in 1..20_u64) {
            let mut strategy = RestartStrategy::exponential_delay(backoff(0.25, None), seed);
            for failure in 0..failures {
                let whole = 1_000_u64 << failure.min(10);
                let whole = whole.min(10_000) as f64 / 1_000.0;
                let drawn = delay(strategy.failed(failure)).unwrap().as_secs_f64();
                prop_assert!(drawn >= whole * 0.75 - 1e-6 && drawn <= (whole * 1.25).min(10.0) + 1e-6);
            }
        }

        /// Against the rule in its plainest form, over all failures so far.
        #[test]
        fn failure_rate_agrees_with_counting_all(
            most in 0..5_u32,
            steps in proptest::collection::vec(0..40_u64, 1..60),
        ) {
            let mut strategy = RestartStrategy::failure_rate(most, 100 * Duration::from_millis(1), SECOND);
            let (mut now, mut all, mut over) = (0, Vec::new(), false);
            for step in steps {
                now += step;
                all.push(now);
                let recent = all.iter().filter(|at| now - **at < 100).count();
                over |= recent > most as usize;
                prop_assert_eq!(delay(strategy.failed(now)).is_none(), over);
            }
        }

        #[test]
        fn fixed_delay_starts_again_so_often_and_no_more(attempts in 0..20_u32, times: Vec<u16>) {
            let mut strategy = RestartStrategy::fixed_delay(attempts, SECOND);
            let mut now = 0;
            for (failure, step) in times.into_iter().enumerate() {
                now += u64::from(step);
                prop_assert_eq!(delay(strategy.failed(now)).is_some(), failure < attempts as usize);
            }
        }
    }
}
