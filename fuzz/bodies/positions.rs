//! Positions of sources as a checkpoint holds them: any bytes as splits of each kind of source.
//!
//! What is read is archived as something that reads as the same; a source that goes on from it stands where it says,
//! and takes little more memory than the bytes.

use std::fmt::Debug;
use std::sync::Arc;

use thalweg_connectors::{
    Collection, DirectoryMonitor, FileProcessing, Sequence, SocketText, TextFiles,
};
use thalweg_core::MaxParallelism;
use thalweg_core::config::Configuration;
use thalweg_core::ids::VertexId;
use thalweg_dataflow::RuntimeMode;
use thalweg_dataflow::source::{Source, SourceReader};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::{Record, SavedRecord};

fn info() -> SubtaskInfo {
    SubtaskInfo {
        vertex: VertexId(0),
        vertex_name: "source".into(),
        index: 0,
        parallelism: 1,
        max_parallelism: MaxParallelism::default(),
        operators: Arc::from(["source".to_owned()]),
        mode: RuntimeMode::Streaming,
        configuration: Arc::new(Configuration::new()),
    }
}

fn read<S: Record + Debug + PartialEq>(bytes: &[u8]) -> Option<S> {
    let mut saved = SavedRecord::new();
    let split: S = saved.revive(bytes).ok()?;
    let again = saved.archive(&split).to_vec();
    // Nothing in an archive counts more often than four times: parts that lie in one another are refused.
    assert!(
        again.len() <= 4 * bytes.len() + 64,
        "{} of {}",
        again.len(),
        bytes.len()
    );
    assert_eq!(saved.revive::<S>(&again).as_ref(), Ok(&split));
    Some(split)
}

/// Goes on from a position: where a reader stands is where another one that goes on from there stands.
fn go_on<S: Source>(source: &S, bytes: &[u8])
where
    S::Split: Record + Clone + Debug + PartialEq,
{
    let Some(split) = read::<S::Split>(bytes) else {
        return;
    };
    let Ok(reader) = source.open(vec![split], &info()) else {
        return;
    };
    let stands = reader.snapshot();
    if let Ok(reader) = source.open(stands.clone(), &info()) {
        assert_eq!(reader.snapshot(), stands);
    }
}

/// Throws bytes at it.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let files = || TextFiles::new("/nowhere");
    match kind % 5 {
        0 => go_on(&files(), bytes),
        1 => go_on(&DirectoryMonitor::new(files(), FileProcessing::Once), bytes),
        2 => go_on(&Sequence::new(1..=1_000), bytes),
        3 => go_on(&Collection::new(vec![1_u64, 2, 3]), bytes),
        _ => go_on(&SocketText::new("127.0.0.1:1"), bytes),
    }
}
