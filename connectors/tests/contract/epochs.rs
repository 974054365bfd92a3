//! Sinks under checkpoints: killed at any moment and restored, they show every record exactly once.
//!
//! The job is played by dice: it writes consecutive numbers over some writers, takes checkpoints, commits
//! those that are complete or is killed before it does, and goes on from the last complete one, maybe with
//! another number of writers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use thalweg_connectors::{FileSink, RollingPolicy, TextFile};
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_dataflow::sink::{Committable, Epoch, Prepared, Sink, SinkStatus, SinkWriter};
use thalweg_dataflow::task::InputStatus;

use crate::drive::{MOST_TURNS, Surroundings, subtask};
use crate::reactor::Dice;
use crate::rolling::{below, contents};

pub(crate) const COUNT: u64 = 600;

/// A complete checkpoint: the first number that is not in it, and what its metadata holds.
#[derive(Default)]
pub(crate) struct Complete {
    pub(crate) next: u64,
    pub(crate) committables: Vec<Committable>,
    pub(crate) state: Vec<Vec<u8>>,
}

/// The epoch of one checkpoint: the first number behind it, and what the writers have answered.
struct Pending {
    next: u64,
    answers: Vec<Prepared>,
}

/// One attempt of the job.
pub(crate) struct Attempt<W> {
    writers: Vec<(W, Surroundings)>,
    next: u64,
    open: BTreeMap<u64, Pending>,
    /// What was prepared after the end.
    last: Vec<Prepared>,
}

impl<W: SinkWriter<u64>> Attempt<W> {
    pub(crate) fn start<S: Sink<u64, Writer = W>>(
        sink: &S,
        from: &Complete,
        writers: u32,
        seed: u64,
    ) -> Self {
        let mut dealt: Vec<Vec<Vec<u8>>> = (0..writers).map(|_| Vec::new()).collect();
        for (index, item) in from.state.iter().cloned().enumerate() {
            dealt[index % writers as usize].push(item);
        }
        let open = |(index, state)| {
            let info = subtask(index, writers, 100);
            let mut around = Surroundings::new(seed + u64::from(index));
            around.reactor.portion = 1 << (3 + seed % 12);
            let mut writer = sink.restore(&info, state).unwrap();
            writer.attach(around.futures.clone());
            (writer, around)
        };
        Attempt {
            writers: (0..).zip(dealt).map(open).collect(),
            next: from.next,
            open: BTreeMap::new(),
            last: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, at_most: usize) {
        for _ in 0..at_most {
            let at = self.next as usize % self.writers.len();
            let (writer, _) = &mut self.writers[at];
            if self.next == COUNT || !writer.ready() {
                return;
            }
            writer.write(self.next, Timestamp::NONE).unwrap();
            self.next += 1;
        }
    }

    pub(crate) fn barrier(&mut self, checkpoint: u64) {
        for (writer, _) in &mut self.writers {
            let answer = writer.barrier(CheckpointId(checkpoint)).unwrap();
            assert_eq!(answer, Epoch::Preparing);
        }
        let (next, answers) = (self.next, Vec::new());
        self.open.insert(checkpoint, Pending { next, answers });
    }

    /// A turn of every writer; answers whether all have ended.
    pub(crate) fn turn(&mut self, idle: bool) -> bool {
        let input = match (self.next == COUNT, idle) {
            (true, _) => InputStatus::Ended,
            (_, true) => InputStatus::Idle,
            (_, false) => InputStatus::Available,
        };
        let mut ended = true;
        for (writer, around) in &mut self.writers {
            let status = around.turn(1000, |cx| writer.end_turn(cx, input)).unwrap();
            ended &= status == SinkStatus::Done && input == InputStatus::Ended;
            if status == SinkStatus::Waiting {
                around.wait();
            }
            while let Some(prepared) = writer.prepared() {
                match prepared.checkpoint {
                    Some(CheckpointId(number)) => {
                        let open = self.open.get_mut(&number).expect("answered once");
                        open.answers.push(prepared);
                    }
                    None => self.last.push(prepared),
                }
            }
        }
        ended
    }

    /// The next checkpoint that all writers have answered.
    pub(crate) fn complete(&mut self) -> Option<Complete> {
        let (number, first) = self.open.first_key_value()?;
        let number = *number;
        if first.answers.len() < self.writers.len() {
            return None;
        }
        let Pending { next, answers } = self.open.remove(&number)?;
        let mut complete = Complete {
            next,
            ..Complete::default()
        };
        for answer in answers {
            complete.committables.extend(answer.committables);
            complete.state.extend(answer.state);
        }
        Some(complete)
    }
}

/// Plays the job to its end.
pub(crate) fn play<S: Sink<u64>>(
    make: impl Fn() -> S,
    writers: impl Fn(&mut Dice) -> u32,
    seed: u64,
) {
    let mut dice = Dice::new(seed);
    let (mut from, mut checkpoint) = (Complete::default(), 0);
    'attempts: for attempt in 0.. {
        let sink = make();
        let writers = writers(&mut dice);
        sink.prepare(writers).unwrap();
        let mut committer = sink.committer().unwrap();
        committer.commit(&from.committables).unwrap();
        let mut running = Attempt::start(&sink, &from, writers, seed + attempt);
        for _ in 0..MOST_TURNS {
            if dice.below(40 + 10 * attempt as usize) == 0 {
                continue 'attempts;
            }
            running.write(dice.below(30));
            if dice.below(8) == 0 && running.next < COUNT {
                checkpoint += 1;
                running.barrier(checkpoint);
            }
            let ended = running.turn(dice.below(2) == 0);
            while let Some(complete) = running.complete() {
                from = complete;
                // Killed between the two, it is committed by the next attempt.
                if dice.below(12) == 0 {
                    continue 'attempts;
                }
                committer.commit(&from.committables).unwrap();
            }
            if ended {
                let last = std::mem::take(&mut running.last);
                let last: Vec<_> = last.into_iter().flat_map(|one| one.committables).collect();
                committer.commit(&last).unwrap();
                return;
            }
        }
        panic!("the job is stuck");
    }
}

