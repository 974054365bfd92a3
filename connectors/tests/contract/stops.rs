//! A reader stopped after every record: its snapshot travels, and others go on with exactly the rest.
//!
//! Each split is archived and read back on the way, as it is by a checkpoint, and dealt out over another
//! number of subtasks than it comes from.

use std::fs;

use tempfile::TempDir;
use thalweg_connectors::{Collection, Generator, Sequence, TextFiles};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::source::{Source, SourceReader, SourceStatus};
use thalweg_memory::SavedRecord;
use thalweg_memory::record::{Item, Record};

use crate::drive::{Kept, MOST_TURNS, Surroundings, subtask};
use crate::files::{gzip, line, lines_of, text, zstd};

/// What another process makes of the record.
pub(crate) fn travelled<R: Record>(record: R) -> R {
    let bytes = SavedRecord::new().archive(&record).to_vec();
    SavedRecord::new().revive(&bytes).unwrap()
}

/// Reads at most so many records; answers them and the splits that are left.
fn read_some<S, F>(
    source: &S,
    splits: Vec<S::Split>,
    at_most: usize,
    keep: F,
) -> (Vec<String>, Vec<S::Split>)
where
    S: Source,
    F: for<'a> Fn(<S::Item as Item>::Of<'a>, Timestamp) -> String,
{
    let mut around = Surroundings::new(7);
    let mut out = Kept::<S::Item, F>::new(keep);
    let mut reader = source.open(splits, &subtask(0, 1, 1 << 20)).unwrap();
    for _ in 0..MOST_TURNS {
        if out.kept.len() == at_most {
            return (out.kept, reader.snapshot());
        }
        out.want(1);
        match around.turn(0, |context| reader.poll(&mut out, context)) {
            Ok(SourceStatus::Finished) => return (out.kept, reader.snapshot()),
            Ok(SourceStatus::Waiting) => around.wait(),
            Ok(SourceStatus::More) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the reader is stuck after {} records", out.kept.len());
}

fn deal<T>(splits: impl IntoIterator<Item = T>, subtasks: usize) -> Vec<Vec<T>> {
    let mut dealt: Vec<Vec<T>> = (0..subtasks).map(|_| Vec::new()).collect();
    for (index, split) in splits.into_iter().enumerate() {
        dealt[index % subtasks].push(split);
    }
    dealt
}

/// Stops after every record of every subtask; what comes before and after is `whole`.
fn goes_on_from_every_record<S, F>(source: &S, whole: &[String], keep: F)
where
    S: Source,
    S::Split: Record,
    F: for<'a> Fn(<S::Item as Item>::Of<'a>, Timestamp) -> String + Copy,
{
    let mut sorted = whole.to_vec();
    sorted.sort();
    for (before, after) in [(1, 1), (1, 3), (3, 2)] {
        let before = source.parallelism().map_or(before, |most| most as usize);
        for stop in 0..=whole.len().div_ceil(before) {
            let splits = source.splits(before as u32).unwrap();
            let (mut all, mut left) = (Vec::new(), Vec::new());
            for splits in deal(splits, before) {
                let (kept, rest) = read_some(source, splits, stop, keep);
                all.extend(kept);
                left.extend(rest.into_iter().map(travelled));
            }
            for splits in deal(left, after) {
                let (kept, rest) = read_some(source, splits, usize::MAX, keep);
                all.extend(kept);
                assert!(rest.is_empty(), "nothing is left of what was read");
            }
            if (before, after) == (1, 1) {
                assert_eq!(all, whole, "in order, stopped after {stop}");
            }
            all.sort();
            assert_eq!(all, sorted, "{before} to {after}, stopped after {stop}");
        }
    }
}

fn number(number: u64, _: Timestamp) -> String {
    number.to_string()
}

fn numbers(numbers: impl Iterator<Item = u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn a_collection() {
    goes_on_from_every_record(&Collection::new(0..40_u64), &numbers(0..40), number);
    goes_on_from_every_record(&Collection::new(Vec::<u64>::new()), &[], number);
}

#[test]
fn a_sequence() {
    goes_on_from_every_record(&Sequence::new(5..=44), &numbers(5..=44), number);
    let last = u64::MAX - 9..=u64::MAX;
    goes_on_from_every_record(&Sequence::new(last.clone()), &numbers(last), number);
}

#[test]
fn a_generator() {
    let squares = Generator::new(40, |i| i * i);
    let whole = numbers((0..40).map(|i| i * i));
    goes_on_from_every_record(&squares, &whole, number);
    goes_on_from_every_record(&squares.rate(1000.0), &whole, number);
}

#[test]
fn a_text_file_in_ranges() {
    let directory = TempDir::new().unwrap();
    // A name that is not text, and one with a space.
    for name in [b"a name".as_slice(), b"n\xFFme"] {
        use std::os::unix::ffi::OsStrExt;
        let path = directory.path().join(std::ffi::OsStr::from_bytes(name));
        let text = text(60) + "no newline at the end";
        fs::write(&path, &text).unwrap();
        let whole = TextFiles::new(&path);
        goes_on_from_every_record(&whole, &lines_of(&text), line);
        goes_on_from_every_record(&whole.least_split(1), &lines_of(&text), line);
    }
}

#[test]
fn packed_text_files() {
    let directory = TempDir::new().unwrap();
    let text = text(60);
    for (name, packed) in [("text.gz", gzip(&text)), ("text.zst", zstd(&text))] {
        let path = directory.path().join(name);
        fs::write(&path, packed).unwrap();
        goes_on_from_every_record(&TextFiles::new(&path), &lines_of(&text), line);
    }
}

#[test]
fn several_files_plain_and_packed() {
    let directory = TempDir::new().unwrap();
    let text = text(20);
    fs::write(directory.path().join("a"), &text).unwrap();
    fs::write(directory.path().join("b.gz"), gzip(&text)).unwrap();
    fs::write(directory.path().join("c.zst"), zstd(&text)).unwrap();
    fs::write(directory.path().join("d"), "").unwrap();
    let whole = lines_of(&text.repeat(3));
    let source = TextFiles::new(directory.path()).least_split(10);
    goes_on_from_every_record(&source, &whole, line);
}
