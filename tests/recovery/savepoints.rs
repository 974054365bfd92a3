//! Jobs that are stopped with savepoints, and go on from them elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_dataflow::executor::{JobClient, JobError, JobStatus};
use thalweg_dataflow::stream::Environment;

use super::counting::{
    Poison, check, expected_in_windows, expected_told, in_windows, lines, program,
};
use crate::stage;

const RECORDS: u64 = 24_000;
const RATE: f64 = 30_000.0;
/// Records of which more keys are counted than memory holds.
const MANY: u64 = 120_000;

/// Where a test keeps what.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    fn out(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// Starts the program. Checkpoints are taken only if an interval is given.
    fn start(
        &self,
        parallelism: &str,
        interval: Option<&str>,
        from: Option<&str>,
        poison: Poison,
    ) -> JobClient {
        let (state, savepoints) = (self.path("state"), self.path("savepoints"));
        let mut settings = vec![
            ("parallelism.default", parallelism),
            ("thalweg.shard.count", "2"),
            ("thalweg.shard.pin", "false"),
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "20"),
            ("restart-strategy.fixed-delay.delay", "1ms"),
            ("execution.checkpointing.savepoint-dir", &savepoints),
        ];
        if let Some(interval) = interval {
            settings.push(("execution.checkpointing.interval", interval));
            settings.push(("execution.checkpointing.dir", &state));
        }
        settings.extend(from.map(|from| ("execution.state-recovery.path", from)));
        let (environment, _) = stage::shards(&settings);
        program(&environment, RECORDS, RATE, poison, &self.out());
        environment.execute_async("counting").unwrap()
    }
}

/// Goes on when the job has run for a while, or has ended.
pub(crate) fn let_it_run(job: &JobClient, while_: Duration) {
    let from = monotonic_ns();
    let until = from + while_.as_nanos() as u64;
    while monotonic_ns() < until && !job.status().is_terminal() {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let hangs = monotonic_ns() - from > stage::PATIENCE.as_nanos() as u64;
    assert!(!hangs, "the job hangs");
}

/// Stops a job, again where that falls into a failure; nothing if it has ended by itself.
fn stop(job: &JobClient) -> Option<String> {
    loop {
        match job.stop_with_savepoint(None, false) {
            Ok(savepoint) => return Some(savepoint),
            Err(_) if job.status().is_terminal() => return None,
            Err(_) => let_it_run(job, Duration::from_millis(5)),
        }
    }
}

/// Runs a program that fails twice in every life, is stopped with savepoints and goes on from them at another
/// parallelism, until it has come to its end.
pub(crate) fn run_through_failures_and_stops(
    name: &str,
    more: stage::Settings<'_>,
    program: impl Fn(&Environment, Poison),
) {
    let place = Place::new();
    let (state, savepoints) = (place.path("state"), place.path("savepoints"));
    let (mut from, mut failed) = (None::<String>, 0);
    for parallelism in ["2", "3", "1"].into_iter().cycle() {
        let mut settings = vec![
            ("parallelism.default", parallelism),
            ("thalweg.shard.pin", "false"),
            ("execution.checkpointing.interval", "10ms"),
            ("execution.checkpointing.dir", &state),
            ("execution.checkpointing.savepoint-dir", &savepoints),
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "20"),
            ("restart-strategy.fixed-delay.delay", "1ms"),
        ];
        settings.extend(more);
        if let Some(from) = &from {
            settings.push(("execution.state-recovery.path", from));
        }
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let poison = Poison::new(2_503, 2);
        program(&environment, poison.clone());
        let job = environment.execute_async(name).unwrap();
        let_it_run(&job, Duration::from_millis(180));
        let stopped = stop(&job);
        job.wait().unwrap();
        failed += 2 - poison.left.load(Ordering::Acquire);
        match stopped {
            Some(savepoint) => from = Some(savepoint),
            None => break,
        }
    }
    assert!(
        failed > 0 && from.is_some(),
        "it has failed and was stopped"
    );
}

fn nobody() -> Poison {
    Poison::new(u64::MAX, 0)
}

/// The last task may come to its end by itself while the savepoint waits for it.
#[test]
fn a_job_that_is_stopped_as_it_comes_to_its_end_ends_by_the_savepoint_or_by_itself() {
    let mut stopped = 0;
    while stopped < 15 {
        let place = Place::new();
        let savepoints = place.path("savepoints");
        let (environment, _) = stage::shards(&[
            ("parallelism.default", "1"),
            ("thalweg.shard.count", "2"),
            ("thalweg.shard.pin", "false"),
            ("execution.checkpointing.savepoint-dir", &savepoints),
        ]);
        environment
            .source(Generator::new(2, |number| number))
            .sink(FileSink::new(place.out()));
        let job = environment.execute_async("ending").unwrap();
        let savepoint = job.stop_with_savepoint(None, false).ok();
        assert_eq!(job.wait().unwrap().savepoint, savepoint);
        stopped += u32::from(savepoint.is_some());
        let shown = lines(&place.out());
        assert!(
            shown.is_empty() && savepoint.is_some() || shown.len() == 2,
            "{shown:?}"
        );
    }
}

