//! A job that was stopped is begun by another process, or another program, from its checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg_connectors::{Generator, Sinks};
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_dataflow::executor::{JobClient, JobError};
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, Environment, FunctionError, OpenContext, ProcessContext};

use super::counting::{Poison, check, lines, program};
use super::savepoints::let_it_run;
use crate::stage;

const RECORDS: u64 = 30_000;

fn settings<'s>(directory: &'s str, parallelism: &'s str) -> Vec<(&'s str, &'s str)> {
    vec![
        ("parallelism.default", parallelism),
        ("thalweg.shard.count", "2"),
        ("thalweg.shard.pin", "false"),
        ("execution.checkpointing.interval", "10ms"),
        ("execution.checkpointing.dir", directory),
        ("execution.state-recovery.path", "latest"),
    ]
}

fn run(
    state: &str,
    parallelism: &str,
    rate: f64,
    into: &Path,
    patience: Duration,
) -> Result<(), JobError> {
    let settings = settings(state, parallelism);
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, patience);
    program(&environment, RECORDS, rate, Poison::new(u64::MAX, 0), into);
    environment.execute("counting").map(drop)
}

#[test]
fn a_job_that_is_cancelled_goes_on_at_another_parallelism_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let state = state.to_str().unwrap();
    let (mut seen, mut stops) = (0, 0);
    for parallelism in ["1", "4", "2", "3"].into_iter().cycle() {
        let patience = Duration::from_millis(250 + 50 * stops);
        let ended = run(state, parallelism, 25_000.0, &into, patience);
        let there: u32 = lines(&into.join("told")).values().sum();
        assert!(there >= seen, "what was shown stays");
        seen = there;
        match ended {
            Ok(()) => break,
            Err(JobError::Cancelled { .. }) => stops += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stops > 0, "it was cancelled at least once");
    check(RECORDS, &into);
}

/// Starts a job that would take long, and waits until some of its output is visible.
fn start(state: &str, into: &Path) -> JobClient {
    let mut settings = settings(state, "2");
    // Who is overtaken does not begin again, though it might.
    settings.push(("restart-strategy.type", "fixed-delay"));
    settings.push(("restart-strategy.fixed-delay.attempts", "20"));
    settings.push(("restart-strategy.fixed-delay.delay", "1ms"));
    let (environment, _) = stage::shards(&settings);
    program(
        &environment,
        RECORDS,
        2_000.0,
        Poison::new(u64::MAX, 0),
        into,
    );
    let job = environment.execute_async("counting").unwrap();
    while lines(&into.join("told")).is_empty() {
        let_it_run(&job, Duration::from_millis(10));
        assert!(!job.status().is_terminal(), "it goes on");
    }
    job
}

/// The same, and stops it as if it had been killed: what it had is kept.
fn begin(state: &str, into: &Path) {
    let job = start(state, into);
    job.cancel();
    assert!(matches!(job.wait(), Err(JobError::Cancelled { .. })));
}

#[test]
fn what_has_ended_is_begun_anew_and_not_gone_on_with_from_what_it_once_began_with() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let at = state.to_str().unwrap();
    begin(at, &into);
    assert!(fs::read_dir(&state).unwrap().next().is_some());
    run(at, "3", 1e9, &into, stage::PATIENCE).unwrap();
    check(RECORDS, &into);
    let homes: Vec<PathBuf> = (fs::read_dir(&state).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    let [home] = &homes[..] else {
        panic!("one mark is left: {homes:?}");
    };
    let left = fs::read_dir(home).unwrap().count();
    assert_eq!(left, 2, "its mark, and a directory with nothing in it");
    let empty = fs::read_dir(home.join("shared")).unwrap().next();
    assert!(
        empty.is_none(),
        "a job that has ended leaves no checkpoints"
    );
    run_anew(at, &directory.path().join("again"));
}

/// Begins it anew, and runs it to its end.
fn run_anew(state: &str, into: &Path) {
    let mut settings = settings(state, "1");
    settings.push(("thalweg.job.begin-anew-when-finished", "true"));
    let (environment, _) = stage::shards(&settings);
    program(&environment, RECORDS, 1e9, Poison::new(u64::MAX, 0), into);
    environment.execute("counting").unwrap();
    check(RECORDS, into);
}

#[test]
fn a_start_that_is_refused_leaves_what_it_was_to_go_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let at = state.to_str().unwrap();
    let job = start(at, &into);
    let mut other = settings(at, "2");
    other.push(("pipeline.max-parallelism", "64"));
    let nothing = "NO_EXTERNALIZED_CHECKPOINTS";
    other.push((
        "execution.checkpointing.externalized-checkpoint-retention",
        nothing,
    ));
    let (environment, _) = stage::shards(&other);
    program(&environment, RECORDS, 1e9, Poison::new(u64::MAX, 0), &into);
    let refused = environment.execute("counting").unwrap_err().to_string();
    assert!(refused.contains("pipeline.max-parallelism"), "{refused}");
    // Who runs the job has not been overtaken for it.
    let told = || lines(&into.join("told")).len();
    let before = told();
    while told() == before {
        let_it_run(&job, Duration::from_millis(10));
        assert!(!job.status().is_terminal(), "it goes on");
    }
    job.cancel();
    assert!(matches!(job.wait(), Err(JobError::Cancelled { .. })));
    run(at, "1", 1e9, &into, stage::PATIENCE).unwrap();
    check(RECORDS, &into);
}

#[test]
fn a_former_process_that_still_runs_completes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let at = state.to_str().unwrap();
    let former = start(at, &into);
    // Nobody has told it that another one goes on with its job.
    run(at, "3", 1e9, &into, stage::PATIENCE).unwrap();
    let ended = former.wait();
    assert!(
        matches!(ended, Err(JobError::Overtaken { .. })),
        "{ended:?}"
    );
    check(RECORDS, &into);
    // What it may have left is nothing to go on from.
    run_anew(at, &directory.path().join("again"));
}

