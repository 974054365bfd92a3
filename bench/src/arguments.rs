//! What may be said on the command line, and how it is read.
//!
//! Entered once, from `main`, on the program's thread. Invariant: what comes out of here can be done;
//! an option that a workload would not heed is refused, because each workload lists its own.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use thalweg::prelude::RuntimeMode;
use thalweg_bench::workload::pace::{Pace, Watermarks};

/// Workloads defined to the bit, and what they take.
#[derive(Parser)]
#[command(name = "thalweg-bench", version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs a workload on the engine.
    #[command(subcommand)]
    Run(Run),
    /// Does the work by hand, without the engine: the ceiling of this machine.
    Limit {
        /// The workload.
        workload: Workload,
        /// Threads, each on its own core.
        #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..=2))]
        threads: u32,
        /// Records to generate (all but wc).
        #[arg(long, default_value_t = 100_000_000)]
        records: u64,
        /// Events per millisecond of event time (q0 to q8).
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..))]
        events_per_ms: u64,
        /// Text files or directories of them (wc).
        #[arg(long, num_args = 1.., required_if_eq("workload", "wc"))]
        input: Vec<PathBuf>,
        #[command(flatten)]
        pace: Paced,
        /// How often a source says how far it is (lat_win).
        #[arg(long, value_enum, default_value_t = Wm::Millisecond)]
        wm: Wm,
        /// Runs this many times and reports the fastest.
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
        times: u32,
        /// Form of the report.
        #[arg(long, value_enum, default_value_t = Output::Json)]
        output: Output,
    },
    /// The job of `run recover`, in a process of its own.
    #[command(hide = true)]
    Grown {
        /// Distinct keys.
        #[arg(long, value_parser = value_parser!(u64).range(1..))]
        keys: u64,
        #[command(flatten)]
        how: Single,
    },
    /// Makes text to count words in.
    Text {
        /// Size over all files, such as 500MB or 1GiB.
        #[arg(long, value_parser = bytes, default_value = "500MB")]
        bytes: u64,
        /// Number of distinct words.
        #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
        vocabulary: u32,
        /// Another seed, another text.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Directory to write into.
        #[arg(long)]
        out: PathBuf,
        /// Number of files.
        #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..))]
        files: u32,
    },
}

/// A workload on the engine.
#[derive(Subcommand)]
pub(crate) enum Run {
    /// Source to sink, chained.
    Gen {
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        how: How,
    },
    /// Running sum by key.
    Sum {
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        how: How,
    },
    /// Count by key and window of a second.
    Win {
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        local: Local,
        #[command(flatten)]
        how: How,
    },
    /// Count by key and window of an hour, a new one every second.
    Slide {
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        local: Local,
        #[command(flatten)]
        how: How,
    },
    /// A timer per record, all pending at once, fired at the end of the input.
    Timers {
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        how: Single,
    },
    /// Count by word.
    Wc {
        /// Text files or directories of them: UTF-8, lines that end in a newline.
        #[arg(long, num_args = 1.., required = true)]
        input: Vec<PathBuf>,
        /// A row per word, or one per distinct word.
        #[arg(long, value_enum, default_value_t = Mode::Streaming)]
        mode: Mode,
        #[command(flatten)]
        how: How,
    },
    /// Nexmark: every bid, source to sink.
    Q0(Nexmark),
    /// Nexmark: every bid with its price converted.
    Q1(Nexmark),
    /// Nexmark: the bids for some auctions.
    Q2(Nexmark),
    /// Nexmark: the auctions with the most bids per sliding window.
    Q5(Nexmark),
    /// Nexmark: the highest bid per window.
    Q7(Nexmark),
    /// Nexmark: who registered and offered something in the same window.
    Q8(Nexmark),
    /// Latency of each record at a rate, by key.
    #[command(name = "lat_rec")]
    LatRec(Latency),
    /// Latency of each row of a window of 100 ms, from the window's end.
    #[command(name = "lat_win")]
    LatWin {
        /// How often the source says how far it is.
        #[arg(long, value_enum, default_value_t = Wm::Millisecond)]
        wm: Wm,
        #[command(flatten)]
        local: Local,
        #[command(flatten)]
        how: Latency,
    },
    /// Running sum by key, with checkpoints.
    Ckpt(Checkpointed),
    /// A value of 64 bytes per key, of more keys than memory holds.
    Bigstate(Large),
    /// Time from the start of a process to its first row, when it goes on from where one was killed.
    Recover(Killed),
    /// The same at another parallelism.
    Rescale {
        #[command(flatten)]
        killed: Killed,
        /// Subtasks per operator of the process that goes on.
        #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
        restored_parallelism: u32,
    },
    /// A savepoint of state of a given size, against what its disk takes.
    Savepoint(Saved),
    /// Latency of a lone record to another shard.
    Lone {
        /// Records to send.
        #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u64).range(1..))]
        records: u64,
        /// Time between two records, µs.
        #[arg(long, value_parser = microseconds, default_value = "2000")]
        gap: Duration,
        #[command(flatten)]
        settings: Overrides,
    },
}

