//! Runs every example as its user would and reads what it says.
//!
//! Each test starts the example's own executable, so what is checked is what `cargo run` shows. The
//! counts of `wordcount` are compared with counts made here in the plainest way.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a process printed; it must have ended well, with a summary at its end.
fn shown(path: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = example(path, arguments);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    // Accumulators stand below the summary.
    let mut lines = stderr.lines();
    let told = lines.any(|line| line.starts_with("job ") && line.contains(" records in, "));
    assert!(told, "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().map(str::to_owned).collect()
}

/// The example in an environment without settings.
fn example(path: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null());
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.to_string_lossy().starts_with("THALWEG")) {
        command.env_remove(name);
    }
    command
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_unstable();
    lines
}

const WORDCOUNT: &str = env!("CARGO_BIN_EXE_wordcount");

#[test]
fn wordcount_counts_its_own_text() {
    let last_counts = counts_of(&shown(WORDCOUNT, &[]));
    let final_counts = shown(WORDCOUNT, &["--mode", "batch"]);
    assert_eq!(
        final_counts.len(),
        last_counts.len(),
        "one line for each word"
    );
    assert_eq!(counts_of(&final_counts), last_counts);
    for (word, count) in [("to", 15), ("consummation", 1), ("of", 15), ("sleep", 5)] {
        assert_eq!(last_counts.get(word), Some(&count), "{word}");
    }
    let of_two = shown(WORDCOUNT, &["--parallelism", "2", "--mode", "batch"]);
    let of_two: Vec<String> = of_two
        .iter()
        .map(|line| {
            let (subtask, line) = line.split_once("> ").unwrap();
            assert!(["1", "2"].contains(&subtask), "{subtask}");
            line.to_owned()
        })
        .collect();
    assert_eq!(counts_of(&of_two), last_counts);
}

#[test]
fn wordcount_equals_the_plain_count_in_both_modes_at_any_parallelism() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input.txt");
    let text = text(3 << 20);
    fs::write(&input, &text).unwrap();
    let expected = plain_counts(&text);
    for mode in ["streaming", "batch"] {
        for parallelism in ["1", "2", "5"] {
            let output = folder.path().join(format!("{mode}-{parallelism}"));
            let (input, target) = (input.to_str().unwrap(), output.to_str().unwrap());
            let arguments = ["--input", input, "--output", target, "--mode", mode];
            let arguments = [&arguments[..], &["--parallelism", parallelism]].concat();
            assert_eq!(shown(WORDCOUNT, &arguments), Vec::<String>::new());
            let rows = rows_under(&output);
            if mode == "batch" {
                assert_eq!(rows.len(), expected.len(), "one line for each word");
            } else {
                let words: u64 = expected.values().sum();
                assert_eq!(rows.len() as u64, words, "one line for each occurrence");
            }
            assert_eq!(counts_of(&rows), expected, "{mode}, {parallelism}");
        }
    }
}

#[test]
fn wordcount_refuses_what_it_cannot_read_and_writes_over_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("counts");
    let target = output.to_str().unwrap();
    let missing = example(WORDCOUNT, &["--input", "/no/such/text", "--output", target])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/no/such/text"));
    assert!(!output.exists(), "nothing half-written is left");
    fs::write(&output, "mine").unwrap();
    let refused = example(WORDCOUNT, &["--output", target]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(target));
    assert_eq!(fs::read_to_string(&output).unwrap(), "mine");
}

/// Lines of mixed case, signs and lengths; always the same.
fn text(bytes: usize) -> String {
    let words = [
        "Stream",
        "of",
        "WORDS",
        "under_score",
        "x86",
        "naïve",
        "it's",
        "",
        "engine",
        "Of",
    ];
    let mut text = String::with_capacity(bytes + 64);
    let mut number: u64 = 7;
    while text.len() < bytes {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let drawn = (number >> 33) as usize;
        text.push_str(words[drawn % words.len()]);
        if drawn.is_multiple_of(3) {
            let written = write!(text, "{}", drawn % 997);
            written.unwrap();
        }
        text.push_str([" ", ", ", "\n", "--", "\r\n"][drawn / 16 % 5]);
    }
    text
}

fn plain_counts(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for word in words.filter(|word| !word.is_empty()) {
        *counts.entry(word.to_ascii_lowercase()).or_default() += 1;
    }
    counts
}

/// The highest count of each word in lines of `(word,count)`.
fn counts_of(rows: &[String]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let inside = row.strip_prefix('(').and_then(|row| row.strip_suffix(')'));
        let (word, count) = inside.and_then(|row| row.split_once(',')).unwrap();
        let count: u64 = count.parse().unwrap();
        let highest = counts.entry(word.to_owned()).or_default();
        *highest = count.max(*highest);
    }
    counts
}

