//! The binary and programs of the facade as processes: settings, plans, troubles, signals.
//!
//! Every test starts executables of this build: the binary, and `programs/trouble.rs`, which does what
//! its first argument says. Nothing waits by sleeping: a test goes on when a process said a line or ended.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "command/checkpoints.rs"]
mod checkpoints;
#[path = "command/control.rs"]
mod control;
#[path = "command/limits.rs"]
mod limits;
#[path = "command/process.rs"]
mod process;
#[path = "command/signals.rs"]
mod signals;
#[path = "command/troubles.rs"]
mod troubles;
#[path = "command/verbs.rs"]
mod verbs;

use std::fs;

use process::{program, run, thalweg, trouble};

#[test]
fn a_mistyped_key_is_refused_with_the_nearest_one_and_its_place() {
    let ended = run(thalweg([
        "run",
        "--local",
        "-D",
        "paralelism.default=2",
        program(),
        "--",
        "count",
    ]));
    ended.failed_with(
        1,
        &[
            "`paralelism.default`",
            "argument -D",
            "`parallelism.default`",
        ],
    );

    let mut direct = trouble(["count"]);
    direct.env("THALWEG__PARALELISM__DEFAULT", "2");
    run(direct).failed_with(1, &["THALWEG__PARALELISM__DEFAULT", "did you mean"]);

    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.yaml"),
        "parallelism:\n  default: 2\n  defualt: 3\n",
    )
    .unwrap();
    let mut from_file = trouble(["count"]);
    from_file.env("THALWEG_CONF_DIR", folder.path());
    run(from_file).failed_with(1, &["`parallelism.defualt`", "config.yaml, line 3"]);
}

#[test]
fn settings_reach_the_program_and_arguments_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.yaml");
    fs::write(
        &file,
        "parallelism.default: 1\nexecution.runtime-mode: BATCH\n",
    )
    .unwrap();
    let mut command = thalweg(["run", "--local", "-p", "2", program(), "--", "count"]);
    command.env("THALWEG_CONFIG", &file);
    command.env("THALWEG__PARALLELISM__DEFAULT", "3");
    let ended = run(command);
    ended.succeeded();
    // In batch mode one row per key, with the subtask before it because two print.
    assert_eq!(ended.stdout.lines().count(), 10, "{}", ended.stdout);
    for row in ended.stdout.lines() {
        let (subtask, row) = row.split_once("> ").unwrap();
        assert!(
            ["1", "2"].contains(&subtask) && row.ends_with(",100)"),
            "{row}"
        );
    }
    for part in ["job count:", " s, 1000 records in, 10 records out"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[test]
fn a_program_that_is_none_is_not_started() {
    let missing = run(thalweg(["run", "--local", "/no/such/program"]));
    missing.failed_with(1, &["/no/such/program", "cargo build"]);
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign");
    fs::write(&foreign, b"\x7fELF, but somebody else's").unwrap();
    let ended = run(thalweg(["info", foreign.to_str().unwrap()]));
    ended.failed_with(1, &["foreign", "not built on thalweg"]);
    let unplaced = run(thalweg(["run", program(), "--", "count"]));
    unplaced.failed_with(1, &["--local"]);
    let unknown = run(thalweg(["rum"]));
    unknown.failed_with(2, &["run"]);
}

#[test]
fn a_missing_input_is_named_with_its_mend() {
    let ended = run(trouble(["read", "/no/such/input.txt"]));
    ended.failed_with(1, &["/no/such/input.txt", "No such file", "check the path"]);
    assert_eq!(ended.stdout, "");
}

#[test]
fn input_that_is_not_text_fails_the_job_by_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.txt");
    fs::write(&path, b"first\nna\xefve\n").unwrap();
    let ended = run(trouble(["read", path.to_str().unwrap()]));
    ended.failed_with(1, &["latin1.txt", "UTF-8"]);
}

