//! Text files: what is read, how it is cut, and what is refused with which words.

use std::fs;
use std::io::Write;
use std::path::Path;

use tempfile::TempDir;
use thalweg_connectors::TextFiles;
use thalweg_core::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::source::{Source, SourceError};

use crate::drive::{Reading, holds, read};

pub(crate) fn line(line: &str, _: Timestamp) -> String {
    line.to_owned()
}

pub(crate) fn text(lines: usize) -> String {
    (0..lines)
        .map(|i| match i % 7 {
            0 => "\n".to_owned(),
            1 => format!("line {i} with a return\r\n"),
            2 => format!("Zeile {i}: äöü, 漢字, 🦀\n"),
            3 => format!("{i} {}\n", "long ".repeat(i % 50)),
            _ => format!("line {i}\n"),
        })
        .collect()
}

pub(crate) fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(text: &str) -> Vec<u8> {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
}

fn fails(source: &TextFiles, reading: Reading) -> SourceError {
    read(source, reading, line).unwrap_err()
}

#[test]
fn a_file_in_pieces_of_any_size() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("text");
    for (end, least) in [("", 1), ("no newline at the end", 16), ("\n\n", 300)] {
        let text = text(120) + end;
        fs::write(&path, &text).unwrap();
        let source = TextFiles::new(&path).least_split(least);
        holds(&source, &lines_of(&text), line);
    }
}

#[test]
fn files_of_no_and_of_one_line() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("text");
    for text in ["", "\n", "x", "x\n", "\r\n", "\r"] {
        fs::write(&path, text).unwrap();
        let whole = match text {
            "\r" => vec![String::new()],
            text => lines_of(text),
        };
        holds(&TextFiles::new(&path).least_split(1), &whole, line);
    }
}

#[test]
fn a_file_of_several_blocks_and_lines_longer_than_a_block() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("text");
    let long = "x".repeat(700 << 10);
    let text = format!("{}{long}\n{}{long}", text(9000), text(9000));
    fs::write(&path, &text).unwrap();
    let source = TextFiles::new(&path).least_split(1000);
    for parallelism in 1..=5 {
        for seed in [3, 8, 15, 14] {
            let reading = Reading {
                parallelism,
                seed,
                most: 3000,
                reopen: if seed % 2 == 0 { 20 } else { 0 },
                ..Reading::default()
            };
            let mut all = read(&source, reading, line).unwrap().concat();
            let mut whole = lines_of(&text);
            if parallelism > 1 {
                all.sort();
                whole.sort();
            }
            assert!(all == whole, "p={parallelism} seed={seed}");
        }
    }
}

#[test]
fn packed_files() {
    let directory = TempDir::new().unwrap();
    let text = text(120);
    for (name, packed) in [("text.gz", gzip(&text)), ("text.zst", zstd(&text))] {
        let path = directory.path().join(name);
        fs::write(&path, packed).unwrap();
        holds(&TextFiles::new(&path), &lines_of(&text), line);
    }
}

#[test]
fn large_packed_files_at_their_seams() {
    let directory = TempDir::new().unwrap();
    let text = text(20_000);
    for (name, packed) in [("text.gz", gzip(&text)), ("text.zst", zstd(&text))] {
        let path = directory.path().join(name);
        fs::write(&path, packed).unwrap();
        for (seed, reopen) in [(15, 0), (12, 30)] {
            let reading = Reading {
                seed,
                most: 4000,
                reopen,
                ..Reading::default()
            };
            let all = read(&TextFiles::new(&path), reading, line).unwrap();
            assert!(all[0] == lines_of(&text), "{name} {seed}");
        }
    }
}

#[test]
fn a_directory_is_read_in_order_without_what_is_hidden() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("inner")).unwrap();
    for name in ["b", "a", ".hidden", "_SUCCESS", "inner/c"] {
        fs::write(at(name), name).unwrap();
    }
    let source = TextFiles::new(directory.path());
    holds(&source, &["a", "b"].map(str::to_owned), line);
    let all = ["a", "b", "inner/c"].map(str::to_owned);
    holds(&source.recursive(), &all, line);
    let named = TextFiles::all([at("_SUCCESS"), at("a")]);
    holds(&named, &["_SUCCESS", "a"].map(str::to_owned), line);
}

