//! What sinks take back of what their subtasks wrote, when these begin again.
//!
//! Entered by the control thread. Invariant: no task of those subtasks runs.

use std::collections::BTreeSet;

use thalweg_core::ids::SubtaskId;
use thalweg_dataflow::graph::Job;
use thalweg_dataflow::sink::SinkError;

/// Has each sink of these tasks take back what they wrote, by `roll_back`, which is told the place of its vertex and its
/// subtasks.
///
/// # Errors
/// What the first sink that cannot says, with its name.
pub(super) fn by_each_sink(
    job: &Job,
    tasks: &BTreeSet<SubtaskId>,
    mut roll_back: impl FnMut(usize, &BTreeSet<u32>) -> Result<(), SinkError>,
) -> Result<(), String> {
    for (place, description) in job.graph.vertices.iter().enumerate() {
        let of_vertex = tasks.iter().filter(|task| task.vertex.0 == description.id);
        let subtasks: BTreeSet<u32> = of_vertex.map(|task| task.index).collect();
        if !subtasks.is_empty() {
            roll_back(place, &subtasks).map_err(|error| {
                let name = &description.name;
                format!("what {name} wrote cannot be taken back: {error}")
            })?;
        }
    }
    Ok(())
}
