//! The file sink: which files there are when, what is in them, and what an abort leaves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use thalweg_connectors::{AsLines, Buckets, DateBuckets, Encoder, FileSink, RollingPolicy, Shown};
use thalweg_core::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::sink::{Committable, Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::InputStatus;

use crate::drive::{MOST_TURNS, Surroundings, subtask, write};
use crate::sinks::{Pair, lines, pairs};

/// The paths of all files below a directory that are not hidden, or all that are; relative, sorted.
pub(crate) fn below(directory: &Path, hidden: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                left.push(path);
            } else if name.starts_with('.') == hidden {
                let path = path.strip_prefix(directory).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn visible(directory: &Path) -> Vec<String> {
    below(directory, false)
}

pub(crate) fn contents(directory: &Path) -> Vec<String> {
    let read = |name: &String| fs::read_to_string(directory.join(name)).unwrap();
    visible(directory).iter().map(read).collect()
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn write_all<E: Encoder<Pair>, B: Buckets<Pair>>(
    sink: &FileSink<Pair, E, B>,
    parallelism: u32,
    count: u64,
    seed: u64,
) -> Result<Vec<Committable>, SinkError> {
    sink.prepare(parallelism)?;
    let mut prepared = Vec::new();
    for index in 0..parallelism {
        let mut around = Surroundings::new(seed);
        let info = subtask(index, parallelism, 100);
        prepared.extend(write::<Pair, _>(
            sink,
            &info,
            pairs(count),
            &mut around,
            seed,
        )?);
        assert_eq!(around.reactor.open_handles(), 0, "closes what it opens");
    }
    Ok(prepared)
}

fn commit<I: thalweg_memory::record::Item, S: Sink<I>>(
    sink: &S,
    prepared: &[Committable],
) -> Result<(), SinkError> {
    sink.committer().unwrap().commit(prepared)
}

#[test]
fn files_appear_when_committed_and_hold_every_record_once() {
    for (seed, count, bytes) in [(1, 0, 9), (2, 1, 1), (3, 3000, 500), (4, 60_000, 200_000)] {
        let directory = TempDir::new().unwrap();
        let out = directory.path().join("in/two");
        let policy = RollingPolicy::default().at_bytes(bytes);
        let sink = FileSink::<Pair>::new(&out).rolling(policy);
        let prepared = write_all(&sink, 2, count, seed).unwrap();
        assert_eq!(visible(&out), Vec::<String>::new());
        // A commit that was interrupted, then done again and again.
        commit(&sink, &prepared[..prepared.len() / 2]).unwrap();
        for _ in 0..2 {
            commit(&sink, &prepared).unwrap();
            assert_eq!(visible(&out).len(), prepared.len());
            assert_eq!(below(&out, true), Vec::<String>::new());
            let all = contents(&out).concat();
            let twice = lines(count).repeat(2);
            assert!(sorted_lines(&all) == sorted_lines(&twice), "seed {seed}");
        }
        for text in contents(&out) {
            let last = text.lines().last().map_or(0, |line| line.len() + 1);
            assert!(text.ends_with('\n'), "whole lines");
            assert!(
                text.len() - last < bytes as usize,
                "the record that reaches the size is the last"
            );
        }
        sink.committer().unwrap().abort(&[]).unwrap();
        if count > 0 {
            assert_eq!(
                visible(&out).len(),
                prepared.len(),
                "what is committed stays"
            );
        }
    }
}

#[test]
fn buckets_are_directories_and_names_are_chosen() {
    let directory = TempDir::new().unwrap();
    let sink = FileSink::<Pair>::new(directory.path())
        .rolling(RollingPolicy::at_checkpoints())
        .encoder(AsLines::new(Shown).header("word,number"))
        .bucket_by(|(_, number), bucket| {
            bucket.push_str(["", "odd numbers", "deep/deeper"][*number as usize % 3]);
        })
        .names("words", ".csv");
    let prepared = write_all(&sink, 1, 300, 5).unwrap();
    commit(&sink, &prepared).unwrap();
    let names = visible(directory.path());
    assert_eq!(names.len(), 3);
    for (name, (start, first)) in names.iter().zip([
        ("deep/deeper/words-", "(word2,2)"),
        ("odd numbers/words-", "(word1,1)"),
        ("words-", "(word0,0)"),
    ]) {
        assert!(name.starts_with(start) && name.ends_with(".csv"), "{name}");
        let text = fs::read_to_string(directory.path().join(name)).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("word,number"));
        assert_eq!(lines.next(), Some(first));
        assert_eq!(lines.count(), 99);
    }
}

#[test]
fn a_bucket_outside_and_a_hidden_prefix_are_refused() {
    let directory = TempDir::new().unwrap();
    let sink = FileSink::<Pair>::new(directory.path()).bucket_by(|_, out| out.push_str("../x"));
    let refused = write_all(&sink, 1, 1, 1).unwrap_err();
    assert!(refused.message.contains("bucket `../x`"), "{refused}");
    sink.committer().unwrap().abort(&[]).unwrap();
    for prefix in ["", ".part", "_part", "a/b"] {
        let sink = FileSink::<Pair>::new(directory.path()).names(prefix, "");
        let refused = sink.prepare(1).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid, "{refused}");
    }
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = FileSink::<Pair>::new(&file).prepare(1).unwrap_err();
    assert!(refused.message.contains("is a file"), "{refused}");
}

#[test]
fn an_abort_leaves_nothing_of_this_attempt_and_all_of_others() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("out");
    let bucketed = || {
        FileSink::<Pair>::new(&out).bucket_by(|(_, number), bucket| {
            bucket.push_str(["", "a", "b/c"][*number as usize % 3]);
        })
    };
    let (first, second) = (bucketed(), bucketed());
    let of_first = write_all(&first, 2, 30, 1).unwrap();
    let of_second = write_all(&second, 2, 30, 2).unwrap();
    assert_eq!(below(&out, true).len(), of_first.len() + of_second.len());
    // As if all but one of its writers had failed.
    second.committer().unwrap().abort(&of_second[..1]).unwrap();
    assert_eq!(below(&out, true).len(), of_first.len());
    commit(&first, &of_first).unwrap();
    let all = contents(&out).concat();
    assert!(sorted_lines(&all) == sorted_lines(&lines(30).repeat(2)));

    let alone = FileSink::<Pair>::new(directory.path().join("alone"));
    write_all(&alone, 1, 30, 1).unwrap();
    alone.committer().unwrap().abort(&[]).unwrap();
    assert!(!directory.path().join("alone").exists());
}

