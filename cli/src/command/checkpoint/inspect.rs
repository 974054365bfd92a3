//! `thalweg checkpoint inspect`: what a checkpoint holds.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};
use thalweg::Failure;
use thalweg_cluster::checkpoint::home::Found;
use thalweg_cluster::checkpoint::home::verify::{RunContent, content};
use thalweg_cluster::checkpoint::metadata::{OperatorState, SubtaskState, VertexState};

use super::Output;
use super::text::{date, size};
use crate::command::print;

/// What each run file says about itself, or why it does not.
type Contents = BTreeMap<String, Result<RunContent, String>>;

/// Prints the metadata and what the run files say they hold; of the files nothing else is read.
pub(super) fn inspect(found: &Found, output: Output) -> Result<ExitCode, Failure> {
    let files = found.metadata.files().into_keys();
    let contents: Contents = files
        .map(|file| {
            let said = content(&found.runs.child(file));
            (file.to_owned(), said.map_err(|problem| problem.to_string()))
        })
        .collect();
    match output {
        Output::Text => print(&text(found, &contents))?,
        Output::Json => print(&page(found, &contents))?,
    }
    Ok(if contents.values().all(Result::is_ok) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(found: &Found, contents: &Contents) -> String {
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
        size(metadata.file_bytes()),
        found.runs,
        metadata.committables.len(),
    );
    for vertex in &metadata.vertices {
        text.push_str(&vertex_text(vertex));
        for operator in &vertex.operators {
            text.push_str(&operator_text(operator, contents));
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

fn operator_text(operator: &OperatorState, contents: &Contents) -> String {
    let nothing = if operator.subtasks.is_empty() {
        ": no state"
    } else {
        ""
    };
    let mut text = format!("  {} ({}){nothing}\n", operator.name, operator.operator);
    for (name, description) in states(operator, contents) {
        text.push_str(&format!(
            "    {}\n",
            if description.is_empty() {
                name
            } else {
                description
            }
        ));
    }
    for subtask in &operator.subtasks {
        let rows: u64 = subtask.runs.iter().map(|run| run.rows).sum();
        let bytes: u64 = subtask.runs.iter().map(|run| run.bytes).sum();
        text.push_str(&format!(
            "    subtask {}: {} runs, {}, {rows} rows{}\n",
            subtask.subtask,
            subtask.runs.len(),
            size(bytes),
            parts_text(subtask)
        ));
        for run in &subtask.runs {
            let full = if run.full { "everything" } else { "changes" };
            text.push_str(&format!(
                "      {}  {}, {} rows, key groups {} to {}, {full}\n",
                run.file,
                size(run.bytes),
                run.rows,
                run.groups.start,
                run.groups.end.saturating_sub(1),
            ));
            if let Some(Err(problem)) = contents.get(&run.file) {
                text.push_str(&format!("        {problem}\n"));
            }
        }
    }
    text
}

fn parts_text(subtask: &SubtaskState) -> String {
    let parts = subtask.parts.iter().map(|part| {
        let bytes: usize = part.items.iter().map(Vec::len).sum();
        format!(
            "; {}: {} items, {}",
            part.name,
            part.items.len(),
            size(bytes as u64)
        )
    });
    parts.collect()
}

/// The states of an operator by name, as its runs describe them.
fn states(operator: &OperatorState, contents: &Contents) -> BTreeMap<String, String> {
    let runs = operator.subtasks.iter().flat_map(|subtask| &subtask.runs);
    let said = runs.filter_map(|run| contents.get(&run.file)?.as_ref().ok());
    let states = said.flat_map(|content| &content.states);
    states
        .map(|state| (state.name.clone(), state.description.clone()))
        .collect()
}

fn page(found: &Found, contents: &Contents) -> String {
    let metadata = &found.metadata;
    let vertices = metadata.vertices.iter().map(|vertex| {
        json!({
            "name": vertex.name,
            "parallelism": vertex.parallelism,
            "maxParallelism": vertex.max_parallelism,
            "finishedSubtasks": vertex.finished,
            "operators": Value::from_iter(vertex.operators.iter().map(|it| operator_page(it, contents))),
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
        "committables": metadata.committables.len(),
        "vertices": Value::from_iter(vertices),
    });
    format!("{page:#}\n")
}

fn operator_page(operator: &OperatorState, contents: &Contents) -> Value {
    let subtasks = operator.subtasks.iter().map(|subtask| {
        let runs = subtask.runs.iter().map(|run| {
            json!({
                "file": run.file,
                "bytes": run.bytes,
                "rows": run.rows,
                "firstKeyGroup": run.groups.start,
                "keyGroupAfterLast": run.groups.end,
                "full": run.full,
                "problem": contents.get(&run.file).and_then(|said| said.as_ref().err()),
            })
        });
        let parts = subtask
            .parts
            .iter()
            .map(|part| json!({ "name": part.name, "items": part.items.len() }));
        json!({
            "subtask": subtask.subtask,
            "runs": Value::from_iter(runs),
            "parts": Value::from_iter(parts),
        })
    });
    json!({
        "id": operator.operator.to_string(),
        "name": operator.name,
        "states": Value::from_iter(states(operator, contents).into_values()),
        "subtasks": Value::from_iter(subtasks),
    })
}
