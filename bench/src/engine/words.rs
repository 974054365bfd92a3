//! `wc`: words of text files counted, streaming or batch.

use std::path::PathBuf;

use thalweg::connectors::TextFiles;
use thalweg::prelude::*;

use super::checksum::{Checksum, Total};
use crate::workload::definitions::{java_hash, step};

/// Counts the words: maximal runs of bytes other than space and newline.
pub(super) fn count(environment: &Environment, inputs: &[PathBuf], mode: RuntimeMode) -> Total {
    environment.set_runtime_mode(mode);
    // Files end, so that AUTOMATIC is BATCH.
    let batch = mode != RuntimeMode::Streaming;
    let total = Total::default();
    environment
        .source(TextFiles::all(inputs))
        .flat_map(|line: &str, out: &mut Collector<Str>| split(line, |word| out.emit(word)))
        .name("split")
        .key_by_str(|word| word)
        .count()
        .sink(Checksum::new(
            move |row: &(&str, u64)| {
                let (word, count) = (java_hash(row.0.as_bytes()), row.1);
                // Streaming rows telescope to the batch row.
                step(word, if batch { 0 } else { count - 1 }, count)
            },
            &total,
        ));
    total
}

/// Calls with each word of a line. Words are short, so a plain walk over the bytes beats a searcher.
#[inline(always)]
fn split<'a>(line: &'a str, mut word: impl FnMut(&'a str)) {
    let mut start = 0;
    for (at, byte) in line.bytes().enumerate() {
        if byte == b' ' {
            if at > start {
                word(&line[start..at]);
            }
            start = at + 1;
        }
    }
    if start < line.len() {
        word(&line[start..]);
    }
}

/// Words that reached the counting operator.
pub(super) fn words_in(result: &JobResult) -> Option<u64> {
    let counting = result.summary.vertices.get(1)?;
    Some(counting.records_in)
}