#[test]
fn what_cannot_be_read_is_told_when_the_job_starts() {
    let refused = TextFiles::new("no/such/file").splits(1).unwrap_err();
    assert!(refused.message.contains("`no/such/file`"), "{refused}");
    assert!(refused.message.contains("No such file"), "{refused}");
    let refused = TextFiles::new("/dev/null").splits(1).unwrap_err();
    assert!(refused.message.contains("neither a file"), "{refused}");
}

#[test]
fn a_line_over_the_limit_is_told_with_file_place_and_key() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("text");
    fs::write(&path, "short\n0123456789\nshort").unwrap();
    let reading = |longest_line, seed| Reading {
        longest_line,
        seed,
        ..Reading::default()
    };
    for seed in 1..16 {
        let refused = fails(&TextFiles::new(&path), reading(9, seed));
        assert_eq!(refused.kind, ErrorKind::Data);
        for part in [
            &*path.to_string_lossy(),
            "byte 6 ",
            "thalweg.text.max-line-length",
        ] {
            assert!(refused.message.contains(part), "{part}: {refused}");
        }
        read(&TextFiles::new(&path), reading(10, seed), line).unwrap();
    }
}

#[test]
fn what_is_not_utf8_is_told_with_file_and_place_and_can_be_replaced() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("text");
    fs::write(&path, b"good\nb\xFFd\ngood\n").unwrap();
    let source = TextFiles::new(&path);
    for seed in 1..16 {
        let refused = fails(
            &source,
            Reading {
                seed,
                ..Reading::default()
            },
        );
        assert_eq!(refused.kind, ErrorKind::Data);
        for part in [&*path.to_string_lossy(), "byte 6 ", ".lossy()"] {
            assert!(refused.message.contains(part), "{part}: {refused}");
        }
    }
    let whole = ["good", "b\u{FFFD}d", "good"].map(str::to_owned);
    holds(&source.lossy().least_split(1), &whole, line);
}

#[test]
fn a_damaged_or_unfinished_packed_file_is_never_taken_for_whole() {
    let directory = TempDir::new().unwrap();
    let text = text(500);
    let refuse = |path: &Path, packed: &[u8]| {
        fs::write(path, packed).unwrap();
        let refused = fails(&TextFiles::new(path), Reading::default());
        assert_eq!(refused.kind, ErrorKind::Data);
        assert!(
            refused.message.contains(&*path.to_string_lossy()),
            "{refused}"
        );
    };
    for (name, packed) in [("text.gz", gzip(&text)), ("text.zst", zstd(&text))] {
        let path = directory.path().join(name);
        refuse(&path, &packed[..packed.len() - 5]);
        refuse(&path, text.as_bytes());
        refuse(&path, b"");
    }
    let path = directory.path().join("sum.gz");
    let mut packed = gzip(&text);
    let checksum = packed.len() - 6;
    packed[checksum] ^= 1;
    refuse(&path, &packed);
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_told() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("text");
    fs::write(&path, text(100)).unwrap();
    let source = TextFiles::new(&path);
    let splits = source.splits(1).unwrap();
    fs::write(&path, text(10)).unwrap();
    let source = Prepared(source, splits);
    let refused = read(&source, Reading::default(), line).unwrap_err();
    assert!(
        refused.message.contains("longer when the job started"),
        "{refused}"
    );
}

/// A source whose splits were enumerated before.
#[derive(Clone)]
struct Prepared(TextFiles, Vec<<TextFiles as Source>::Split>);

impl Source for Prepared {
    type Item = <TextFiles as Source>::Item;
    type Split = <TextFiles as Source>::Split;
    type Reader = <TextFiles as Source>::Reader;

    fn name(&self) -> String {
        self.0.name()
    }
    fn boundedness(&self) -> thalweg_dataflow::Boundedness {
        self.0.boundedness()
    }
    fn splits(&self, _: u32) -> Result<Vec<Self::Split>, SourceError> {
        Ok(self.1.clone())
    }
    fn open(
        &self,
        splits: Vec<Self::Split>,
        subtask: &thalweg_dataflow::task::SubtaskInfo,
    ) -> Result<Self::Reader, SourceError> {
        self.0.open(splits, subtask)
    }
}
