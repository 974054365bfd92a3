//! One trial: a job that is killed so and so often, and judged.
//!
//! Lives on the thread of whoever asks for it. Invariant: a trial that is passed leaves nothing behind, one that is
//! not keeps all there is and says where.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::host::Host;
use super::origin::at;
use super::output;
use super::point::Point;
use super::power;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The executable that runs the job when its first argument is `job`.
    pub program: PathBuf,
    /// Everything drawn follows from it.
    pub seed: u64,
    /// How often a process is killed.
    pub kills: u64,
    /// After how long it is killed no more, however often it was.
    pub at_most: Option<Duration>,
    /// Records of each source a second.
    pub rate: u64,
    /// Whether barriers are not waited for: output may be there twice.
    pub at_least_once: bool,
    /// Whether the power goes with each kill.
    pub power_cuts: bool,
    /// Whether some of the output goes into tables of a PostgreSQL server, which is killed too. Not together with power
    /// cuts.
    pub postgres: bool,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Processes there were.
    pub processes: u64,
    /// Processes that were ended with SIGKILL.
    pub kills: u64,
    /// How many of them when something happened that was waited for.
    pub ambushes: u64,
    /// How many of them at a named point of their own code.
    pub(super) crashes: BTreeMap<Point, u64>,
    /// Processes that were killed at the end of their job, and are not among them.
    pub killed_at_the_end: u64,
    /// Processes that ran nothing because the job had finished.
    pub told_of_the_end: u64,
    /// How many of them had been told to stop.
    pub kills_in_stop: u64,
    /// How many took the power with them.
    pub power_cuts: u64,
    /// After how many of these what was not synced was gone.
    pub forgotten: u64,
    /// Checkpoints and savepoints that were reported as complete before a loss of power, in the process it ended.
    pub reported: u64,
    /// Processes that were stopped with a savepoint.
    pub stops: u64,
    /// Processes that went on from a checkpoint.
    pub from_checkpoint: u64,
    /// Processes that went on from a savepoint.
    pub from_savepoint: u64,
    /// Records of each source.
    pub records: u64,
    /// Visible lines.
    pub lines: u64,
    /// Visible files.
    pub files: u64,
    /// Transactions that wrote visible rows.
    pub transactions: u64,
    /// How often the server of the tables was killed.
    pub outages: u64,
    /// How often a job began again, within its process, because its server was not there.
    pub restarts: u64,
    /// Hidden files that are left.
    pub hidden: u64,
    /// Lines that are missing.
    pub lost: u64,
    /// Lines that are there too often.
    pub doubled: u64,
    /// The same of the output that is not transactional.
    pub leaked_twice: u64,
    /// How long it took.
    pub took: Duration,
}

impl Trial {
    /// Whether the job has an identity: of trials of one seed those with and those without power cuts differ in it.
    pub(super) fn has_identity(&self) -> bool {
        self.seed % 2 != u64::from(self.power_cuts)
    }

    /// Whether the job says that no other writes into its tables.
    pub(super) fn is_exclusive(&self) -> bool {
        (self.seed / 2).is_multiple_of(2)
    }
}

impl Report {
    /// How many processes ended themselves at a named point.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        self.crashes.values().sum()
    }

    /// Where they did, with how many, and where none did.
    fn points(&self) -> String {
        let hit = self.crashes.iter();
        let hit: Vec<String> = hit
            .map(|(point, times)| format!("{point} {times}"))
            .collect();
        let missed = Point::all().filter(|point| !self.crashes.contains_key(point));
        let missed: Vec<String> = missed.map(|point| point.to_string()).collect();
        format!("points: {}; none at {}", hit.join(", "), missed.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            processes,
            kills,
            ambushes,
            kills_in_stop,
            ..
        } = self;
        let crashes = self.crashes();
        write!(
            f,
            "{processes} processes, {kills} killed ({ambushes} at a commit or completion, {crashes} at a named point, \
             {kills_in_stop} while they stopped), {} stopped; {} went on from a checkpoint, {} from a savepoint; ",
            self.stops, self.from_checkpoint, self.from_savepoint
        )?;
        if self.killed_at_the_end > 0 {
            let told = match self.told_of_the_end {
                0 => "not yet said so",
                _ => "said so, and the next ran nothing",
            };
            write!(f, "one was killed when its job had finished and {told}; ")?;
        }
        if self.power_cuts > 0 {
            let (cuts, forgotten, reported) = (self.power_cuts, self.forgotten, self.reported);
            write!(
                f,
                "{cuts} power cuts, {forgotten} of which took what was not synced; {reported} checkpoints were \
                 reported before them; "
            )?;
        }
        if self.transactions > 0 {
            let (outages, restarts) = (self.outages, self.restarts);
            write!(
                f,
                "{outages} deaths of the server, {restarts} restarts for them; {} transactions; ",
                self.transactions
            )?;
        }
        write!(
            f,
            "{} records a source, {} lines, some of them in {} files: {} lost, {} doubled; {} doubled where writing is not \
             transactional; {} hidden files left; {:.1} s\n{}",
            self.records,
            self.lines,
            self.files,
            self.lost,
            self.doubled,
            self.leaked_twice,
            self.hidden,
            self.took.as_secs_f64(),
            self.points()
        )
    }
}

/// The command that draws the same again.
#[must_use]
pub fn replay(trial: &Trial) -> String {
    let Trial {
        seed, kills, rate, ..
    } = trial;
    let mut command = format!(
        "cargo run -p thalweg-tests --bin oracle -- --kills {kills} --seed {seed} --rate {rate}"
    );
    if let Some(at_most) = trial.at_most {
        command.push_str(&format!(" --seconds {}", at_most.as_secs()));
    }
    if trial.at_least_once {
        command.push_str(" --at-least-once");
    }
    if trial.power_cuts {
        command.push_str(" --power-cuts");
    }
    if trial.postgres {
        command = command.replace("--bin", "--features postgres --bin");
        command.push_str(" --postgres");
    }
    command
}

/// Why the trial cannot be run on this host, if it cannot.
#[must_use]
pub fn lacking(trial: &Trial) -> Option<String> {
    match (trial.postgres, trial.power_cuts) {
        (true, true) => Some("the server does not lose the power with the job".to_owned()),
        (true, false) => output::lacking(),
        (false, true) => power::lacking(),
        (false, false) => None,
    }
}

/// Runs a trial to its end, in a directory of its own.
///
/// # Errors
/// What is wrong, with what has happened, the directory that was kept, and the command that repeats it.
pub fn run(trial: &Trial) -> Result<Report, String> {
    let kind = match trial {
        Trial {
            at_least_once: true,
            ..
        } => "control",
        Trial {
            power_cuts: true, ..
        } => "power",
        Trial { postgres: true, .. } => "rows",
        _ => "kills",
    };
    let name = format!(
        "thalweg-oracle-{kind}-{}-{}",
        trial.seed,
        std::process::id()
    );
    let directory = std::env::temp_dir().join(name);
    fs::create_dir(&directory).map_err(|error| at(&directory, &error))?;
    let lived = Host::new(trial, directory.clone()).and_then(Host::live);
    match lived {
        Ok(report) => {
            fs::remove_dir_all(&directory).map_err(|error| at(&directory, &error))?;
            Ok(report)
        }
        Err(wrong) => {
            let (kept, command) = (directory.display(), replay(trial));
            Err(format!("{wrong}\nkept: {kept}\nonce more: {command}"))
        }
    }
}