#[test]
fn a_job_that_is_stopped_again_and_again_goes_on_from_savepoints_that_were_moved() {
    let place = Place::new();
    let (mut from, mut stops) = (None::<String>, 0_u32);
    for parallelism in ["1", "4", "2", "3"].into_iter().cycle() {
        // Now and then nothing but savepoints is taken.
        let interval = (stops % 2 == 0).then_some("20ms");
        let job = place.start(parallelism, interval, from.as_deref(), nobody());
        let_it_run(&job, Duration::from_millis(150 + 50 * u64::from(stops)));
        let stopped = job.stop_with_savepoint(None, false);
        let result = job.wait().unwrap();
        let Ok(savepoint) = stopped else {
            assert_eq!(result.savepoint, None);
            break;
        };
        assert_eq!(result.savepoint.as_ref(), Some(&savepoint));
        stops += 1;
        // All it needs is in its directory, wherever that is.
        let moved = place.path(&format!("moved-{stops}"));
        fs::rename(&savepoint, &moved).unwrap();
        let _ = fs::remove_dir_all(place.path("state"));
        from = Some(moved);
    }
    assert!(stops > 1, "it was stopped more than once");
    check(RECORDS, &place.out());
    let left = fs::read_dir(place.path("savepoints")).unwrap();
    assert_eq!(left.count(), 0, "nothing but savepoints was written there");
}

/// Beside the program, more keys counted than the memory of `lsm` holds.
fn count_many(environment: &Environment, into: &Path) {
    environment
        .source(Generator::new(MANY, |number| number).rate(RATE * MANY as f64 / RECORDS as f64))
        .uid("many")
        .parallelism(1)
        .key_by(|number: &u64| many_key(*number))
        .count()
        .uid("counts of many")
        .map(|(key, count): (u64, u64)| format!("{key} {count}"))
        .sink(FileSink::new(into.join("many")))
        .uid("shown many");
}

fn many_key(number: u64) -> u64 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) % (MANY / 4)
}

#[test]
fn a_savepoint_of_one_backend_is_gone_on_from_by_the_other_and_back() {
    let place = Place::new();
    let (savepoints, spill) = (place.path("savepoints"), place.path("spill"));
    let (mut from, mut changes) = (None::<String>, Vec::new());
    let lives = ["hashmap", "lsm"]
        .into_iter()
        .cycle()
        .zip(["2", "2", "3", "1"].into_iter().cycle());
    for (backend, parallelism) in lives {
        let mut settings = vec![
            ("parallelism.default", parallelism),
            ("thalweg.shard.count", "2"),
            ("thalweg.shard.pin", "false"),
            ("state.backend.type", backend),
            ("io.tmp.dirs", &*spill),
            ("execution.checkpointing.savepoint-dir", &*savepoints),
        ];
        if backend == "lsm" {
            settings.push(("taskmanager.memory.managed.size", "1mb"));
        }
        settings.extend(
            from.as_deref()
                .map(|from| ("execution.state-recovery.path", from)),
        );
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        program(&environment, RECORDS, RATE, nobody(), &place.out());
        count_many(&environment, &place.out());
        let job = environment.execute_async("counting").unwrap();
        let_it_run(&job, Duration::from_millis(150));
        let stopped = stop(&job);
        job.wait().unwrap();
        match stopped {
            Some(savepoint) => from = Some(savepoint),
            None => break,
        }
        changes.push(backend);
    }
    assert!(changes.len() >= 3, "both ways: {changes:?}");
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut expected: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..MANY {
        let count = counts.entry(many_key(number)).or_default();
        *count += 1;
        expected.insert(format!("{} {count}", many_key(number)), 1);
    }
    assert!(lines(&place.out().join("many")) == expected);
    check(RECORDS, &place.out());
}

