//! Who leads a job's checkpoints when several processes try, over a store that fails.

use std::collections::BTreeMap;
use std::thread;

use proptest::test_runner::{Config, TestRunner};
use thalweg_core::ids::{CheckpointId, JobId};

use super::*;
use crate::checkpoint::home::pointer::{self, Pointer};
use crate::checkpoint::home::{Ended, FindError, JobLayout, find, take_over};
use crate::checkpoint::metadata::facts::MetadataFacts;
use crate::checkpoint::metadata::{CheckpointKind, CheckpointMetadata, encode};
use crate::checkpoint::storage::{StorageCommand, perform};

const LEADERS: usize = 4;
/// How often each of them says that a checkpoint of its is the newest.
const POINTS: u64 = 6;

fn layout() -> JobLayout {
    JobLayout::new(&place("checkpoints"), JobId(7))
}

/// A process that leads until it is told that it does not, or that nobody knows. Answers the pointers of which it was
/// told that it created them.
fn lead(mut storage: ObjectStorage) -> Vec<Pointer> {
    let (mut pointers, home) = (Vec::new(), layout().home().clone());
    let Ok(takeover) = take_over(&mut storage, &layout(), 1) else {
        return pointers;
    };
    let leadership = takeover.leadership;
    pointers.push(Pointer {
        sequence: leadership.sequence,
        term: leadership.term,
        next: takeover.next,
        newest: None,
        savepoint: None,
        ended: None,
    });
    for step in 1..=POINTS {
        let own = Pointer {
            sequence: leadership.sequence + step,
            term: leadership.term,
            next: CheckpointId(takeover.next.0 + step),
            newest: None,
            savepoint: None,
            ended: None,
        };
        match pointer::create(
            &mut storage,
            &home,
            &own,
            Some(leadership.sequence + step - 1),
        ) {
            Ok(()) => pointers.push(own),
            Err(error) => {
                let expected = [
                    StorageErrorKind::AlreadyThere,
                    StorageErrorKind::Overtaken,
                    StorageErrorKind::Unknown,
                    StorageErrorKind::Uncertain,
                ];
                assert!(expected.contains(&error.kind), "{error}");
                return pointers;
            }
        }
    }
    pointers
}

/// Several processes at once, each with faults of its own.
#[allow(
    clippy::disallowed_methods,
    reason = "processes that race are threads that race"
)]
fn race(fates: Vec<Vec<Fate>>, patience: Patience) {
    let inner: Arc<InMemory> = Arc::default();
    let leaders: Vec<_> = fates
        .into_iter()
        .map(|fates| {
            let storage = storage(&Faulty::over(&inner, fates), patience);
            thread::spawn(move || lead(storage))
        })
        .collect();
    let mut claimed = BTreeMap::new();
    for (leader, led) in leaders.into_iter().enumerate() {
        for pointer in led.join().unwrap() {
            let sequence = pointer.sequence;
            let before = claimed.insert(sequence, (leader, pointer));
            assert!(before.is_none(), "{sequence} was created by two");
        }
    }
    // Attempts of two leaders have different numbers, and so have their files.
    let mut terms = BTreeMap::new();
    for (leader, pointer) in claimed.values() {
        let of = terms.entry(pointer.term).or_insert(leader);
        assert_eq!(of, &leader, "two leaders of one term");
    }
    let mut honest = storage(&Faulty::over(&inner, []), PATIENT);
    let entries = honest.list(layout().home()).unwrap();
    // What is there is what its creator was told.
    for entry in entries {
        let Some(sequence) = JobLayout::pointer_of(&entry.name) else {
            continue;
        };
        let at = layout().pointer(sequence);
        let found = Pointer::decode(&honest.read(&at, 1_000).unwrap()).unwrap();
        if let Some((_, pointer)) = claimed.get(&sequence) {
            assert_eq!((found.term, found.next), (pointer.term, pointer.next));
        }
    }
}

#[test]
fn of_those_who_race_one_leads_at_a_time() {
    race(vec![Vec::new(); LEADERS], PATIENT);
    let fate = proptest::sample::select(vec![
        Fate::Pass,
        Fate::Pass,
        Fate::Pass,
        Fate::FailBefore,
        Fate::FailAfter,
    ]);
    let fates = proptest::collection::vec(fate, 0..40);
    let all = proptest::collection::vec(fates, LEADERS);
    let mut runner = TestRunner::new(Config::with_cases(64));
    let raced = runner.run(&all, |fates| {
        race(fates.clone(), PATIENT);
        race(fates, IMPATIENT);
        Ok(())
    });
    raced.unwrap();
}

#[test]
fn a_leader_that_was_overtaken_makes_nothing_true() {
    let inner: Arc<InMemory> = Arc::default();
    let mut first = storage(&Faulty::over(&inner, []), PATIENT);
    let mut second = storage(&Faulty::over(&inner, []), PATIENT);
    let led = take_over(&mut first, &layout(), 1).unwrap().leadership;
    take_over(&mut second, &layout(), 1).unwrap();
    let late = Pointer {
        sequence: led.sequence + 1,
        term: led.term,
        next: led.next,
        newest: None,
        savepoint: None,
        ended: None,
    };
    let home = layout().home().clone();
    let fenced = pointer::create(&mut first, &home, &late, Some(led.sequence)).unwrap_err();
    assert_eq!(fenced.kind, StorageErrorKind::AlreadyThere);
    // The same when the answer to its request is lost, and the other's pointer reads like its own.
    let third = Faulty::over(&inner, [Fate::FailAfter]);
    let mut third = storage(&third, PATIENT);
    let fenced = pointer::create(&mut third, &home, &late, Some(led.sequence)).unwrap_err();
    assert_eq!(fenced.kind, StorageErrorKind::AlreadyThere);
}

