//! What is counted of a job as a whole: how it stands, its restarts, what becomes of its checkpoints.
//!
//! Counted by the control thread over all attempts of the job, copied out by whoever reads its metrics, on any thread.
//! Invariants: counters only grow; nothing here is on the way of a record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::metrics::vocabulary::{self, Definition, Kind};
use thalweg_core::metrics::{MetricSnapshot, MetricValue, Scope};
use thalweg_dataflow::executor::JobStatus;

/// What is counted of one job. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct JobFigures(Arc<Mutex<Figures>>);

#[derive(Debug)]
struct Figures {
    scope: Scope,
    restarts: u64,
    full_restarts: u64,
    running: Time,
    restarting: Time,
    started: u64,
    completed: u64,
    failed: u64,
    under_way: usize,
    last: Option<LastCheckpoint>,
    restored_ms: Option<i64>,
}

/// A checkpoint that was completed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastCheckpoint {
    pub(crate) duration_ms: u64,
    /// What tasks wrote for it.
    pub(crate) bytes_written: u64,
    /// All it consists of.
    pub(crate) bytes: u64,
    /// When it was completed, ms since 1970.
    pub(crate) completed_ms: i64,
}

/// How long a job stands so, in ns.
#[derive(Clone, Copy, Debug, Default)]
struct Time {
    /// Since when, if it does.
    since: Option<u64>,
    /// How long it stood so before.
    before: u64,
}

impl Time {
    fn goes_on(&mut self, is_so: bool, now_ns: u64) {
        match (self.since, is_so) {
            (None, true) => self.since = Some(now_ns),
            (Some(_), false) => {
                self.before += self.lasts(now_ns);
                self.since = None;
            }
            _ => {}
        }
    }

    /// How long it has been so without interruption.
    fn lasts(self, now_ns: u64) -> u64 {
        self.since.map_or(0, |since| now_ns.saturating_sub(since))
    }

    fn in_all(self, now_ns: u64) -> u64 {
        self.before + self.lasts(now_ns)
    }
}

impl JobFigures {
    /// Those of a job that was just accepted.
    pub(crate) fn of(job: &str) -> JobFigures {
        JobFigures(Arc::new(Mutex::new(Figures {
            scope: Scope::root().with("job", job),
            restarts: 0,
            full_restarts: 0,
            running: Time::default(),
            restarting: Time::default(),
            started: 0,
            completed: 0,
            failed: 0,
            under_way: 0,
            last: None,
            restored_ms: None,
        })))
    }

    /// How the job stands from now (ns) on.
    pub(crate) fn stands(&self, status: JobStatus, now_ns: u64) {
        let mut figures = self.figures();
        let failed = matches!(status, JobStatus::Failing | JobStatus::Restarting);
        figures
            .running
            .goes_on(status == JobStatus::Running, now_ns);
        figures.restarting.goes_on(failed, now_ns);
    }

    /// All of the job is to begin again.
    pub(crate) fn begins_again(&self) {
        let mut figures = self.figures();
        figures.restarts += 1;
        figures.full_restarts += 1;
    }

    /// A region is to begin again.
    pub(crate) fn region_begins_again(&self) {
        self.figures().restarts += 1;
    }

    /// What runs now went on from a checkpoint.
    pub(crate) fn restored(&self, wall_ms: i64) {
        self.figures().restored_ms = Some(wall_ms);
    }

    pub(crate) fn checkpoint_started(&self) {
        self.figures().started += 1;
    }

    pub(crate) fn checkpoint_completed(&self, last: LastCheckpoint) {
        let mut figures = self.figures();
        figures.completed += 1;
        figures.last = Some(last);
    }

    pub(crate) fn checkpoint_failed(&self) {
        self.figures().failed += 1;
    }

    /// So many checkpoints are under way.
    pub(crate) fn checkpoints_under_way(&self, count: usize) {
        self.figures().under_way = count;
    }

