//! A process that is killed with SIGKILL, again and again, ends with the rows and the checksum of one that
//! never was.
//!
//! Each time the next process goes on from the newest checkpoint, at another parallelism. What is expected
//! comes from the work by hand, which shares no code with the engine.
//! `THALWEG_KILLS` says how often each workload is killed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and may say what it saw"
)]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde_json::Value;

/// Kills of each workload, unless the environment says otherwise.
const KILLS: u32 = 4;
/// How long a process lives, at least; a few times that at most.
const LIFE: Duration = Duration::from_millis(150);

fn kills() -> u32 {
    let said = std::env::var("THALWEG_KILLS");
    said.map_or(KILLS, |said| said.parse().unwrap())
}

/// The workload on the engine, in a process of its own.
fn start(workload: &str, records: u64, parallelism: u32, checkpoints: &Path) -> Child {
    let settings = [
        "execution.checkpointing.interval=20ms".to_owned(),
        format!("execution.checkpointing.dir={}", checkpoints.display()),
        "execution.state-recovery.path=latest".to_owned(),
        // What one had to say that is killed between the end of its job and its own is lost.
        "thalweg.job.begin-anew-when-finished=true".to_owned(),
        "thalweg.shard.pin=false".to_owned(),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg-bench"));
    command.args(["run", workload, "--records", &records.to_string()]);
    command.args(["--parallelism", &parallelism.to_string()]);
    command.args(settings.iter().flat_map(|setting| ["-D", setting]));
    let told = File::create(checkpoints.with_extension("told")).unwrap();
    command.stdout(Stdio::piped()).stderr(told);
    command.spawn().unwrap()
}

/// What the process says at its end; none if it did not come to it within `life`. What else it says is in `told`.
#[allow(
    clippy::disallowed_methods,
    reason = "the tests start threads of their own"
)]
fn live(mut child: Child, life: Duration, told: &Path) -> Option<Value> {
    let mut output = child.stdout.take().unwrap();
    let (say, hear) = sync_channel(1);
    let reader = std::thread::Builder::new().spawn(move || {
        let mut text = String::new();
        let read = std::io::Read::read_to_string(&mut output, &mut text);
        let _ = say.send(read.map(|_| text));
    });
    let said = hear.recv_timeout(life);
    if said.is_err() {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    reader.unwrap().join().unwrap();
    let text = said.ok()?.unwrap();
    let told = || fs::read_to_string(told).unwrap();
    assert!(status.success(), "{status}: {}", told());
    Some(serde_json::from_str(text.trim()).unwrap())
}

fn survives(workload: &str, records: u64) {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = directory.path().join("checkpoints");
    let mut killed = 0;
    let ended = loop {
        let parallelism = [2, 3, 1, 4][killed as usize % 4];
        let child = start(workload, records, parallelism, &checkpoints);
        let life = match killed < kills() {
            true => LIFE * (2 + killed % 5),
            false => Duration::from_secs(300),
        };
        match live(child, life, &checkpoints.with_extension("told")) {
            Some(ended) => break ended,
            None => killed += 1,
        }
        assert!(killed <= kills(), "it comes to its end when it is let");
    };
    println!("{workload}: killed {killed} times");
    assert!(killed > 0, "{workload}: it ended before it could be killed");
    let hand = Command::new(env!("CARGO_BIN_EXE_thalweg-bench"))
        .args(["limit", workload, "--records", &records.to_string()])
        .output()
        .unwrap();
    let hand: Value = serde_json::from_slice(&hand.stdout).unwrap();
    for what in ["rows_out", "checksum"] {
        assert_eq!(ended[what], hand[what], "{workload}: {what}");
    }
}

#[test]
fn running_sums_survive() {
    survives("sum", 4_000_000);
}

#[test]
fn windows_gathered_before_the_exchange_survive() {
    survives("win", 12_000_000);
}

#[test]
fn joined_windows_survive() {
    survives("q8", 30_000_000);
}

/// What `recover` or `rescale` prints, with the directory it was given.
fn recovered(words: &[&str], state: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let outcome = Command::new(env!("CARGO_BIN_EXE_thalweg-bench"))
        .args(words)
        .args(["--state-bytes", "500kB", "--state", state])
        .args(["-D", "thalweg.shard.pin=false", "--checkpoint-dir"])
        .arg(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert!(outcome.status.success(), "{said}");
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0, "what was written is removed");
    serde_json::from_slice(&outcome.stdout).unwrap()
}

#[test]
fn a_killed_job_goes_on_and_the_time_it_takes_is_told() {
    let again = recovered(&["run", "recover", "--parallelism", "2"], "hashmap");
    assert_eq!(again["restored_parallelism"], 2);
    let words = [
        "run",
        "rescale",
        "--parallelism",
        "1",
        "--restored-parallelism",
        "3",
    ];
    let otherwise = recovered(&words, "lsm");
    assert_eq!(otherwise["restored_parallelism"], 3);
    for report in [again, otherwise] {
        assert_eq!(report["keys"], 500_000 / 72);
        // A key and its 64 bytes, in files of the checkpoint.
        assert!(report["checkpoint_mb"].as_f64().unwrap() > 0.3, "{report}");
        assert!(report["first_output_s"].as_f64().unwrap() > 0.0, "{report}");
    }
}