/// There are no directories that go with the job: a number is free again when its pointers are gone.
#[test]
fn a_leader_whose_job_was_ended_by_another_makes_nothing_true() {
    let inner: Arc<InMemory> = Arc::default();
    let mut first = storage(&Faulty::over(&inner, []), PATIENT);
    let mut second = storage(&Faulty::over(&inner, []), PATIENT);
    let led = take_over(&mut first, &layout(), 1).unwrap().leadership;
    let ends = take_over(&mut second, &layout(), 1).unwrap().leadership;
    let home = layout().home().clone();
    let last = layout().pointer(ends.sequence);
    let end = StorageCommand::DeleteHome { home, last };
    perform(&mut second, &end).unwrap();
    let home = layout().home().clone();
    let metadata = StorageCommand::WriteNew {
        at: layout().metadata(CheckpointId(1)),
        bytes: b"metadata".to_vec(),
        led_by: layout().pointer(led.sequence),
    };
    let point = StorageCommand::Point {
        home: home.clone(),
        pointer: Pointer {
            sequence: led.sequence + 1,
            term: led.term,
            next: CheckpointId(2),
            newest: None,
            savepoint: None,
            ended: None,
        },
        since: led.sequence,
    };
    let refused = perform(&mut first, &metadata).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Overtaken);
    let refused = perform(&mut first, &point).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::AlreadyThere);
    assert_eq!(first.list(&home).unwrap(), []);
}

/// A job with a checkpoint, and its leader's last pointer.
fn job(storage: &mut ObjectStorage) -> Pointer {
    let led = take_over(storage, &layout(), 1).unwrap().leadership;
    let checkpoint = CheckpointId(1);
    let metadata = CheckpointMetadata {
        job: JobId(7),
        job_name: "clicks".to_owned(),
        checkpoint,
        kind: CheckpointKind::Checkpoint,
        started_ms: 1,
        vertices: Vec::new(),
        committables: Vec::new(),
        in_flight: Vec::new(),
    };
    let bytes = encode(&metadata).unwrap();
    storage
        .write_new(&layout().metadata(checkpoint), &bytes)
        .unwrap();
    let pointer = Pointer {
        sequence: led.sequence + 1,
        term: led.term,
        next: CheckpointId(2),
        newest: Some((checkpoint, MetadataFacts::of(&bytes).facts())),
        savepoint: None,
        ended: None,
    };
    pointer::create(storage, layout().home(), &pointer, Some(led.sequence)).unwrap();
    pointer
}

/// The leader of a job brings it to its end; its requests meet these fates. Answers whether it is marked.
fn ends(fates: Vec<Fate>, patience: Patience) -> bool {
    let when = format!("{fates:?}");
    let inner: Arc<InMemory> = Arc::default();
    let mut honest = storage(&Faulty::over(&inner, []), PATIENT);
    let led = job(&mut honest);
    let home = layout().home().clone();
    let mark = Pointer {
        sequence: led.sequence + 1,
        newest: None,
        ended: Some(Ended::new(7, "clicks")),
        ..led
    };
    let last = layout().pointer(mark.sequence);
    let point = StorageCommand::Point {
        home: home.clone(),
        pointer: mark,
        since: led.sequence,
    };
    let clear = StorageCommand::ClearHome {
        home: home.clone(),
        last,
    };
    let mut leader = storage(&Faulty::over(&inner, fates), patience);
    let said = perform(&mut leader, &point);
    if said.is_ok() {
        // What of it fails is for whoever finds the mark.
        let _ = perform(&mut leader, &clear);
    }
    match find(&mut honest, &home) {
        Ok(found) => {
            assert!(said.is_err(), "{when}");
            assert_eq!(found.metadata.checkpoint, CheckpointId(1), "{when}");
            false
        }
        Err(FindError::Ended(job)) => {
            let taken = take_over(&mut honest, &layout(), 1);
            assert!(matches!(taken, Err(FindError::Ended(_))), "{when}");
            perform(&mut honest, &clear).expect(&when);
            let left = honest.list(&home).unwrap();
            let left: Vec<&str> = left.iter().map(|entry| &*entry.name).collect();
            let names = left.iter().filter(|name| **name != "shared");
            assert!(names.eq([&job.pointer.name()]), "{when}: {left:?}");
            true
        }
        Err(error) => panic!("{when}: {error}"),
    }
}

#[test]
fn the_end_of_a_job_is_marked_before_anything_goes() {
    let mut seen = [0_u32; 2];
    for patience in [PATIENT, IMPATIENT] {
        for fate in [Fate::FailBefore, Fate::FailAfter] {
            for before in 0..24 {
                let fates = [vec![Fate::Pass; before], vec![fate]].concat();
                seen[usize::from(ends(fates, patience))] += 1;
            }
        }
    }
    assert!(seen[0] > 0 && seen[1] > 40, "{seen:?}");
}
