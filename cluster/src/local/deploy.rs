//! Building the subtasks of one shard, on that shard.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use thalweg_core::config::options;
use thalweg_core::ids::{ShardId, SubtaskId};
use thalweg_core::metrics::{MetricError, Registry, vocabulary};
use thalweg_core::seam::reactor::DriverKind;
use thalweg_core::shard::executor::{Shard, TaskExit};
use thalweg_core::shard::mesh::MeshEnd;
use thalweg_core::shard::panic::{catch, take_panicked_operator};
use thalweg_core::shard::stall::Pulse;
use thalweg_core::shard::step::TaskIndex;
use thalweg_dataflow::checkpoint::CheckpointAnswer;
use thalweg_dataflow::graph::{EdgeRole, SubtaskFactory};
use thalweg_dataflow::task::{BuildContext, BuildError, Head, Task, TaskReport};
use thalweg_memory::Budget;
use thalweg_memory::{IoManager, SegmentPool, SpillSpace};
use thalweg_network::{
    ChannelId, Handover, InputGate, Outflow, Parcel, PartitionConfig, ResultPartition, WakeSlot,
};

use super::connector_runtime::{ConnectorRuntime, ShardRuntime};
use super::failover::Post;
use super::layout::Layout;
use super::memory::MemorySettings;
use super::plan::{Deployment, SubtaskPlan};

/// What a shard tells the control thread.
#[derive(Debug)]
pub(crate) enum Report {
    /// A task delivered its last record, or was stopped before.
    Ended(TaskReport),
    /// A task answered a checkpoint.
    Checkpoint(CheckpointAnswer),
    /// What the job is restored from does not fit its program.
    Refused(String),
    /// A task failed, or could not be built.
    Failed {
        /// Which, if it was one that ran.
        subtask: Option<SubtaskId>,
        task: String,
        operator: Option<String>,
        message: String,
        panicked: bool,
    },
    /// The tasks of a region on a shard are gone, the last it said of them is told, and nothing is being done for them
    /// any more.
    Gone {
        /// Tells apart the times a region begins again.
        round: u64,
        shard: ShardId,
    },
}

/// Everything a shard needs to build its subtasks.
pub(crate) struct ShardPlan {
    subtasks: Vec<SubtaskPlan>,
    mesh: MeshEnd<Parcel>,
    layout: Layout,
    memory: MemorySettings,
    /// The job's name.
    job: String,
    reports: SyncSender<Report>,
    /// Where futures of user functions run; `None` polls them on the shard.
    runtime: Option<Arc<ConnectorRuntime>>,
    /// Where state goes that memory does not hold, if the job keeps it on disk.
    spill: Option<SpillSpace>,
    /// Where commands to the shard go, once it is there.
    post: Post,
    /// Whether tasks may be built later too.
    keeps: bool,
}

impl ShardPlan {
    /// The plan of one shard of a job.
    pub(crate) fn of(
        deployment: &Deployment<'_>,
        (subtasks, mesh): (Vec<SubtaskPlan>, MeshEnd<Parcel>),
        reports: SyncSender<Report>,
        runtime: Option<Arc<ConnectorRuntime>>,
        spill: Option<SpillSpace>,
    ) -> Self {
        let post = deployment.posts[mesh.shard().index()].clone();
        Self {
            post,
            keeps: deployment.regions.is_some(),
            subtasks,
            mesh,
            layout: deployment.layout,
            memory: deployment.memory,
            job: deployment.graph.name.clone(),
            reports,
            runtime,
            spill,
        }
    }

    /// Builds all subtasks. Called once on the shard's thread, before its first round.
    pub(crate) fn build(self, shard: &mut Shard) {
        let Self {
            subtasks,
            mesh,
            layout,
            memory,
            job,
            reports,
            runtime,
            spill,
            post,
            keeps,
        } = self;
        post.reached(shard.mailbox());
        let places = Places::default();
        let files = spill.map(|space| IoManager::new(space, shard.id()));
        let copies = IoManager::new(SpillSpace::for_reading(), shard.id());
        let metrics = shard.metrics().within("job", job);
        let driver = shard.reactor().kind();
        let runtime = runtime.map(|runtime| Rc::new(ShardRuntime::new(runtime, shard)));
        tell_failures(shard, reports.clone(), places.clone());
        let slots = SlotBudgets::new(shard.id(), &layout, &memory);
        let limit = memory.segments_per_shard(layout.shards);
        let pool = match SegmentPool::with_own_arena(shard.id(), memory.segment_bytes, limit) {
            Ok(pool) => pool,
            Err(error) => {
                let task = format!("the network memory of shard {}", shard.id());
                tell(&reports, task, error.to_string());
                return;
            }
        };
        let handover = Handover::new(mesh, pool, slots.whole.clone());
        if let Err(error) = register(&metrics, driver, shard.pulse(), &handover, &slots) {
            let task = format!("the metrics of shard {}", shard.id());
            tell(&reports, task, error.to_string());
            return;
        }
        let ground = Ground {
            places,
            handover,
            slots,
            memory,
            metrics,
            reports,
            runtime,
            files,
            copies,
        };
        for plan in subtasks {
            if !ground.build(plan, shard) {
                break;
            }
        }
        shard.add_pump(Box::new(ground.handover.clone()));
        if keeps {
            shard.keep(Rc::new(ground));
        }
    }
}

