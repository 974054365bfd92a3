//! How do I write a stream into files of bounded size, one directory for each hour?
//!
//! Readings go to the directory of the hour in which they were taken. A file ends when it has 64 KiB, or
//! when the job does; each begins with the names of its columns. No file shows before it is whole.
//!
//! ```text
//! cargo run --bin rolling_files -- --output readings
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use thalweg::connectors::{AsLines, DateBuckets, FileSink, Formatted, Generator, RollingPolicy};
use thalweg::prelude::*;

/// Writes the readings of some hours.
#[derive(Parser)]
struct Arguments {
    /// Directory of the files to write.
    #[arg(long)]
    output: PathBuf,
    /// How many subtasks work side by side.
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
}

#[record]
#[derive(Clone)]
struct Reading {
    sensor: u64,
    celsius: f64,
}

/// One reading a second, from noon on.
fn reading(second: u64) -> (Reading, Timestamp) {
    let noon = 1_709_208_000_000; // 2024-02-29T12:00:00Z
    let reading = Reading {
        sensor: second % 10,
        celsius: 20.0 + (second % 50) as f64 / 10.0,
    };
    (reading, Timestamp(noon + second as i64 * 1000))
}

fn main() -> ExitCode {
    thalweg::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    environment.set_parallelism(arguments.parallelism);
    let row = Formatted(|reading: &Reading, line: &mut String| {
        line.push_str(&format!("{};{:.1}", reading.sensor, reading.celsius));
    });
    let files = FileSink::new(&arguments.output)
        .encoder(AsLines::new(row).header("sensor;celsius"))
        .buckets(DateBuckets::hourly())
        .names("readings", ".csv")
        .rolling(RollingPolicy::default().at_bytes(64 << 10));
    environment
        .source(Generator::timed(20_000, reading))
        .sink(files);
    environment.execute("rolling files")?;
    Ok(())
}
