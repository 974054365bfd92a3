//! The life of one simulated host: processes that begin, are killed and begin again, until one comes to its end.
//!
//! After each process the disk is what a killed process or a lost power leave of it, and the oracle looks at what
//! is visible. Invariant: the same seed and plant give the same history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_cluster::SimulatedExecutor;
use thalweg_core::seam::clock::Random;
use thalweg_core::seam::simulated::{DiskFaults, SimDisk, Survival};
use thalweg_dataflow::executor::{JobError, JobWish};
use thalweg_dataflow::stream::Environment;

use super::caretaker::{Caretaker, SAVEPOINTS};
use super::knobs::{Knobs, LITTLE_MEMORY, Larger, pick};
use super::model::{Lines, expected};
use super::plants::Plant;
use super::program::{PAIRS, Poison, program};
use super::settings::{CALM_TIMEOUT, Start, configuration};
use super::shelf::{Ledger, Shelf};

/// Where state goes that memory does not hold, below a directory for each attempt.
const SPILL: &str = "/spill";
/// Processes that may end by themselves, because of the disk, before it is mended.
const FAILURES: u32 = 6;

/// How a run is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial {
    /// Everything drawn follows from it.
    pub seed: u64,
    /// The bug that is planted, if one is.
    pub plant: Option<Plant>,
    /// Whether barriers are not waited for: output may be there twice.
    pub at_least_once: bool,
    /// Whether the job must be the one whose state is larger than its memory.
    pub larger_than_memory: bool,
    /// Whether the job is the one of several parts that nothing connects, tasks of which fail too.
    pub apart: bool,
}

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Processes there were.
    pub processes: u32,
    /// Processes that were killed.
    pub kills: u32,
    /// Kills that took the power with them.
    pub power_cuts: u32,
    /// Kills while a process began: not one round of its shards was over.
    pub killed_at_start: u32,
    /// Processes that gave up because of the disk.
    pub failures: u32,
    /// Processes for which the disk had little room.
    pub cramped: u32,
    /// Ends by a savepoint, from which the job went on.
    pub stops: u32,
    /// Processes that died while they stopped, with a savepoint from which the job went on.
    pub died_stopping: u32,
    /// Processes that ran nothing because the job had finished.
    pub told_of_the_end: u32,
    /// Processes that were killed while state was on disk that memory did not hold.
    pub overflowed: u32,
    /// Rounds of all processes together.
    pub rounds: u64,
    /// A number that is the same for two runs only if they did the same.
    pub trace: u64,
    /// Virtual time, ms.
    pub virtual_ms: u64,
    /// Lines that are visible more often than they should be.
    pub doubled: u64,
}

/// A host and its processes.
struct Host {
    trial: Trial,
    knobs: Knobs,
    dice: Random,
    /// For room on the disk and stops, so that these change nothing else.
    more_dice: Random,
    caretaker: Caretaker,
    disk: SimDisk,
    ledger: Ledger,
    poison: Poison,
    history: History,
}

/// Runs a trial to its end.
///
/// # Errors
/// What the oracle found, with what was drawn.
pub fn run(trial: Trial) -> Result<History, String> {
    let mut knobs = Knobs::of(trial.seed);
    if let Some(plant) = trial.plant {
        // The job with every kind of state shows most bugs sooner.
        let larger = trial.larger_than_memory || plant.is_of_runs();
        knobs.memory = larger.then_some(LITTLE_MEMORY);
        // So does the one that folds, and in less time.
        knobs.larger = Larger::Folding;
        (knobs.stops, knobs.room) = (0, None);
        // Barriers that wait show other bugs sooner.
        knobs.overtakes_after = plant.is_of_overtaking().then_some(0);
    } else if trial.larger_than_memory {
        knobs.memory = Some(LITTLE_MEMORY);
    }
    if trial.apart {
        (knobs.apart, knobs.memory) = (true, None);
        knobs.poison += 2;
    }
    if trial.at_least_once {
        // Nobody waits for barriers, so none has to overtake.
        knobs.overtakes_after = None;
    }
    if knobs.overtakes_after.is_some() {
        knobs.concurrent = 1;
    }
    let disk = SimDisk::with_faults(trial.seed, knobs.options.disk);
    let mut host = Host {
        trial,
        dice: Random::new(trial.seed),
        more_dice: Random::new(trial.seed ^ 0x0D15_C0DE),
        caretaker: Caretaker::of(disk.clone()),
        disk,
        ledger: Ledger::default(),
        poison: Poison::of(&knobs),
        history: History::default(),
        knobs,
    };
    let found = host.live();
    host.history.virtual_ms = host.disk.now() / 1_000_000;
    match found {
        Ok(()) => Ok(host.history),
        Err(wrong) => Err(format!("{wrong}\n{:?}\n{:?}", host.knobs, host.history)),
    }
}

