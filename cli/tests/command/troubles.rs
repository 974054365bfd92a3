//! What the host refuses or cannot give: the program ends with a code that is not 0 and says what, where and
//! how to mend it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use crate::process::{program, run, thalweg, trouble};

/// Every driver reads and writes files in its own way.
const DRIVERS: [&str; 2] = ["auto", "epoll"];

fn on(driver: &str, mut command: Command) -> Command {
    command.env("THALWEG__THALWEG__IO__DRIVER", driver);
    command
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.txt");
    fs::write(&path, "nobody's business\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        eprintln!("SKIPPED: whoever runs the tests may read everything");
        return;
    }
    for driver in DRIVERS {
        let ended = run(on(driver, trouble(["read", path.to_str().unwrap()])));
        let parts = [
            "cannot",
            "secret.txt",
            "denied",
            "let the user who runs the job read it",
        ];
        ended.failed_with(1, &parts);
    }
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("round.txt");
    symlink(&path, &path).unwrap();
    let ended = run(trouble(["read", path.to_str().unwrap()]));
    ended.failed_with(
        1,
        &[
            "cannot read",
            "round.txt",
            "symbolic links",
            "let them end at a file",
        ],
    );
}

#[test]
fn a_line_over_the_limit_is_told_with_its_place_and_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.txt");
    fs::write(&path, format!("short\n{}\n", "x".repeat(2000))).unwrap();
    for driver in DRIVERS {
        let mut command = on(driver, trouble(["read", path.to_str().unwrap()]));
        command.env("THALWEG__THALWEG__TEXT__MAX_LINE_LENGTH", "1kb");
        let ended = run(command);
        let parts = ["long.txt", "byte 6", "1024", "thalweg.text.max-line-length"];
        ended.failed_with(1, &parts);
    }
}

#[test]
fn a_full_disk_under_standard_output_is_told() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        eprintln!("SKIPPED: there is no /dev/full here");
        return;
    };
    let mut command = trouble(["count"]);
    command.stdout(full).stderr(Stdio::piped());
    let ended = run(command);
    ended.failed_with(
        1,
        &[
            "cannot write to standard output",
            "No space left",
            "check where it leads to",
        ],
    );
}

#[test]
fn a_file_that_may_not_grow_fails_the_job_and_is_not_left() {
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.txt");
        // The signal that goes with the limit is ignored by the shell and so by what it becomes.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f 64; exec \"$0\" write \"$1\"",
                program(),
            ])
            .arg(&path)
            .stdin(Stdio::null());
        let ended = run(on(driver, command));
        let parts = ["cannot write", "numbers.txt", "File too large", "ulimit -f"];
        ended.failed_with(1, &parts);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 0, "{driver}: {left:?}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_named_by_who_would_write() {
    let ended = run(trouble(["write", "/proc/no/such/place.txt"]));
    ended.failed_with(1, &["cannot", "/proc/no", "check the path"]);
}

#[test]
fn parallelism_and_memory_that_no_host_has_are_refused_by_key() {
    let with = |setting: &str| {
        run(thalweg([
            "run",
            "--local",
            "-D",
            setting,
            program(),
            "--",
            "count",
        ]))
    };
    for (setting, parts) in [
        (
            "parallelism.default=0",
            ["parallelism.default", "from 1 to 32768"],
        ),
        (
            "parallelism.default=100000",
            ["parallelism.default", "from 1 to 32768"],
        ),
        (
            "taskmanager.memory.network.size=900tb",
            ["shard-0", "change taskmanager.memory.network.size"],
        ),
    ] {
        with(setting).failed_with(1, &parts);
    }
    let none = run(thalweg([
        "run",
        "--local",
        "-p",
        "0",
        program(),
        "--",
        "count",
    ]));
    none.failed_with(1, &["parallelism.default", "from 1 to 32768"]);
}