/// What every query over an auction site takes.
#[derive(Args)]
pub(crate) struct Nexmark {
    #[command(flatten)]
    pub(crate) amount: Amount,
    /// Events per millisecond of event time.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..))]
    pub(crate) events_per_ms: u64,
    #[command(flatten)]
    pub(crate) how: How,
}

/// What `ckpt` takes.
#[derive(Args)]
pub(crate) struct Checkpointed {
    #[command(flatten)]
    pub(crate) amount: Amount,
    /// Distinct keys.
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=0xFFFF_FFFF))]
    pub(crate) keys: u64,
    /// Keys that go on changing once all have been there; all where nothing is said.
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    pub(crate) changing: Option<u64>,
    /// Between two checkpoints, such as 1s.
    #[arg(long, default_value = "1s")]
    pub(crate) checkpoint_interval: String,
    /// Directory for checkpoints.
    #[arg(long)]
    pub(crate) checkpoint_dir: String,
    /// Where state is kept: hashmap or lsm.
    #[arg(long, default_value = "hashmap")]
    pub(crate) state: String,
    /// Runs once more without checkpoints, and reports the ratio.
    #[arg(long)]
    pub(crate) compare: bool,
    #[command(flatten)]
    pub(crate) how: Single,
}

/// What `bigstate` takes.
#[derive(Args)]
pub(crate) struct Large {
    #[command(flatten)]
    pub(crate) amount: Amount,
    /// Distinct keys.
    #[arg(long, default_value_t = 4_000_000, value_parser = value_parser!(u64).range(1..=0xFFFF_FFFF))]
    pub(crate) keys: u64,
    /// The exponent of Zipf's law by which keys are drawn; 0 draws all alike.
    #[arg(long, default_value_t = 0.0, value_parser = exponent)]
    pub(crate) zipf: f64,
    /// Memory for state of all slots, such as 64mb.
    #[arg(long, default_value = "64mb")]
    pub(crate) memory: String,
    /// Runs once more with all state in memory, and reports the ratio.
    #[arg(long)]
    pub(crate) compare: bool,
    #[command(flatten)]
    pub(crate) how: Single,
}

/// What `recover` and `rescale` take.
#[derive(Args)]
pub(crate) struct Killed {
    /// Size of the state, such as 1GB.
    #[arg(long, value_parser = bytes, default_value = "100MB")]
    pub(crate) state_bytes: u64,
    /// Directory for checkpoints; what is written there is removed at the end.
    #[arg(long)]
    pub(crate) checkpoint_dir: PathBuf,
    /// Where state is kept: hashmap or lsm.
    #[arg(long, default_value = "hashmap")]
    pub(crate) state: String,
    /// Memory for state of all slots, such as 64mb; enough for all of it, if not said.
    #[arg(long)]
    pub(crate) memory: Option<String>,
    #[command(flatten)]
    pub(crate) how: Single,
}

/// What `savepoint` takes.
#[derive(Args)]
pub(crate) struct Saved {
    /// Size of the state, such as 1GB.
    #[arg(long, value_parser = bytes, default_value = "100MB")]
    pub(crate) state_bytes: u64,
    /// Directory for the savepoint; what is written there is removed at the end.
    #[arg(long)]
    pub(crate) savepoint_dir: PathBuf,
    /// Where state is kept: hashmap or lsm.
    #[arg(long, default_value = "hashmap")]
    pub(crate) state: String,
    #[command(flatten)]
    pub(crate) how: Single,
}