#[test]
fn a_full_disk_is_told_with_path_bytes_and_free_space() {
    let directory = TempDir::new().unwrap();
    let sink = FileSink::<Pair>::new(directory.path());
    sink.prepare(1).unwrap();
    let mut around = Surroundings::new(1);
    around.reactor.room = Some(100_000);
    let info = subtask(0, 1, 100);
    let full = write::<Pair, _>(&sink, &info, pairs(50_000), &mut around, 1).unwrap_err();
    assert_eq!(full.kind, ErrorKind::Resource);
    for part in ["part-", "bytes are free", "free space there", "after "] {
        assert!(full.message.contains(part), "{part}: {full}");
    }
    sink.committer().unwrap().abort(&[]).unwrap();
    assert_eq!(below(directory.path(), true), Vec::<String>::new());
}

/// A writer under a clock of its own.
struct Timed<W> {
    writer: W,
    around: Surroundings,
}

impl<W: SinkWriter<u64>> Timed<W> {
    /// Writes numbers and lets everything come to rest.
    fn write(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let at = Timestamp(number as i64);
            self.writer.write(number, at).unwrap();
        }
        self.rest(InputStatus::Idle);
    }

    fn rest(&mut self, input: InputStatus) {
        for _ in 0..MOST_TURNS {
            let writer = &mut self.writer;
            let status = self.around.turn(1000, |cx| writer.end_turn(cx, input));
            match status.unwrap() {
                SinkStatus::Done => return,
                SinkStatus::Waiting => assert!(self.around.reactor.poll_all()),
            }
        }
        panic!("the writer is stuck");
    }

    fn pass(&mut self, seconds: u64) {
        let clock = &self.around.reactor.clock;
        clock.set(clock.get() + seconds * 1_000_000_000);
        let now = clock.get();
        self.around.timers.expire(now);
        self.rest(InputStatus::Idle);
    }

    fn end(mut self) -> Vec<Committable> {
        self.rest(InputStatus::Ended);
        self.writer.prepared().unwrap().committables
    }
}

fn timed<B: Buckets<u64>>(
    sink: &FileSink<u64, AsLines, B>,
) -> Timed<<FileSink<u64, AsLines, B> as Sink<u64>>::Writer> {
    sink.prepare(1).unwrap();
    Timed {
        writer: sink.open(&subtask(0, 1, 100)).unwrap(),
        around: Surroundings::new(9),
    }
}

#[test]
fn a_file_is_ended_by_its_age_or_when_nothing_comes() {
    let directory = TempDir::new().unwrap();
    let policy = RollingPolicy::default()
        .every(Duration::from_secs(60))
        .after_inactivity(Duration::from_secs(10));
    let sink = FileSink::<u64>::new(directory.path()).rolling(policy);
    let mut timed = timed(&sink);
    timed.pass(1000);
    timed.write([1]);
    for second in 1..8 {
        timed.pass(9);
        timed.write([second * 9]);
    }
    // 63 seconds: the first file was ended at 60, before the last record.
    assert_eq!(timed.around.timers.len(), 1, "one timer at a time");
    timed.pass(10);
    assert_eq!(timed.around.timers.len(), 0, "nothing is open");
    timed.write([100]);
    let prepared = timed.end();
    commit(&sink, &prepared).unwrap();
    assert_eq!(
        contents(directory.path()),
        ["1\n9\n18\n27\n36\n45\n54\n", "63\n", "100\n"]
    );
}

#[test]
fn event_time_chooses_the_bucket_and_the_least_used_file_makes_room() {
    let directory = TempDir::new().unwrap();
    let sink = FileSink::<u64>::new(directory.path())
        .rolling(RollingPolicy::at_checkpoints().at_most_open(2))
        .buckets(DateBuckets::hourly());
    let mut timed = timed(&sink);
    const HOUR: u64 = 3_600_000;
    timed.write([0, HOUR, 1, 2 * HOUR, 2, HOUR + 1]);
    let prepared = timed.end();
    commit(&sink, &prepared).unwrap();
    let hours = [
        "1970-01-01--00/",
        "1970-01-01--01/",
        "1970-01-01--01/",
        "1970-01-01--02/",
    ];
    for (name, hour) in visible(directory.path()).iter().zip(hours) {
        assert!(name.starts_with(hour), "{name}");
    }
    assert_eq!(
        contents(directory.path()),
        ["0\n1\n2\n", "3600000\n", "3600001\n", "7200000\n"]
    );
}
