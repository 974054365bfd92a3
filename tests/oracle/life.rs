//! The life of one process, drawn before it begins: its settings, how long it lives and what ends it.
//!
//! Plain data. Invariant: everything follows from the dice.

use std::time::Duration;

use thalweg_cluster::CrashPoint;
use thalweg_core::seam::clock::Random;

use super::job::{CRASH, OUTPUTS};
use super::moment::Moment;
use super::point::Point;

/// Every so manieth process is told to stop with a savepoint.
const STOPPED: u64 = 5;

/// By which checkpoint, about, a process ends at a point that it comes to with each.
const CRASHED_BY: u64 = 4;

/// How long a process lives after its time, at most, until what it is to be killed at happens.
pub(super) const AWAITED: Duration = Duration::from_millis(400);

/// What ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// SIGKILL.
    Kill,
    /// SIGKILL when something happens next.
    KillAt(Moment),
    /// It ends by itself, as if killed, when it comes to a point of its own code for the nth time; SIGKILL if it does
    /// not come there.
    CrashAt(Point, u64),
    /// It is told to stop with a savepoint.
    Stop,
    /// It is told to stop, and killed so much later.
    KillInStop(Duration),
}

/// One process as it is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// Whether its life is counted from when its job runs, and not from its start.
    pub(super) begins_first: bool,
    pub(super) lasts: Duration,
    /// When the output is looked at on the way.
    pub(super) looked_at: Duration,
    pub(super) death: Death,
    /// How long it outlives the power, where that goes.
    pub(super) outlives: Duration,
    pub(super) parallelism: u32,
    interval_ms: u64,
    /// After how long barriers overtake records, ms; none if they never do.
    overtakes_after: Option<u64>,
    driver: &'static str,
    /// One goes on from what another has left.
    backend: &'static str,
    /// From how much on state that is to be in memory comes back while the job is at work.
    late_from: &'static str,
}

impl Life {
    /// The lives of so many processes.
    pub(super) fn draw(dice: &mut Random, count: u64) -> Vec<Life> {
        // Sources are dealt out for the first parallelism, and never finer.
        let mut parallelism = 3 + dice.below(2) as u32;
        let mut lives = Vec::new();
        for nth in 0..count {
            lives.push(Life::one(dice, nth, parallelism));
            // Another one every time.
            parallelism = 1 + (parallelism + dice.below(3) as u32) % 4;
        }
        lives
    }

    fn one(dice: &mut Random, nth: u64, parallelism: u32) -> Life {
        let ms = |ms: u64| Duration::from_millis(ms);
        // One of four is killed most likely while it begins: in the recovery.
        let begins_first = dice.below(4) > 0;
        let lasts = match begins_first {
            false => ms(10 + dice.below(190)),
            true => ms(30 + dice.below(770)),
        };
        let death = match (nth % STOPPED == STOPPED - 1, dice.below(3)) {
            (true, 0) => Death::KillInStop(ms(dice.below(120))),
            (true, _) => Death::Stop,
            (false, _) => Life::kill(dice),
        };
        Life {
            begins_first,
            looked_at: lasts.mul_f64(dice.below(100) as f64 / 100.0),
            lasts,
            death,
            outlives: ms([0, 0, 5, 40][dice.below(4) as usize]),
            parallelism,
            interval_ms: [15, 30, 60][dice.below(3) as usize],
            overtakes_after: [None, None, Some(0), Some(5)][dice.below(4) as usize],
            driver: ["auto", "auto", "epoll"][dice.below(3) as usize],
            backend: ["hashmap", "lsm"][dice.below(2) as usize],
            late_from: ["1b", "1b", "32mb"][dice.below(3) as usize],
        }
    }

    fn kill(dice: &mut Random) -> Death {
        match dice.below(12) {
            0 => Death::KillAt(Moment::Completed),
            1 => {
                let output = OUTPUTS[dice.below(OUTPUTS.len() as u64) as usize];
                Death::KillAt(Moment::Committing(output))
            }
            2..8 => {
                let points: Vec<Point> = Point::all().collect();
                let point = points[dice.below(points.len() as u64) as usize];
                let nth = match point.times() {
                    0 => 1,
                    times => 1 + dice.below(CRASHED_BY * times),
                };
                Death::CrashAt(point, nth)
            }
            _ => Death::Kill,
        }
    }

    /// Where the process ends by itself, if it does.
    pub(super) fn crash(&self) -> Option<Point> {
        match self.death {
            Death::CrashAt(point, _) => Some(point),
            _ => None,
        }
    }

    /// What the process is told of where it ends by itself.
    pub(super) fn crash_argument(&self) -> Option<String> {
        match self.death {
            Death::CrashAt(point, nth) => Some(format!("{CRASH}{point}:{nth}")),
            _ => None,
        }
    }

    /// How long it lives at most.
    pub(super) fn longest(&self) -> Duration {
        match self.death {
            Death::Kill => self.lasts,
            Death::KillAt(_) | Death::CrashAt(..) => self.lasts + AWAITED,
            Death::Stop | Death::KillInStop(_) => self.lasts + AWAITED,
        }
    }

    /// The same, which is killed as it has come to its end, or has just said so.
    pub(super) fn killed_at_its_end(self, seed: u64) -> Life {
        let point = match seed % 4 {
            0 => CrashPoint::BeforeEnd,
            _ => CrashPoint::AfterEnd,
        };
        Life {
            death: Death::CrashAt(Point::Engine(point), 1),
            ..self
        }
    }

    /// One that may come to its end, after this one.
    pub(super) fn calm(self) -> Life {
        Life {
            lasts: Duration::MAX,
            looked_at: Duration::MAX,
            death: Death::Kill,
            ..self
        }
    }

    /// The settings of its job, by key.
    pub(super) fn settings(&self, at_least_once: bool) -> Vec<(&'static str, String)> {
        let mode = match at_least_once {
            true => "AT_LEAST_ONCE",
            false => "EXACTLY_ONCE",
        };
        let mut settings = vec![
            ("parallelism.default", self.parallelism.to_string()),
            ("thalweg.shard.count", self.parallelism.min(2).to_string()),
            ("thalweg.shard.pin", "false".to_owned()),
            ("thalweg.io.driver", self.driver.to_owned()),
            ("state.backend.type", self.backend.to_owned()),
            ("thalweg.state.restore-late-from", self.late_from.to_owned()),
            (
                "execution.checkpointing.interval",
                format!("{}ms", self.interval_ms),
            ),
            ("execution.checkpointing.mode", mode.to_owned()),
            // Whatever fails is for the oracle to see.
            ("restart-strategy.type", "none".to_owned()),
        ];
        if let Some(after) = self.overtakes_after.filter(|_| !at_least_once) {
            settings.push((
                "execution.checkpointing.unaligned.enabled",
                "true".to_owned(),
            ));
            let key = "execution.checkpointing.aligned-checkpoint-timeout";
            settings.push((key, format!("{after}ms")));
        }
        settings
    }
}

/// The settings of a job that outlasts the death of its server.
pub(super) fn outlasting() -> [(&'static str, String); 3] {
    [
        ("restart-strategy.type", "fixed-delay".to_owned()),
        ("restart-strategy.fixed-delay.attempts", "1000".to_owned()),
        ("restart-strategy.fixed-delay.delay", "10ms".to_owned()),
    ]
}
