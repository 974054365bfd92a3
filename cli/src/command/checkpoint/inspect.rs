//! `thalweg checkpoint inspect`: what a checkpoint holds.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde_json::{Value, json};
use thalweg::Failure;
use thalweg_cluster::checkpoint::home::Found;
use thalweg_cluster::checkpoint::home::keys::{StateKeys, keys};
use thalweg_cluster::checkpoint::home::verify::{RunContent, content};
use thalweg_cluster::checkpoint::metadata::{
    InFlightFile, OperatorState, RunHandle, SubtaskState, VertexState,
};
use thalweg_cluster::checkpoint::storage::AnyStorage;
use thalweg_core::ids::OperatorId;
use thalweg_dataflow::function::shown_part;

use crate::command::output::Output;
use crate::command::print;
use crate::command::text::{date, size};

/// What each run file says about itself, or why it does not.
type Contents = BTreeMap<String, Result<RunContent, String>>;

/// The states of each operator with their keys, or why they could not be counted.
type Counts = BTreeMap<OperatorId, Result<Vec<StateKeys>, String>>;

/// Prints the metadata and what the run files hold: all rows are read, to count keys.
pub(super) fn inspect(
    storage: &mut AnyStorage,
    found: &Found,
    output: Output,
) -> Result<ExitCode, Failure> {
    let files: BTreeSet<&str> = found.metadata.runs().map(|run| run.file.as_str()).collect();
    let contents: Contents = (files.into_iter())
        .map(|file| {
            let said = content(storage, &found.runs.child(file));
            (file.to_owned(), said.map_err(|problem| problem.to_string()))
        })
        .collect();
    let operators = found.metadata.operators();
    let counts: Counts = operators
        .map(|(_, operator)| {
            let counted = keys(storage, found, operator);
            let counted = counted.map_err(|problem| problem.to_string());
            (operator.operator, counted)
        })
        .collect();
    match output {
        Output::Text => print(&text(found, &contents, &counts))?,
        Output::Json => print(&page(found, &contents, &counts))?,
    }
    let whole = contents.values().all(Result::is_ok) && counts.values().all(Result::is_ok);
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(found: &Found, contents: &Contents, counts: &Counts) -> String {
    let metadata = &found.metadata;
    let mut text = format!(
        "{} {} of job {} ({})\n  in       {}\n  started  {}\n  runs     {} files, {}, in {}\n  sinks    {} \
         prepared outputs not known to be committed\n",
        metadata.kind,
        metadata.checkpoint.0,
        metadata.job,
        metadata.job_name,
        found.directory,
        date(metadata.started_ms),
        contents.len(),
        size(metadata.file_bytes() - in_flight_bytes(&metadata.in_flight)),
        found.runs,
        metadata.committables.len(),
    );
    text.push_str(&in_flight_text(&metadata.in_flight));
    for vertex in &metadata.vertices {
        text.push_str(&vertex_text(vertex));
        for operator in &vertex.operators {
            text.push_str(&operator_text(operator, contents, counts));
        }
    }
    text
}

/// Bytes of records in flight.
fn in_flight_bytes(files: &[InFlightFile]) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}

/// The records in flight of each channel.
fn in_flight_text(files: &[InFlightFile]) -> String {
    if files.is_empty() {
        return String::new();
    }
    let (count, bytes) = (files.len(), size(in_flight_bytes(files)));
    let mut text = format!("  flight   {count} files, {bytes}\n");
    for file in files {
        text.push_str(&format!("    {}  {}\n", file.file, size(file.bytes)));
        for section in &file.sections {
            let path = &section.path;
            let sent = if section.at_sender { ", not sent" } else { "" };
            text.push_str(&format!(
                "      {} subtask {} to {} subtask {}, input {}: {}{sent}\n",
                path.sender,
                path.from,
                path.receiver,
                path.to,
                path.input,
                size(section.bytes),
            ));
        }
    }
    text
}

fn vertex_text(vertex: &VertexState) -> String {
    let finished = match vertex.finished.len() {
        0 => String::new(),
        _ if vertex.is_finished() => ", finished".to_owned(),
        count => format!(", {count} subtasks finished"),
    };
    format!(
        "\n{}: parallelism {} of at most {}{finished}\n",
        vertex.name, vertex.parallelism, vertex.max_parallelism
    )
}

fn operator_text(operator: &OperatorState, contents: &Contents, counts: &Counts) -> String {
    let nothing = if operator.subtasks.is_empty() {
        ": no state"
    } else {
        ""
    };
    let mut text = format!("  {} ({}){nothing}\n", operator.name, operator.operator);
    for (name, description) in states(operator, contents) {
        let counted = keys_text(counts.get(&operator.operator), &name);
        let said = if description.is_empty() {
            name
        } else {
            description
        };
        text.push_str(&format!("    {said}{counted}\n"));
    }
    for subtask in &operator.subtasks {
        let rows: u64 = subtask.runs.iter().map(|run| run.rows).sum();
        // A file that counts for several states is there once.
        let files: BTreeMap<_, _> = (subtask.runs.iter())
            .map(|run| (&run.file, run.bytes))
            .collect();
        let bytes: u64 = files.into_values().sum();
        text.push_str(&format!(
            "    subtask {}: {} runs, {}, {rows} rows{}\n",
            subtask.subtask,
            subtask.runs.len(),
            size(bytes),
            parts_text(subtask)
        ));
        for run in &subtask.runs {
            let full = if run.full { "everything" } else { "changes" };
            let only = only(run, contents).map(|name| format!(", of {name} alone"));
            text.push_str(&format!(
                "      {}  {}, {} rows, key groups {} to {}, {full}{}\n",
                run.file,
                size(run.bytes),
                run.rows,
                run.groups.start,
                run.groups.end.saturating_sub(1),
                only.unwrap_or_default(),
            ));
            if let Some(Err(problem)) = contents.get(&run.file) {
                text.push_str(&format!("        {problem}\n"));
            }
        }
    }
    text
}

