//! The command line of the load generator.
//!
//! Reads the arguments, calls the library, prints one JSON object. Nothing is measured here.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use thalweg_bench::limit::{self, LimitError};
use thalweg_bench::report::{self, Report};
use thalweg_bench::text::{self, TextPlan};
use thiserror::Error;

/// Workloads defined to the bit, and what they take.
#[derive(Parser)]
#[command(name = "thalweg-bench", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Does the work by hand, without the engine: the ceiling of this machine.
    Limit {
        /// The workload.
        workload: Workload,
        /// Threads, each on its own core.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=2))]
        threads: u32,
        /// Records to generate (gen, sum).
        #[arg(long, default_value_t = 100_000_000)]
        records: u64,
        /// Text files or directories of them (wc).
        #[arg(long, num_args = 1.., required_if_eq("workload", "wc"))]
        input: Vec<PathBuf>,
        /// Runs this many times and reports the fastest.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        times: u32,
        /// Form of the report.
        #[arg(long, value_enum, default_value_t = Output::Json)]
        output: Output,
    },
    /// Makes text to count words in.
    Text {
        /// Size over all files, such as 500MB or 1GiB.
        #[arg(long, value_parser = bytes, default_value = "500MB")]
        bytes: u64,
        /// Number of distinct words.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        vocabulary: u32,
        /// Another seed, another text.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Directory to write into.
        #[arg(long)]
        out: PathBuf,
        /// Number of files.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
        files: u32,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Workload {
    /// Generate records.
    Gen,
    /// Running sum by key.
    Sum,
    /// Running count by word.
    Wc,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// One JSON object on stdout.
    Json,
}

#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error("cannot write text into {}: {source}; name a directory with room by --out", directory.display())]
    Text {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("cannot write the report to stdout: {0}")]
    Report(#[from] io::Error),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::progress(&format!("thalweg-bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Limit {
            workload,
            threads,
            records,
            input,
            times,
            output: Output::Json,
        } => {
            let work = match workload {
                Workload::Gen => limit::Work::Gen { records },
                Workload::Sum => limit::Work::Sum { records },
                Workload::Wc => limit::Work::Wc { inputs: input },
            };
            by_hand(&work, threads, times)?.print()?;
        }
        Command::Text {
            bytes,
            vocabulary,
            seed,
            out,
            files,
        } => {
            let plan = TextPlan {
                bytes,
                vocabulary,
                seed,
                files,
            };
            let written = text::write(&plan, &out).map_err(|source| Failure::Text {
                directory: out,
                source,
            })?;
            for path in written {
                report::progress(&path.display().to_string());
            }
        }
    }
    Ok(())
}

/// The fastest of some runs by hand.
fn by_hand(work: &limit::Work, threads: u32, times: u32) -> Result<Report, LimitError> {
    let mut best = limit::run(work, threads)?;
    for time in 1..times {
        report::progress(&format!(
            "run {time} of {times}: {:.1} M/s",
            best.records_per_s / 1e6
        ));
        let next = limit::run(work, threads)?;
        assert_eq!(
            next.checksum, best.checksum,
            "the same work gives the same checksum"
        );
        if next.seconds < best.seconds {
            best = next;
        }
    }
    Ok(best)
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
    fn wc_wants_an_input() {
        assert!(Arguments::try_parse_from(["thalweg-bench", "limit", "wc"]).is_err());
        assert!(Arguments::try_parse_from(["thalweg-bench", "limit", "sum"]).is_ok());
    }
}