/// Where the tasks of a shard are that have not ended.
type Places = Rc<RefCell<BTreeMap<SubtaskId, TaskIndex>>>;

/// Tells the control thread of every task that fails on this shard.
fn tell_failures(shard: &mut Shard, reports: SyncSender<Report>, places: Places) {
    shard.on_exit(move |exit| {
        let (TaskExit::Done { task: index } | TaskExit::Failed { task: index, .. }) = &exit;
        let mut places = places.borrow_mut();
        let gone = places.extract_if(.., |_, place| place == index).next();
        if let TaskExit::Failed {
            name,
            message,
            panicked,
            operator,
            ..
        } = exit
        {
            // Nobody listens only when the job is already over.
            let _ = reports.try_send(Report::Failed {
                subtask: gone.map(|(subtask, _)| subtask),
                task: name,
                operator,
                message,
                panicked,
            });
        }
    });
}

fn tell(reports: &SyncSender<Report>, task: String, message: String) {
    let _ = reports.try_send(Report::Failed {
        subtask: None,
        task,
        operator: None,
        message,
        panicked: false,
    });
}

/// Why a task is not there.
enum Unbuilt {
    Refused(BuildError),
    /// What a user wrote panicked while an operator was opened.
    Panicked {
        operator: Option<String>,
        message: String,
    },
}

impl From<BuildError> for Unbuilt {
    fn from(error: BuildError) -> Self {
        Unbuilt::Refused(error)
    }
}

/// Tells the control thread of a task that cannot be built.
fn tell_unbuilt(reports: &SyncSender<Report>, task: String, why: Unbuilt) {
    match why {
        Unbuilt::Refused(error @ BuildError::State { .. }) => {
            let _ = reports.try_send(Report::Refused(error.to_string()));
        }
        Unbuilt::Refused(error) => tell(reports, task, error.to_string()),
        Unbuilt::Panicked { operator, message } => {
            let _ = reports.try_send(Report::Failed {
                subtask: None,
                task,
                operator,
                message,
                panicked: true,
            });
        }
    }
}

/// What the subtasks of one shard stand on.
pub(super) struct Ground {
    places: Places,
    handover: Handover,
    slots: SlotBudgets,
    memory: MemorySettings,
    metrics: Registry,
    reports: SyncSender<Report>,
    runtime: Option<Rc<ShardRuntime>>,
    files: Option<IoManager>,
    /// Reads the files of copies from which state comes back late.
    copies: IoManager,
}

impl Ground {
    /// Builds one subtask and gives it to the shard, or tells why it cannot be.
    fn build(&self, plan: SubtaskPlan, shard: &mut Shard) -> bool {
        let task = plan.info.task_name();
        let built = self.add(plan, shard);
        built
            .map_err(|why| tell_unbuilt(&self.reports, task, why))
            .is_ok()
    }

    /// The same for one that was here before: what its forerunner showed last is shown no more.
    pub(super) fn build_again(&self, plan: SubtaskPlan, shard: &mut Shard) {
        let metrics = self.metrics.within("vertex", plan.info.vertex.0);
        let metrics = metrics.within("task", &plan.info.vertex_name);
        metrics.within("subtask", plan.info.index).remove_scope();
        self.build(plan, shard);
    }

    /// Takes a subtask off the shard, if it is still there.
    pub(super) fn remove(&self, subtask: SubtaskId, shard: &mut Shard) {
        let place = self.places.borrow_mut().remove(&subtask);
        if let Some(place) = place {
            shard.remove(place);
        }
    }

    /// Where the control thread hears of it.
    pub(super) fn reports(&self) -> &SyncSender<Report> {
        &self.reports
    }