/// What a latency workload takes.
#[derive(Args)]
pub(crate) struct Latency {
    /// Subtasks per operator.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    pub(crate) parallelism: u32,
    #[command(flatten)]
    pub(crate) pace: Paced,
    /// Does the same work by hand after the run, on as many threads but at most two, and reports it beside.
    #[arg(long)]
    pub(crate) with_limit: bool,
    #[command(flatten)]
    pub(crate) settings: Overrides,
}

/// How fast records fall due, and for how long.
#[derive(Args)]
pub(crate) struct Paced {
    /// Records a second (lat_rec, lat_win).
    #[arg(long, default_value_t = 200_000, value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) rate: u64,
    /// Seconds before the measured ones (lat_rec, lat_win).
    #[arg(long, value_parser = seconds, default_value = "5")]
    pub(crate) warmup: Duration,
    /// Measured seconds (lat_rec, lat_win).
    #[arg(long, value_parser = seconds, default_value = "15")]
    pub(crate) duration: Duration,
}

impl From<&Paced> for Pace {
    fn from(paced: &Paced) -> Self {
        Self {
            rate: paced.rate,
            warmup: paced.warmup,
            duration: paced.duration,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Wm {
    /// At every new millisecond.
    Millisecond,
    /// Every 200 ms, as sources do unless told otherwise.
    Periodic,
}

impl From<Wm> for Watermarks {
    fn from(wm: Wm) -> Self {
        match wm {
            Wm::Millisecond => Self::Millisecond,
            Wm::Periodic => Self::Periodic,
        }
    }
}

/// How many records are made.
#[derive(Args)]
pub(crate) struct Amount {
    /// Records to generate.
    #[arg(long, default_value_t = 100_000_000)]
    pub(crate) records: u64,
}

/// Where records are gathered.
#[derive(Args)]
pub(crate) struct Local {
    /// Gathers records by key before the exchange too.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub(crate) local_aggregation: Switch,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// What every throughput workload takes.
#[derive(Args)]
pub(crate) struct How {
    /// Subtasks per operator.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..))]
    pub(crate) parallelism: u32,
    /// Does the same work by hand after each run, on as many threads but at most two, and reports the ratio.
    #[arg(long)]
    pub(crate) with_limit: bool,
    /// Runs this many times and reports the fastest.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    pub(crate) times: u32,
    #[command(flatten)]
    pub(crate) settings: Overrides,
}

/// What a workload takes that runs once.
#[derive(Args)]
pub(crate) struct Single {
    /// Subtasks per operator.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..))]
    pub(crate) parallelism: u32,
    #[command(flatten)]
    pub(crate) settings: Overrides,
}

/// Settings of the engine, and the form of the report.
#[derive(Args)]
pub(crate) struct Overrides {
    /// A setting of the engine, such as -D thalweg.profile=low-latency.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) overrides: Vec<(String, String)>,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Output::Json)]
    pub(crate) output: Output,
}

impl Overrides {
    /// Sets what the user did not set.
    pub(crate) fn unless_set(&mut self, key: &str, value: &str) {
        self.overrides.insert(0, (key.to_owned(), value.to_owned()));
    }

    /// Sets whether records are gathered before the exchange, unless a setting says otherwise.
    pub(crate) fn gather(&mut self, local: &Local) {
        let on = local.local_aggregation == Switch::On;
        let setting = (
            "thalweg.execution.local-aggregation".to_owned(),
            on.to_string(),
        );
        self.overrides.insert(0, setting);
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Workload {
    /// Generate records.
    Gen,
    /// Running sum by key.
    Sum,
    /// Count by key and window of a second.
    Win,
    /// Running count by word.
    Wc,
    /// Nexmark: every bid.
    Q0,
    /// Nexmark: converted prices.
    Q1,
    /// Nexmark: bids for some auctions.
    Q2,
    /// Nexmark: auctions with the most bids.
    Q5,
    /// Nexmark: highest bids.
    Q7,
    /// Nexmark: new sellers.
    Q8,
    /// Latency of each record at a rate.
    #[value(name = "lat_rec")]
    LatRec,
    /// Latency of each row of a window.
    #[value(name = "lat_win")]
    LatWin,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    /// One JSON object on stdout.
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// A row per word.
    Streaming,
    /// A row per distinct word, at the end.
    Batch,
}

impl From<Mode> for RuntimeMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Streaming => Self::Streaming,
            Mode::Batch => Self::Batch,
        }
    }
}

/// Parses a size: `kB`, `MB`, `GB` are powers of a thousand, `KiB`, `MiB`, `GiB` of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        other => {
            return Err(format!(
                "unknown unit {other}; use kB, MB, GB, KiB, MiB or GiB"
            ));
        }
    };
    let number: u64 = digits
        .trim()
        .parse()
        .map_err(|error| format!("{digits:?}: {error}"))?;
    number
        .checked_mul(unit)
        .ok_or_else(|| format!("{text} is more than 2^64 bytes"))
}

