//! Which job a start is, and what becomes of one whose job has ended: nothing is run twice, and nothing goes on that nobody
//! asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_dataflow::executor::{JobClient, JobError, JobStatus};

use crate::recovery::counting::{Poison, check, lines, program};
use crate::recovery::savepoints::let_it_run;
use crate::stage;

const RECORDS: u64 = 6_000;
const LATEST: Setting = ("execution.state-recovery.path", "latest");
const ANEW: Setting = ("thalweg.job.begin-anew-when-finished", "true");

type Setting = (&'static str, &'static str);

/// Where jobs keep what they have.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts the job; it writes to the directory `out`.
    fn start(&self, out: &str, rate: f64, settings: &[(&str, &str)]) -> JobClient {
        let (state, copies) = (self.path("state"), self.path("copies"));
        let mut all = vec![
            ("parallelism.default", "2"),
            ("thalweg.shard.count", "2"),
            ("thalweg.shard.pin", "false"),
            ("execution.checkpointing.interval", "10ms"),
            ("execution.checkpointing.dir", state.to_str().unwrap()),
            (
                "execution.checkpointing.savepoint-dir",
                copies.to_str().unwrap(),
            ),
            (
                "execution.checkpointing.externalized-checkpoint-retention",
                "RETAIN_ON_CANCELLATION",
            ),
        ];
        all.extend(settings);
        let (environment, _) = stage::shards(&all);
        program(
            &environment,
            RECORDS,
            rate,
            Poison::new(u64::MAX, 0),
            &self.path(out),
        );
        environment.execute_async("counting").unwrap()
    }

    /// Runs it to its end.
    fn run(&self, out: &str, settings: &[(&str, &str)]) -> Result<(), JobError> {
        self.start(out, 1e9, settings).wait().map(drop)
    }

    /// Starts it, and stops it as soon as it has shown something.
    fn begun(&self, out: &str, settings: &[(&str, &str)]) -> JobClient {
        let job = self.start(out, 3_000.0, settings);
        let told = self.path(out).join("told");
        while !told.is_dir() || lines(&told).is_empty() {
            let_it_run(&job, Duration::from_millis(2));
        }
        job
    }

    /// What is in the directories of jobs.
    fn homes(&self) -> Vec<PathBuf> {
        entries(&self.path("state"))
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn assert_finished(result: Result<(), JobError>) {
    let Err(JobError::Ended { savepoint, message }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(savepoint, None);
    assert!(message.contains("has finished"), "{message}");
    assert!(message.contains(ANEW.0), "{message}");
}

#[test]
fn a_job_that_has_finished_is_not_run_again_by_who_goes_on_with_it() {
    let day = |day| ("thalweg.job.identity", day);
    for identity in [&[][..], &[day("clicks-1")]] {
        let place = Place::new();
        let settings = [&[LATEST], identity].concat();
        place.run("out", &settings).unwrap();
        check(RECORDS, &place.path("out"));
        // As its process would be started again that was killed before it had ended.
        for _ in 0..2 {
            assert_finished(place.run("out", &settings));
        }
        check(RECORDS, &place.path("out"));
        // It is asked for.
        place
            .run("anew", &[&settings[..], &[ANEW]].concat())
            .unwrap();
        check(RECORDS, &place.path("anew"));
        assert_eq!(place.homes().len(), 1, "marks do not pile up");
        assert_finished(place.run("out", &settings));
        place.run("else", identity).unwrap();
        check(RECORDS, &place.path("else"));
        // Another day is another job, and one without an identity has none of theirs.
        place.run("next", &[LATEST, day("clicks-2")]).unwrap();
        check(RECORDS, &place.path("next"));
    }
}

#[test]
fn a_job_that_was_stopped_goes_on_from_its_savepoint_only_when_that_is_asked_for() {
    let identity = ("thalweg.job.identity", "clicks");
    for identity in [&[][..], &[identity]] {
        let place = Place::new();
        let settings = [&[LATEST], identity].concat();
        let job = place.begun("out", &settings);
        let savepoint = job.stop_with_savepoint(None, false).unwrap();
        job.wait().unwrap();
        for settings in [&settings[..], &[&settings[..], &[ANEW]].concat()] {
            let Err(JobError::Ended {
                savepoint: told,
                message,
            }) = place.run("out", settings)
            else {
                panic!("it was run");
            };
            assert_eq!(told.as_ref(), Some(&savepoint));
            assert!(message.contains(&savepoint), "{message}");
        }
        let named = [("execution.state-recovery.path", &*savepoint)];
        place.run("out", &[&named, identity].concat()).unwrap();
        check(RECORDS, &place.path("out"));
    }
}

#[test]
fn who_has_the_same_identity_leads_the_job_also_before_its_first_checkpoint() {
    let place = Place::new();
    let identity = ("thalweg.job.identity", "clicks");
    let seldom = ("execution.checkpointing.interval", "1h");
    let former = place.start("out", 1_500.0, &[LATEST, identity, seldom]);
    while former.status() != JobStatus::Running {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let beside = place.start("beside", 6_000.0, &[LATEST, seldom]);
    // The next process has not been told that the former one is alive.
    place.run("out", &[LATEST, identity]).unwrap();
    check(RECORDS, &place.path("out"));
    let overtaken = former.wait();
    assert!(
        matches!(overtaken, Err(JobError::Overtaken { .. })),
        "{overtaken:?}"
    );
    // All that is visible was shown by one of them.
    check(RECORDS, &place.path("out"));
    // Another job below the same directory is not disturbed.
    beside.wait().unwrap();
    check(RECORDS, &place.path("beside"));
}

#[test]
fn with_an_identity_no_checkpoint_is_passed_by_and_it_needs_a_place() {
    let place = Place::new();
    let identity = ("thalweg.job.identity", "clicks");
    let job = place.begun("out", &[identity]);
    job.cancel();
    job.wait().unwrap_err();
    let copy = ("execution.state-recovery.path", "/no/such/savepoint");
    for settings in [&[identity][..], &[identity, copy]] {
        let refused = place.run("out", settings).unwrap_err().to_string();
        assert!(refused.contains("latest"), "{refused}");
        assert!(refused.contains("chk-"), "{refused}");
    }
    place.run("out", &[identity, LATEST]).unwrap();
    check(RECORDS, &place.path("out"));
    let (environment, _) = stage::shards(&[identity, ("thalweg.shard.pin", "false")]);
    program(
        &environment,
        RECORDS,
        1e9,
        Poison::new(u64::MAX, 0),
        &place.path("out"),
    );
    let refused = environment.execute("counting").unwrap_err().to_string();
    assert!(refused.contains("execution.checkpointing.dir"), "{refused}");
}
