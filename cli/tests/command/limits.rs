//! Jobs that cannot have what they need to start: they write nothing, leave nothing, and say what to raise.

use std::fs;
use std::process::{Command, Stdio};

use crate::process::{Ended, program, run, thalweg, trouble};

/// The settings of four shards, whatever the host has.
const FOUR_SHARDS: [&str; 6] = ["run", "--local", "-p", "4", "-D", "thalweg.shard.count=4"];

/// The command as a shell starts it after `before`.
fn under(before: &str, inner: &Command) -> Ended {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    run(command)
}

/// The program under four shards that may together have `files` descriptors.
fn with_files(files: u32, orders: &[&str]) -> Ended {
    let mut command = thalweg(FOUR_SHARDS);
    command.args([program(), "--"]).args(orders);
    under(&format!("ulimit -n {files};"), &command)
}

#[test]
fn a_job_whose_shards_cannot_all_start_writes_nothing() {
    let ended = with_files(16, &["count"]);
    let says = [
        "could not start",
        "may have 16 files open",
        "ulimit -n",
        "thalweg.shard.count",
        "-p",
    ];
    ended.failed_with(1, &says);
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_job_whose_shards_cannot_all_start_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["deep/numbers", "numbers"] {
        let output = folder.path().join(name);
        let ended = with_files(16, &["write", output.to_str().unwrap()]);
        ended.failed_with(1, &["could not start", "ulimit -n"]);
        assert!(!output.exists(), "{name}");
    }
    let left = fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["deep"], "a directory above stays");
}

#[test]
fn a_job_whose_memory_is_not_there_on_every_shard_writes_nothing() {
    // More than a process can address, but not on the first shards.
    let memory = "taskmanager.memory.network.size=160tb";
    let mut command = thalweg(FOUR_SHARDS);
    command.args(["-D", memory, program(), "--", "count"]);
    let ended = run(command);
    ended.failed_with(
        1,
        &["the system refused", "taskmanager.memory.network.size"],
    );
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_sink_that_is_refused_takes_the_files_of_others_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    fs::write(&second, "of somebody else").unwrap();
    let mut command = thalweg(["run", "--local", "-p", "1", program(), "--", "write"]);
    command.args([&first, &second]);
    run(command).failed_with(1, &["second", "exists already"]);
    let left = fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["second"]);
}

#[test]
fn what_would_be_printed_to_a_closed_stream_is_not_lost_without_a_word() {
    let closed = ["standard output is closed"];
    under("exec >&-;", &trouble(["count"])).failed_with(1, &closed);
    let by_binary = thalweg(["run", "--local", program(), "--", "count"]);
    under("exec >&-;", &by_binary).failed_with(1, &closed);
    under("exec 1</dev/null;", &trouble(["count"])).failed_with(1, &closed);
    under("exec >&-;", &thalweg(["config"])).failed_with(1, &closed);
    under("exec >&-;", &thalweg(["info", program(), "--", "count"])).failed_with(1, &closed);
    // Who wants no output says so, and who prints nothing needs none.
    under("exec >/dev/null;", &trouble(["count"])).succeeded();
    under("exec <>/dev/null >&0;", &trouble(["count"])).succeeded();
    under("exec >&-;", &trouble(["write"])).succeeded();
}
