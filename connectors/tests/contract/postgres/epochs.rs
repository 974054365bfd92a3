//! Under checkpoints: killed at any moment and restored, at another parallelism too.

use thalweg_dataflow::sink::{Sink, SinkWriter};

use super::{fill, numbers, shared};
use crate::epochs::{Attempt, COUNT, Complete, play};
use thalweg_connectors::postgres::PostgresSink;

fn all() -> Vec<u64> {
    (0..COUNT).collect()
}

#[test]
fn every_row_is_there_once_however_often_the_job_is_killed() {
    let Some(server) = shared() else {
        return;
    };
    for seed in 1..9 {
        let scene = format!("scene{seed}");
        server.database(&scene);
        let parallelism = |dice: &mut crate::reactor::Dice| 1 + dice.below(3) as u32;
        if seed % 2 == 0 {
            // The process is killed each time: nothing is known but what the checkpoint holds.
            let make = || numbers(&server, &scene).named("numbers").exclusive();
            play(make, parallelism, seed);
        } else {
            let sink = numbers(&server, &scene);
            play(|| sink.clone(), parallelism, seed);
        }
        assert_eq!(server.numbers(&scene), all(), "seed {seed}");
        assert_eq!(server.prepared(&scene), Vec::<String>::new(), "seed {seed}");
        let writers = "select count(*) from thalweg_ledger group by attempt, subtask";
        let rows = server.ask(&scene, writers);
        assert!(rows.iter().all(|rows| rows == "1"), "seed {seed}: {rows:?}");
    }
}

/// Turns an attempt until its next checkpoint is complete.
fn completed<W: SinkWriter<u64>>(attempt: &mut Attempt<W>, checkpoint: u64) -> Complete {
    attempt.barrier(checkpoint);
    for _ in 0..crate::drive::MOST_TURNS {
        attempt.turn(true);
        if let Some(complete) = attempt.complete() {
            return complete;
        }
    }
    panic!("the checkpoint is stuck");
}

/// Writes so many records more.
fn written<W: SinkWriter<u64>>(attempt: &mut Attempt<W>, records: usize) {
    for _ in 0..records {
        attempt.write(1);
    }
}

#[test]
fn what_a_dead_attempt_left_prepared_is_rolled_back_by_the_next_and_nothing_else() {
    let Some(server) = shared() else {
        return;
    };
    server.database("leftovers");
    let sink_of = |name: &str| numbers(&server, "leftovers").named(name);
    let other = sink_of("other");
    other.prepare(1).unwrap();
    let mut of_other = Attempt::start(&other, &Complete::default(), 1, 1);
    written(&mut of_other, 10);
    let of_other = completed(&mut of_other, 1);

    // One writer, then three, then two; each time a checkpoint completes and is not committed, and of the
    // next some is prepared when the process is killed.
    let mut from = Complete::default();
    let mut former = Vec::new();
    for (round, writers) in [1, 3, 2].into_iter().enumerate() {
        let sink = sink_of("numbers");
        sink.committer()
            .unwrap()
            .commit(&from.committables)
            .unwrap();
        sink.prepare(writers).unwrap();
        let mut attempt = Attempt::start(&sink, &from, writers, 3);
        written(&mut attempt, 50);
        let next = completed(&mut attempt, 10 * round as u64 + 1);
        assert_eq!(next.committables.len(), writers as usize);
        // What the attempt before left is gone by now.
        let prepared = server.prepared("leftovers");
        let left: Vec<_> = former.iter().filter(|gid| prepared.contains(gid)).collect();
        assert_eq!(left, Vec::<&String>::new());
        assert_eq!(prepared.len(), 1 + writers as usize);
        written(&mut attempt, 50);
        completed(&mut attempt, 10 * round as u64 + 2);
        former = server.prepared("leftovers");
        assert_eq!(former.len(), 1 + 2 * writers as usize);
        former.retain(|gid| !gid.starts_with("thalweg:other:"));
        from = next;
        from.state.rotate_left(round);
    }
    let sink = sink_of("numbers");
    sink.committer()
        .unwrap()
        .commit(&from.committables)
        .unwrap();
    sink.prepare(1).unwrap();
    let mut attempt = Attempt::start(&sink, &from, 1, 3);
    written(&mut attempt, 50);
    let last = completed(&mut attempt, 40);
    sink.committer()
        .unwrap()
        .commit(&last.committables)
        .unwrap();
    assert_eq!(server.numbers("leftovers"), (0..200).collect::<Vec<_>>());
    // That of the other sink is as it was.
    other
        .committer()
        .unwrap()
        .commit(&of_other.committables)
        .unwrap();
    assert_eq!(server.prepared("leftovers"), Vec::<String>::new());
}

#[test]
fn an_abort_leaves_what_a_checkpoint_may_list() {
    let Some(server) = shared() else {
        return;
    };
    server.database("listed");
    let sink = numbers(&server, "listed");
    sink.prepare(1).unwrap();
    let mut attempt = Attempt::start(&sink, &Complete::default(), 1, 3);
    written(&mut attempt, 10);
    let complete = completed(&mut attempt, 1);
    drop(attempt);
    let mut committer = sink.committer().unwrap();
    committer.abort(&[]).unwrap();
    assert_eq!(server.prepared("listed").len(), 1);
    committer.commit(&complete.committables).unwrap();
    assert_eq!(server.numbers("listed"), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_job_that_starts_from_nothing_leaves_what_others_prepared_unless_it_is_alone() {
    let Some(server) = shared() else {
        return;
    };
    server.database("alone");
    let begin = |sink: &PostgresSink<u64, fn(&u64, &mut super::Row<'_>)>| {
        sink.prepare(1).unwrap();
        let mut attempt = Attempt::start(sink, &Complete::default(), 1, 3);
        written(&mut attempt, 10);
        completed(&mut attempt, 1);
    };
    let sink = || {
        let address = server.address("alone");
        let fill: fn(&u64, &mut super::Row<'_>) = fill;
        PostgresSink::new(&address, "numbers", &["n", "word"], fill).named("alone")
    };
    begin(&sink());
    begin(&sink());
    assert_eq!(server.prepared("alone").len(), 2);
    begin(&sink().exclusive());
    let left = server.prepared("alone");
    assert_eq!(left.len(), 1, "{left:?}");
    server.ask("alone", &format!("rollback prepared '{}'", left[0]));
}
