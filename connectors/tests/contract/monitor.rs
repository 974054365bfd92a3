//! A monitored directory: what is given out when, who reads it, and what is told about trouble.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use thalweg_connectors::{DirectoryMonitor, FileProcessing, OnChange, TextFiles};
use thalweg_core::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::SplitReader;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_memory::record::{Item, Record, Str};

use crate::drive::{Kept, MOST_TURNS, Surroundings, subtask};
use crate::files::{gzip, line, lines_of, text, zstd};
use crate::stops::travelled;

type Split = <TextFiles as Source>::Split;
type Watcher = <DirectoryMonitor as Source>::Reader;
type Reader = <TextFiles as Source>::Reader;

const CONTINUOUSLY: FileProcessing = FileProcessing::Continuously {
    interval: Duration::from_secs(1),
};

/// Keeps records, as many as are wanted.
struct Records<T> {
    left: usize,
    kept: Vec<T>,
}

impl<T: Record> SourceOutput<T> for Records<T> {
    fn wanted(&self) -> bool {
        self.left > 0
    }
    fn emit(&mut self, item: <T as Item>::Of<'_>, _: Timestamp) {
        self.left -= 1;
        self.kept.push(item);
    }
    fn mark(&mut self, _: thalweg_memory::Mark) {
        panic!("a monitor marks no event time");
    }
}

/// A directory, its monitor and one reader.
struct Watch {
    directory: TempDir,
    files: TextFiles,
    around: Surroundings,
    watcher: Watcher,
    reader: Reader,
}

