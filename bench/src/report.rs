//! The one JSON object a run prints on stdout, and where its figures come from.
//!
//! The binary's only way to stdout. Wall time is the run without start-up; CPU time is the whole
//! process's in that time; peak memory is the kernel's own figure for the process.

use std::fs;
use std::io::{self, Write};

use serde::Serialize;

/// What a run did and what it took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `engine` for Thalweg, `limit` for the work by hand.
    pub engine: &'static str,
    /// Name of the workload.
    pub workload: &'static str,
    /// Records generated or read.
    pub records: u64,
    /// Threads, or subtasks per operator.
    pub parallelism: u32,
    /// Wall seconds of the run without start-up.
    pub seconds: f64,
    /// Records per wall second.
    pub records_per_s: f64,
    /// CPU seconds of the process in the run.
    pub cpu_s: f64,
    /// CPU seconds per million records; nothing where there were none.
    pub cpu_s_per_million: Option<f64>,
    /// Highest resident memory of the process in the run, MiB.
    pub peak_rss_mb: f64,
    /// Rows that reached the sink.
    pub rows_out: u64,
    /// Wrapping sum of the rows' terms, 16 hex digits.
    pub checksum: String,
}

/// What a run is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Wall seconds of the run.
    pub seconds: f64,
    /// CPU seconds of the process in the run.
    pub cpu_seconds: f64,
}

impl Report {
    /// Puts together what a run did and what it was measured by.
    #[must_use]
    pub fn new(
        engine: &'static str,
        workload: &'static str,
        parallelism: u32,
        totals: crate::workload::Totals,
        measured: Measured,
    ) -> Self {
        let records = totals.records as f64;
        Self {
            engine,
            workload,
            records: totals.records,
            parallelism,
            seconds: measured.seconds,
            records_per_s: records / measured.seconds,
            cpu_s: measured.cpu_seconds,
            cpu_s_per_million: (totals.records > 0).then(|| measured.cpu_seconds / (records / 1e6)),
            peak_rss_mb: peak_rss_mb(),
            rows_out: totals.rows_out,
            checksum: format!("{:016x}", totals.checksum),
        }
    }
}

/// Prints a report as one line of JSON on stdout.
///
/// # Errors
/// If stdout cannot be written to.
pub fn print(report: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, report)?;
    writeln!(stdout)?;
    stdout.flush()
}

/// Says a line on stdout, at once: for a process that another one listens to.
///
/// # Errors
/// If stdout cannot be written to.
pub fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Says on stderr how far the run is.
pub fn progress(message: &str) {
    // A closed stderr is no reason to lose a measurement.
    let _ = writeln!(io::stderr(), "{message}");
}

/// Begins the measurement of peak memory anew, where the system lets us: of several runs in one
/// process, each then reports its own peak.
pub fn forget_peak_rss() {
    // Refused in some sandboxes; the peak is then the highest of all runs so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The highest resident memory of this process since it began or the peak was forgotten, MiB; 0 where
/// the system does not tell.
#[must_use]
pub fn peak_rss_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    high_water_kib(&status).map_or(0.0, |kib| kib as f64 / 1024.0)
}

fn high_water_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Totals;

    #[test]
    fn a_report_names_its_figures_as_defined() {
        let totals = Totals {
            records: 2_000_000,
            rows_out: 7,
            checksum: 0xab,
        };
        let measured = Measured {
            seconds: 0.5,
            cpu_seconds: 1.0,
        };
        let report = Report::new("limit", "sum", 2, totals, measured);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["records_per_s"], 4e6);
        assert_eq!(json["cpu_s_per_million"], 0.5);
        assert_eq!(json["checksum"], "00000000000000ab");
        let mut names: Vec<_> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        let expected = "checksum cpu_s cpu_s_per_million engine parallelism peak_rss_mb records \
                        records_per_s rows_out seconds workload";
        assert_eq!(names.join(" "), expected);

        let none = Totals {
            records: 0,
            ..totals
        };
        let report = Report::new("limit", "sum", 2, none, measured);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["cpu_s_per_million"], serde_json::Value::Null);
        assert_eq!(json["records_per_s"], 0.0);
    }

    #[test]
    fn the_high_water_mark_is_read_from_the_status() {
        assert_eq!(
            high_water_kib("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n"),
            Some(2048)
        );
        assert_eq!(high_water_kib("Name:\tx\n"), None);
        assert!(peak_rss_mb() > 0.5);
    }
}
