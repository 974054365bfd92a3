//! The host of a trial: processes that begin, are killed or stopped and begin again, until one comes to its end.
//!
//! Of one process `watch` sees to its life, `death` to what is left when it is gone; `judge` says in the end what is
//! wrong. Lives on the oracle's thread. After each process it looks at what is visible, and finds out what the next one
//! goes on from. Invariant: at most one process of the job runs at a time.

mod death;
mod judge;
mod watch;

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use thalweg_core::seam::clock::{Random, monotonic_ns};

use super::ground::{lay_out, restarts_in};
use super::job::{OWN_TABLES, TABLES};
use super::life::{Death, Life, outlasting};
use super::origin::{Beginning, Origin, at};
use super::outage::{AWAY, Outage};
use super::output::{Database, Outputs, Visible};
use super::power::Disk;
use super::process::{End, Process};
use super::trial::{Report, Trial};

/// How long a job that nobody disturbs may take to its end, and one that is told to stop.
const PATIENCE: Duration = Duration::from_secs(300);
/// The signal by which a process ends itself.
const ABORTED: i32 = 6;
/// How many processes are told of when something is wrong.
const TOLD: usize = 6;

/// A host and its processes.
pub(super) struct Host<'t> {
    trial: &'t Trial,
    /// Where the logs are.
    directory: PathBuf,
    /// Where the job writes.
    ground: PathBuf,
    disk: Option<Disk>,
    lives: Vec<Life>,
    /// What each of them lives through.
    outages: Vec<Option<Outage>>,
    outputs: Outputs,
    visible: Visible,
    origin: Origin,
    /// Whether the job has come to its end.
    is_over: bool,
    history: Vec<String>,
    report: Report,
    started: u64,
}