    /// What they show now.
    pub(crate) fn snapshot(&self, now_ns: u64) -> Vec<MetricSnapshot> {
        self.figures().snapshot(now_ns)
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    fn snapshot(&self, now_ns: u64) -> Vec<MetricSnapshot> {
        let ms = |ns: u64| ns / 1_000_000;
        let last = |of: fn(&LastCheckpoint) -> u64| self.last.as_ref().map(of);
        let moment = |ms: i64| u64::try_from(ms).unwrap_or(0);
        let shown = [
            (vocabulary::NUM_RESTARTS, Some(self.restarts)),
            (vocabulary::FULL_RESTARTS, Some(self.full_restarts)),
            (
                vocabulary::RUNNING_TIME,
                Some(ms(self.running.lasts(now_ns))),
            ),
            (
                vocabulary::RUNNING_TIME_TOTAL,
                Some(ms(self.running.in_all(now_ns))),
            ),
            (
                vocabulary::RESTARTING_TIME,
                Some(ms(self.restarting.lasts(now_ns))),
            ),
            (
                vocabulary::RESTARTING_TIME_TOTAL,
                Some(ms(self.restarting.in_all(now_ns))),
            ),
            (vocabulary::TOTAL_NUMBER_OF_CHECKPOINTS, Some(self.started)),
            (
                vocabulary::NUMBER_OF_COMPLETED_CHECKPOINTS,
                Some(self.completed),
            ),
            (vocabulary::NUMBER_OF_FAILED_CHECKPOINTS, Some(self.failed)),
            (
                vocabulary::NUMBER_OF_IN_PROGRESS_CHECKPOINTS,
                Some(self.under_way as u64),
            ),
            (
                vocabulary::LAST_CHECKPOINT_DURATION,
                last(|it| it.duration_ms),
            ),
            (
                vocabulary::LAST_CHECKPOINT_SIZE,
                last(|it| it.bytes_written),
            ),
            (vocabulary::LAST_CHECKPOINT_FULL_SIZE, last(|it| it.bytes)),
            (
                vocabulary::LAST_CHECKPOINT_COMPLETED_TIMESTAMP,
                self.last.map(|it| moment(it.completed_ms)),
            ),
            (
                vocabulary::LAST_CHECKPOINT_RESTORE_TIMESTAMP,
                self.restored_ms.map(moment),
            ),
        ];
        let shown = shown.into_iter();
        shown
            .filter_map(|(definition, value)| Some(self.metric(definition, value?)))
            .collect()
    }

    fn metric(&self, definition: &'static Definition, value: u64) -> MetricSnapshot {
        MetricSnapshot {
            name: definition.name.into(),
            help: definition.help.into(),
            scope: self.scope.clone(),
            user: false,
            value: match definition.kind {
                Kind::Counter => MetricValue::Counter(value),
                Kind::Gauge | Kind::Histogram => MetricValue::Gauge(value as f64),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use thalweg_core::metrics::vocabulary::Level;

    use super::*;
    use crate::rest::metrics::text;

    const SECOND: u64 = 1_000_000_000;

    fn shown(figures: &JobFigures, now_ns: u64) -> BTreeMap<String, f64> {
        let metrics = figures.snapshot(now_ns).into_iter();
        let shown = metrics.map(|metric| (metric.name.to_string(), metric.number()));
        shown.collect()
    }

    #[test]
    fn all_of_a_jobs_level_is_shown_once_there_is_something_of_it() {
        let figures = JobFigures::of("words");
        let of_level = vocabulary::ALL.iter();
        let of_level = of_level.filter(|known| known.level == Level::Job);
        let names: Vec<_> = of_level.map(|known| known.name.to_owned()).collect();
        let first = shown(&figures, 0);
        assert!(first.values().all(|value| *value == 0.0), "{first:?}");
        let (never, shown_first): (Vec<String>, Vec<String>) =
            (names.iter().cloned()).partition(|name| name.starts_with("last"));
        assert!(shown_first.iter().all(|name| first.contains_key(name)));
        assert!(never.iter().all(|name| !first.contains_key(name)));
        figures.checkpoint_started();
        figures.checkpoint_completed(LastCheckpoint {
            duration_ms: 250,
            bytes_written: 10,
            bytes: 30,
            completed_ms: 5_000,
        });
        figures.restored(7_000);
        let mut all: Vec<String> = shown(&figures, 0).into_keys().collect();
        let mut names = names;
        all.sort();
        names.sort();
        assert_eq!(all, names);
        let text = text(&figures.snapshot(0)).unwrap();
        for line in [
            "# TYPE thalweg_job_checkpoints_completed_total counter",
            "thalweg_job_checkpoints_completed_total{job=\"words\"} 1",
            "thalweg_job_checkpoints_in_progress{job=\"words\"} 0",
            "thalweg_job_last_checkpoint_duration_seconds{job=\"words\"} 0.25",
            "thalweg_job_last_checkpoint_size_bytes{job=\"words\"} 10",
            "thalweg_job_last_checkpoint_full_size_bytes{job=\"words\"} 30",
            "thalweg_job_last_checkpoint_completed_timestamp_seconds{job=\"words\"} 5",
            "thalweg_job_last_checkpoint_restore_timestamp_seconds{job=\"words\"} 7",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }

    #[test]
    fn times_go_on_while_the_job_stands_so_and_stay_in_all() {
        let figures = JobFigures::of("words");
        let check = |now: u64, running: [u64; 2], restarting: [u64; 2]| {
            let shown = shown(&figures, now * SECOND);
            let of = |name: &str| {
                [name.to_owned(), format!("{name}Total")].map(|it| shown[&it] as u64 / 1_000)
            };
            assert_eq!(of("runningTime"), running, "at {now}");
            assert_eq!(of("restartingTime"), restarting, "at {now}");
        };
        check(1, [0, 0], [0, 0]);
        figures.stands(JobStatus::Running, 2 * SECOND);
        figures.stands(JobStatus::Running, 4 * SECOND);
        check(5, [3, 3], [0, 0]);
        figures.stands(JobStatus::Failing, 6 * SECOND);
        figures.stands(JobStatus::Restarting, 7 * SECOND);
        check(9, [0, 4], [3, 3]);
        figures.stands(JobStatus::Running, 10 * SECOND);
        check(11, [1, 5], [0, 4]);
        figures.stands(JobStatus::Finished, 12 * SECOND);
        check(20, [0, 6], [0, 4]);
    }

    #[test]
    fn a_region_that_begins_again_is_a_restart_and_not_a_full_one() {
        let figures = JobFigures::of("words");
        figures.begins_again();
        figures.region_begins_again();
        figures.region_begins_again();
        let shown = shown(&figures, 0);
        assert_eq!((shown["numRestarts"], shown["fullRestarts"]), (3.0, 1.0));
    }
}
