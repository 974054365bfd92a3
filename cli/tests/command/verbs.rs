//! What `info`, `doctor`, `config` and `--version` print.

use serde_json::Value;
use thalweg::config::{options, reference_markdown};

use crate::process::{program, run, thalweg, trouble};

#[test]
fn info_prints_the_plan_and_does_not_run() {
    let plan = |format: &str| {
        let ended = run(thalweg([
            "info",
            "--format",
            format,
            "-p",
            "3",
            program(),
            "--",
            "count",
        ]));
        ended.succeeded();
        assert_eq!(ended.stderr, "");
        ended.stdout
    };
    let text = plan("text");
    assert!(text.contains("Job count (STREAMING)"), "{text}");
    assert!(
        text.contains("[parallelism 3]") && text.contains("<- hash from 0"),
        "{text}"
    );
    assert!(!text.contains("(0,1)"), "the job was run: {text}");
    let json: Value = serde_json::from_str(&plan("json")).unwrap();
    assert_eq!(json["name"], "count");
    assert_eq!(json["vertices"][1]["parallelism"], 3);
    assert_eq!(json["vertices"][1]["operators"][0]["name"], "digits");
    let dot = plan("dot");
    assert!(
        dot.starts_with("digraph") && dot.contains("v0 -> v1"),
        "{dot}"
    );
    let unknown = run(thalweg(["info", "--format", "svg", program()]));
    unknown.failed_with(2, &["text, json, dot"]);
}

#[test]
fn doctor_judges_the_host_in_words_and_in_json() {
    let text = run(thalweg(["doctor"])).stdout;
    for check in [
        "kernel",
        "io_uring",
        "locked memory",
        "cores",
        "memory",
        "disk",
        "huge pages",
    ] {
        assert!(text.contains(check), "{check}: {text}");
    }
    let ended = run(thalweg(["doctor", "--output", "json"]));
    let page: Value = serde_json::from_str(&ended.stdout).unwrap();
    let checks = page["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 7);
    for check in checks {
        let status = check["status"].as_str().unwrap();
        assert!(["ok", "warn", "fail"].contains(&status));
        assert_eq!(check["mend"].is_null(), status == "ok", "{check}");
    }
    let failed = checks.iter().any(|check| check["status"] == "fail");
    assert_eq!(ended.code, Some(i32::from(failed)));
    assert_eq!(page["healthy"], !failed);
}

#[test]
fn doctor_tells_why_io_uring_cannot_be_used() {
    let binary = env!("CARGO_BIN_EXE_thalweg");
    let ended = run(trouble(["forbid", binary, "doctor", "--output", "json"]));
    let page: Value = serde_json::from_str(&ended.stdout).unwrap();
    let checks = page["checks"].as_array().unwrap();
    let ring = checks
        .iter()
        .find(|check| check["name"] == "io_uring")
        .unwrap();
    assert_eq!(ring["status"], "warn");
    assert!(
        ring["found"].as_str().unwrap().contains("io_uring_setup"),
        "{ring}"
    );
    assert!(ring["mend"].as_str().unwrap().contains("seccomp"), "{ring}");
}

#[test]
fn doctor_fails_where_nothing_can_be_written() {
    let mut command = thalweg(["doctor"]);
    command.env("TMPDIR", "/no/such/folder");
    let ended = run(command);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("fail  temporary disk"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("set TMPDIR"), "{}", ended.stdout);
}

#[test]
fn config_lists_every_setting() {
    let text = run(thalweg(["config"])).stdout;
    let json = run(thalweg(["config", "--format", "json"])).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), options::ALL.len());
    for option in options::ALL {
        let line = format!("{} = {}", option.key(), option.default_text());
        assert!(text.contains(line.trim_end()), "{line}");
        assert!(text.contains(option.doc()), "{}", option.key());
    }
    let markdown = run(thalweg(["config", "--format", "markdown"])).stdout;
    assert_eq!(markdown, reference_markdown());
}

#[test]
fn the_version_is_the_packages() {
    let ended = run(thalweg(["--version"]));
    ended.succeeded();
    assert_eq!(
        ended.stdout,
        format!("thalweg {}\n", env!("CARGO_PKG_VERSION"))
    );
}