impl<'t> Host<'t> {
    pub(super) fn new(trial: &'t Trial, directory: PathBuf) -> Result<Host<'t>, String> {
        let started = monotonic_ns();
        // Some are stopped instead of killed.
        let count = trial.kills + trial.kills / 3 + 2;
        let lives = Life::draw(&mut Random::new(trial.seed), count);
        // No process reads more than what is due while it lives, which may be a little longer than it should.
        let outages = Outage::draw(trial.seed, &lives, trial.postgres);
        let away = AWAY * outages.iter().flatten().count() as u32;
        let all = lives.iter().map(Life::longest).sum::<Duration>() + away;
        let records = trial.rate * (all.as_millis() as u64 / 800 + 1);
        let disk = match trial.power_cuts {
            true => Some(Disk::make(&directory)?),
            false => None,
        };
        let ground = match &disk {
            Some(disk) => disk.place.clone(),
            None => directory.clone(),
        };
        lay_out(&directory, &ground)?;
        let database = match trial.postgres {
            true => Some(Database::make(&directory.join("postgres"))?),
            false => None,
        };
        Ok(Host {
            outputs: Outputs {
                directory: ground.join("out"),
                database,
            },
            visible: Visible::of(records, trial.at_least_once),
            origin: Origin::below(&ground, trial.has_identity()),
            report: Report {
                records,
                ..Report::default()
            },
            trial,
            directory,
            ground,
            disk,
            lives,
            outages,
            is_over: false,
            history: Vec::new(),
            started,
        })
    }

    /// Lets processes live and die until the job is done, and judges.
    pub(super) fn live(mut self) -> Result<Report, String> {
        let judged = self.live_on().and_then(|()| self.judge());
        self.report.took = Duration::from_nanos(monotonic_ns() - self.started);
        let report = self.report.clone();
        match judged {
            Ok(()) => Ok(report),
            Err(wrong) => {
                let told = self.history.len().saturating_sub(TOLD);
                let last = self.history[told..].join("\n");
                if let Some(disk) = &self.disk {
                    disk.keep(&self.directory.join("kept"))?;
                }
                Err(format!("{wrong}\n{last}\n{report}"))
            }
        }
    }

    fn live_on(&mut self) -> Result<(), String> {
        for nth in 0.. {
            let drawn = self.lives.get(nth).or(self.lives.last()).copied();
            let Some(life) = drawn else {
                return Err("no life was drawn".to_owned());
            };
            let age = Duration::from_nanos(monotonic_ns() - self.started);
            let late = self.trial.at_most.is_some_and(|at_most| age > at_most);
            let calm = late || self.report.kills >= self.trial.kills;
            let life = match (calm, self.report.killed_at_the_end) {
                (false, _) => life,
                (true, 0) => life.calm().killed_at_its_end(self.trial.seed),
                (true, _) => life.calm(),
            };
            let outage = self.outages.get(nth).copied().flatten();
            let outage = outage.filter(|_| !calm);
            let finished = self.one(nth, (life, outage), calm)?;
            self.outputs.are_back()?;
            self.visible.look(&self.outputs)?;
            if finished {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What the next process begins with, counted.
    fn beginning(&mut self) -> Result<Beginning, String> {
        let beginning = self.origin.beginning()?;
        match (&beginning, &self.outputs.database) {
            (Beginning::Nothing, Some(database)) => database.forget_prepared()?,
            (Beginning::Nothing, None) | (Beginning::Mark, _) => {}
            (Beginning::Checkpoint, _) => self.report.from_checkpoint += 1,
            (Beginning::Savepoint(_), _) => self.report.from_savepoint += 1,
        }
        Ok(beginning)
    }

    /// One process from its start to its death; whether the job is done.
    fn one(
        &mut self,
        nth: usize,
        (life, outage): (Life, Option<Outage>),
        calm: bool,
    ) -> Result<bool, String> {
        let beginning = self.beginning()?;
        let arguments = self.arguments((life, outage), &beginning, calm);
        let log = self.directory.join(format!("log-{nth:04}"));
        let started = Process::start(&self.trial.program, &arguments, &log);
        let mut process = started.map_err(|error| at(&self.trial.program, &error))?;
        self.report.processes += 1;
        let told = format!("process {nth} from {beginning:?}: {life:?}, {outage:?}");
        self.history.push(told);
        let watched = |error: io::Error| at(&log, &error);
        let end = match calm {
            true => process.live(PATIENCE).map_err(watched)?,
            false => self.watch(&mut process, life, outage)?.map_err(watched)?,
        };
        if outage.is_some() {
            self.report.restarts += restarts_in(&log)?;
        }
        let stops = life.death == Death::Stop && process.refused.is_none();
        if end.is_none() && (calm || stops) {
            return Err(format!("the job does not end: see {}", log.display()));
        }
        match end {
            Some(End::HadEnded) if beginning == Beginning::Mark => {
                self.report.told_of_the_end += 1;
                self.origin.is_cleared()?;
                return Ok(true);
            }
            Some(_) if beginning == Beginning::Mark => {
                let log = log.display();
                return Err(format!("a job that had finished was run again: see {log}"));
            }
            Some(End::HadEnded) => {
                let log = log.display();
                return Err(format!(
                    "a job that had not ended was taken for one: see {log}"
                ));
            }
            Some(End::Finished) => {
                self.is_over = true;
                self.origin.is_cleared()?;
                self.power_after(&log)?;
                return Ok(true);
            }
            Some(End::Failed(status)) if life.crash().is_some() && has_crashed(status) => {
                match (calm, life.crash()) {
                    (false, Some(point)) => *self.report.crashes.entry(point).or_default() += 1,
                    _ => self.report.killed_at_the_end += 1,
                }
                self.report.kills += u64::from(!calm);
                self.crashed(&log)?;
            }
            Some(End::Failed(status)) => {
                let log = log.display();
                return Err(format!("a process ended by itself, {status}: see {log}"));
            }
            Some(End::Stopped(savepoint)) => {
                self.report.stops += 1;
                self.origin.is_cleared()?;
                self.power_after(&log)?;
                self.origin.stopped_by(PathBuf::from(savepoint))?;
            }
            None => self.kill(process, life, &log)?,
        }
        Ok(false)
    }

    fn arguments(
        &self,
        (life, outage): (Life, Option<Outage>),
        from: &Beginning,
        calm: bool,
    ) -> Vec<String> {
        let below = |path: &Path| path.display().to_string();
        let rate = if calm { 0 } else { self.trial.rate };
        let records = self.report.records.to_string();
        let out = below(&self.ground.join("out"));
        let mut arguments = vec![records, rate.to_string(), out];
        arguments.extend(life.crash_argument());
        let mut settings = life.settings(self.trial.at_least_once);
        if let Some(database) = &self.outputs.database {
            let kind = match self.trial.is_exclusive() {
                true => OWN_TABLES,
                false => TABLES,
            };
            arguments.push(format!("{kind}{}", database.address()));
        }
        if outage.is_some() {
            settings.extend(outlasting());
        }
        let savepoints = below(&self.origin.savepoints);
        settings.push(("execution.checkpointing.dir", below(&self.origin.state)));
        settings.push(("execution.checkpointing.savepoint-dir", savepoints));
        settings.push(("execution.state-recovery.path", from.setting()));
        if self.trial.has_identity() {
            settings.push(("thalweg.job.identity", "oracle".to_owned()));
        }
        settings.push(("io.tmp.dirs", below(&self.directory.join("spill"))));
        let settings = settings.into_iter();
        arguments.extend(settings.map(|(key, value)| format!("{key}={value}")));
        arguments
    }
}

/// Whether a process has ended itself at a point.
fn has_crashed(status: ExitStatus) -> bool {
    status.signal() == Some(ABORTED)
}
