//! The engine and the work by hand do the same work: equal rows, equal checksums.
//!
//! This is what makes a ratio of their rates mean anything. Inputs are small; their sizes fall on no
//! boundary of segments, chunks or splits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use thalweg::prelude::RuntimeMode;
use thalweg_bench::comparison::{Comparison, by_hand};
use thalweg_bench::engine::{self, BigState, Query, Settings, Work};
use thalweg_bench::limit;
use thalweg_bench::text::{self, TextPlan};
use thalweg_bench::workload::definitions::win_record;
use thalweg_bench::workload::keys::Keys;

const PARALLELISMS: [u32; 3] = [1, 2, 3];

/// Runs `work` at every parallelism and expects what the work by hand gives.
fn check(work: &Work, rows_out: u64) {
    let limit = limit::run(&by_hand(work).unwrap(), 2).unwrap();
    for parallelism in PARALLELISMS {
        let settings = Settings {
            parallelism,
            overrides: vec![("thalweg.shard.pin".to_owned(), "false".to_owned())],
        };
        let run = engine::run(work, &settings).unwrap();
        assert_eq!(run.rows_out, rows_out, "{work:?} at {parallelism}");
        let compared = Comparison::of(work, run, limit.clone());
        assert!(compared.is_ok(), "{work:?} at {parallelism}: {compared:?}");
    }
}

/// Text of several files and splits, with more distinct words than fit a small table.
fn write_text(directory: &Path) {
    let plan = TextPlan {
        bytes: 3_000_000,
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
        (Query::Q0, 276_003),
        (Query::Q1, 276_003),
        (Query::Q2, 1_859),
        (Query::Q5, 29),
        (Query::Q7, 5),
        (Query::Q8, 2_225),
    ] {
        let work = Work::Nexmark {
            query,
            events: 300_007,
            per_ms: 7,
        };
        check(&work, rows_out);
    }
}

/// Runs `win` with every parallelism, segment and way to gather; all must give what the work by hand
/// gives.
#[test]
fn win_equals_the_work_by_hand() {
    for records in [1, 20_011, 3_000_007] {
        let work = Work::Win { records };
        let limit = limit::run(&by_hand(&work).unwrap(), 2).unwrap();
        for (parallelism, segment, local) in [
            (1, "32kb", "true"),
            (2, "512b", "true"),
            (2, "32kb", "false"),
            (5, "512b", "false"),
            (5, "32kb", "true"),
        ] {
            let settings = [
                ("thalweg.shard.pin", "false"),
                ("taskmanager.memory.segment-size", segment),
                ("thalweg.execution.local-aggregation", local),
            ];
            let overrides = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let settings = Settings {
                parallelism,
                overrides: overrides.to_vec(),
            };
            let run = engine::run(&work, &settings).unwrap();
            let compared = Comparison::of(&work, run, limit.clone());
            assert!(
                compared.is_ok(),
                "{records} at {parallelism}, {segment}: {compared:?}"
            );
        }
    }
}

#[test]
fn slide_gives_the_same_however_it_runs() {
    let records = 2_100_000;
    let work = Work::Slide { records };
    let run = |parallelism, local: &str| {
        let settings = [
            ("thalweg.shard.pin", "false"),
            ("thalweg.execution.local-aggregation", local),
        ];
        let overrides = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings {
            parallelism,
            overrides: overrides.to_vec(),
        };
        engine::run(&work, &settings).unwrap()
    };
    let first = run(1, "true");
    // A key is in an hour of windows from its first second on, and in one more for each second until
    // its last.
    let mut seconds = BTreeMap::new();
    for (key, ms) in (0..records).map(win_record) {
        let (first, last) = seconds.entry(key).or_insert((ms / 1_000, ms / 1_000));
        (*first, *last) = ((ms / 1_000).min(*first), (ms / 1_000).max(*last));
    }
    let windows = seconds.values().map(|(first, last)| 3_600 + last - first);
    assert_eq!(first.rows_out, windows.sum::<u64>());
    for (parallelism, local) in [(2, "true"), (3, "false")] {
        let next = run(parallelism, local);
        assert_eq!(
            (next.rows_out, &next.checksum),
            (first.rows_out, &first.checksum)
        );
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
    }
}