/// Parses a number of microseconds above 0.
fn exponent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(exponent),
        _ => Err("give a number from 0 to 10, such as 0.9".to_owned()),
    }
}

fn microseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) => Err("give at least 1 µs".to_owned()),
        Ok(number) => Ok(Duration::from_micros(number)),
        Err(error) => Err(format!("not a number of microseconds: {error}")),
    }
}

/// Parses a number of seconds, up to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 =
        (text.parse()).map_err(|error| format!("not a number of seconds: {error}"))?;
    match (0.0..=86_400.0).contains(&number) {
        true => Ok(Duration::from_secs_f64(number)),
        false => Err("give 0 to 86400 seconds".to_owned()),
    }
}

/// Parses `key=value`; the engine judges both.
fn setting(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    let (key, value) = parts.ok_or_else(|| "give a setting as key=value".to_owned())?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = ["thalweg-bench"].into_iter().chain(line.split(' '));
        Arguments::try_parse_from(words)
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("500MB"), Ok(500_000_000));
        assert_eq!(bytes("1 GiB"), Ok(1 << 30));
        assert_eq!(bytes("64kib"), Ok(65_536));
        assert_eq!(bytes("12"), Ok(12));
        assert!(bytes("12 parsecs").is_err());
        assert!(bytes("99999999999GB").is_err());
    }

    #[test]
    fn a_workload_takes_its_own_options_and_no_others() {
        for good in [
            "limit sum",
            "run sum --records 100 --parallelism 2 --output json",
            "run gen --with-limit --times 3 -D thalweg.shard.pin=false",
            "limit win --threads 1",
            "run win --with-limit --local-aggregation off",
            "run slide --records 100",
            "run wc --input a b --mode batch",
            "run q1 --records 100 --events-per-ms 7 --with-limit",
            "limit q2 --events-per-ms 7",
            "run lone --gap 20 -D thalweg.profile=low-latency",
            "run lat_rec --rate 1000000 --parallelism 2 --warmup 1 --duration 2.5 --with-limit",
            "run lat_win --wm periodic --local-aggregation off",
            "run recover --state-bytes 1GB --checkpoint-dir d --state lsm --memory 64mb",
            "run rescale --checkpoint-dir d --parallelism 1 --restored-parallelism 3",
            "run savepoint --state-bytes 1GB --savepoint-dir d --state lsm",
            "limit lat_win --wm periodic --rate 7 --threads 1",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "limit wc",
            "run",
            "run wc",
            "run sum --mode batch",
            "run sum --local-aggregation off",
            "run sum --parallelism 0",
            "run gen -D thalweg.shard.pin",
            "run recover --state-bytes 1GB",
            "run savepoint --state-bytes 1GB",
            "run recover --checkpoint-dir d --restored-parallelism 3",
            "run lone --with-limit",
            "run lone --gap 0",
            "run lat_rec --wm periodic",
            "run lat_rec --rate 0",
            "run lat_rec --duration never",
            "run lat_win --records 5",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_split_at_the_first_equals_sign() {
        let Ok(Arguments {
            command: Command::Run(Run::Gen { how, .. }),
        }) = parse("run gen -D a=b=c -D d=1")
        else {
            panic!("the line is sound");
        };
        let expected = [("a", "b=c"), ("d", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(how.settings.overrides, expected);
    }
}