/// The only state a run counts for, if there is but one.
fn only(run: &RunHandle, contents: &Contents) -> Option<String> {
    let number = run.only?.0;
    let content = contents.get(&run.file).and_then(|said| said.as_ref().ok());
    let state = content.and_then(|content| content.states.get(usize::from(number)));
    Some(state.map_or_else(|| format!("state {number}"), |state| state.name.clone()))
}

/// How many keys a state has, or why nobody knows.
fn keys_text(counts: Option<&Result<Vec<StateKeys>, String>>, name: &str) -> String {
    let states = match counts {
        Some(Ok(states)) => states,
        Some(Err(problem)) => return format!(": {problem}"),
        None => return String::new(),
    };
    match states.iter().find(|state| state.name == name) {
        Some(state) if state.entries == state.keys => format!(": {} keys", state.keys),
        Some(state) => format!(": {} keys with {} entries", state.keys, state.entries),
        None => String::new(),
    }
}

fn parts_text(subtask: &SubtaskState) -> String {
    let parts = subtask.parts.iter().map(|part| {
        let bytes: usize = part.items.iter().map(Vec::len).sum();
        format!(
            "; {}: {} items, {}",
            shown_part(&part.name),
            part.items.len(),
            size(bytes as u64)
        )
    });
    parts.collect()
}

/// The states of an operator by name, as the runs that count for them describe them.
fn states(operator: &OperatorState, contents: &Contents) -> BTreeMap<String, String> {
    let runs = operator.subtasks.iter().flat_map(|subtask| &subtask.runs);
    let said = runs.filter_map(|run| Some((run.only, contents.get(&run.file)?.as_ref().ok()?)));
    let states = said.flat_map(|(only, content)| {
        let states = content.states.iter().enumerate();
        let counts = move |at: usize| only.is_none_or(|only| usize::from(only.0) == at);
        states.filter(move |(at, _)| counts(*at))
    });
    states
        .map(|(_, state)| state)
        .map(|state| (state.name.clone(), state.description.clone()))
        .collect()
}

fn page(found: &Found, contents: &Contents, counts: &Counts) -> String {
    let metadata = &found.metadata;
    let vertices = metadata.vertices.iter().map(|vertex| {
        json!({
            "name": vertex.name,
            "parallelism": vertex.parallelism,
            "maxParallelism": vertex.max_parallelism,
            "finishedSubtasks": vertex.finished,
            "operators": Value::from_iter(
                (vertex.operators.iter()).map(|it| operator_page(it, contents, counts)),
            ),
        })
    });
    let page = json!({
        "kind": metadata.kind.to_string(),
        "checkpoint": metadata.checkpoint.0,
        "job": metadata.job.to_string(),
        "jobName": metadata.job_name,
        "directory": found.directory.to_string(),
        "runDirectory": found.runs.to_string(),
        "started": metadata.started_ms,
        "bytes": metadata.file_bytes(),
        "bytesInFlight": in_flight_bytes(&metadata.in_flight),
        "committables": metadata.committables.len(),
        "vertices": Value::from_iter(vertices),
    });
    format!("{page:#}\n")
}

fn operator_page(operator: &OperatorState, contents: &Contents, counts: &Counts) -> Value {
    let subtasks = operator.subtasks.iter().map(|subtask| {
        let runs = subtask.runs.iter().map(|run| {
            json!({
                "file": run.file,
                "bytes": run.bytes,
                "rows": run.rows,
                "firstKeyGroup": run.groups.start,
                "keyGroupAfterLast": run.groups.end,
                "full": run.full,
                "only": only(run, contents),
                "problem": contents.get(&run.file).and_then(|said| said.as_ref().err()),
            })
        });
        let parts = subtask.parts.iter().map(|part| {
            let bytes: usize = part.items.iter().map(Vec::len).sum();
            json!({ "name": shown_part(&part.name), "items": part.items.len(), "bytes": bytes })
        });
        json!({
            "subtask": subtask.subtask,
            "runs": Value::from_iter(runs),
            "parts": Value::from_iter(parts),
        })
    });
    let said = counts.get(&operator.operator);
    let counted = said.and_then(|it| it.as_ref().ok());
    let keys: serde_json::Map<String, Value> = (counted.into_iter().flatten())
        .map(|state| {
            let counts = json!({ "keys": state.keys, "entries": state.entries });
            (state.name.clone(), counts)
        })
        .collect();
    json!({
        "id": operator.operator.to_string(),
        "name": operator.name,
        "states": Value::from_iter(states(operator, contents).into_values()),
        "keys": keys,
        "problem": said.and_then(|it| it.as_ref().err()),
        "subtasks": Value::from_iter(subtasks),
    })
}