/// Keys that each have a timer of processing time.
const ALARMS: u64 = 500;

/// What the lives of a job with alarms have in common.
#[derive(Clone, Default)]
struct Alarms {
    /// How long after its first record the alarm of a key is due, ms.
    delay: i64,
    /// By key: the time for which it was set.
    set: Arc<Mutex<BTreeMap<u64, Timestamp>>>,
    /// What fired in this life: a key, the timer's time, and when it fired.
    fired: Arc<Mutex<Vec<(u64, Timestamp, Timestamp)>>>,
    /// Whether every further record sets a timer for the present time.
    echoes: Arc<AtomicBool>,
}

impl KeyedProcessFunction<u64, u64, u64> for Alarms {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        let now = context.processing_time();
        if number < ALARMS {
            let at = now.plus_ms(self.delay);
            context.timers().register_processing_time(at)?;
            self.set.lock().unwrap().insert(number, at);
        } else if self.echoes.load(Ordering::Acquire) {
            context.timers().register_processing_time(now)?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, u64>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or(u64::MAX);
        let fired = (key, timer.at, context.processing_time());
        self.fired.lock().unwrap().push(fired);
        Ok(())
    }
}

/// How often the alarm of each key fired in a life, and whether something else of the key did.
type Heard = BTreeMap<u64, (u32, bool)>;

impl Alarms {
    fn after(delay: i64) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// What was heard, and that nothing was too early or out of order.
    fn heard(&self) -> Heard {
        let set = self.set.lock().unwrap();
        let mut heard = Heard::new();
        for (key, at, now) in self.fired.lock().unwrap().iter() {
            assert!(now >= at, "key {key}: a timer for {at} fired at {now}");
            let (alarms, echoed) = heard.entry(*key).or_default();
            match set.get(key) == Some(at) {
                true => {
                    assert!(!*echoed, "key {key}: {at} fired behind a later timer");
                    *alarms += 1;
                }
                false => *echoed = true,
            }
        }
        heard
    }

    /// One life: runs until `enough` and stops with a savepoint, which is answered with what was heard.
    fn live(
        &self,
        common: stage::Settings<'_>,
        parallelism: &str,
        from: Option<&str>,
        enough: impl Fn(&Self) -> bool,
    ) -> (String, Heard) {
        let mut settings = common.to_vec();
        settings.push(("parallelism.default", parallelism));
        settings.extend(from.map(|from| ("execution.state-recovery.path", from)));
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        self.fired.lock().unwrap().clear();
        self.program(&environment);
        let job = environment.execute_async("alarms").unwrap();
        while !enough(self) {
            let ended = job.status().is_terminal();
            assert!(!ended, "the job has ended: {:?}", job.wait());
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let savepoint = job.stop_with_savepoint(None, false).unwrap();
        job.wait().unwrap();
        (savepoint, self.heard())
    }

    fn program(&self, environment: &Environment) {
        let function = self.clone();
        environment
            .source(Generator::new(None, |number| number).rate(20_000.0))
            .uid("numbers")
            .parallelism(1)
            .key_by(|number: &u64| number % ALARMS)
            .process_function(move |_: &mut OpenContext<u64>| function.clone())
            .uid("alarms")
            .discard();
    }

    fn all_are_set(&self) -> bool {
        self.set.lock().unwrap().len() as u64 == ALARMS
    }

    /// Every key has heard of a timer that was set in this life; timers of a key fire in their order.
    fn all_have_echoed(&self) -> bool {
        let heard = self.heard();
        heard.values().filter(|(_, echoed)| *echoed).count() as u64 == ALARMS
    }
}

/// Stops a job before its alarms are due and goes on from there when their time has passed. Answers whether
/// it was in time.
fn sleeps_through_its_alarms(delay: i64, backend: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let (savepoints, spill) = (directory.path().join("points"), directory.path().join("io"));
    let (savepoints, spill) = (savepoints.to_str().unwrap(), spill.to_str().unwrap());
    let common = [
        ("thalweg.shard.count", "2"),
        ("thalweg.shard.pin", "false"),
        ("state.backend.type", backend),
        ("io.tmp.dirs", spill),
        ("execution.checkpointing.savepoint-dir", savepoints),
    ];
    let alarms = Alarms::after(delay);
    let (savepoint, before) = alarms.live(&common, "2", None, Alarms::all_are_set);
    let due = monotonic_ns() + delay.unsigned_abs() * 1_000_000;
    while monotonic_ns() <= due {
        std::thread::park_timeout(Duration::from_millis(2));
    }
    alarms.echoes.store(true, Ordering::Release);
    let (savepoint, late) = alarms.live(&common, "3", Some(&savepoint), Alarms::all_have_echoed);
    for key in 0..ALARMS {
        let in_time = before.get(&key).map_or(0, |(alarms, _)| *alarms);
        let late = late[&key].0;
        assert_eq!(in_time + late, 1, "key {key}: {in_time} and late {late}");
    }
    let (_, again) = alarms.live(&common, "1", Some(&savepoint), Alarms::all_have_echoed);
    assert!(again.values().all(|(alarms, _)| *alarms == 0), "{again:?}");
    before.is_empty()
}

#[test]
fn timers_of_processing_time_whose_time_has_passed_fire_late_and_once() {
    for backend in ["hashmap", "lsm"] {
        // On a machine that is very slow the first alarms are over before the job is stopped.
        let delays = [500, 5_000, 50_000];
        let slept = |delay: &i64| sleeps_through_its_alarms(*delay, backend);
        assert!(delays.iter().any(slept), "{backend}: never stopped in time");
    }
}
