//! Jobs that run in another process: listed, copied, stopped, cancelled, and gone on with.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::process::{Ended, program, run, thalweg};
use crate::signals::{end_of, signal};

/// Where this test's jobs are found, and what they write.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn here(&self, mut command: Command) -> Command {
        command.env("THALWEG_RUN_DIR", self.path("run"));
        command.current_dir(self.0.path());
        command
    }

    fn run<const N: usize>(&self, arguments: [&str; N]) -> Ended {
        run(self.here(thalweg(arguments)))
    }

    /// Starts a job that never ends by itself, and waits for a line of it.
    fn start<const N: usize>(&self, arguments: [&str; N]) -> (Child, u64) {
        self.start_with(&arguments)
    }

    fn start_with(&self, arguments: &[&str]) -> (Child, u64) {
        let mut command = self.here(thalweg([]));
        command.args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(count) = count_of(&line) else {
            panic!("{line:?}: {:?}", child.wait_with_output());
        };
        (child, count)
    }

    fn jobs(&self) -> Vec<Value> {
        let listed = self.run(["list", "--output", "json"]);
        listed.succeeded();
        serde_json::from_str(&listed.stdout).unwrap()
    }

    fn only_job(&self) -> String {
        let (job, status) = self.only_jobs_status();
        assert_eq!(status, "RUNNING");
        job
    }

    fn only_jobs_status(&self) -> (String, String) {
        let jobs = self.jobs();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert_eq!(jobs[0]["name"], "tally");
        let text = |name: &str| jobs[0][name].as_str().unwrap().to_owned();
        (text("job"), text("status"))
    }
}

/// The number at the end of a line, behind which subtask printed it.
fn count_of(line: &str) -> Option<u64> {
    line.split_whitespace().last()?.parse().ok()
}

/// A savepoint of the job is whole, and its keys are counted.
fn is_whole(host: &Host, savepoint: &str) {
    host.run(["checkpoint", "verify", savepoint]).succeeded();
    let inspected = host.run(["checkpoint", "inspect", savepoint]);
    inspected.succeeded();
    let text = inspected.stdout;
    assert!(
        text.contains("savepoint") && text.contains(": 7 keys\n"),
        "{text}"
    );
}

/// Asks for checkpoints of a job: they are where its checkpoints are, and whole.
fn is_checkpointed(host: &Host, job: &str) {
    let triggered = host.run(["checkpoint", "trigger", &job[..8]]);
    triggered.succeeded();
    let (number, path) = triggered.stdout.trim_end().split_once(' ').unwrap();
    assert!(Path::new(path).starts_with(host.path("state")), "{path}");
    host.run(["checkpoint", "verify", path]).succeeded();
    let full = host.run(["checkpoint", "trigger", job, "--full", "--output", "json"]);
    full.succeeded();
    let full: Value = serde_json::from_str(&full.stdout).unwrap();
    let before: u64 = number.parse().unwrap();
    assert!(full["checkpoint"].as_u64().unwrap() > before, "{full}");
    host.run(["checkpoint", "verify", full["path"].as_str().unwrap()])
        .succeeded();
}

#[test]
fn a_job_of_another_process_is_copied_stopped_and_gone_on_with_from_a_place_it_was_moved_to() {
    let host = Host::new();
    let none = host.run(["list"]);
    assert_eq!(none.stdout, "no job runs\n", "{}", none.stderr);
    let tally = [
        "run",
        "--local",
        "--checkpoint-dir",
        "state",
        "-p",
        "2",
        program(),
        "--",
        "tally",
    ];
    let (child, begun) = host.start(tally);
    let job = host.only_job();
    let text = host.run(["list"]).stdout;
    assert!(text.contains(&job) && text.contains("tally"), "{text}");

    let copied = host.run(["savepoint", &job[..8], "savepoints"]);
    copied.succeeded();
    let copy = copied.stdout.trim_end();
    assert!(
        Path::new(copy).starts_with(host.path("savepoints")),
        "{copy}"
    );
    is_whole(&host, copy);
    is_checkpointed(&host, &job);
    let refused = host.run(["savepoint", &job]);
    refused.failed_with(1, &["execution.checkpointing.savepoint-dir"]);
    let refused = host.run(["stop", &job, "--savepoint-path", "/proc/nowhere"]);
    refused.failed_with(1, &["/proc/nowhere", "the job goes on"]);
    assert_eq!(host.only_job(), job);
    let stopped = host.run(["stop", &job, "--savepoint-path", "savepoints"]);
    stopped.succeeded();
    let savepoint = stopped.stdout.trim_end();
    let ended = end_of(child);
    ended.failed_with(0, &["stopped with the savepoint", savepoint]);
    assert_eq!(host.jobs(), [Value::Null; 0]);
    let left = std::fs::read_dir(host.path("run")).unwrap();
    assert_eq!(left.count(), 0, "its socket is gone");
    let last = ended
        .stdout
        .lines()
        .filter_map(count_of)
        .max()
        .unwrap_or(begun);

    std::fs::rename(savepoint, host.path("moved")).unwrap();
    let tally = [
        "run",
        "--local",
        "-s",
        "moved",
        "-p",
        "1",
        program(),
        "--",
        "tally",
    ];
    let (child, first) = host.start(tally);
    assert!(first > last, "{first} goes on from {last}");
    let job = host.only_job();
    let refused = host.run(["checkpoint", "trigger", &job]);
    refused.failed_with(1, &[&job, "execution.checkpointing.dir"]);
    host.run(["cancel", &job]).succeeded();
    end_of(child).failed_with(130, &["the job was cancelled"]);
}

