//! The IOManager on simulated shards with faults, and on real ones.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use thalweg_core::ShardId;
use thalweg_core::seam::reactor::DriverChoice;
use thalweg_core::seam::simulated::{DiskFaults, SimDisk, SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::executor::Shard;
use thalweg_core::shard::start::{ShardConfig, start};
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};

use super::*;

/// What a test does in one turn; whether it has ended.
type Turn = Box<dyn FnMut(&mut IoQueue) -> bool>;

/// A task that lets a test work on a queue.
struct Spilling {
    queue: IoQueue,
    turn: Turn,
}

impl Step for Spilling {
    fn name(&self) -> &str {
        "spilling"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.queue.poll(context);
        let done = (self.turn)(&mut self.queue);
        self.queue.poll(context);
        Ok(Progress { made: false, done })
    }
}

fn add(shard: &mut Shard, space: SpillSpace, depth: usize, turn: Turn) {
    let manager = IoManager::new(space, shard.id());
    let queue = manager.queue(depth);
    shard.add_step(Box::new(Spilling { queue, turn }));
}

/// Runs a test's turns in simulation, with this going wrong on the disk.
fn simulate(seed: u64, disk: DiskFaults, quota: Quota, depth: usize, turn: Turn) -> Simulation {
    let options = SimOptions {
        disk,
        ..SimOptions::default()
    };
    let places = vec![PathBuf::from("/a"), PathBuf::from("/b")];
    let host = SimDisk::with_faults(seed, DiskFaults::NONE);
    for place in &places {
        host.make_directories(place).unwrap();
    }
    host.set_faults(disk);
    let mut simulation = Simulation::on(host, seed, options);
    let space = SpillSpace::lent(places, quota);
    let left = simulation.add_shard(|shard| {
        add(shard, space, depth, turn);
        shard.tasks()
    });
    assert_eq!(left, 1);
    assert_eq!(simulation.run(1_000_000), SimOutcome::Quiescent);
    simulation
}

fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at * 7 + seed * 13) % 251) as u8)
        .collect()
}