    fn add(&self, plan: SubtaskPlan, shard: &mut Shard) -> Result<(), Unbuilt> {
        let memory = &self.memory;
        let subtask = SubtaskId::new(plan.info.vertex, plan.info.index);
        let wake = WakeSlot::new();
        let budget = self.slots.slot(plan.info.index);
        let handover = self.handover.charging(budget.clone());
        let gate = (!plan.inputs.is_empty()).then(|| {
            let channels: Vec<_> = plan.inputs.iter().flatten().copied().collect();
            let credits = memory.credits(plan.gate_width);
            let mut gate = InputGate::new(plan.inputs, credits, wake.clone());
            let may = |channel: &ChannelId| plan.overtakable.contains_key(channel);
            gate.let_overtake(channels.into_iter().filter(may));
            (Rc::new(RefCell::new(gate)), plan.input_layouts)
        });
        let outflow = Outflow::new();
        let partition = |output: super::plan::OutputPlan| {
            let mut targets = output.targets.iter();
            let may = targets.any(|target| plan.overtakable.contains_key(&target.channel));
            let config = PartitionConfig {
                layout: output.layout,
                exclusive: memory.credits(output.gate_width).exclusive,
                max_record_size: memory.max_record_bytes,
                flush_interval_ns: memory.flush_interval_ns,
            };
            let (outflow, wake) = (outflow.clone(), wake.clone());
            let partition =
                ResultPartition::new(handover.clone(), &output.targets, config, outflow, wake);
            let partition = match may {
                true => partition.overtakable(),
                false => partition,
            };
            let partition = match output.role {
                EdgeRole::Feedback => partition.without_back_pressure(),
                EdgeRole::Onward | EdgeRole::Votes => partition,
            };
            (output.edge, partition)
        };
        let partitions = plan.outputs.into_iter().map(partition).collect();
        let registered = gate.as_ref().map(|(gate, _)| Rc::clone(gate));
        let context = BuildContext::new(plan.info, gate, partitions, plan.splits, budget);
        let context = context.with_metrics(&self.metrics);
        let mut context = context?;
        if let Some(runtime) = &self.runtime {
            context = context.with_async_runtime(runtime.clone());
        }
        if let Some(files) = &self.files {
            context = context.with_spill(files.clone());
        }
        context = context.with_late_restore(self.copies.clone());
        let mut checkpoints = plan.checkpoints;
        if let Some(part) = &mut checkpoints {
            let reports = self.reports.clone();
            context = context.with_checkpoints(part.setup(move |answer| {
                // Nobody listens only when the job is already over.
                let _ = reports.try_send(Report::Checkpoint(answer));
            }));
        }
        let head = chain_of(plan.factory, &mut context)?;
        let reports = self.reports.clone();
        let task = Task::new(head, &context, move |report| {
            let _ = reports.try_send(Report::Ended(report));
        });
        let waker = shard.add_step(Box::new(task));
        self.places.borrow_mut().insert(subtask, waker.task());
        if let Some(part) = checkpoints {
            part.deployed(shard.mailbox(), waker.task());
        }
        wake.set(waker);
        if let Some(gate) = registered {
            handover.register_gate(&gate);
        }
        Ok(())
    }
}

/// Builds a chain, with all that users wrote to open its operators.
fn chain_of(factory: SubtaskFactory, context: &mut BuildContext) -> Result<Box<dyn Head>, Unbuilt> {
    let built = catch(|| factory(context)).map_err(|message| {
        let operator = take_panicked_operator().or_else(|| context.opening());
        Unbuilt::Panicked { operator, message }
    });
    Ok(built??)
}

/// Registers what a shard shows of itself and its slots.
fn register(
    metrics: &Registry,
    driver: DriverKind,
    pulse: &Arc<Pulse>,
    handover: &Handover,
    slots: &SlotBudgets,
) -> Result<(), MetricError> {
    let pulse = Arc::clone(pulse);
    metrics.count(vocabulary::NUM_STALLED_TURNS, move || pulse.stalls())?;
    let on_ring = if driver == DriverKind::Glommio {
        1.0
    } else {
        0.0
    };
    metrics.level(vocabulary::USES_IO_URING, move || Some(on_ring))?;
    let used = handover.segments_used();
    let limit = handover.pool().limit() as f64;
    metrics.level(vocabulary::TOTAL_MEMORY_SEGMENTS, move || Some(limit))?;
    metrics.level(vocabulary::USED_MEMORY_SEGMENTS, move || {
        Some(used()? as f64)
    })?;
    for (slot, budget) in &slots.slots {
        let metrics = metrics.within("slot", slot);
        let (total, used) = (budget.limit() as f64, budget.clone());
        metrics.level(vocabulary::MANAGED_MEMORY_TOTAL, move || Some(total))?;
        metrics.level(vocabulary::MANAGED_MEMORY_USED, move || {
            Some(used.used() as f64)
        })?;
    }
    Ok(())
}

/// The managed memory of one shard: a share per slot, which also pays what the slot's exchanges
/// overdraw.
struct SlotBudgets {
    slots: Vec<(u32, Budget)>,
    whole: Budget,
}

impl SlotBudgets {
    fn new(shard: ShardId, layout: &Layout, memory: &MemorySettings) -> Self {
        let share = memory.managed_bytes / u64::from(layout.slots);
        let here = u64::from(layout.slots_on(shard)) * share;
        let setting = options::MANAGED_MEMORY_SIZE.key;
        let whole = Budget::part_of(
            format!("managed memory of {shard}"),
            here,
            (setting, memory.managed_bytes),
        );
        let slots = (0..layout.slots)
            .filter(|slot| layout.shard_of(*slot) == shard)
            .map(|slot| (slot, whole.child(format!("slot {slot}"), share)))
            .collect();
        Self { slots, whole }
    }

    /// The slot that subtasks of this index share.
    fn slot(&self, subtask: u32) -> Budget {
        match self.slots.iter().find(|(slot, _)| *slot == subtask) {
            Some((_, budget)) => budget.clone(),
            None => unreachable!("a subtask is laid out on the shard of its slot"),
        }
    }
}