impl Host {
    fn live(&mut self) -> Result<(), String> {
        loop {
            let History {
                kills, failures, ..
            } = self.history;
            // Once the host is well, the job must come to its end.
            let calm = kills >= self.knobs.kills || failures >= FAILURES;
            if calm {
                self.disk.set_faults(DiskFaults::NONE);
            }
            let executor = self.process(calm);
            let result = self.execute(&executor, calm);
            self.note(&executor);
            let killed = executor.was_killed();
            let power_is_lost = killed && self.dice.below(2) == 0;
            self.go_down(power_is_lost);
            self.look()?;
            if result.is_err() && self.caretaker.ended_otherwise()? {
                self.history.died_stopping += 1;
            }
            match result {
                Ok(None) => return self.judge(),
                Ok(Some(savepoint)) => {
                    self.history.stops += 1;
                    self.caretaker.stopped_by(savepoint);
                }
                Err(_) if killed => {
                    self.history.kills += 1;
                    self.history.killed_at_start += u32::from(executor.rounds() == 0);
                }
                Err(error) if calm => {
                    return Err(format!("the job does not come to its end: {error}"));
                }
                Err(_) => self.history.failures += 1,
            }
        }
    }

    /// The next process, with what will end it.
    fn process(&mut self, calm: bool) -> SimulatedExecutor {
        let seed = self.dice.draw();
        let executor = SimulatedExecutor::on(self.disk.clone(), seed, self.knobs.options);
        let executor = match self.trial.plant.and_then(Plant::defect) {
            Some(defect) => executor.with_defect(defect),
            None => executor,
        };
        if calm {
            return executor;
        }
        self.cramp();
        let executor =
            match self.caretaker.stops() < self.knobs.stops && self.more_dice.below(2) == 0 {
                true => {
                    let wish = JobWish::Stop {
                        directory: Some(SAVEPOINTS.to_owned()),
                        drain: false,
                    };
                    executor.ask_at(1 + self.more_dice.below(self.knobs.life), wish)
                }
                false => executor,
            };
        match self.dice.below(4) {
            // At an operation of the disk, most likely while it begins: a kill in the recovery.
            0 => {
                let after = 1 + self.dice.below(120);
                self.disk.cut_before(self.disk.operations() + after);
                executor
            }
            // At any operation.
            1 => {
                let after = 1 + self.dice.below(2_000);
                self.disk.cut_before(self.disk.operations() + after);
                executor.kill_at(self.knobs.life)
            }
            _ => executor.kill_at(1 + self.dice.below(self.knobs.life)),
        }
    }

    /// The disk may have little room for the next process.
    fn cramp(&mut self) {
        let Some(room) = self.knobs.room else { return };
        let cramped = self.more_dice.below(2) == 0;
        let room = self.disk.used_bytes() + self.more_dice.below(room);
        self.disk.set_capacity(cramped.then_some(room));
        self.history.cramped += u32::from(cramped);
    }

