//! `wc`: words of text files counted, streaming or batch.

use std::path::PathBuf;

use thalweg::connectors::TextFiles;
use thalweg::prelude::*;

use super::checksum::{Gathered, Total};
use crate::workload::definitions::{ascii_eight, java_hash, java_hash_of_eight, step};

/// Counts the words: maximal runs of bytes other than space and newline.
pub(super) fn count(environment: &Environment, inputs: &[PathBuf], mode: RuntimeMode) -> Total {
    environment.set_runtime_mode(mode);
    // Files end, so that AUTOMATIC is BATCH.
    let batch = mode != RuntimeMode::Streaming;
    // Streaming rows telescope to the batch row.
    let term = move |hash, count| step(hash, if batch { 0 } else { count - 1 }, count);
    let total = Total::default();
    environment
        .source(TextFiles::all(inputs))
        .flat_map(
            #[inline(always)]
            |line: &str, out: &mut Collector<Str>| split(line, |word| out.emit(word)),
        )
        .name("split")
        .key_by_str(|word| word)
        .count()
        .sink(Gathered::new(
            #[inline(always)]
            move |row: &(&str, u64)| match ascii_eight(row.0.as_bytes()) {
                Some(bytes) => Ok((bytes, row.1)),
                None => Err(term(java_hash(row.0.as_bytes()), row.1)),
            },
            move |(bytes, count)| term(java_hash_of_eight(bytes), count),
            &total,
        ));
    total
}

/// Calls with each word of a line: the spaces of 64 bytes are found at once, then each is visited.
///
/// Words are short: a walk over the bytes mispredicts its branch at the end of every one.
#[inline(always)]
fn split<'a>(line: &'a str, mut word: impl FnMut(&'a str)) {
    let bytes = line.as_bytes();
    let mut start = 0;
    for base in (0..=bytes.len()).step_by(64) {
        let rest = &bytes[base..];
        let mut ends = match rest.first_chunk::<64>() {
            Some(block) => spaces(block),
            // The line's end ends its last word.
            None => spaces(rest) | last_spaces(bytes, rest.len()) | 1 << rest.len(),
        };
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            ends &= ends - 1;
            if end > start {
                word(&line[start..end]);
            }
            start = end + 1;
        }
    }
}

/// A bit for each space among the whole words of at most 64 bytes.
#[inline(always)]
fn spaces(block: &[u8]) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    let found = words.iter().enumerate();
    found.fold(0, |all, (at, word)| {
        all | spaces_of_word(u64::from_le_bytes(*word)) << (8 * at)
    })
}

/// A bit for each space among the bytes behind the last whole word of the last `count` bytes of a line.
///
/// Read as the end of the word that ends where the line does: bytes copied one by one into a word are not there yet
/// when the word is read.
#[inline(always)]
fn last_spaces(line: &[u8], count: usize) -> u64 {
    let (rest, whole) = (count % 8, count / 8 * 8);
    if rest == 0 {
        return 0;
    }
    let word = match line.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest),
        None => (line.iter().rev()).fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    spaces_of_word(word) << whole
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_every_run_of_spaces_whatever_their_length() {
        let mut dice = 9_u64;
        for length in (0..200).chain(0..200).chain(0..200) {
            let line: String = (0..length)
                .map(|_| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ["a", " ", "bc", "\u{e9}", "\0", "!"][(dice >> 60) as usize % 6]
                })
                .collect();
            let mut words = Vec::new();
            split(&line, |word| words.push(word));
            let expected: Vec<_> = line.split(' ').filter(|word| !word.is_empty()).collect();
            assert_eq!(words, expected, "{line:?}");
        }
    }
}
