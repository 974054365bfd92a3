//! Files that are another's: however many tasks read one, it is open once; and none waits for one that has gone.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thalweg_core::ShardId;
use thalweg_core::seam::reactor::{DriverChoice, OpenOptions};
use thalweg_core::seam::simulated::{DiskFaults, SimDisk, SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::start::{ShardConfig, start};
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};

use super::*;

const BYTES: usize = 1_000;

fn content(path: &Path) -> Vec<u8> {
    let name = path.as_os_str().len();
    (0..BYTES).map(|at| (at * 7 + name) as u8).collect()
}

/// A task that reads each of some files by several queues, as a task with several states does, then says so.
struct Reader {
    manager: IoManager,
    paths: Vec<PathBuf>,
    queues: Vec<(IoQueue, usize)>,
    files: Vec<SpillFile>,
    /// It ends right after it has asked.
    leaves: bool,
    read: Rc<Cell<usize>>,
    /// Called in each turn; whether the task may end.
    told: Box<dyn FnMut() -> bool>,
}

impl Reader {
    fn new(manager: &IoManager, paths: &[PathBuf], read: &Rc<Cell<usize>>) -> Reader {
        let queues = (0..3).map(|_| (manager.queue(2), 0)).collect();
        Reader {
            manager: manager.clone(),
            paths: paths.to_vec(),
            queues,
            files: Vec::new(),
            leaves: false,
            read: Rc::clone(read),
            told: Box::new(|| true),
        }
    }
}

impl Step for Reader {
    fn name(&self) -> &str {
        "reader"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        let mut left = 0;
        for (queue, asked) in &mut self.queues {
            if *asked == 0 {
                for path in &self.paths {
                    let file = self.manager.foreign(path.clone(), BYTES as u64);
                    queue.read(&file, 0, BYTES);
                    self.files.push(file);
                    *asked += 1;
                }
            }
            queue.poll(context);
            while let Some((_, answer)) = queue.next_done() {
                let IoDone::Read(bytes) = answer? else {
                    return Err("nothing was written".into());
                };
                let right = self.paths.iter().any(|path| content(path) == bytes);
                assert!(right, "another file's bytes");
                self.read.set(self.read.get() + 1);
            }
            left += queue.pending();
        }
        let done = self.leaves || left == 0 && (self.told)();
        Ok(Progress { made: false, done })
    }
}

#[test]
fn a_file_is_one_for_all_who_read_it_and_again_after_they_have_gone() {
    let space = SpillSpace::lent(vec![PathBuf::from("/a")], Quota::unlimited());
    let manager = IoManager::new(space, ShardId(0));
    let path = PathBuf::from("/other/file");
    let (one, two) = (
        manager.foreign(path.clone(), 7),
        manager.foreign(path.clone(), 7),
    );
    assert!(Rc::ptr_eq(&one.0, &two.0));
    let other = manager.foreign(path.clone(), 8);
    assert!(
        !Rc::ptr_eq(&one.0, &other.0),
        "of another length it is another"
    );
    drop((one, two));
    let third = manager.foreign(path.clone(), 8);
    assert!(
        Rc::ptr_eq(&third.0, &other.0),
        "what came in its place stays"
    );
    third.0.become_known(file::FileState::Broken);
    let again = manager.foreign(path, 8);
    assert!(!Rc::ptr_eq(&third.0, &again.0), "it is tried again");
}

#[test]
fn tasks_that_read_one_file_wait_for_one_opening_even_if_who_began_it_goes() {
    for seed in 0..40 {
        let place = PathBuf::from("/other");
        let host = SimDisk::with_faults(seed, DiskFaults::NONE);
        host.make_directories(&place).unwrap();
        let paths: Vec<_> = (0..3)
            .map(|number| place.join("x".repeat(number + 1)))
            .collect();
        for path in &paths {
            let file = host.open(path, OpenOptions::WRITE_NEW).unwrap();
            host.write(&file, 0, &content(path)).unwrap();
        }
        let space = SpillSpace::lent(vec![place], Quota::unlimited());
        let manager = IoManager::new(space, ShardId(0));
        let mut simulation = Simulation::on(host, seed, SimOptions::default());
        let read = Rc::new(Cell::new(0));
        simulation.add_shard(|shard| {
            for task in 0..4 {
                let mut reader = Reader::new(&manager, &paths, &read);
                reader.leaves = task == 0 && seed % 2 == 0;
                shard.add_step(Box::new(reader));
            }
        });
        assert_eq!(simulation.run(1_000_000), SimOutcome::Quiescent);
        let tasks = if seed % 2 == 0 { 3 } else { 4 };
        assert!(read.get() >= tasks * 9, "{} of seed {seed}", read.get());
    }
}

/// How often files of a directory are open in this process.
fn open_in(place: &Path) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(place)).count()
}

#[test]
fn descriptors_are_as_many_as_files_not_as_many_as_readers() {
    for driver in [DriverChoice::Auto, DriverChoice::Epoll] {
        let place = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..5)
            .map(|number| place.path().join("x".repeat(number + 1)))
            .collect();
        for path in &paths {
            std::fs::write(path, content(path)).unwrap();
        }
        let space = SpillSpace::lent(vec![place.path().to_owned()], Quota::unlimited());
        let config = ShardConfig {
            driver,
            ..ShardConfig::new(ShardId(0))
        };
        let (done, ended) = std::sync::mpsc::sync_channel(2);
        let there = place.path().to_owned();
        let shard = start(config, move |shard| {
            let manager = IoManager::new(space, shard.id());
            let read = Rc::new(Cell::new(0));
            for _ in 0..2 {
                let mut reader = Reader::new(&manager, &paths, &read);
                let (done, there, read) = (done.clone(), there.clone(), Rc::clone(&read));
                let mut once = Some(());
                reader.told = Box::new(move || {
                    // Both hold all files once each has read them all.
                    if read.get() == 2 * 15
                        && let Some(()) = once.take()
                    {
                        done.send(open_in(&there)).unwrap();
                    }
                    false
                });
                shard.add_step(Box::new(reader));
            }
        });
        let shard = shard.unwrap();
        let open = ended.recv_timeout(std::time::Duration::from_secs(40));
        assert_eq!(open.unwrap(), 5, "{driver:?}");
        shard.stop();
        shard.join().unwrap();
    }
}
