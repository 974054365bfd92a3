//! Every sink: what is visible when, and what an abort leaves.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use thalweg_connectors::{
    Collect, Debugged, Discard, Displayed, ForEach, Formatted, Print, TextFile,
};
use thalweg_core::ErrorKind;
use thalweg_dataflow::sink::{Committable, Sink, SinkError};
use thalweg_memory::record::Str;

use crate::drive::{Surroundings, subtask, write};

pub(crate) type Pair = (String, u64);

pub(crate) fn pairs(count: u64) -> Vec<Pair> {
    (0..count).map(|i| (format!("word{i}"), i)).collect()
}

pub(crate) fn lines(count: u64) -> String {
    (0..count).map(|i| format!("(word{i},{i})\n")).collect()
}

pub(crate) fn all_names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn visible_names(directory: &Path) -> Vec<String> {
    let mut names = all_names(directory);
    names.retain(|name| !name.starts_with('.'));
    names
}

/// Writes `count` pairs in each of `parallelism` subtasks; answers what was prepared.
fn write_all(
    sink: &TextFile,
    parallelism: u32,
    count: u64,
    seed: u64,
) -> Result<Vec<Committable>, SinkError> {
    <TextFile as Sink<Pair>>::prepare(sink, parallelism)?;
    let mut prepared = Vec::new();
    for index in 0..parallelism {
        let info = subtask(index, parallelism, 100);
        let mut around = Surroundings::new(seed);
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

fn commit(sink: &TextFile, prepared: &[Committable]) -> Result<(), SinkError> {
    let committer = <TextFile as Sink<Pair>>::committer(sink);
    committer.unwrap().commit(prepared)
}

fn abort(sink: &TextFile, prepared: &[Committable]) {
    let committer = <TextFile as Sink<Pair>>::committer(sink);
    committer.unwrap().abort(prepared).unwrap();
}

#[test]
fn one_subtask_writes_one_file_seen_only_when_committed() {
    for (seed, count) in [(1, 0), (2, 1), (3, 50_000), (4, 50_000)] {
        let directory = TempDir::new().unwrap();
        let sink = TextFile::new(directory.path().join("out/words.txt"));
        let prepared = write_all(&sink, 1, count, seed).unwrap();
        let out = directory.path().join("out");
        assert_eq!(visible_names(&out), Vec::<String>::new());
        for again in 0..3 {
            commit(&sink, &prepared).unwrap();
            assert_eq!(all_names(&out), ["words.txt"], "commit {again}");
            let written = fs::read_to_string(out.join("words.txt")).unwrap();
            assert!(written == lines(count), "commit {again}");
        }
        abort(&sink, &[]);
        assert_eq!(all_names(&out), ["words.txt"], "what is committed stays");
    }
}

#[test]
fn several_subtasks_write_a_directory() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("words");
    let sink = TextFile::new(&out);
    let prepared = write_all(&sink, 3, 100, 7).unwrap();
    assert_eq!(visible_names(&out), Vec::<String>::new());
    // A commit that was interrupted, then done again.
    commit(&sink, &prepared[..1]).unwrap();
    assert_eq!(visible_names(&out), ["part-0"]);
    commit(&sink, &prepared).unwrap();
    assert_eq!(all_names(&out), ["part-0", "part-1", "part-2"]);
    for part in all_names(&out) {
        assert_eq!(fs::read_to_string(out.join(part)).unwrap(), lines(100));
    }
}

#[test]
fn an_abort_leaves_nothing_also_of_writers_that_failed() {
    for parallelism in [1, 3] {
        let directory = TempDir::new().unwrap();
        let sink = TextFile::new(directory.path().join("words"));
        let prepared = write_all(&sink, parallelism, 100, 7).unwrap();
        assert!(!prepared.is_empty());
        // As if all but the first had failed: only it is listed.
        abort(&sink, &prepared[..1]);
        assert_eq!(all_names(directory.path()), Vec::<String>::new());
        abort(&sink, &prepared);
    }
}

#[test]
fn attempts_at_one_path_do_not_meet() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("words");
    let (first, second) = (TextFile::new(&path), TextFile::new(&path));
    let of_first = write_all(&first, 1, 10, 1).unwrap();
    let of_second = write_all(&second, 1, 20, 1).unwrap();
    assert_ne!(of_first, of_second);
    commit(&second, &of_second).unwrap();
    let refused = commit(&first, &of_first).unwrap_err();
    assert!(refused.message.contains("has appeared"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), lines(20));
    abort(&first, &of_first);
    assert_eq!(all_names(directory.path()), ["words"]);
}

