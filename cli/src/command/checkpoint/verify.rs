//! `thalweg checkpoint verify`: every byte read and checked.

use std::process::ExitCode;

use serde_json::{Value, json};
use thalweg::Failure;
use thalweg_cluster::checkpoint::home::Found;
use thalweg_cluster::checkpoint::home::verify::{files, verify as verify_file};
use thalweg_cluster::checkpoint::storage::AnyStorage;

use crate::command::output::Output;
use crate::command::print;
use crate::command::text::size;

/// Checks all files. The metadata has been checked when it was found.
pub(super) fn verify(
    storage: &mut AnyStorage,
    found: &Found,
    output: Output,
) -> Result<ExitCode, Failure> {
    let checked = files(found).into_iter().map(|(file, expected)| {
        let problem = verify_file(storage, &file, expected).err();
        let problem = problem.map(|problem| problem.to_string());
        (file.to_string(), expected.facts.bytes, problem)
    });
    let checked: Vec<(String, u64, Option<String>)> = checked.collect();
    let damaged = checked
        .iter()
        .filter(|(.., problem)| problem.is_some())
        .count();
    match output {
        Output::Text => print(&text(found, &checked, damaged))?,
        Output::Json => print(&page(found, &checked, damaged))?,
    }
    Ok(if damaged == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(found: &Found, checked: &[(String, u64, Option<String>)], damaged: usize) -> String {
    let metadata = &found.metadata;
    let mut text = format!(
        "ok    {}/_metadata  {}\n",
        found.directory,
        size(found.facts.facts().bytes)
    );
    for (file, bytes, problem) in checked {
        match problem {
            None => text.push_str(&format!("ok    {file}  {}\n", size(*bytes))),
            Some(problem) => text.push_str(&format!("FAIL  {problem}\n")),
        }
    }
    let (kind, number, count) = (metadata.kind, metadata.checkpoint.0, checked.len());
    text.push_str(&if damaged == 0 {
        format!("{kind} {number} is whole: its metadata and {count} files, every byte\n")
    } else {
        format!(
            "{kind} {number} cannot be used: {damaged} of {count} files are missing or damaged\n"
        )
    });
    text
}

fn page(found: &Found, checked: &[(String, u64, Option<String>)], damaged: usize) -> String {
    let runs = checked
        .iter()
        .map(|(file, bytes, problem)| json!({ "file": file, "bytes": bytes, "problem": problem }));
    let page = json!({
        "checkpoint": found.metadata.checkpoint.0,
        "kind": found.metadata.kind.to_string(),
        "whole": damaged == 0,
        "runs": Value::from_iter(runs),
    });
    format!("{page:#}\n")
}
