//! The engine and the work by hand do the same work: equal rows, equal checksums.
//!
//! This is what makes a ratio of their rates mean anything. Inputs are small; their sizes fall on no
//! boundary of segments, chunks or splits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use thalweg::prelude::RuntimeMode;
use thalweg_bench::comparison::{Comparison, by_hand};
use thalweg_bench::engine::{self, BigState, Query, Savepoint, Settings, Work};
use thalweg_bench::limit;
use thalweg_bench::spread::LatencyWork;
use thalweg_bench::text::{self, TextPlan};
use thalweg_bench::workload::definitions::{WIN_MS, h3, win_record};
use thalweg_bench::workload::keys::Keys;
use thalweg_bench::workload::pace::{Pace, Watermarks};

/// How a workload runs; whichever way, it must come to the same.
#[derive(Clone, Copy, Debug)]
struct Way {
    parallelism: u32,
    segment: &'static str,
    /// Whether windows gather before the exchange.
    local: bool,
}

impl Way {
    /// At parallelism 1, 2 and 5, with segments of 512 bytes and of 32 KiB.
    fn all() -> impl Iterator<Item = Self> {
        [1, 2, 5].into_iter().flat_map(|parallelism| {
            ["512b", "32kb"].into_iter().map(move |segment| Self {
                parallelism,
                segment,
                local: true,
            })
        })
    }

    /// The same, each with records gathered before the exchange and without.
    fn of_windows() -> impl Iterator<Item = Self> {
        Self::all().flat_map(|way| [true, false].map(|local| Self { local, ..way }))
    }

    fn settings(self) -> Settings {
        let settings = [
            ("thalweg.shard.pin", "false".to_owned()),
            ("taskmanager.memory.segment-size", self.segment.to_owned()),
            (
                "thalweg.execution.local-aggregation",
                self.local.to_string(),
            ),
        ];
        let overrides = settings.map(|(key, value)| (key.to_owned(), value));
        Settings {
            parallelism: self.parallelism,
            overrides: overrides.to_vec(),
        }
    }
}

/// Runs `work` every way and expects what the work by hand gives.
fn check_ways(work: &Work, rows_out: u64, ways: impl Iterator<Item = Way>) {
    let limit = limit::run(&by_hand(work).unwrap(), 2).unwrap();
    for way in ways {
        let run = engine::run(work, &way.settings()).unwrap();
        assert_eq!(run.rows_out, rows_out, "{work:?}, {way:?}");
        let compared = Comparison::of(work, run, limit.clone());
        assert!(compared.is_ok(), "{work:?}, {way:?}: {compared:?}");
    }
}

fn check(work: &Work, rows_out: u64) {
    check_ways(work, rows_out, Way::all());
}

/// Text of several files and splits, with more distinct words than fit a small table.
fn write_text(directory: &Path) {
    let plan = TextPlan {
        bytes: 1_500_000,
        vocabulary: 20_000,
        seed: 5,
        files: 2,
    };
    text::write(&plan, directory).unwrap();
}

#[test]
fn gen_equals_the_work_by_hand() {
    for records in [0, 1, 100_003] {
        check(&Work::Gen { records }, records);
    }
}

#[test]
fn sum_equals_the_work_by_hand() {
    for records in [1, 20_011, 300_007] {
        check(&Work::Sum { records }, records);
    }
}

#[test]
fn queries_equal_the_work_by_hand() {
    for (query, rows_out) in [
        (Query::Q0, 138_003),
        (Query::Q1, 138_003),
        (Query::Q2, 549),
        (Query::Q5, 15),
        (Query::Q7, 3),
        (Query::Q8, 1_161),
    ] {
        let work = Work::Nexmark {
            query,
            events: 150_007,
            per_ms: 7,
        };
        check(&work, rows_out);
    }
}

#[test]
fn win_equals_the_work_by_hand() {
    for records in [1, 20_011, 1_200_007] {
        let work = Work::Win { records };
        let windows: BTreeSet<_> = (0..records)
            .map(|number| {
                let (key, ms) = win_record(number);
                (key, ms / WIN_MS)
            })
            .collect();
        check_ways(&work, windows.len() as u64, Way::of_windows());
    }
}

