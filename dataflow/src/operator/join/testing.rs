//! What the tests of the joins' state are built from.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_core::config::Configuration;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::{ShardId, VertexId};
use thalweg_core::key_group::MaxParallelism;
use thalweg_core::seam::simulated::{DiskFaults, SimDisk, SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::executor::TaskExit;
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_memory::record::Record;
use thalweg_memory::spill::Quota;
use thalweg_memory::{Budget, IoManager, Mark, SpillSpace};
use thalweg_network::Event;
use thalweg_state::Pressure;

use crate::function::FunctionError;
use crate::operator::frame::Lifecycle;
use crate::partition::Select;
use crate::stream::RuntimeMode;
use crate::task::{BuildContext, ChainTurn, Push, Stage, SubtaskInfo};

/// Rounds within which every program ends.
const ROUNDS: u64 = 50_000_000;

/// One subtask with a megabyte.
pub(super) fn context() -> BuildContext {
    context_with(1 << 20)
}

fn context_with(bytes: u64) -> BuildContext {
    let info = SubtaskInfo {
        vertex: VertexId(0),
        vertex_name: "join".into(),
        index: 0,
        parallelism: 1,
        max_parallelism: MaxParallelism::default(),
        operators: Arc::new([]),
        mode: RuntimeMode::Streaming,
        configuration: Arc::new(Configuration::new()),
    };
    BuildContext::new(info, None, Vec::new(), None, Budget::new("slot", bytes))
}

/// Key, number, something long.
pub(super) type Rec = (u64, i64, String);

/// A record with something long.
pub(super) fn rec(key: u64, number: i64) -> Rec {
    (key, number, "x".repeat(200))
}

/// Reads the key.
#[derive(Clone)]
pub(super) struct First;

impl Select<Rec, u64> for First {
    fn select(&self, rec: &Rec) -> u64 {
        rec.0
    }
}

/// The end of the chain, with room for so many results.
pub(super) struct Taken<U> {
    pub(super) taken: Vec<U>,
    pub(super) room: usize,
}

impl<U: Record> Push<U> for Taken<U> {
    fn push(&mut self, result: U, _at: Timestamp) {
        self.taken.push(result);
    }
    fn ready(&self) -> bool {
        self.taken.len() < self.room
    }
    fn mark(&mut self, _mark: Mark) {}
    fn event(&mut self, _event: Event) {}
    fn end_turn(&mut self, _turn: &mut ChainTurn<'_, '_>) -> Stage {
        Stage::Waiting
    }
}

/// What was done in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acted {
    /// There is more to do.
    More,
    /// There is more to do, once state has come from disk or room was made.
    Waits,
    Over,
}

/// A join that is driven by hand.
pub(super) trait Driven: 'static {
    type Out: Record;
    type Join: Lifecycle<Self::Out>;
    fn join(&mut self) -> &mut Self::Join;
    fn act(&mut self) -> Result<Acted, FunctionError>;
}

struct Driving<D> {
    driven: D,
    over: Rc<Cell<bool>>,
}

impl<D: Driven> Step for Driving<D> {
    fn name(&self) -> &str {
        "join"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        let failed = |error: FunctionError| StepError::from(error.to_string());
        self.driven
            .join()
            .begin_state_turn(context)
            .map_err(failed)?;
        let acted = self.driven.act().map_err(failed)?;
        let join = self.driven.join();
        let waiting = acted == Acted::Waits;
        let pressure = join.end_state_turn(context, waiting).map_err(failed)?;
        let done = acted == Acted::Over;
        self.over.set(done);
        let made = acted == Acted::More || waiting && pressure != Pressure::Disk;
        Ok(Progress { made, done })
    }
}

/// Drives a join in so much memory, with a disk.
pub(super) fn drive<D: Driven>(bytes: u64, open: impl FnOnce(&mut BuildContext) -> D) {
    let place = PathBuf::from("/spill");
    let host = SimDisk::with_faults(1, DiskFaults::NONE);
    host.make_directories(&place).unwrap();
    let space = SpillSpace::lent(vec![place], Quota::unlimited());
    let manager = IoManager::new(space, ShardId(0));
    let mut simulation = Simulation::on(host, 1, SimOptions::default());
    let driven = open(&mut context_with(bytes).with_spill(manager));
    let (over, failure) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(None)));
    let (ended, told) = (Rc::clone(&over), Rc::clone(&failure));
    simulation.add_shard(|shard| {
        shard.on_exit(move |exit| {
            if let TaskExit::Failed { message, .. } = exit {
                *told.borrow_mut() = Some(message);
            }
        });
        shard.add_step(Box::new(Driving {
            driven,
            over: ended,
        }));
    });
    assert_eq!(simulation.run(ROUNDS), SimOutcome::Quiescent);
    assert_eq!(failure.take(), None);
    assert!(over.get(), "it hangs");
}