#[test]
fn a_panic_fails_the_job_by_operator_and_the_process_lives_on() {
    let ended = run(trouble(["panic"]));
    let parts = [
        "halve",
        "(1/1)",
        "five hundred is too much",
        "operator `halve` panicked",
    ];
    ended.failed_with(1, &parts);
    // Sources are counted by bursts.
    assert!(
        ended.stderr.contains(" s, 512 records in"),
        "{}",
        ended.stderr
    );
    // Nobody asked for restarts.
    assert!(
        !ended.stderr.contains("not started again"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("job after the panic:"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_job_that_is_to_be_restarted_says_why_it_is_not() {
    let strategy = "restart-strategy.type=none";
    let command = thalweg(["run", "--local", "-D", strategy, program(), "--", "refuse"]);
    run(command).failed_with(1, &["not started again", "restart-strategy.type is none"]);
}

#[test]
fn the_size_of_state_that_a_refusal_asks_for_suffices() {
    let with = |size: &str| {
        let setting = format!("taskmanager.memory.managed.size={size}");
        let words = ["run", "--local", "-p", "2", "-D", &setting];
        let mut command = thalweg(words);
        command.args([program(), "--", "distinct"]);
        run(command)
    };
    let mut size = "1mb".to_owned();
    // Tables double: each refusal asks for what the next size needs.
    for _ in 0..20 {
        let ended = with(&size);
        if ended.code == Some(0) {
            return;
        }
        let mend = "raise taskmanager.memory.managed.size to ";
        let (_, asked) = ended.stderr.split_once(mend).unwrap();
        let (asked, _) = asked.split_once(" or more").unwrap();
        assert_ne!(asked, size);
        size = asked.to_owned();
    }
    panic!("still refused with {size}");
}

#[test]
fn an_error_of_a_function_fails_the_job_by_operator() {
    let ended = run(trouble(["refuse"]));
    ended.failed_with(
        1,
        &["price", "(1/1)", "no price for 500: add it to the list"],
    );
}

#[test]
fn what_cannot_be_had_is_named_with_number_and_key() {
    let with = |setting: &str, order: &str| {
        run(thalweg([
            "run",
            "--local",
            "-p",
            "8",
            "-D",
            setting,
            program(),
            "--",
            order,
        ]))
    };
    let slots = with("taskmanager.numberOfTaskSlots=4", "count");
    slots.failed_with(
        1,
        &["8 slots", "taskmanager.numberOfTaskSlots", "raise it to 8"],
    );
    let network = with("taskmanager.memory.network.size=64kb", "count");
    network.failed_with(1, &["segments", "taskmanager.memory.network.size to "]);
    let managed = with("taskmanager.memory.managed.size=1mb", "distinct");
    managed.failed_with(1, &["raise taskmanager.memory.managed.size to "]);
    assert_eq!(
        managed.stderr.matches("cannot give").count(),
        1,
        "{}",
        managed.stderr
    );
    let groups = run(thalweg([
        "run",
        "--local",
        "-p",
        "300",
        program(),
        "--",
        "count",
    ]));
    groups.failed_with(1, &["300", "pipeline.max-parallelism"]);
}

#[test]
fn what_the_shards_run_on_is_logged_at_the_start() {
    let mut command = trouble(["count"]);
    command
        .env("THALWEG_LOG", "info")
        .env("THALWEG__THALWEG__IO__DRIVER", "epoll");
    let ended = run(command);
    ended.succeeded();
    let line = ended
        .stderr
        .lines()
        .find(|line| line.contains("have started"));
    let line = line.unwrap_or_else(|| panic!("{}", ended.stderr));
    assert!(
        line.contains("io_driver=epoll") && line.contains("INFO"),
        "{line}"
    );
}

#[test]
fn what_the_user_wrote_is_blamed() {
    let with = |words: &[&str]| {
        let mut command = thalweg(["run", "--local"]);
        command.args(words).args([program(), "--", "count"]);
        run(command)
    };
    with(&["-p", "0"]).failed_with(1, &["`0` (argument --parallelism)", "from 1 to"]);
    with(&["--checkpoint-interval", "soon"]).failed_with(1, &["(argument --checkpoint-interval)"]);
    with(&["-D", "parallelism.default=0"]).failed_with(1, &["`0` (argument -D)"]);
}

#[test]
fn settings_that_cannot_be_read_are_refused_with_a_mend() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent.yaml")] {
        let mut command = trouble(["count"]);
        command.env("THALWEG_CONFIG", &path);
        let says = ["cannot read settings", "name a YAML file", "THALWEG_CONFIG"];
        run(command).failed_with(1, &says);
    }
}

#[test]
fn an_input_whose_links_lead_in_a_circle_is_refused_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    std::os::unix::fs::symlink(&one, &other).unwrap();
    std::os::unix::fs::symlink(&other, &one).unwrap();
    let ended = run(trouble(["read", one.to_str().unwrap()]));
    ended.failed_with(1, &["symbolic links lead in a circle"]);
    assert!(!ended.stderr.contains("disk"), "{}", ended.stderr);
}

#[test]
fn without_io_uring_jobs_run_on_epoll_after_one_warning() {
    let ended = run(trouble(["forbid", program(), "count"]));
    ended.succeeded();
    assert_eq!(ended.stdout.lines().count(), 1000);
    assert_eq!(
        ended.stderr.matches("io_uring cannot be used").count(),
        1,
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(", epoll)"), "{}", ended.stderr);
}

#[test]
fn without_io_uring_a_program_that_requires_it_is_refused() {
    let binary = env!("CARGO_BIN_EXE_thalweg");
    let order = [
        "forbid",
        binary,
        "run",
        "--local",
        "--require-io-uring",
        program(),
        "--",
        "count",
    ];
    let ended = run(trouble(order));
    ended.failed_with(1, &["io_uring", "seccomp", "thalweg.io.require-io-uring"]);
    assert_eq!(ended.stdout, "");
}