/// Rows and checksum of `slide`: each key is in an hour of windows from its first second on, and in one
/// more for each second until its last.
fn slide_by_hand(records: u64) -> (u64, String) {
    const SECONDS: u64 = 3_600;
    let mut seconds = BTreeMap::<u64, BTreeMap<u64, u64>>::new();
    for (key, ms) in (0..records).map(win_record) {
        *seconds
            .entry(key)
            .or_default()
            .entry(ms / WIN_MS)
            .or_default() += 1;
    }
    let (mut rows, mut checksum) = (0, 0_u64);
    for (key, counts) in seconds {
        let all: Vec<u64> = counts.keys().copied().collect();
        let (first, last) = (all[0], all[all.len() - 1]);
        // The first window starts an hour before the end of the first second: for a window's number,
        // that of its last second.
        for end in first..=last + SECONDS - 1 {
            let from = (end + 1).saturating_sub(SECONDS);
            let count: u64 = counts.range(from..=end).map(|(_, count)| count).sum();
            if count > 0 {
                let start = (end + 1).wrapping_sub(SECONDS).wrapping_mul(WIN_MS);
                rows += 1;
                checksum = checksum.wrapping_add(h3(key, start, count));
            }
        }
    }
    (rows, format!("{checksum:016x}"))
}

#[test]
fn slide_equals_the_work_by_hand() {
    // A row for each second of an hour and each key: few keys every way, all keys over some seconds once.
    let few = Way::of_windows().map(|way| (401, way));
    let all = Way {
        parallelism: 2,
        segment: "32kb",
        local: true,
    };
    for (records, way) in few.chain([(2_100_000, all)]) {
        let run = engine::run(&Work::Slide { records }, &way.settings()).unwrap();
        let expected = slide_by_hand(records);
        assert_eq!((run.rows_out, run.checksum), expected, "{records}, {way:?}");
    }
}

/// A run whose timers did not all fire once and in order is an error.
#[test]
fn timers_fire_once_each_and_in_order() {
    for (records, way) in Way::all().flat_map(|way| [(1, way), (20_011, way)]) {
        let run = engine::timers(records, &way.settings()).unwrap();
        assert_eq!((run.records, run.rows_out), (records, records), "{way:?}");
    }
}

/// What is measured depends on when a record was due and never on when it came, so every way measures all
/// of them.
#[test]
fn latencies_are_measured_of_every_record_whichever_way() {
    let pace = Pace {
        rate: 20_000,
        warmup: Duration::from_millis(50),
        duration: Duration::from_millis(200),
    };
    let milliseconds = LatencyWork::Window(Watermarks::Millisecond);
    let periodic = LatencyWork::Window(Watermarks::Periodic);
    for way in Way::all() {
        let rows_of = |work| engine::latency(work, &pace, &way.settings()).unwrap().rows;
        assert_eq!(rows_of(LatencyWork::Record), 4_000, "{way:?}");
        // Two windows of 100 ms end in the measured time. Each has a row for each key that came in it: at
        // most its 2,000 records.
        for work in [milliseconds, periodic] {
            let rows = rows_of(work);
            assert!(
                (2_000..=4_000).contains(&rows),
                "{rows} of {work:?}, {way:?}"
            );
        }
    }
}

#[test]
fn wc_equals_the_work_by_hand_in_both_modes() {
    let directory = tempfile::tempdir().unwrap();
    write_text(directory.path());
    let inputs = vec![directory.path().to_owned()];
    let texts: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let words = || texts.iter().flat_map(|text| text.split_ascii_whitespace());
    let distinct: BTreeSet<_> = words().collect();
    for (mode, rows_out) in [
        (RuntimeMode::Streaming, words().count()),
        (RuntimeMode::Batch, distinct.len()),
    ] {
        let inputs = inputs.clone();
        check(&Work::Wc { inputs, mode }, rows_out as u64);
    }
}