#[test]
fn what_is_there_is_refused_or_replaced_when_asked() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("words");
    fs::write(&path, "before").unwrap();
    let refused = write_all(&TextFile::new(&path), 1, 10, 1).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    assert!(refused.message.contains(".overwrite()"), "{refused}");
    let refused = write_all(&TextFile::new(&path).overwrite(), 2, 10, 1).unwrap_err();
    assert!(refused.message.contains("is a file"), "{refused}");
    let sink = TextFile::new(&path).overwrite();
    let prepared = write_all(&sink, 1, 10, 1).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    commit(&sink, &prepared).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), lines(10));
    assert_eq!(all_names(directory.path()), ["words"]);
}

#[test]
fn a_directory_that_is_not_empty_is_refused_or_its_parts_replaced() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for name in ["part-0", "part-7", "part-x", "notes"] {
        fs::write(path.join(name), "before").unwrap();
    }
    let refused = write_all(&TextFile::new(path), 2, 10, 1).unwrap_err();
    assert!(refused.message.contains("not empty"), "{refused}");
    let refused = write_all(&TextFile::new(path), 1, 10, 1).unwrap_err();
    assert!(refused.message.contains("is a directory"), "{refused}");
    let sink = TextFile::new(path).overwrite();
    let prepared = write_all(&sink, 2, 10, 1).unwrap();
    assert_eq!(fs::read_to_string(path.join("part-0")).unwrap(), "before");
    commit(&sink, &prepared).unwrap();
    assert_eq!(all_names(path), ["notes", "part-0", "part-1", "part-x"]);
    assert_eq!(fs::read_to_string(path.join("part-0")).unwrap(), lines(10));
}

#[test]
fn a_lost_or_changed_pending_file_is_not_published() {
    let directory = TempDir::new().unwrap();
    let sink = TextFile::new(directory.path().join("words"));
    let prepared = write_all(&sink, 1, 10, 1).unwrap();
    let pending = directory.path().join(".words.1.pending");
    fs::write(&pending, "less").unwrap();
    let refused = commit(&sink, &prepared).unwrap_err();
    assert!(refused.message.contains("changed"), "{refused}");
    fs::remove_file(&pending).unwrap();
    let refused = commit(&sink, &prepared).unwrap_err();
    assert!(refused.message.contains("is gone"), "{refused}");
    assert_eq!(all_names(directory.path()), Vec::<String>::new());
    fs::write(directory.path().join("words"), "another's").unwrap();
    let refused = commit(&sink, &prepared).unwrap_err();
    assert!(refused.message.contains("has 9 bytes"), "{refused}");
}

#[test]
fn a_full_disk_is_told_with_path_bytes_and_free_space() {
    let directory = TempDir::new().unwrap();
    let sink = TextFile::new(directory.path().join("words"));
    <TextFile as Sink<Pair>>::prepare(&sink, 1).unwrap();
    let mut around = Surroundings::new(1);
    around.reactor.room = Some(100_000);
    let info = subtask(0, 1, 100);
    let full = write::<Pair, _>(&sink, &info, pairs(50_000), &mut around, 1).unwrap_err();
    assert_eq!(full.kind, ErrorKind::Resource);
    for part in ["words`", "bytes are free", "free space there", "after "] {
        assert!(full.message.contains(part), "{part}: {full}");
    }
    abort(&sink, &[]);
    assert_eq!(all_names(directory.path()), Vec::<String>::new());
}

