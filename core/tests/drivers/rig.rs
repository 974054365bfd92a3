//! How the suite runs shards: on threads or in a simulation, and the steps it is made of.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use thalweg_core::ShardId;
use thalweg_core::seam::reactor::{DriverChoice, DriverKind, Op, OpId, OpResult};
use thalweg_core::seam::simulated::{SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::executor::{Shard, TaskExit};
use thalweg_core::shard::start::{ShardConfig, start};
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};

pub(crate) const MADE: Progress = Progress {
    made: true,
    done: false,
};
pub(crate) const NONE: Progress = Progress {
    made: false,
    done: false,
};
pub(crate) const DONE: Progress = Progress {
    made: true,
    done: true,
};

pub(crate) type Init = Box<dyn FnOnce(&mut Shard) + Send>;

/// A hang is an error, not a stuck test run.
const PATIENCE: Duration = Duration::from_secs(40);

/// One driver, ready to run shards until all of them have shut themselves down.
pub(crate) trait Rig {
    fn run(&self, shards: Vec<(Arc<Doorbell>, Init)>);
    /// A directory that exists for this driver.
    fn directory(&self) -> &Path;
}

impl dyn Rig + '_ {
    pub(crate) fn run_shard(&self, init: impl FnOnce(&mut Shard) + Send + 'static) {
        self.run(vec![(Doorbell::new(), Box::new(init))]);
    }
}

pub(crate) struct Threads {
    choice: DriverChoice,
    expected: Option<DriverKind>,
    directory: TempDir,
}

impl Threads {
    pub(crate) fn default_driver() -> Threads {
        let denied = std::env::var_os(crate::DENIED).is_some();
        let expected = denied.then_some(DriverKind::Epoll);
        Threads {
            choice: DriverChoice::Auto,
            expected,
            directory: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn epoll() -> Threads {
        let expected = Some(DriverKind::Epoll);
        Threads {
            choice: DriverChoice::Epoll,
            expected,
            directory: TempDir::new().unwrap(),
        }
    }
}

impl Rig for Threads {
    #[allow(
        clippy::disallowed_methods,
        reason = "the tests start threads of their own"
    )]
    fn run(&self, shards: Vec<(Arc<Doorbell>, Init)>) {
        let mut running = Vec::new();
        for (number, (doorbell, init)) in shards.into_iter().enumerate() {
            let id = ShardId(u16::try_from(number).unwrap());
            let config = ShardConfig {
                driver: self.choice,
                doorbell,
                ..ShardConfig::new(id)
            };
            let handle = start(config, init).unwrap();
            if let Some(expected) = self.expected {
                assert_eq!(handle.driver, expected);
            }
            running.push(handle);
        }
        let (done, all_done) = sync_channel(1);
        std::thread::Builder::new()
            .spawn(move || {
                let ends: Vec<_> = running.into_iter().map(|handle| handle.join()).collect();
                done.send(ends).unwrap();
            })
            .unwrap();
        for end in all_done.recv_timeout(PATIENCE).expect("the shards hang") {
            end.unwrap();
        }
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }
}

pub(crate) struct Simulated {
    directory: PathBuf,
}

impl Simulated {
    pub(crate) fn new() -> Simulated {
        Simulated {
            directory: PathBuf::from("/sim"),
        }
    }
}

impl Rig for Simulated {
    fn run(&self, shards: Vec<(Arc<Doorbell>, Init)>) {
        let mut simulation = Simulation::new(0x7A1, SimOptions::default());
        simulation.disk().make_directory(&self.directory).unwrap();
        for (doorbell, init) in shards {
            simulation.add_shard_with(doorbell, init);
        }
        assert_eq!(simulation.run(10_000_000), SimOutcome::Finished);
    }

    fn directory(&self) -> &Path {
        &self.directory
    }
}

struct Closure<F>(&'static str, F);

impl<F> Step for Closure<F>
where
    F: FnMut(&mut TurnContext<'_>) -> Result<Progress, StepError> + 'static,
{
    fn name(&self) -> &str {
        self.0
    }

    fn turn(&mut self, cx: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        (self.1)(cx)
    }
}

/// A task made of a closure.
pub(crate) fn step(
    name: &'static str,
    turn: impl FnMut(&mut TurnContext<'_>) -> Result<Progress, StepError> + 'static,
) -> Box<dyn Step> {
    Box::new(Closure(name, turn))
}

/// A task that does one operation after the other: `next` gets the number of the stage and what came
/// of the operation before, and answers the next one, or None when all is done.
pub(crate) fn chain(
    name: &'static str,
    mut next: impl FnMut(usize, Option<OpResult>) -> Option<Op> + 'static,
) -> Box<dyn Step> {
    let mut flying: Option<OpId> = None;
    let mut stage = 0;
    step(name, move |cx| {
        loop {
            let mut came = None;
            if let Some(op) = flying {
                match cx.reactor().take(op) {
                    None => return Ok(NONE),
                    Some(result) => came = Some(result),
                }
            }
            match next(stage, came) {
                Some(op) => flying = Some(cx.submit(op)),
                None => return Ok(DONE),
            }
            stage += 1;
        }
    })
}

pub(crate) type Exits = Arc<Mutex<Vec<TaskExit>>>;

/// Shuts the shard down after `tasks` of its tasks have ended; collects how they did.
pub(crate) fn end_after(shard: &mut Shard, tasks: usize, exits: &Exits) {
    let mailbox = shard.mailbox();
    let exits = Arc::clone(exits);
    let mut left = tasks;
    shard.on_exit(move |exit| {
        exits.lock().unwrap().push(exit);
        left -= 1;
        if left == 0 {
            mailbox.send(Box::new(Shard::shutdown)).unwrap();
        }
    });
}

pub(crate) fn assert_all_done(exits: &Exits) {
    for exit in exits.lock().unwrap().iter() {
        assert!(matches!(exit, TaskExit::Done { .. }), "{exit:?}");
    }
}
