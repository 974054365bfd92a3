//! What becomes of a commit when the server dies, when it is repeated, and when there is nothing to commit.

use std::time::Duration;

use thalweg_core::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_dataflow::sink::{Committable, Prepared, Sink, SinkError, SinkWriter};
use thalweg_dataflow::task::InputStatus;

use super::certain::Server;
use super::threads::{runtime, wait_for};
use super::{numbers, shared, write_all};
use crate::drive::{MOST_TURNS, Surroundings, subtask};
use crate::epochs::{Attempt, Complete};

fn first_hundred(_: u32) -> Vec<u64> {
    (0..100).collect()
}

#[test]
fn a_commit_outlasts_the_death_of_the_server() {
    let Some(mut server) = Server::start(8) else {
        return;
    };
    server.database("scene");
    let sink = numbers(&server, "scene");
    let prepared = write_all(&sink, 1, first_hundred).unwrap();
    // One that has a session when the server dies, and one that opens its first.
    let mut other = sink.committer().unwrap();
    let more = write_all(&numbers(&server, "scene").named("more"), 1, first_hundred).unwrap();
    other.commit(&more).unwrap();
    server.kill();
    let committing: Vec<_> = [sink.committer().unwrap(), other]
        .into_iter()
        .map(|mut committer| {
            let prepared = prepared.clone();
            runtime().spawn_blocking(move || committer.commit(&prepared))
        })
        .collect();
    server.run(8);
    for committing in committing {
        wait_for(committing).unwrap().unwrap();
    }
    assert_eq!(server.numbers("scene").len(), 200);
    assert_eq!(server.prepared("scene"), Vec::<String>::new());
}

#[test]
fn a_commit_gives_up_when_its_patience_is_at_its_end() {
    let Some(mut server) = Server::start(8) else {
        return;
    };
    server.database("scene");
    let sink = numbers(&server, "scene").patience(Duration::from_millis(300));
    let prepared = write_all(&sink, 1, first_hundred).unwrap();
    server.kill();
    let given_up = sink.committer().unwrap().commit(&prepared).unwrap_err();
    assert_eq!(given_up.kind, ErrorKind::Retry);
    assert!(given_up.message.contains("given up after"), "{given_up}");
    server.run(8);
    sink.committer().unwrap().commit(&prepared).unwrap();
    assert_eq!(server.numbers("scene").len(), 100);
}

#[test]
fn what_is_committed_already_is_told_from_what_is_lost() {
    let Some(server) = shared() else {
        return;
    };
    server.database("lost");
    let sink = numbers(&server, "lost");
    sink.prepare(1).unwrap();
    let mut attempt = Attempt::start(&sink, &Complete::default(), 1, 3);
    let mut committer = sink.committer().unwrap();
    let mut epochs: Vec<Vec<Committable>> = Vec::new();
    for checkpoint in 1..=4 {
        (0..10).for_each(|_| attempt.write(1));
        attempt.barrier(checkpoint);
        let complete = loop {
            attempt.turn(true);
            if let Some(complete) = attempt.complete() {
                break complete;
            }
        };
        if checkpoint <= 3 {
            committer.commit(&complete.committables).unwrap();
        }
        epochs.push(complete.committables);
    }
    // As a savepoint of long ago lists them: one row of the ledger tells of all.
    for epoch in &epochs[..3] {
        committer.commit(epoch).unwrap();
    }
    assert_eq!(
        server.ask("lost", "select number from thalweg_ledger"),
        ["3"]
    );
    let gid = server.prepared("lost").pop().unwrap();
    assert!(gid.ends_with(":0:4:c4"), "{gid}");
    server.ask("lost", &format!("rollback prepared '{gid}'"));
    for _ in 0..2 {
        let lost = committer.commit(&epochs[3]).unwrap_err();
        assert_eq!(lost.kind, ErrorKind::Data);
        for part in [
            gid.as_str(),
            "is lost",
            "/lost`",
            "10 rows",
            "thalweg_ledger",
        ] {
            assert!(lost.message.contains(part), "{part}: {lost}");
        }
    }
    assert_eq!(server.numbers("lost"), (0..30).collect::<Vec<_>>());
}

/// A writer that is driven by hand.
struct Driven<W> {
    writer: W,
    around: Surroundings,
}

impl<W: SinkWriter<u64>> Driven<W> {
    fn new(mut writer: W) -> Self {
        let around = Surroundings::new(1);
        writer.attach(around.futures.clone());
        Self { writer, around }
    }

    fn write(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.writer.write(number, Timestamp::NONE).unwrap();
        }
    }

    fn turn(&mut self) -> Result<Option<Prepared>, SinkError> {
        let Self { writer, around } = self;
        around.turn(1000, |cx| writer.end_turn(cx, InputStatus::Available))?;
        around.wait();
        Ok(writer.prepared())
    }

    /// Takes a checkpoint.
    fn checkpoint(&mut self, checkpoint: u64) -> Result<Prepared, SinkError> {
        self.writer.barrier(CheckpointId(checkpoint))?;
        for _ in 0..MOST_TURNS {
            if let Some(prepared) = self.turn()? {
                return Ok(prepared);
            }
        }
        panic!("the checkpoint is stuck");
    }
}

#[test]
fn a_server_that_dies_fails_the_writer_and_the_next_attempt_goes_on() {
    let Some(mut server) = Server::start(8) else {
        return;
    };
    server.database("scene");
    let sink = numbers(&server, "scene");
    sink.prepare(1).unwrap();
    let mut writer = Driven::new(sink.open(&subtask(0, 1, 100)).unwrap());
    writer.write(0..10);
    writer.checkpoint(1).unwrap();
    writer.write(10..20);
    server.kill();
    let failed = writer.checkpoint(2).unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Retry, "{failed}");
    drop(writer);
    server.run(8);
    // No checkpoint was complete: the first one's transaction is of no use.
    let prepared = write_all(&sink, 1, first_hundred).unwrap();
    sink.committer().unwrap().commit(&prepared).unwrap();
    assert_eq!(server.numbers("scene"), first_hundred(0));
    assert_eq!(server.prepared("scene"), Vec::<String>::new());
}

#[test]
fn an_attempt_that_was_only_slow_is_shut_out() {
    let Some(server) = shared() else {
        return;
    };
    server.database("slower");
    let of_slow = numbers(&server, "slower");
    of_slow.prepare(1).unwrap();
    let mut slow = Driven::new(of_slow.open(&subtask(0, 1, 100)).unwrap());
    slow.write(0..10);
    let first = slow.checkpoint(1).unwrap();
    // It has begun to copy the rows of its second epoch.
    slow.write(10..10_000);
    slow.turn().unwrap();

    let sink = numbers(&server, "slower");
    let mut committer = sink.committer().unwrap();
    committer.commit(&first.committables).unwrap();
    sink.prepare(1).unwrap();
    let restored = sink.restore(&subtask(0, 1, 100), first.state).unwrap();
    let mut writer = Driven::new(restored);
    writer.write(10..20);
    let second = writer.checkpoint(2).unwrap();
    let shut_out = slow.checkpoint(2).unwrap_err();
    assert_eq!(shut_out.kind, ErrorKind::Retry, "{shut_out}");
    // What it may still commit is what is committed already.
    let mut late = of_slow.committer().unwrap();
    late.commit(&first.committables).unwrap();
    late.abort(&[]).unwrap();
    committer.commit(&second.committables).unwrap();
    assert_eq!(server.numbers("slower"), (0..20).collect::<Vec<_>>());
    assert_eq!(server.prepared("slower"), Vec::<String>::new());
}