impl Watch {
    fn new(set_up: impl FnOnce(TextFiles) -> TextFiles) -> Watch {
        let directory = TempDir::new().unwrap();
        let files = set_up(TextFiles::new(directory.path()));
        let monitor = DirectoryMonitor::new(files.clone(), CONTINUOUSLY);
        let info = subtask(0, 1, 1 << 20);
        let splits = monitor.splits(1).unwrap();
        Watch {
            around: Surroundings::new(5),
            watcher: monitor.open(splits, &info).unwrap(),
            reader: files.open(Vec::new(), &info).unwrap(),
            directory,
            files,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        let file = File::options().append(true).open(self.path(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn pass(&mut self, seconds: u64) {
        let clock = &self.around.reactor.clock;
        clock.set(clock.get() + seconds * 1_000_000_000);
    }

    /// The next look at the directory: what is given out, at most so many splits.
    fn look_for(&mut self, at_most: usize) -> Result<Vec<Split>, SourceError> {
        let mut out = Records {
            left: at_most,
            kept: Vec::new(),
        };
        for _ in 0..MOST_TURNS {
            let watcher = &mut self.watcher;
            // The clock stands still: only what is not wanted ends a turn early.
            match self.around.turn(1000, |cx| watcher.poll(&mut out, cx))? {
                SourceStatus::Waiting if self.around.reactor.poll_all() => {}
                _ => return Ok(out.kept),
            }
        }
        panic!("the monitor is stuck");
    }

    fn look(&mut self) -> Result<Vec<Split>, SourceError> {
        self.pass(1);
        self.look_for(usize::MAX)
    }

    fn read(&mut self, splits: Vec<Split>) -> Result<Vec<String>, SourceError> {
        for split in splits {
            self.reader.add(travelled(split));
        }
        let mut out = Kept::<Str, _>::new(line);
        for _ in 0..MOST_TURNS {
            out.want(3);
            let reader = &mut self.reader;
            match self.around.turn(0, |cx| reader.poll(&mut out, cx))? {
                SourceStatus::Waiting => self.around.wait(),
                SourceStatus::More => {}
                SourceStatus::Finished => {
                    assert_eq!(self.reader.unread(), 0);
                    assert_eq!(
                        self.around.reactor.open_handles(),
                        0,
                        "closes what it opens"
                    );
                    return Ok(out.kept);
                }
            }
        }
        panic!("the reader is stuck");
    }

    /// What the next look gives to read.
    fn new_lines(&mut self) -> Vec<String> {
        let splits = self.look().unwrap();
        self.read(splits).unwrap()
    }

    /// As after a failure: monitor and reader go on from their snapshots.
    fn restart(&mut self) {
        let info = subtask(0, 1, 1 << 20);
        let monitor = DirectoryMonitor::new(self.files.clone(), CONTINUOUSLY);
        let known = self.watcher.snapshot().into_iter().map(travelled);
        self.watcher = monitor.open(known.collect(), &info).unwrap();
        let left = self.reader.snapshot().into_iter().map(travelled);
        self.reader = self.files.open(left.collect(), &info).unwrap();
        let clock = self.around.reactor.clock.get();
        self.around = Surroundings::new(clock % 1000);
        self.around.reactor.clock.set(clock);
    }
}

fn plain() -> Watch {
    Watch::new(|files| files)
}

#[test]
fn what_is_appended_is_read_from_where_the_file_was_left_by_whole_lines() {
    for restarts in [false, true] {
        let mut watch = plain();
        assert_eq!(watch.new_lines(), Vec::<String>::new());
        watch.write("log", "one\ntwo\nthr");
        for (append, lines) in [
            ("", vec!["one", "two"]),
            ("", vec![]),
            ("ee", vec![]),
            ("\nfour\n", vec!["three", "four"]),
            ("\r\n\n", vec!["", ""]),
        ] {
            watch.append("log", append);
            assert_eq!(watch.new_lines(), lines, "{append:?}");
            if restarts {
                watch.restart();
            }
        }
    }
}

#[test]
fn a_last_line_without_newline_is_read_when_the_file_has_rested() {
    let mut watch = plain();
    watch.write("log", "one\nunfin");
    assert_eq!(watch.new_lines(), ["one"]);
    assert_eq!(watch.new_lines(), Vec::<String>::new());
    watch.pass(59);
    watch.append("log", "ish");
    assert_eq!(watch.new_lines(), Vec::<String>::new(), "it has changed");
    assert_eq!(watch.new_lines(), Vec::<String>::new());
    watch.pass(59);
    let rest = watch.look().unwrap();
    // What comes before it is read is not part of it.
    watch.append("log", "ed\nnext\n");
    assert_eq!(watch.read(rest).unwrap(), ["unfinish"]);
    assert_eq!(watch.new_lines(), ["ed", "next"]);
}

#[test]
fn a_line_longer_than_a_look_at_the_end_is_found() {
    let mut watch = plain();
    let long = "x".repeat(100_000);
    watch.write("log", &format!("short\n{long}"));
    assert_eq!(watch.new_lines(), ["short"]);
    watch.append("log", &format!("{long}\n{long}"));
    assert_eq!(watch.new_lines(), [long.repeat(2)]);
}

#[test]
fn logs_that_are_rotated_are_read_once_under_whatever_name() {
    let mut watch = plain();
    watch.write("log", "one\n");
    assert_eq!(watch.new_lines(), ["one"]);
    watch.append("log", "two\n");
    fs::rename(watch.path("log"), watch.path("log.1")).unwrap();
    watch.write("log", "three\n");
    assert_eq!(watch.new_lines(), ["three", "two"]);
    // Found under one name, read under another.
    watch.append("log", "four\n");
    let found = watch.look().unwrap();
    fs::rename(watch.path("log.1"), watch.path("log.2")).unwrap();
    fs::rename(watch.path("log"), watch.path("log.1")).unwrap();
    watch.write("log", "five\n");
    assert_eq!(watch.read(found).unwrap(), ["four"]);
    assert_eq!(watch.new_lines(), ["five"]);
}

#[test]
fn packed_files_are_read_whole_once_they_have_stopped_growing() {
    let mut watch = plain();
    let text = text(200);
    for (name, packed) in [("a.gz", gzip(&text)), ("b.zst", zstd(&text))] {
        let (first, rest) = packed.split_at(packed.len() / 2);
        fs::write(watch.path(name), first).unwrap();
        assert_eq!(watch.new_lines(), Vec::<String>::new());
        let file = File::options().append(true).open(watch.path(name));
        file.unwrap().write_all(rest).unwrap();
        assert_eq!(watch.new_lines(), Vec::<String>::new());
        assert_eq!(watch.new_lines(), lines_of(&text));
        assert_eq!(watch.new_lines(), Vec::<String>::new());
    }
}

#[test]
fn hidden_and_unfinished_files_are_left_out_and_names_need_not_be_text() {
    let mut watch = Watch::new(|files| {
        let files = files.recursive().include("*.log").include("raw/**");
        files
            .exclude("debug*")
            .filter(|path| !path.ends_with("no.log"))
    });
    fs::create_dir_all(watch.path("raw/two words")).unwrap();
    std::os::unix::fs::symlink(watch.path("raw"), watch.path("raw/loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", watch.path("raw/broken")).unwrap();
    for name in [
        ".a.log",
        "_a.log",
        "b.log.inprogress",
        "raw/.c",
        "debug.log",
        "no.log",
        "a.txt",
    ] {
        watch.write(name, "never\n");
    }
    watch.write("a b.log", "one\n");
    watch.write("raw/two words/any", "two\n");
    let odd = watch.directory.path().join(OsStr::from_bytes(b"n\xFF.log"));
    fs::write(odd, "three\n").unwrap();
    let mut lines = watch.new_lines();
    lines.sort();
    assert_eq!(lines, ["one", "three", "two"]);
}

#[test]
fn a_file_that_vanishes_or_is_replaced_before_it_is_read_is_up_to_the_policy() {
    let replace = |watch: &Watch| {
        // Both exist at once, so that their inodes differ.
        watch.write("new", "three\n");
        fs::rename(watch.path("new"), watch.path("log")).unwrap();
    };
    let vanish = |watch: &Watch| fs::remove_file(watch.path("log")).unwrap();
    let troubles: [&dyn Fn(&Watch); 2] = [&replace, &vanish];
    for trouble in troubles {
        for policy in [OnChange::Fail, OnChange::Skip, OnChange::ReadAgain] {
            let mut watch = Watch::new(|files| files.on_change(policy));
            watch.write("log", "one\n");
            watch.write("other", "two\n");
            let found = watch.look().unwrap();
            trouble(&watch);
            match (policy, watch.read(found)) {
                (OnChange::Fail, Err(error)) => {
                    assert_eq!(error.kind, ErrorKind::Data);
                    for part in ["log`", "was removed before", "on_change"] {
                        assert!(error.message.contains(part), "{part}: {error}");
                    }
                }
                (_, read) => assert_eq!(read.unwrap(), ["two"]),
            }
        }
    }
}

#[test]
fn a_file_that_was_replaced_or_cut_off_between_two_looks_is_up_to_the_policy() {
    let replace = |watch: &Watch| {
        watch.write("new", "three\n");
        fs::rename(watch.path("new"), watch.path("log")).unwrap();
    };
    let cut_off = |watch: &Watch| watch.write("log", "three\n");
    let troubles: [&dyn Fn(&Watch); 2] = [&replace, &cut_off];
    for (trouble, what) in troubles.into_iter().zip(["replaced", "shorter"]) {
        let after = |policy| {
            let mut watch = Watch::new(|files| files.on_change(policy));
            watch.write("log", "one\ntwo\n");
            assert_eq!(watch.new_lines(), ["one", "two"]);
            trouble(&watch);
            watch
        };
        let error = after(OnChange::Fail).look().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Data);
        for part in ["log`", what, "on_change"] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
        assert_eq!(after(OnChange::ReadAgain).new_lines(), ["three"]);
        let mut skipped = after(OnChange::Skip);
        assert_eq!(skipped.new_lines(), Vec::<String>::new());
        skipped.append("log", "four\n");
        assert_eq!(skipped.new_lines(), ["four"]);
    }
}

#[test]
fn a_file_that_changes_while_its_end_is_looked_for_is_seen_again() {
    let mut watch = plain();
    watch.write("a", "one\n");
    watch.write("b", "two\n");
    watch.pass(1);
    // The listing is done and the end of one file found, but not given out.
    assert_eq!(watch.look_for(0).unwrap(), []);
    fs::remove_file(watch.path("b")).unwrap();
    watch.write("c", "three\n");
    let found = watch.look_for(usize::MAX).unwrap();
    assert_eq!(watch.read(found).unwrap(), ["one"]);
    assert_eq!(watch.new_lines(), ["three"]);
}

#[test]
fn a_monitor_goes_on_from_every_split_it_gave() {
    for stop in 0..6 {
        let mut watch = plain();
        for name in ["a", "b", "c", "d", "e"] {
            watch.write(name, &format!("{name} 1\n{name} 2\nun"));
        }
        watch.pass(1);
        let mut found = watch.look_for(stop).unwrap();
        assert_eq!(found.len(), stop.min(5));
        watch.restart();
        watch.append("a", "finished\n");
        found.extend(watch.look().unwrap());
        let mut lines = watch.read(found).unwrap();
        lines.sort();
        let mut all: Vec<String> = ["a", "b", "c", "d", "e"]
            .iter()
            .flat_map(|name| [format!("{name} 1"), format!("{name} 2")])
            .collect();
        all.push("unfinished".to_owned());
        all.sort();
        assert_eq!(lines, all, "stopped after {stop}");
    }
}

#[test]
fn once_reads_what_is_there_to_its_end_and_ends() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("a"), "one\nno newline").unwrap();
    fs::write(directory.path().join("b.gz"), gzip("two\n")).unwrap();
    fs::write(directory.path().join("empty"), "").unwrap();
    let files = TextFiles::new(directory.path());
    let monitor = DirectoryMonitor::new(files, FileProcessing::Once);
    assert_eq!(monitor.boundedness(), Boundedness::Bounded);
    let mut watch = plain();
    let splits = monitor.splits(1).unwrap();
    watch.watcher = monitor.open(splits, &subtask(0, 1, 100)).unwrap();
    assert_eq!(watch.new_lines(), ["one", "no newline", "two"]);
    assert_eq!(watch.watcher.snapshot(), []);
}

#[test]
fn what_cannot_be_looked_into_is_told_with_its_path() {
    let monitor = |path: &Path| DirectoryMonitor::new(TextFiles::new(path), CONTINUOUSLY);
    let missing = monitor(Path::new("no/such")).splits(1).unwrap_err();
    assert!(missing.message.contains("`no/such`"), "{missing}");
    let mut watch = Watch::new(TextFiles::recursive);
    let file = watch.path("file");
    watch.write("file", "one\n");
    let refused = monitor(&file).splits(1).unwrap_err();
    assert!(refused.message.contains("is not a directory"), "{refused}");

    fs::create_dir(watch.path("inner")).unwrap();
    for name in ["inner", "file"] {
        watch.around.reactor.refused = Some(watch.path(name));
        let refused = watch.look().unwrap_err();
        for part in [
            &*watch.path(name).to_string_lossy(),
            "ermission",
            "let the user",
        ] {
            assert!(refused.message.contains(part), "{part}: {refused}");
        }
        watch.restart();
    }
    let gone = std::mem::replace(&mut watch.directory, TempDir::new().unwrap());
    let path = gone.path().to_owned();
    gone.close().unwrap();
    let missing = watch.look().unwrap_err();
    assert!(
        missing.message.contains(&*path.to_string_lossy()),
        "{missing}"
    );
}

#[test]
fn a_monitor_sleeps_between_two_looks() {
    let mut watch = plain();
    watch.look().unwrap();
    let mut out = Records::<Split> {
        left: 10,
        kept: Vec::new(),
    };
    for _ in 0..10 {
        let watcher = &mut watch.watcher;
        let status = watch.around.turn(1000, |cx| watcher.poll(&mut out, cx));
        assert_eq!(status.unwrap(), SourceStatus::Waiting);
    }
    assert!(!watch.around.reactor.poll_all(), "nothing was asked");
    assert_eq!(watch.around.timers.len(), 1);
}