    /// Runs a process to its end; answers the savepoint it ended by, if it was stopped.
    fn execute(
        &mut self,
        executor: &SimulatedExecutor,
        calm: bool,
    ) -> Result<Option<String>, String> {
        let parallelism = match self.history.processes {
            0 => self.knobs.parallelism,
            _ => 1 + self.dice.below(4) as u32,
        };
        let start = Start {
            parallelism,
            is_calm: calm,
            at_least_once: self.trial.at_least_once,
            stops: self.caretaker.stops(),
            checkpoints: self.caretaker.checkpoints(),
            begins_with: self.caretaker.begins_with()?,
        };
        let process = self.history.processes + 1;
        let (begins_with, room) = (&start.begins_with, self.disk.used_bytes());
        tracing::debug!(
            process,
            parallelism,
            calm,
            begins_with,
            room,
            "a process begins"
        );
        let configuration = configuration(&self.knobs, start)?;
        let environment = Environment::with_executor(Arc::new(executor.clone()), configuration);
        let shelf = |output: &str| Shelf {
            disk: self.disk.clone(),
            directory: directory_of(output),
            ledger: self.ledger.clone(),
            plant: self.trial.plant,
        };
        program(&environment, &self.knobs, &self.poison, shelf);
        let had_finished = self.caretaker.has_finished()?;
        let result = environment.execute("trial");
        let wrong = match (&result, had_finished) {
            (Err(JobError::Ended { savepoint, .. }), true) if savepoint.is_none() => {
                self.history.told_of_the_end += 1;
                return Ok(None);
            }
            (Err(JobError::Ended { message, .. }), _) => Some(format!("it has not: {message}")),
            (Ok(_), true) => Some("a job that had finished was run again".to_owned()),
            _ => None,
        };
        self.ledger.open().wrong.extend(wrong);
        let result = result.map_err(|error| error.to_string())?;
        // The clock of a host on which all wait for somebody jumps to what is due next.
        match calm && result.summary.duration >= CALM_TIMEOUT {
            true => {
                Err("a checkpoint was given up by its timeout: somebody is not woken".to_owned())
            }
            false => Ok(result.savepoint),
        }
    }

    fn note(&mut self, executor: &SimulatedExecutor) {
        let history = &mut self.history;
        history.processes += 1;
        history.rounds += executor.rounds();
        let is_full = |name: &PathBuf| !self.disk.names_in(&Path::new(SPILL).join(name)).is_empty();
        let full = self.disk.names_in(Path::new(SPILL));
        history.overflowed = full.iter().filter(|name| is_full(name)).count() as u32;
        history.trace = history.trace.rotate_left(7) ^ executor.trace_hash();
    }

    /// What the end of the process leaves on the disk.
    fn go_down(&mut self, power_is_lost: bool) {
        if !power_is_lost {
            tracing::debug!("the process is gone");
            return self.disk.end_processes();
        }
        self.history.power_cuts += 1;
        let drawn = Survival::Drawn(self.dice.draw());
        let survivals = [
            drawn,
            drawn,
            Survival::Nothing,
            Survival::Names,
            Survival::Content,
        ];
        let survival = pick(&mut self.dice, &survivals);
        tracing::debug!(?survival, "the power is gone");
        self.disk.crash(survival);
    }

    /// What must be true at all times.
    fn look(&self) -> Result<(), String> {
        let ledger = self.ledger.open();
        if let Some(wrong) = ledger.wrong.first() {
            return Err(wrong.clone());
        }
        let gone = |path: &&PathBuf| self.disk.content(path).is_none();
        match ledger.answered.iter().find(gone) {
            Some(path) => Err(format!("{} was committed and is gone", path.display())),
            None => Ok(()),
        }
    }

    /// What must be true in the end.
    fn judge(&mut self) -> Result<(), String> {
        for (output, expected) in expected(&self.knobs) {
            // Where records are counted, those that come twice make other lines.
            if self.trial.at_least_once && output != PAIRS {
                continue;
            }
            let mut there = Lines::new();
            for line in Shelf::visible(&self.disk, &directory_of(output)) {
                *there.entry(line).or_insert(0) += 1;
            }
            let (lost, doubled) = compare(&there, &expected);
            self.history.doubled += doubled.len() as u64;
            if let Some(line) = lost.first() {
                return Err(format!(
                    "{output}: {} lines are lost, as `{line}`",
                    lost.len()
                ));
            }
            if let (Some(line), false) = (doubled.first(), self.trial.at_least_once) {
                let count = doubled.len();
                return Err(format!("{output}: {count} lines are too many, as `{line}`"));
            }
        }
        Ok(())
    }
}

/// Lines that are missing, and lines that are there too often, or at all.
fn compare<'l>(there: &'l Lines, expected: &'l Lines) -> (Vec<&'l str>, Vec<&'l str>) {
    let short = |than: &Lines, line: &str, count: u32| than.get(line).copied().unwrap_or(0) < count;
    let find = |of: &'l BTreeMap<String, u32>, than: &Lines| -> Vec<&'l str> {
        let lines = of.iter().filter(|(line, count)| short(than, line, **count));
        lines.map(|(line, _)| line.as_str()).collect()
    };
    (find(expected, there), find(there, expected))
}

fn directory_of(output: &str) -> PathBuf {
    Path::new("/out").join(output)
}