#[test]
fn a_writer_holds_back_while_its_buffers_are_full() {
    use thalweg_core::event_time::Timestamp;
    use thalweg_dataflow::sink::{SinkStatus, SinkWriter};
    use thalweg_dataflow::task::InputStatus;

    let directory = TempDir::new().unwrap();
    let sink = TextFile::new(directory.path().join("words"));
    <TextFile as Sink<Str>>::prepare(&sink, 1).unwrap();
    let mut writer = <TextFile as Sink<Str>>::open(&sink, &subtask(0, 1, 100)).unwrap();
    let mut around = Surroundings::new(1);
    let mut fill = |around: &mut Surroundings| {
        let mut count = 0;
        while SinkWriter::<Str>::ready(&writer) && count < 1_000_000 {
            SinkWriter::<Str>::write(&mut writer, "sixteen letters.", Timestamp::NONE).unwrap();
            count += 1;
        }
        let status = around.turn(1000, |cx| {
            SinkWriter::<Str>::end_turn(&mut writer, cx, InputStatus::Available)
        });
        (count, status.unwrap())
    };
    let (first, status) = fill(&mut around);
    assert!(first < 20_000 && status == SinkStatus::Waiting);
    // The file is being opened: nothing can be written yet, so nothing is taken.
    assert_eq!(fill(&mut around), (0, SinkStatus::Waiting));
    for _ in 0..5 {
        around.wait();
    }
    assert_eq!(fill(&mut around).0, 0, "the turn's end makes room");
    let (second, _) = fill(&mut around);
    assert!((1..20_000).contains(&second));
    assert_eq!(
        fill(&mut around).0,
        0,
        "one write is under way, the next block is full"
    );
}

#[derive(Default)]
struct Written(Vec<Vec<u8>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn print_writes_whole_lines_with_the_subtask_when_there_are_several() {
    let written = Arc::new(Mutex::new(Written::default()));
    let print = Print::to_writer(written.clone());
    let mut around = Surroundings::new(1);
    write::<Pair, _>(&print, &subtask(0, 1, 100), pairs(100), &mut around, 1).unwrap();
    let puts = std::mem::take(&mut written.lock().unwrap().0);
    assert!(puts.len() > 1 && puts.len() < 100, "by turn, not by line");
    assert!(puts.iter().all(|put| put.ends_with(b"\n")));
    assert_eq!(String::from_utf8(puts.concat()).unwrap(), lines(100));

    let print = print.format(Debugged);
    write::<Pair, _>(&print, &subtask(1, 3, 100), pairs(1), &mut around, 1).unwrap();
    let text = written.lock().unwrap().0.concat();
    assert_eq!(text, b"2> (\"word0\", 0)\n");
}

struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_the_job_with_words() {
    let print = Print::to_writer(Arc::new(Mutex::new(ClosedPipe)));
    let mut around = Surroundings::new(1);
    let closed = write::<Pair, _>(&print, &subtask(0, 1, 100), pairs(1), &mut around, 1);
    let closed = closed.unwrap_err();
    assert_eq!(closed.kind, ErrorKind::Cancelled);
    assert!(closed.message.contains("broken pipe"), "{closed}");
}

#[test]
fn collect_gives_back_every_record_in_order() {
    let (sink, collected) = Collect::records();
    let mut around = Surroundings::new(1);
    write::<Pair, _>(&sink, &subtask(0, 1, 100), pairs(100), &mut around, 1).unwrap();
    assert_eq!(collected.len(), 100);
    assert_eq!(collected.to_vec(), pairs(100));
    assert_eq!(collected.take(), pairs(100));
    assert!(collected.is_empty());

    let (sink, lengths) = Collect::with(str::len);
    write::<Str, _>(&sink, &subtask(0, 1, 100), vec!["a", "bcd"], &mut around, 1).unwrap();
    assert_eq!(lengths.take(), [1, 3]);
}

#[test]
fn discard_and_for_each() {
    let mut around = Surroundings::new(1);
    let info = subtask(0, 1, 100);
    write::<Pair, _>(&Discard, &info, pairs(100), &mut around, 1).unwrap();
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    let sink = ForEach(move |(_, number): Pair| *count.lock().unwrap() += number);
    write::<Pair, _>(&sink, &info, pairs(100), &mut around, 1).unwrap();
    assert_eq!(*seen.lock().unwrap(), 99 * 100 / 2);
}

#[test]
fn formats() {
    let written = Arc::new(Mutex::new(Written::default()));
    let print = Print::to_writer(written.clone());
    let mut around = Surroundings::new(1);
    let info = subtask(0, 1, 100);
    let displayed = print.clone().format(Displayed);
    write::<Str, _>(&displayed, &info, vec!["shown"], &mut around, 1).unwrap();
    let own = print.format(Formatted(|(word, count): &Pair, out: &mut String| {
        out.push_str(word);
        out.push('=');
        out.push_str(&count.to_string());
    }));
    write::<Pair, _>(&own, &info, pairs(1), &mut around, 1).unwrap();
    assert_eq!(written.lock().unwrap().0.concat(), b"shown\nword0=0\n");
}
