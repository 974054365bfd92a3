//! Ctrl-C: a running job stops within a second and says what it had done.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use thalweg_core::seam::clock::monotonic_ns;

use crate::process::{Ended, program, run, thalweg, trouble};

/// A job that does not stop at all fails its test after this time.
const PATIENCE: Duration = Duration::from_secs(30);
const SECOND: u64 = 1_000_000_000;
/// The host may be busy: it has so many attempts to be in time.
const ATTEMPTS: usize = 4;

/// Starts a job, waits for its first line of output, interrupts it; answers its end and how long that
/// took, in ns.
fn interrupted(mut command: Command) -> (Ended, u64) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(!line.is_empty(), "the job ended before it was interrupted");
    let from = monotonic_ns();
    signal("-INT", child.id());
    let ended = end_of(child);
    (ended, monotonic_ns() - from)
}

pub(crate) fn signal(which: &str, process: u32) {
    let status = Command::new("kill")
        .args([which, &process.to_string()])
        .status();
    assert!(status.unwrap().success(), "kill {which} {process}");
}

/// Waits for the end, but not for ever.
#[allow(
    clippy::disallowed_methods,
    reason = "the tests start threads of their own"
)]
pub(crate) fn end_of(child: Child) -> Ended {
    let process = child.id();
    let (sender, receiver) = sync_channel(1);
    let waiting = thread::Builder::new().spawn(move || {
        let _ = sender.send(child.wait_with_output());
    });
    let output = receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        signal("-KILL", process);
        panic!("the job did not stop");
    });
    waiting.unwrap().join().unwrap();
    output.unwrap().into()
}

fn stops_within_a_second(command: impl Fn() -> Command, says: &[&str]) {
    let mut slowest = 0;
    for _ in 0..ATTEMPTS {
        let (ended, took) = interrupted(command());
        ended.failed_with(
            130,
            &[
                "stopping the job",
                "the job was cancelled",
                "until then, job",
            ],
        );
        ended.failed_with(130, says);
        if took <= SECOND {
            return;
        }
        slowest = slowest.max(took);
    }
    panic!("took up to {} ms to stop", slowest / 1_000_000);
}

#[test]
fn a_running_job_stops_within_a_second() {
    stops_within_a_second(|| trouble(["endless"]), &[]);
}

/// Reads one page of the server a job says it has.
fn page(from: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(from).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn a_running_job_serves_its_metrics() {
    let address = ["--metrics-address", "127.0.0.1:0"];
    let mut command = thalweg([
        "run",
        "--local",
        address[0],
        address[1],
        program(),
        "--",
        "endless",
    ]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("metrics at http://");
    let address = address
        .and_then(|rest| rest.strip_suffix("/metrics"))
        .unwrap();
    // Its first line of output comes when records have reached the end.
    let mut output = BufReader::new(child.stdout.as_mut().unwrap());
    output.read_line(&mut String::new()).unwrap();
    let metrics = page(address, "/metrics");
    signal("-INT", child.id());
    assert_eq!(end_of(child).code, Some(130));
    drop(errors);
    for metric in [
        "\n# TYPE thalweg_task_records_in_total counter\n",
        "\nthalweg_task_records_in_total{shard=\"0\",job=\"endless\",",
        "\nthalweg_slot_managed_memory_used_bytes{",
    ] {
        assert!(metrics.contains(metric), "{metric}\n{metrics}");
    }
}

#[test]
fn an_address_that_is_none_is_refused() {
    let command = thalweg(["run", "--local", "--metrics-address", "nowhere", program()]);
    run(command).failed_with(1, &["thalweg.metrics.address", "127.0.0.1:9249"]);
}

#[test]
fn the_binary_passes_ctrl_c_and_the_exit_code_on() {
    let command = || thalweg(["run", "--local", "-p", "2", program(), "--", "endless"]);
    stops_within_a_second(command, &[]);
}

#[test]
fn a_function_that_does_not_return_is_told_of_and_left_behind() {
    let says = ["runs too long", "ponder", "left behind"];
    stops_within_a_second(|| trouble(["stuck"]), &says);
}