fn run(arguments: &[&str]) -> (bool, String, String) {
    let binary = env!("CARGO_BIN_EXE_thalweg-bench");
    let output = Command::new(binary).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_binary_prints_one_json_object_and_nothing_else() {
    let (success, stdout, stderr) = run(&[
        "run",
        "sum",
        "--records",
        "50000",
        "--parallelism",
        "2",
        "--times",
        "2",
        "--with-limit",
        "--output",
        "json",
    ]);
    assert!(success, "{stderr}");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["workload"], "sum");
    assert_eq!(json["records"], 50_000);
    assert_eq!(json["rows_out"], json["limit"]["rows_out"]);
    assert_eq!(json["checksum"], json["limit"]["checksum"]);
    assert!(json["ratio"].as_f64().unwrap() > 0.0);
}

#[test]
fn lone_prints_its_percentiles_in_order() {
    let (success, stdout, stderr) = run(&["run", "lone", "--records", "50", "--gap", "100"]);
    assert!(success, "{stderr}");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["records"], 50);
    let names = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
    let latencies = names.map(|name| json[name].as_f64().unwrap());
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{stdout}");
}

#[test]
fn work_that_differs_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    // The engine takes a carriage return for a part of the line's end, the work by hand for a letter.
    let path = directory.path().join("text");
    std::fs::write(&path, "to be\r\nor not\r\n").unwrap();
    let input = path.to_str().unwrap();
    let (success, stdout, stderr) = run(&["run", "wc", "--input", input, "--with-limit"]);
    assert!(!success);
    assert_eq!(stdout, "");
    assert!(stderr.contains("two runs of wc differ"), "{stderr}");
}

#[test]
fn a_setting_nobody_knows_is_refused() {
    let (success, stdout, stderr) = run(&["run", "gen", "-D", "thalweg.shard.pim=false"]);
    assert!(!success);
    assert_eq!(stdout, "");
    assert!(stderr.contains("thalweg.shard.pin"), "{stderr}");
}

#[test]
fn bigstate_gives_the_same_rows_where_memory_holds_a_part_of_it() {
    for (zipf, parallelism) in [(0.0, 1), (0.9, 2)] {
        let work = BigState {
            records: 120_011,
            keys: Keys::new(40_000, zipf),
            probe_seconds: 0.05,
        };
        let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let settings = Settings {
            parallelism,
            overrides: vec![
                setting("thalweg.shard.pin", "false"),
                setting("state.backend.type", "lsm"),
                setting("taskmanager.memory.managed.size", "1mb"),
            ],
        };
        let run = engine::big_state(&work, &settings).unwrap();
        assert_eq!(run.report.rows_out, work.records);
        let expected = format!("{:016x}", engine::expected(&work));
        assert_eq!(run.report.checksum, expected, "{zipf} at {parallelism}");
        assert!(run.miss_rate > 0.0 && run.disk_mb > 0.0, "{run:?}");
        assert!(run.budget_mb == 1.0 && run.rss_of_budget > 0.0, "{run:?}");
        // Where reads go past the cache, both figures are there.
        assert_eq!(run.device_iops.is_some(), run.of_device.is_some());
        assert!(run.of_device.is_none_or(|share| share > 0.0), "{run:?}");
    }
}

#[test]
fn a_savepoint_is_measured_against_its_disk_and_goes() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("savepoints");
    let work = Savepoint {
        keys: 20_000,
        directory: place.clone(),
    };
    let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    for state in ["hashmap", "lsm"] {
        let settings = Settings {
            parallelism: 2,
            overrides: vec![
                setting("thalweg.shard.pin", "false"),
                setting("state.backend.type", state),
            ],
        };
        let report = engine::savepoint(&work, &settings).unwrap();
        assert!(report.bytes > 20_000 * 64, "{report:?}");
        assert!(report.ratio > 0.0 && report.disk_mb_per_s.iter().all(|rate| *rate > 0.0));
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    }
}