/// Gives each answer to whom it belongs; what is nobody's else was read for itself.
fn take_answers(
    queue: &mut IoQueue,
    writer: &mut BulkWriter,
    reader: &mut Option<BulkReader>,
    read: &mut Vec<(RequestId, Vec<u8>)>,
) {
    while let Some((id, answer)) = queue.next_done() {
        if writer.answered(id, &answer).unwrap() {
            continue;
        }
        let answer = match reader {
            Some(reader) => reader.answered(id, answer).unwrap(),
            None => Some(answer),
        };
        match answer {
            Some(Ok(IoDone::Read(bytes))) => read.push((id, bytes)),
            Some(Ok(IoDone::Written)) | None => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }
}

/// Blocks written in any order and read back, a spool and a bulk file, all in one queue.
fn all_forms(ended: impl Fn() + 'static) -> Turn {
    const BLOCK: usize = 4096;
    let mut stage = 0;
    let mut forms: Option<(Blocks, BufferSpool, BulkWriter)> = None;
    let mut reader: Option<BulkReader> = None;
    let mut read: Vec<(RequestId, Vec<u8>)> = Vec::new();
    let mut expected: Vec<(RequestId, Vec<u8>)> = Vec::new();
    let mut bulk = Vec::new();
    Box::new(move |queue| {
        let (blocks, spool, writer) = forms.get_or_insert_with(|| {
            let mut files = queue.files().files();
            let mut file = || files.next().unwrap();
            let forms = (Blocks::new(file(), BLOCK), BufferSpool::new(file()));
            (forms.0, forms.1, BulkWriter::new(file(), 10_000))
        });
        if stage == 0 {
            for number in [3, 0, 2, 1] {
                let block = pattern(number, BLOCK);
                blocks.write(queue, number as u64, block).unwrap();
                spool.push(queue, pattern(number, 100 * number)).unwrap();
                writer.append(queue, &pattern(number, 7_001)).unwrap();
            }
            writer.flush(queue).unwrap();
            stage = 1;
        }
        take_answers(queue, writer, &mut reader, &mut read);
        if stage == 1 && queue.pending() == 0 {
            assert!(writer.is_written());
            for number in [1, 3, 0, 2] {
                let block = pattern(number, BLOCK);
                expected.push((blocks.read(queue, number as u64), block));
            }
            for number in [3, 0, 2, 1] {
                let asked = spool.pop(queue).unwrap();
                expected.push((asked, pattern(number, 100 * number)));
            }
            assert!(spool.is_empty() && spool.pop(queue).is_none());
            reader = Some(BulkReader::new(writer.file().clone(), 999));
            stage = 2;
        }
        let Some(reader) = &mut reader else {
            return false;
        };
        while let Some(piece) = reader.next_piece() {
            bulk.extend(piece);
        }
        reader.ask(queue);
        if !reader.is_done() || queue.pending() > 0 {
            return false;
        }
        let written: Vec<u8> = [3, 0, 2, 1].map(|number| pattern(number, 7_001)).concat();
        assert!(bulk == written, "the bulk file is what was appended");
        read.sort();
        assert!(
            read == expected,
            "each block and buffer is what was written"
        );
        ended();
        true
    })
}

#[test]
fn all_forms_read_what_they_wrote_whatever_the_disk_does_only_in_part() {
    for seed in 0..40 {
        let ended = Rc::new(std::cell::Cell::new(false));
        let disk = DiskFaults {
            short_per_million: 300_000,
            ..DiskFaults::NONE
        };
        let (depth, told) = (1 + seed as usize % 7, Rc::clone(&ended));
        let quota = Quota::unlimited();
        let turn = all_forms(move || told.set(true));
        simulate(seed, disk, quota.clone(), depth, turn);
        assert!(ended.get(), "seed {seed}");
        assert_eq!(quota.used(), 0, "nothing is left behind");
    }
}

#[test]
fn all_forms_work_on_real_drivers_and_leave_nothing() {
    for choice in [DriverChoice::Auto, DriverChoice::Epoll] {
        let place = tempfile::tempdir().unwrap();
        let places = [place.path().join("one"), place.path().join("two")];
        let space = SpillSpace::claim(&places, Quota::unlimited()).unwrap();
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        let config = ShardConfig {
            driver: choice,
            ..ShardConfig::new(ShardId(0))
        };
        let mine = space.clone();
        let turn = move || all_forms(move || done.send(()).unwrap());
        let shard = start(config, move |shard| add(shard, mine, 8, turn())).unwrap();
        ended
            .recv_timeout(std::time::Duration::from_secs(40))
            .unwrap();
        shard.stop();
        shard.join().unwrap();
        drop(space);
        for place in places {
            assert_eq!(std::fs::read_dir(place).unwrap().count(), 0);
        }
    }
}

/// What the first failing request of a task that writes and reads 64 blocks says.
fn first_failure(seed: u64, disk: DiskFaults, quota: Quota) -> Option<SpillError> {
    let failure = Rc::new(RefCell::new(None));
    let told = Rc::clone(&failure);
    let mut file: Option<SpillFile> = None;
    let mut asked = 0;
    simulate(
        seed,
        disk,
        quota,
        4,
        Box::new(move |queue| {
            let file = file.get_or_insert_with(|| queue.files().file()).clone();
            while let Some((_, answer)) = queue.next_done() {
                if let Err(error) = answer {
                    told.borrow_mut().get_or_insert(error);
                }
            }
            if asked < 64 {
                asked += 1;
                let (at, bytes) = (file.len(), pattern(asked, 1_000));
                match queue.write(&file, at, bytes) {
                    Ok(_) if asked % 2 == 0 => drop(queue.read(&file, 0, 1_000)),
                    Ok(_) => {}
                    Err(error) => drop(told.borrow_mut().get_or_insert(error)),
                }
            }
            queue.pending() == 0 && asked == 64 || told.borrow().is_some()
        }),
    );
    failure.take()
}

#[test]
fn a_full_disk_a_broken_one_and_a_used_up_quota_say_what_to_do() {
    let full = DiskFaults {
        capacity: 20_000,
        ..DiskFaults::NONE
    };
    let error = first_failure(1, full, Quota::unlimited()).unwrap();
    assert!(matches!(error, SpillError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("/a") && error.to_string().contains("io.tmp.dirs"));

    let quota = Quota::new(10_500);
    let error = first_failure(2, DiskFaults::NONE, quota.clone()).unwrap();
    let (asked, used, limit) = (1_000, 10_000, 10_500);
    assert_eq!(error, SpillError::OverQuota { asked, used, limit });
    assert_eq!(quota.used(), 0, "with its file, what it counted is free");

    let mut broken = 0;
    for seed in 0..20 {
        let disk = DiskFaults {
            error_per_million: 100_000,
            ..DiskFaults::NONE
        };
        let error = first_failure(seed, disk, Quota::unlimited());
        broken += usize::from(matches!(error, Some(SpillError::Io { .. })));
    }
    assert!(broken >= 18, "{broken} of 20");
}

#[test]
fn files_go_with_their_last_handle_and_are_dealt_over_the_directories() {
    let paths = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&paths);
    let mut files: Option<Vec<SpillFile>> = None;
    let mut waited = 0;
    let turn: Turn = Box::new(move |queue| {
        let files = files.get_or_insert_with(|| {
            let files: Vec<_> = queue.files().files().take(4).collect();
            for file in &files {
                told.borrow_mut().push(file.path().to_owned());
                queue.write(file, 0, pattern(1, 100)).unwrap();
            }
            files
        });
        while queue.next_done().is_some() {}
        if queue.pending() == 0 && files.len() == 4 {
            files.truncate(1);
            // The turn after this poll removes what has gone.
            queue.read(&files[0], 0, 10);
            waited += 1;
        }
        queue.pending() == 0 && waited > 0
    });
    let simulation = simulate(3, DiskFaults::NONE, Quota::unlimited(), 8, turn);
    let paths = paths.take();
    assert_eq!(paths[0].parent(), paths[2].parent());
    assert_ne!(paths[0].parent(), paths[1].parent());
    for path in &paths[1..] {
        assert!(
            simulation.disk().content(path).is_none(),
            "{path:?} is gone"
        );
    }
}