#[test]
fn draining_fires_windows_and_timers_and_what_goes_on_after_it_loses_nothing() {
    let place = Place::new();
    let job = place.start("2", None, None, nobody());
    let_it_run(&job, Duration::from_millis(300));
    let savepoint = job.stop_with_savepoint(None, true).unwrap();
    job.wait().unwrap();
    let read: u64 = in_windows(&place.out()).values().sum();
    assert!(
        read > 0 && read < RECORDS,
        "it was stopped on the way: {read}"
    );
    // As if the input had ended there.
    check(read, &place.out());
    let job = place.start("3", None, Some(&savepoint), nobody());
    job.wait().unwrap();
    assert_eq!(lines(&place.out().join("told")), expected_told(RECORDS));
    assert_eq!(in_windows(&place.out()), expected_in_windows(RECORDS));
}

#[test]
fn savepoints_of_a_job_that_goes_on_and_fails_now_and_then_change_nothing() {
    let place = Place::new();
    let job = place.start("2", Some("15ms"), None, Poison::new(7_001, 3));
    let mut taken = Vec::new();
    while !job.status().is_terminal() {
        // One that falls into a failure is refused, and the next one taken.
        taken.extend(job.trigger_savepoint(Some(&place.path("copies"))));
        let_it_run(&job, Duration::from_millis(20));
    }
    job.wait().unwrap();
    check(RECORDS, &place.out());
    assert!(taken.len() > 2, "{taken:?}");
    for savepoint in taken {
        assert!(Path::new(&savepoint).join("_metadata").is_file());
    }
    assert!(fs::read_dir(place.path("state")).unwrap().next().is_none());
}

/// Its job fails for good at once, goes on from its checkpoints, and so removes what those do not list.
#[test]
fn a_savepoint_is_of_use_whatever_becomes_of_its_job() {
    let place = Place::new();
    let (state, copies, out) = (place.path("state"), place.path("copies"), place.out());
    // Slow until it is to come to its end.
    let start = |from: &str, rate: f64| {
        let (environment, _) = stage::shards(&[
            ("parallelism.default", "2"),
            ("thalweg.shard.pin", "false"),
            ("execution.checkpointing.interval", "300ms"),
            ("execution.checkpointing.dir", &*state),
            ("execution.checkpointing.savepoint-dir", &*copies),
            ("execution.state-recovery.path", from),
        ]);
        environment
            .source(Generator::new(RECORDS, |number| number).rate(rate))
            .uid("numbers")
            .map(|number: u64| number.to_string())
            .sink(FileSink::new(out.clone()))
            .uid("shown");
        environment.execute_async("numbers").unwrap()
    };
    let job = start("latest", RATE / 10.0);
    // Its first checkpoint is committed.
    while !out.is_dir() || lines(&out).is_empty() {
        let_it_run(&job, Duration::from_millis(5));
    }
    let_it_run(&job, Duration::from_millis(100));
    let savepoint = job.trigger_savepoint(None).unwrap();
    job.cancel();
    job.wait().unwrap_err();
    // The next process of the job.
    let job = start("latest", RATE / 10.0);
    let_it_run(&job, Duration::from_millis(50));
    job.cancel();
    job.wait().unwrap_err();
    start(&savepoint, 1e9).wait().unwrap();
    let shown = lines(&out);
    let missing = (0..RECORDS).find(|number| !shown.contains_key(&number.to_string()));
    assert_eq!(missing, None);
}

#[test]
fn a_savepoint_needs_a_place_and_a_job_that_takes_part() {
    let place = Place::new();
    let (environment, _) = stage::shards(&[("thalweg.shard.pin", "false")]);
    program(&environment, RECORDS, RATE, nobody(), &place.out());
    let job = environment.execute_async("counting").unwrap();
    let refused = job.trigger_savepoint(Some(&place.path("copies")));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("execution.checkpointing.dir"), "{refused}");
    job.cancel();
    assert!(matches!(job.wait(), Err(JobError::Cancelled { .. })));

    let state = place.path("state");
    let settings = [
        ("thalweg.shard.pin", "false"),
        ("execution.checkpointing.dir", &*state),
    ];
    let (environment, _) = stage::shards(&settings);
    program(&environment, RECORDS, RATE, nobody(), &place.out());
    let job = environment.execute_async("counting").unwrap();
    let refused = job.trigger_savepoint(None).unwrap_err().to_string();
    assert!(refused.contains("savepoint-dir"), "{refused}");
    let refused = job.trigger_savepoint(Some("s3://bucket/x")).unwrap_err();
    assert!(refused.to_string().contains("s3:"), "{refused}");
    assert_eq!(job.status(), JobStatus::Running);
    let control = job.control().clone();
    job.cancel();
    assert!(matches!(job.wait(), Err(JobError::Cancelled { .. })));
    assert_eq!(control.status(), JobStatus::Cancelled);
    assert!(control.savepoint(None).is_err());
}