fn numbers(texts: &[String]) -> Vec<u64> {
    let lines = texts.iter().flat_map(|text| text.lines());
    let mut numbers: Vec<u64> = lines.map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn all() -> Vec<u64> {
    (0..COUNT).collect()
}

#[test]
fn files_that_roll() {
    // Every part is synced, and so is its directory: that takes its time.
    for seed in 1..12 {
        let directory = TempDir::new().unwrap();
        let make = || {
            FileSink::<u64>::new(directory.path())
                .bucket_by(|number, bucket| bucket.push_str(["", "a", "b/c"][*number as usize % 3]))
                .rolling(RollingPolicy::default().at_bytes(300))
        };
        play(make, |dice| 1 + dice.below(3) as u32, seed);
        assert_eq!(numbers(&contents(directory.path())), all(), "seed {seed}");
    }
}

#[test]
fn one_text_file() {
    for seed in 1..40 {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("numbers");
        play(|| TextFile::new(&path), |_| 1, seed);
        let text = fs::read_to_string(&path).unwrap();
        let whole: String = all().iter().map(|number| format!("{number}\n")).collect();
        assert!(text == whole, "seed {seed}");
    }
}

#[test]
fn a_directory_of_text_files() {
    for seed in 1..40 {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("numbers");
        play(
            || TextFile::new(&path),
            |dice| 2 + dice.below(2) as u32,
            seed,
        );
        assert_eq!(numbers(&contents(&path)), all(), "seed {seed}");
    }
}

/// Runs an attempt of one writer to its first complete checkpoint and some records beyond, then kills it.
fn killed<S: Sink<u64>>(sink: &S) -> Complete {
    sink.prepare(1).unwrap();
    let mut attempt = Attempt::start(sink, &Complete::default(), 1, 3);
    attempt.write(100);
    attempt.barrier(1);
    let complete = loop {
        attempt.write(1);
        attempt.turn(true);
        if let Some(complete) = attempt.complete() {
            break complete;
        }
    };
    attempt.write(50);
    attempt.barrier(2);
    (0..50).for_each(|_| {
        attempt.turn(true);
    });
    complete
}

fn hidden(directory: &Path) -> usize {
    below(directory, true).len()
}

#[test]
fn what_a_killed_attempt_left_behind_is_removed_by_the_next_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let other = FileSink::<u64>::new(directory.path());
    let of_other = killed(&other);
    let in_progress = hidden(directory.path());
    let make = || {
        FileSink::<u64>::new(directory.path()).bucket_by(|n, out| {
            out.push_str(["a", "b/c"][*n as usize % 2]);
        })
    };
    let complete = killed(&make());
    assert_eq!((complete.next, complete.committables.len()), (100, 2));
    assert!(hidden(directory.path()) >= in_progress + 4);

    let sink = make();
    sink.prepare(2).unwrap();
    let mut attempt = Attempt::start(&sink, &complete, 2, 4);
    (0..200).for_each(|_| {
        attempt.turn(true);
    });
    // Those of the checkpoint, which was not committed yet, and those of others are still there.
    assert_eq!(hidden(directory.path()), in_progress + 2);
    sink.committer()
        .unwrap()
        .commit(&complete.committables)
        .unwrap();
    assert_eq!(
        numbers(&contents(directory.path())),
        (0..100).collect::<Vec<_>>()
    );
    other
        .committer()
        .unwrap()
        .commit(&of_other.committables)
        .unwrap();
}

