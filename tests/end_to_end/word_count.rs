//! WordCount equals a plain count and `tr | sort | uniq -c`, in both modes, at parallelism 1, 2 and 5,
//! from text files to text files. A few megabytes of text; `.ci/run` counts 100 MB with the program as users
//! build it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use thalweg_connectors::{Formatted, TextFile, TextFiles};
use thalweg_core::config::RuntimeMode;
use thalweg_dataflow::Collector;
use thalweg_memory::Str;

use crate::stage;

type Counts = BTreeMap<String, u64>;

/// A text with words of many lengths, both cases, punctuation, empty lines and no newline at its end.
fn write_text(path: &Path, bytes: u64) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = move |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % bound
    };
    let mut written = 0;
    let mut line = String::new();
    while written < bytes {
        line.clear();
        for _ in 0..draw(14) {
            // Few words are frequent, most are rare.
            let vocabulary = [20, 1000, 20_000][draw(3) as usize];
            let word = draw(vocabulary);
            let _ = match draw(8) {
                0 => write!(line, "Word{word}"),
                1 => write!(line, "a_{word:x}"),
                2 => write!(line, "{word}"),
                3 => write!(line, "averyveryverylongword{word}indeed"),
                _ => write!(line, "w{word}"),
            };
            line.push_str([" ", " ", "  ", ", ", ". ", "-", "\t", " – "][draw(8) as usize]);
        }
        if written + (line.len() as u64) < bytes {
            line.push('\n');
        }
        out.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
    }
    out.flush().unwrap();
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The words of a line: a plain loop over bytes.
fn words(line: &[u8], mut each: impl FnMut(&str)) {
    let mut word = String::new();
    for byte in line.iter().chain([&b' ']) {
        if is_word(*byte) {
            word.push(char::from(byte.to_ascii_lowercase()));
        } else if !word.is_empty() {
            each(&word);
            word.clear();
        }
    }
}

fn counted(path: &Path) -> Counts {
    let mut counts = Counts::new();
    for line in BufReader::new(File::open(path).unwrap()).split(b'\n') {
        words(&line.unwrap(), |word| match counts.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(counts.insert(word.to_owned(), 1)),
        });
    }
    counts
}

/// What the shell counts, where it can.
fn counted_by_shell(path: &Path) -> Option<Counts> {
    let script = "set -e; command -v tr sort uniq > /dev/null || exit 77; \
                  tr -cs 'A-Za-z0-9_' '\\n' < \"$1\" | tr 'A-Z' 'a-z' | sort | uniq -c";
    let shell = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(path)
        .env("LC_ALL", "C")
        .output();
    let told = shell.ok()?;
    if told.status.code() == Some(77) {
        return None;
    }
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    let mut counts = Counts::new();
    for line in String::from_utf8(told.stdout).unwrap().lines() {
        // What is not a word before the first one is an empty word to `tr`.
        let mut parts = line.split_ascii_whitespace();
        let count = parts.next().unwrap().parse().unwrap();
        if let Some(word) = parts.next() {
            counts.insert(word.to_owned(), count);
        }
    }
    Some(counts)
}

/// Runs WordCount into `output`.
fn run(input: &Path, output: &Path, mode: RuntimeMode, parallelism: u32) {
    let (environment, token) = stage::shards(&[]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    environment.set_parallelism(parallelism);
    environment.set_runtime_mode(mode);
    let split = |line: &str, out: &mut Collector<Str>| {
        let parts = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in parts.filter(|part| !part.is_empty()) {
            match word.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => out.emit(&word.to_ascii_lowercase()),
                false => out.emit(word),
            }
        }
    };
    let row = |(word, count): &(&str, u64), line: &mut String| {
        let _ = write!(line, "{word} {count}");
    };
    environment
        .source(TextFiles::new(input))
        .flat_map(split)
        .key_by_str(|word: &&str| *word)
        .count()
        .sink(TextFile::new(output).format(Formatted(row)));
    environment.execute("wordcount").unwrap();
}

/// The files of an output: one, or the parts of a directory. Nothing else may be there.
fn files(output: &Path, parallelism: u32) -> Vec<PathBuf> {
    if parallelism == 1 {
        return vec![output.to_owned()];
    }
    let entries = fs::read_dir(output)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries.collect();
    assert_eq!(files.len(), parallelism as usize, "{files:?}");
    files
}

/// The rows of an output: how many, and the greatest count of each word.
fn read(output: &Path, parallelism: u32) -> (u64, Counts) {
    let mut rows = 0;
    let mut greatest = Counts::new();
    for path in files(output, parallelism) {
        for line in BufReader::new(File::open(path).unwrap()).lines() {
            let line = line.unwrap();
            let (word, count) = line.split_once(' ').unwrap();
            let count: u64 = count.parse().unwrap();
            rows += 1;
            match greatest.get_mut(word) {
                Some(most) => *most = count.max(*most),
                None => drop(greatest.insert(word.to_owned(), count)),
            }
        }
    }
    (rows, greatest)
}

#[test]
fn equals_a_plain_count_and_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("text");
    write_text(&input, 4_000_000);
    let expected = counted(&input);
    assert!(expected.len() > 10_000);
    if let Some(shell) = counted_by_shell(&input) {
        assert!(
            shell == expected,
            "the plain count differs from the shell's"
        );
    }
    let total: u64 = expected.values().sum();
    for mode in [RuntimeMode::Batch, RuntimeMode::Streaming] {
        for parallelism in [1, 2, 5] {
            let output = folder.path().join(format!("{mode}-{parallelism}"));
            run(&input, &output, mode, parallelism);
            let (rows, counts) = read(&output, parallelism);
            let lines = match mode {
                RuntimeMode::Batch => expected.len() as u64,
                _ => total,
            };
            assert_eq!(rows, lines, "{mode}, parallelism {parallelism}");
            assert!(
                counts == expected,
                "{mode}, parallelism {parallelism}: other counts"
            );
            match output.is_dir() {
                true => fs::remove_dir_all(&output).unwrap(),
                false => fs::remove_file(&output).unwrap(),
            }
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