/// The jobs below the directory that have a checkpoint.
fn jobs_with_checkpoints(directory: &str) -> Vec<String> {
    let below = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let jobs = below(Path::new(directory)).into_iter();
    let jobs = jobs.filter(|job| {
        let of_job = below(job);
        of_job.iter().any(|part| part.join("_metadata").exists())
    });
    jobs.map(|job| job.to_str().unwrap().to_owned()).collect()
}

#[test]
fn checkpoints_stay_when_the_process_is_asked_to_end_and_go_when_the_job_is_cancelled() {
    let host = Host::new();
    for which in ["-TERM", "-INT", "-HUP"] {
        let directory = host.path(which);
        let tally = |from: &[&str]| {
            let mut arguments = vec!["run", "--local", "--checkpoint-dir", &directory];
            arguments.extend(["--checkpoint-interval", "30ms"]);
            arguments.extend(from);
            arguments.extend([program(), "--", "tally"]);
            host.start_with(&arguments)
        };
        let (child, _) = tally(&[]);
        while jobs_with_checkpoints(&directory).is_empty() {
            std::thread::yield_now();
        }
        signal(which, child.id());
        end_of(child).failed_with(130, &["checkpoints it has stay"]);
        let interrupted = jobs_with_checkpoints(&directory);
        let (child, count) = tally(&["-s", &interrupted[0]]);
        assert!(count > 1, "it goes on");
        host.run(["cancel", &host.only_job()]).succeeded();
        end_of(child).failed_with(130, &["the job was cancelled"]);
        assert_eq!(jobs_with_checkpoints(&directory), interrupted, "{which}");
    }
}

#[test]
fn an_empty_place_is_refused() {
    let host = Host::new();
    for (option, place) in [("-s", ""), ("-s", "none"), ("--checkpoint-dir", " ")] {
        let refused = host.run(["run", "--local", option, place, program(), "--", "count"]);
        refused.failed_with(2, &["names no place"]);
    }
    let key = "execution.state-recovery.path";
    let setting = format!("{key}=");
    let refused = host.run(["run", "--local", "-D", &setting, program(), "--", "count"]);
    refused.failed_with(1, &[key, "or none"]);
}

#[test]
fn a_job_that_waits_to_begin_again_refuses_at_once_and_can_be_cancelled() {
    let host = Host::new();
    let (child, _) = host.start([
        "run",
        "--local",
        "--checkpoint-dir",
        "state",
        "-Drestart-strategy.type=fixed-delay",
        "-Drestart-strategy.fixed-delay.delay=1h",
        program(),
        "--",
        "relapse",
    ]);
    let job = loop {
        let (job, status) = host.only_jobs_status();
        if status == "RESTARTING" {
            break job;
        }
        std::thread::yield_now();
    };
    let wanted = [&job, "RESTARTING", "Try again when it is RUNNING"];
    let asked: [&[&str]; 3] = [
        &["checkpoint", "trigger", &job],
        &["savepoint", &job, "copies"],
        &["stop", &job, "--savepoint-path", "copies"],
    ];
    for _ in 0..20 {
        for arguments in asked {
            let mut command = host.here(thalweg([]));
            command.args(arguments);
            run(command).failed_with(1, &wanted);
        }
    }
    host.run(["cancel", &job]).succeeded();
    end_of(child).failed_with(130, &["the job was cancelled"]);
    assert!(!Path::new(&host.path("copies")).exists());
}

#[test]
fn a_job_that_nobody_runs_and_a_place_others_can_enter_are_named() {
    let host = Host::new();
    for arguments in [["cancel", "abc"], ["savepoint", "abc"], ["stop", "abc"]] {
        host.run(arguments).failed_with(1, &["abc", "thalweg list"]);
    }
    host.run(["checkpoint", "trigger", "abc"])
        .failed_with(1, &["abc", "thalweg list"]);
    let open = host.path("run");
    std::fs::create_dir(&open).unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&open, everybody).unwrap();
    host.run(["list"])
        .failed_with(1, &[&open, "THALWEG_RUN_DIR"]);
    // A job runs all the same, and says that it cannot be reached.
    let counted = host.run(["run", "--local", program(), "--", "count"]);
    counted.failed_with(0, &["cannot be reached"]);
}
