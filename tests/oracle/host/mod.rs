//! The host of a trial: processes that begin, are killed or stopped and begin again, until one comes to its end.
//!
//! Lives on the oracle's thread. After each process it looks at what is visible, and finds out what the next one
//! goes on from. Invariant: at most one process of the job runs at a time.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use thalweg_cluster::CrashPoint;
use thalweg_core::seam::clock::{Random, monotonic_ns};

use super::ground::{canary, lay_out, reported_in};
use super::job::OUTPUTS;
use super::life::{AWAITED, Death, Life};
use super::moment::{Ambush, Moment};
use super::origin::{Beginning, Origin, at};
use super::power::Disk;
use super::process::{End, Process};
use super::trial::{Report, Trial};
use super::visible::{Visible, Wrong};

/// How long a job that nobody disturbs may take to its end, and one that is told to stop.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks for what a kill waits for.
const GLANCE: Duration = Duration::from_micros(300);
/// What is in a file that is not synced before the power is cut.
const LOST: &str = "to be lost";
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
        let all: Duration = lives.iter().map(Life::longest).sum();
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
        Ok(Host {
            visible: Visible::of(&ground.join("out"), records, trial.at_least_once),
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
            is_over: false,
            history: Vec::new(),
            started,
        })
    }

    /// Lets processes live and die until the job is done, and judges.
    pub(super) fn live(mut self) -> Result<Report, String> {
        let judged = self.live_on().and_then(|()| self.judge());
        self.report.took = Duration::from_nanos(monotonic_ns() - self.started);
        let report = self.report;
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
            let finished = self.one(nth, life, calm)?;
            self.visible.look()?;
            if finished {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One process from its start to its death; whether the job is done.
    fn one(&mut self, nth: usize, life: Life, calm: bool) -> Result<bool, String> {
        let beginning = self.origin.beginning()?;
        match beginning {
            Beginning::Nothing | Beginning::Mark => {}
            Beginning::Checkpoint => self.report.from_checkpoint += 1,
            Beginning::Savepoint(_) => self.report.from_savepoint += 1,
        }
        let arguments = self.arguments(life, &beginning, calm);
        let log = self.directory.join(format!("log-{nth:04}"));
        let started = Process::start(&self.trial.program, &arguments, &log);
        let mut process = started.map_err(|error| at(&self.trial.program, &error))?;
        self.report.processes += 1;
        let told = format!("process {nth} from {beginning:?}: {life:?}");
        self.history.push(told);
        let watched = |error: io::Error| at(&log, &error);
        let end = match calm {
            true => process.live(PATIENCE).map_err(watched)?,
            false => self.watch(&mut process, life)?.map_err(watched)?,
        };
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
                match calm {
                    true => self.report.killed_at_the_end += 1,
                    false => self.report.crashes += 1,
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

    /// Lets a process live its life, and looks at what is visible meanwhile.
    fn watch(
        &mut self,
        process: &mut Process,
        life: Life,
    ) -> Result<io::Result<Option<End>>, String> {
        let begun = match life.begins_first {
            true => process.begin(PATIENCE),
            false => Ok(None),
        };
        let Ok(None) = begun else {
            return Ok(begun);
        };
        if life.begins_first && !process.running {
            return Err("the job does not begin".to_owned());
        }
        let begun = if life.begins_first {
            process.age()
        } else {
            Duration::ZERO
        };
        for age in [life.looked_at, life.lasts] {
            let lived = process.live(begun + age);
            let Ok(None) = lived else {
                return Ok(lived);
            };
            self.visible.glance()?;
        }
        let mut stop = |patience| {
            process.stop()?;
            process.live(process.age() + patience)
        };
        Ok(match life.death {
            Death::Kill => Ok(None),
            Death::CrashAt(
                CrashPoint::BeforeCopy | CrashPoint::BeforeEnd | CrashPoint::AfterEnd,
                _,
            ) => stop(AWAITED),
            // Points of recovery are behind it, if it has not come there; others come with each checkpoint.
            Death::CrashAt(..) => process.live(process.age() + AWAITED),
            Death::KillAt(moment) => self.lie_in_wait(process, moment),
            Death::Stop => stop(PATIENCE),
            Death::KillInStop(after) => {
                let end = stop(after);
                self.report.kills_in_stop += u64::from(matches!(end, Ok(None)));
                end
            }
        })
    }

    /// Waits until something happens, or for too long.
    fn lie_in_wait(&mut self, process: &mut Process, moment: Moment) -> io::Result<Option<End>> {
        let ambush = Ambush::lay(moment, &self.ground.join("out"), &self.origin.state);
        let until = process.age() + AWAITED;
        while process.age() < until {
            if ambush.sprung() {
                self.report.ambushes += 1;
                break;
            }
            match process.live(process.age() + GLANCE)? {
                None => {}
                end => return Ok(end),
            }
        }
        Ok(None)
    }

    /// Ends a process with SIGKILL, and the power with it where that is to be.
    fn kill(&mut self, mut process: Process, life: Life, log: &Path) -> Result<(), String> {
        self.report.kills += 1;
        self.cut()?;
        let wrong = |error: io::Error| at(log, &error);
        if self.disk.is_some() {
            // It may find out by itself, and must not tell of anything that is not so.
            let until = process.age() + life.outlives;
            process.live(until).map_err(wrong)?;
        }
        process.kill().map_err(wrong)?;
        self.power_is_back(log)?;
        self.origin.killed()
    }

    /// A process has ended by itself where it was to: as if it had been killed, and the power goes with it where that
    /// is to be.
    fn crashed(&mut self, log: &Path) -> Result<(), String> {
        self.cut()?;
        self.power_is_back(log)?;
        self.origin.killed()
    }

    /// Loses the power behind a process that has ended well, where it is to be lost: all it has written must last.
    fn power_after(&mut self, log: &Path) -> Result<(), String> {
        self.visible.look()?;
        self.visible.must_last();
        self.cut()?;
        self.power_is_back(log)
    }

    /// Cuts the power, if it can be cut.
    fn cut(&mut self) -> Result<(), String> {
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        let canary = canary(&self.ground, self.report.power_cuts);
        fs::write(&canary, LOST).map_err(|error| at(&canary, &error))?;
        disk.cut()
    }

    /// The power is back, and no process runs: what a process has reported must be there.
    fn power_is_back(&mut self, log: &Path) -> Result<(), String> {
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        disk.back()?;
        let canary = fs::read_to_string(canary(&self.ground, self.report.power_cuts));
        self.report.forgotten += u64::from(!canary.is_ok_and(|text| text == LOST));
        self.report.power_cuts += 1;
        let (count, reported) = reported_in(log)?;
        self.report.reported += count;
        // One that has come to its end has removed its own.
        let there = self.origin.newest()?;
        let is_over = self.is_over || self.origin.beginning()? == Beginning::Mark;
        let log = log.display();
        match there < reported && !is_over {
            true => Err(format!(
                "checkpoint {reported} was reported as complete, and the newest after a loss of power is {there}: \
                 see {log}"
            )),
            false => self.visible.power_was_lost(),
        }
    }

    fn arguments(&self, life: Life, from: &Beginning, calm: bool) -> Vec<String> {
        let below = |path: &Path| path.display().to_string();
        let rate = if calm { 0 } else { self.trial.rate };
        let records = self.report.records.to_string();
        let out = below(&self.ground.join("out"));
        let mut arguments = vec![records, rate.to_string(), out];
        arguments.extend(life.crash());
        let mut settings = life.settings(self.trial.at_least_once);
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

    /// What must be true in the end.
    fn judge(&mut self) -> Result<(), String> {
        // Where records are counted, those that come twice make other lines.
        let outputs = match self.trial.at_least_once {
            true => &OUTPUTS[2..],
            false => &OUTPUTS[..],
        };
        let (lost, doubled) = self.visible.judge(outputs)?;
        let (leak_lost, leaked_twice) = self.visible.judge_leaked()?;
        let report = &mut self.report;
        (report.lines, report.files) = (self.visible.lines(), self.visible.files());
        report.hidden = self.visible.hidden()?;
        (report.lost, report.doubled) = (lost.count, doubled.count);
        report.leaked_twice = leaked_twice.count;
        let told = |wrong: Wrong, how: &str| match wrong.line {
            Some(line) => Err(format!("{} lines are {how}, as `{line}`", wrong.count)),
            None => Ok(()),
        };
        told(lost, "lost")?;
        if self.trial.at_least_once {
            return Ok(());
        }
        told(doubled, "doubled")?;
        told(leak_lost, "lost where writing is not transactional")?;
        if report.power_cuts > 0 && report.reported == 0 {
            return Err("no checkpoint was reported: the power cuts prove nothing".to_owned());
        }
        if report.power_cuts > 0 && report.forgotten == 0 {
            return Err("the disk forgot nothing: the power cuts prove nothing".to_owned());
        }
        if report.leaked_twice == 0 {
            let what = "nothing was written twice where writing is not transactional: the kills prove nothing";
            return Err(what.to_owned());
        }
        Ok(())
    }
}

/// Whether a process has ended itself at a point.
fn has_crashed(status: ExitStatus) -> bool {
    status.signal() == Some(ABORTED)
}
