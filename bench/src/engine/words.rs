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

/// Calls with each word of a line: the spaces of 64 bytes are found at once, then each is visited.
///
/// Words are short: a walk over the bytes mispredicts its branch at the end of every one.
#[inline(always)]
fn split<'a>(line: &'a str, mut word: impl FnMut(&'a str)) {
    let mut start = 0;
    for (number, block) in line.as_bytes().chunks(64).enumerate() {
        let mut spaces = spaces(block);
        while spaces != 0 {
            let at = 64 * number + spaces.trailing_zeros() as usize;
            spaces &= spaces - 1;
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

/// A bit for each space among at most 64 bytes.
#[inline(always)]
fn spaces(block: &[u8]) -> u64 {
    let (words, rest) = block.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let found = words.iter().chain([&last]).enumerate();
    found.fold(0, |all, (at, word)| match at {
        0..8 => all | spaces_of_word(u64::from_le_bytes(*word)) << (8 * at),
        _ => all,
    })
}

/// A bit for each space among eight bytes.
#[inline(always)]
fn spaces_of_word(word: u64) -> u64 {
    const LOW: u64 = u64::from_le_bytes([0x7F; 8]);
    // Bytes that are 0 where there was a space, then 0x80 there and 0 elsewhere.
    let other = word ^ u64::from_le_bytes([b' '; 8]);
    let space = !(((other & LOW) + LOW) | other | LOW);
    // Byte n's bit moves to place 56 + n; no two products meet.
    (space >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Words that reached the counting operator.
pub(super) fn words_in(result: &JobResult) -> Option<u64> {
    let counting = result.summary.vertices.get(1)?;
    Some(counting.records_in)
}
