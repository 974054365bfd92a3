//! A simulated shard for tests of state on disk: a disk to spill to, and one step run to its end.
//!
//! Entered by tests. Invariant: all that is drawn follows from the seed. Lives on the test's thread.

use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use thalweg_core::ShardId;
use thalweg_core::seam::simulated::{DiskFaults, SimDisk, SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::executor::TaskExit;
use thalweg_core::shard::step::Step;
use thalweg_memory::spill::{IoQueue, Quota};
use thalweg_memory::{Budget, IoManager, SpillFile, SpillSpace};

use super::{AdoptedRun, CarriedRun, Overflow};
use crate::StateDescriptor;
use crate::run::{RunReader, RunWriter, StateNumber};

/// Rounds within which every step ends.
const ROUNDS: u64 = 50_000_000;

/// A simulation whose disk has a directory for spill files, and the files of its shard.
pub(crate) fn spilling(seed: u64, options: SimOptions) -> (Simulation, IoManager) {
    let place = PathBuf::from("/spill");
    let host = SimDisk::with_faults(seed, DiskFaults::NONE);
    host.make_directories(&place).unwrap();
    host.set_faults(options.disk);
    let space = SpillSpace::lent(vec![place], Quota::unlimited());
    let manager = IoManager::new(space, ShardId(0));
    (Simulation::on(host, seed, options), manager)
}

/// What makes what takes the entries of states that memory does not hold, with shares of one budget.
pub(crate) fn overflows(
    manager: &IoManager,
    budget: &Budget,
    merge_rate: u64,
) -> impl Fn(&StateDescriptor, Range<u16>) -> Box<Overflow> + Clone + 'static {
    let (files, shared) = (manager.clone(), budget.clone());
    move |descriptor, groups| {
        let (share, queue) = (shared.share(), files.queue(8));
        let descriptor = descriptor.clone();
        Box::new(Overflow::new(descriptor, groups, share, queue, merge_rate))
    }
}

/// Runs a step to its end.
///
/// # Errors
/// Why it failed.
pub(crate) fn run(simulation: &mut Simulation, step: impl Step + 'static) -> Result<(), String> {
    run_all(simulation, vec![Box::new(step)])
}

/// Runs some steps of one shard until all have ended or sleep.
///
/// # Errors
/// Why one failed.
pub(crate) fn run_all(
    simulation: &mut Simulation,
    steps: Vec<Box<dyn Step>>,
) -> Result<(), String> {
    let failure = Rc::new(RefCell::new(None));
    let told = Rc::clone(&failure);
    simulation.add_shard(|shard| {
        shard.on_exit(move |exit| {
            if let TaskExit::Failed { message, .. } = exit {
                *told.borrow_mut() = Some(message);
            }
        });
        for step in steps {
            shard.add_step(step);
        }
    });
    assert_eq!(simulation.run(ROUNDS), SimOutcome::Quiescent);
    failure.take().map_or(Ok(()), Err)
}

/// A file of a chain of cuts of one state, with the groups for which it counts.
#[derive(Clone)]
pub(crate) struct Link {
    file: SpillFile,
    bytes: u64,
    checksum: u32,
    groups: Range<u16>,
    /// Keeps a carried run's file.
    _carried: Option<Rc<CarriedRun>>,
}

impl Link {
    /// The rows of a cut, on their way to the disk.
    pub(crate) fn written(queue: &mut IoQueue, writer: RunWriter, groups: Range<u16>) -> Link {
        let (bytes, summary) = writer.finish().unwrap();
        let file = queue.files().file();
        queue.write(&file, 0, bytes).unwrap();
        Link {
            file,
            bytes: summary.bytes,
            checksum: summary.checksum,
            groups,
            _carried: None,
        }
    }

    /// A run that a cut carried.
    pub(crate) fn carried(run: CarriedRun) -> Link {
        Link {
            file: run.file().clone(),
            bytes: run.bytes(),
            checksum: run.checksum(),
            groups: run.groups(),
            _carried: Some(Rc::new(run)),
        }
    }

    /// Reads it.
    pub(crate) fn open(&self, files: &Simulation) -> RunReader<Vec<u8>> {
        let bytes = files.disk().content(self.file.path()).unwrap();
        assert_eq!(bytes.len() as u64, self.bytes);
        RunReader::open("link", bytes).unwrap()
    }

    /// As a run that some key groups take over.
    pub(crate) fn adopted(&self, files: &Simulation, groups: &Range<u16>) -> AdoptedRun {
        let range = self.groups.start.max(groups.start)..self.groups.end.min(groups.end);
        let about = (self.file.path().to_owned(), self.bytes, self.checksum);
        AdoptedRun::new(about, &self.open(files), StateNumber(0), vec![range]).unwrap()
    }
}
