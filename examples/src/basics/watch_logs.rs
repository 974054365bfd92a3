//! How do I read files as they come into a directory, and as they grow?
//!
//! One task looks at the directory every 100 ms; lines that were appended are read once, also when a
//! log is rotated. The job goes on until it is stopped (Ctrl-C), or, with `--once`, reads what is there.
//!
//! ```text
//! cargo run --bin watch_logs -- --directory logs
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use thalweg::connectors::{FileProcessing, TextFiles};
use thalweg::prelude::*;

/// Prints the errors in logs.
#[derive(Parser)]
struct Arguments {
    /// Directory of the logs.
    #[arg(long)]
    directory: PathBuf,
    /// Read what is there and end.
    #[arg(long)]
    once: bool,
    /// How many subtasks work side by side.
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
}

fn main() -> ExitCode {
    thalweg::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    environment.set_parallelism(arguments.parallelism);
    let logs = TextFiles::new(&arguments.directory)
        .recursive()
        .include("*.log*")
        .exclude("debug*");
    let interval = Duration::from_millis(100);
    let processing = match arguments.once {
        true => FileProcessing::Once,
        false => FileProcessing::Continuously { interval },
    };
    environment
        .monitor_text(logs, processing)
        .filter(|line: &&str| line.contains("ERROR"))
        .print();
    environment.execute("watch logs")?;
    Ok(())
}