#[test]
fn an_abort_leaves_what_a_checkpoint_may_list_and_removes_it_when_it_is_listed() {
    let directory = TempDir::new().unwrap();
    let sink = FileSink::<u64>::new(directory.path());
    let complete = killed(&sink);
    let mut committer = sink.committer().unwrap();
    committer.abort(&[]).unwrap();
    committer.commit(&complete.committables).unwrap();
    assert_eq!(
        numbers(&contents(directory.path())),
        (0..100).collect::<Vec<_>>()
    );

    let path = directory.path().join("text");
    let sink = TextFile::new(&path);
    let complete = killed(&sink);
    <TextFile as Sink<u64>>::committer(&sink)
        .unwrap()
        .abort(&[])
        .unwrap();
    let sink = TextFile::new(&path);
    <TextFile as Sink<u64>>::prepare(&sink, 1).unwrap();
    let restored = Attempt::start(&sink, &complete, 1, 1);
    assert_eq!(restored.next, 100);
}

/// A reader moves what is visible away, and the job goes on from a checkpoint that lists it.
#[test]
fn files_that_were_moved_away_are_told_from_lost_ones_where_that_is_said() {
    let directory = TempDir::new().unwrap();
    let sink = FileSink::<u64>::new(directory.path());
    let complete = killed(&sink);
    let mut committer = sink.committer().unwrap();
    committer.commit(&complete.committables).unwrap();
    let names = below(directory.path(), false);
    let (moved, part) = ("moved", directory.path().join(&names[0]));
    std::fs::rename(&part, directory.path().join(moved)).unwrap();
    let refused = committer.commit(&complete.committables).unwrap_err();
    let refused = refused.to_string();
    for word in [&*names[0], "files_may_be_moved"] {
        assert!(refused.contains(word), "{refused}");
    }
    let sink = sink.files_may_be_moved();
    let mut committer = sink.committer().unwrap();
    committer.commit(&complete.committables).unwrap();
    // What is there and is not what was written is damage all the same.
    std::fs::write(&part, "x").unwrap();
    committer.commit(&complete.committables).unwrap_err();
}

#[test]
fn state_that_does_not_fit_is_refused_in_words() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("text");
    let sink = TextFile::new(&path);
    let complete = killed(&sink);
    let sink = TextFile::new(directory.path().join("texts"));
    <TextFile as Sink<u64>>::prepare(&sink, 2).unwrap();
    let refused = <TextFile as Sink<u64>>::restore(&sink, &subtask(0, 2, 100), complete.state);
    let refused = refused.map(|_| ()).unwrap_err();
    assert!(refused.message.contains("by one subtask"), "{refused}");
    let sink = FileSink::<u64>::new(directory.path());
    sink.prepare(1).unwrap();
    let refused = sink.restore(&subtask(0, 1, 100), vec![vec![9; 21]]);
    let refused = refused.map(|_| ()).unwrap_err();
    assert!(refused.message.contains("another version"), "{refused}");
}