/// The lines of a file, or of all files of a folder.
fn rows_under(path: &Path) -> Vec<String> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
    }
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[test]
fn running_average_shows_each_step() {
    let lines = shown(env!("CARGO_BIN_EXE_running_average"), &[]);
    let expected = [
        "(roof,4.0)",
        "(cellar,12.0)",
        "(roof,6.0)",
        "(cellar,12.0)",
        "(roof,5.0)",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn side_outputs_keep_good_and_broken_apart() {
    let lines = sorted(shown(env!("CARGO_BIN_EXE_side_outputs"), &[]));
    let expected = [
        "apples: 3 so far",
        "apples: 7 so far",
        "broken: \"pears\" (no amount)",
        "broken: \"plums four\" (invalid digit found in string)",
        "cherries: 70 so far",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn broadcast_rules_reach_every_subtask() {
    let lines = shown(env!("CARGO_BIN_EXE_broadcast_rules"), &[]);
    let alarms = lines
        .iter()
        .map(|line| line.split_once("> ").unwrap().1.to_owned());
    let expected = [
        "payment 10: 1000 cents in NL",
        "payment 11: 1100 cents in PT",
        "payment 6: 600 cents in NL",
        "payment 8: 800 cents in NL",
    ];
    assert_eq!(sorted(alarms.collect()), expected);
}

#[test]
fn orders_meet_the_shipments_of_their_day() {
    let lines = shown(env!("CARGO_BIN_EXE_order_shipments"), &[]);
    let shipped = lines
        .iter()
        .map(|line| line.split_once("> ").unwrap().1.to_owned());
    let expected = [
        "milk left after 1 h",
        "tea left after 24 h",
        "tea left after 5 h",
    ];
    assert_eq!(sorted(shipped.collect()), expected);
}

#[test]
fn custom_source_reads_every_split_once() {
    let lines = shown(env!("CARGO_BIN_EXE_custom_source"), &[]);
    let expected = [(10, 0), (20, 1), (20, 4), (10, 5), (20, 6), (20, 9)];
    let expected =
        expected.map(|(count, digit)| format!("{count} squares below 10000 end in {digit}"));
    assert_eq!(lines, expected);
}

#[test]
fn custom_partitioner_sends_large_files_to_the_first() {
    let lines = shown(env!("CARGO_BIN_EXE_custom_partitioner"), &[]);
    let large = ["1000", "1500", "4000"].map(|size| format!("subtask 0 took a file of {size} kB"));
    assert_eq!(lines[..3], large);
    assert_eq!(lines.len(), 8);
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("subtask 1 "))
            .count(),
        2
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("subtask 2 "))
            .count(),
        3
    );
}

#[test]
fn last_hundred_sums_at_every_tenth() {
    let sums = shown(env!("CARGO_BIN_EXE_last_hundred"), &[]);
    let expected: Vec<String> = (1..=20)
        .map(|tens| {
            let last: u64 = tens * 10;
            let first = last.saturating_sub(100) + 1;
            (first..=last).sum::<u64>().to_string()
        })
        .collect();
    assert_eq!(sums, expected);
}

#[test]
fn last_five_minutes_counts_every_click_in_five_windows() {
    let lines = sorted(shown(env!("CARGO_BIN_EXE_last_five_minutes"), &[]));
    let home = [1, 2, 2, 2, 3, 2, 1, 1, 1].into_iter().zip(1..);
    let home = home.map(|(clicks, minute)| format!("up to minute {minute}: {clicks} on home"));
    let news = (2..=6).map(|minute| format!("up to minute {minute}: 1 on news"));
    assert_eq!(lines, sorted(home.chain(news).collect()));
}

#[test]
fn sessions_end_after_half_an_hour_of_silence() {
    let lines = sorted(shown(env!("CARGO_BIN_EXE_sessions"), &[]));
    let expected = ["ada: home", "ada: home, shop, cart", "bob: home, news"];
    assert_eq!(lines, expected);
}

#[test]
fn top_items_are_those_sold_most() {
    let lines = shown(env!("CARGO_BIN_EXE_top_items"), &[]);
    assert_eq!(lines, ["hour 0: milk 7, tea 5", "hour 1: tea 2, bread 1"]);
}

#[test]
fn fraud_rule_finds_one_card() {
    let lines = shown(env!("CARGO_BIN_EXE_fraud_rule"), &[]);
    assert_eq!(lines, ["card 1: 60000 EUR soon after a small payment"]);
}

#[test]
fn shortest_ways_go_around_until_nothing_changes() {
    let lines = shown(env!("CARGO_BIN_EXE_shortest_ways"), &[]);
    let expected = [
        "Basel: 0 min",
        "Colmar: 55 min",
        "Freiburg: 45 min",
        "Karlsruhe: 145 min",
        "Mulhouse: 30 min",
        "Strasbourg: 95 min",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn enrichment_answers_in_order_although_the_line_is_busy() {
    let lines = shown(env!("CARGO_BIN_EXE_enrichment"), &[]);
    let expected = [
        "Basel is in Switzerland",
        "Koblenz is in Germany",
        "Köln is in Germany",
        "Rotterdam is in the Netherlands",
        "Atlantis is in nowhere we know of",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn late_data_is_told_again_or_kept_apart() {
    let lines = sorted(shown(env!("CARGO_BIN_EXE_late_data"), &[]));
    let expected = [
        "sum 11",
        "sum 16",
        "sum 3",
        "sum 4",
        "too late: 32 of second 9",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn early_results_come_at_every_third_sale() {
    let lines = shown(env!("CARGO_BIN_EXE_early_results"), &[]);
    assert_eq!(lines, ["7 so far", "63 so far", "255 so far"]);
}

#[test]
fn streaming_etl_writes_what_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("orders");
    let path = output.to_str().unwrap();
    let broken = sorted(shown(
        env!("CARGO_BIN_EXE_streaming_etl"),
        &["--output", path],
    ));
    let expected = [
        "broken: 3;Bread;x (\"x\": invalid digit found in string)",
        "broken: oops (no item)",
    ];
    assert_eq!(broken, expected);
    let rows = sorted(rows_under(&output));
    assert_eq!(rows, ["1,tea,2.50", "2,milk,0.99", "4,bread,3.10"]);
}

const WATCH_LOGS: &str = env!("CARGO_BIN_EXE_watch_logs");

#[test]
fn watch_logs_reads_once_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("web")).unwrap();
    fs::write(at("a.log"), "INFO 1\nERROR 1\n").unwrap();
    fs::write(at("web/b.log.1"), "ERROR 2").unwrap();
    fs::write(at("debug.log"), "ERROR 3\n").unwrap();
    let path = folder.path().to_str().unwrap();
    for parallelism in ["1", "3"] {
        let arguments = ["--directory", path, "--once", "--parallelism", parallelism];
        let lines = shown(WATCH_LOGS, &arguments);
        let errors: Vec<&str> = lines.iter().map(|line| unnumbered(line)).collect();
        assert_eq!(
            sorted(errors.into_iter().map(str::to_owned).collect()),
            ["ERROR 1", "ERROR 2"]
        );
    }
}

/// A line without the number of the subtask that printed it.
fn unnumbered(line: &str) -> &str {
    line.split_once("> ").map_or(line, |(_, line)| line)
}

#[test]
fn watch_logs_follows_a_log_that_grows_and_is_rotated() {
    use std::io::{BufRead, BufReader};

    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    fs::write(&log, "ERROR 1\n").unwrap();
    let path = folder.path().to_str().unwrap();
    let mut command = example(WATCH_LOGS, &["--directory", path]);
    let mut job = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(job.stdout.take().unwrap()).lines();
    let mut next = || unnumbered(&lines.next().unwrap().unwrap()).to_owned();
    assert_eq!(next(), "ERROR 1");
    let append = |text: &str| {
        use std::io::Write;
        let file = fs::File::options().append(true).open(&log);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    append("INFO 2\nERROR 2\n");
    assert_eq!(next(), "ERROR 2");
    append("ERROR 3\n");
    fs::rename(&log, folder.path().join("app.log.1")).unwrap();
    fs::write(&log, "ERROR 4\n").unwrap();
    assert_eq!(sorted(vec![next(), next()]), ["ERROR 3", "ERROR 4"]);
    job.kill().unwrap();
    job.wait().unwrap();
}

#[test]
fn rolling_files_are_of_one_hour_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("readings");
    shown(
        env!("CARGO_BIN_EXE_rolling_files"),
        &["--output", output.to_str().unwrap()],
    );
    let mut rows = 0;
    for hour in 12..18 {
        let bucket = output.join(format!("2024-02-29--{hour}"));
        for file in fs::read_dir(bucket).unwrap() {
            let path = file.unwrap().path();
            assert!(path.to_str().unwrap().ends_with(".csv"), "{path:?}");
            let text = fs::read_to_string(path).unwrap();
            assert!(text.len() < (64 << 10) + 16);
            assert!(text.starts_with("sensor;celsius\n"));
            rows += text.lines().count() - 1;
        }
    }
    assert_eq!(rows, 20_000);
}
