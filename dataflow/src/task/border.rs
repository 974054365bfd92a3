//! The end of a chain that leads into exchanges: one, or several.
//!
//! Here records leave the static chain into the open buffer of a channel. The border is the only
//! stage that knows about room (`ready`) and about flushing.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::key_group::KeyHash;
use thalweg_core::metrics::Counter;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_memory::record::{Item, Key, KeyValue, Record, Wire};
use thalweg_memory::{BLOCK, Block, Mark};
use thalweg_network::{Barrier, Event, Overtaken, ResultPartition};

use super::{
    BuildContext, ChainTurn, Failure, InputStatus, Push, SideOutputs, Stage, WatermarkCell,
};
use crate::checkpoint::{CrashPoint, TaskAnswers};
use crate::partition::{HashOfKey, Route, Router, Routes};

/// Records that are made and routed together where they come in bursts: as many as a source's burst
/// has, and too many for the compiler to unroll the loops over them before it turns them into vectors.
pub(crate) const TOGETHER: usize = BLOCK;

/// What a border does with one outgoing edge, whatever its type.
pub(crate) trait EdgeOutput {
    fn ready(&self) -> bool;
    fn mark(&mut self, mark: Mark);
    fn event(&mut self, event: Event);
    /// The turn ends at `now`; answers when it has to be told of the next end at the latest.
    fn end_turn(&mut self, now: u64, idle: bool) -> Option<u64>;
    fn finished(&self) -> bool;
    fn check(&mut self, failure: &Failure);
    /// How many barriers may overtake what waits here, and [`EdgeOutput::overtake`] has not told of.
    fn barriers_in_line(&self) -> usize;
    /// When the next of them does, monotonic ns.
    fn overtakes_at(&self) -> Option<u64>;
    /// Lets them overtake if their time has come; answers what they overtook.
    fn overtake(&mut self, now: u64) -> Vec<(CheckpointId, Vec<Overtaken>)>;
}

/// One outgoing edge that records of `W` are written to.
pub(crate) trait EdgeWriter<W: Item>: EdgeOutput {
    fn write(&mut self, item: &W::Of<'_>, at: Timestamp);
    fn as_output(&mut self) -> &mut dyn EdgeOutput;
}

/// A partition with the router that chooses its channel.
pub(crate) struct RoutedPartition<W, R> {
    name: OperatorName,
    router: R,
    partition: ResultPartition,
    item: PhantomData<fn(W)>,
}

impl<W: Wire, R: Router<W>> RoutedPartition<W, R> {
    pub(crate) fn new(mut router: R, partition: ResultPartition, context: &BuildContext) -> Self {
        router.open(partition.channels(), context.info());
        Self {
            name: context.exchange_name(),
            router,
            partition,
            item: PhantomData,
        }
    }

    #[inline(always)]
    fn route(&mut self, item: &W::Of<'_>, at: Timestamp) {
        // Routers call key selectors and other functions of the user.
        let scope = OperatorScope::enter(&self.name);
        let route = self.router.route(item);
        scope.leave();
        self.write_to(route, item, at);
    }

    /// Routes some records together, then writes each.
    #[inline(always)]
    fn route_each(&mut self, items: &[W::Of<'_>; TOGETHER], ats: &[Timestamp; TOGETHER]) {
        let mut routes = Routes::<TOGETHER>::NONE;
        let scope = OperatorScope::enter(&self.name);
        let routed = self.router.route_each(items, &mut routes);
        scope.leave();
        if !routed {
            for (item, at) in items.iter().zip(ats) {
                self.route(item, *at);
            }
            return;
        }
        let block = Block {
            hashes: &routes.hashes,
            ats,
            items,
        };
        self.partition.write_block::<W>(&routes.channels, &block);
    }

    #[inline(always)]
    fn write_to(&mut self, route: Route, item: &W::Of<'_>, at: Timestamp) {
        match route {
            Route::One { channel, hash } => self.partition.write::<W>(channel, hash, at, item),
            Route::All => self.partition.broadcast::<W>(KeyHash(0), at, item),
        }
    }
}

impl<W: Wire, R: Router<W>> EdgeOutput for RoutedPartition<W, R> {
    #[inline]
    fn ready(&self) -> bool {
        self.partition.ready()
    }
    fn mark(&mut self, mark: Mark) {
        self.partition.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.partition.event(event);
    }
    fn end_turn(&mut self, now: u64, idle: bool) -> Option<u64> {
        self.partition.end_turn(now, idle)
    }
    fn finished(&self) -> bool {
        self.partition.finished()
    }
    fn check(&mut self, failure: &Failure) {
        if let Some(error) = self.partition.take_error() {
            failure.set(&self.name, error.to_string(), ErrorKind::Resource);
        }
    }
    fn barriers_in_line(&self) -> usize {
        self.partition.barriers_in_line()
    }
    fn overtakes_at(&self) -> Option<u64> {
        self.partition.overtakes_at()
    }
    fn overtake(&mut self, now: u64) -> Vec<(CheckpointId, Vec<Overtaken>)> {
        self.partition.overtake(now)
    }
}

impl<W: Wire, R: Router<W>> EdgeWriter<W> for RoutedPartition<W, R> {
    fn write(&mut self, item: &W::Of<'_>, at: Timestamp) {
        self.route(item, at);
    }
    fn as_output(&mut self) -> &mut dyn EdgeOutput {
        self
    }
}

/// What all borders share: the task's failure slot, side outputs, output count and answers to
/// checkpoints.
pub(super) struct ChainEnd {
    pub(super) failure: Failure,
    pub(super) side: Rc<SideOutputs>,
    pub(super) answers: TaskAnswers,
    records_out: Counter,
    told: WatermarkCell,
    /// Counted in this turn and not yet added.
    counted: u64,
    ended: bool,
    /// When the task is woken for an output, monotonic ns; 0 if it is not.
    alarm: u64,
    /// Barriers that may overtake what waits at the outputs, one for each output.
    in_line: usize,
}

impl ChainEnd {
    pub(super) fn new(context: &BuildContext) -> Self {
        Self {
            failure: context.failure(),
            side: context.side(),
            answers: context.answers(),
            records_out: context.counters().records_out,
            told: context.counters().output_watermark,
            counted: 0,
            ended: false,
            alarm: 0,
            in_line: 0,
        }
    }

    #[inline(always)]
    pub(super) fn count(&mut self, records: u64) {
        self.counted += records;
    }

    /// An event leaves by all outputs, unless their end has left before it; a barrier has then left
    /// the chain.
    pub(super) fn event(&mut self, outputs: &mut [&mut dyn EdgeOutput], event: Event) {
        if matches!(event, Event::Barrier(_)) {
            self.answers.passes(CrashPoint::BeforeBarrier);
        }
        if !self.ended {
            outputs.iter_mut().for_each(|output| output.event(event));
            self.side.event(event);
        }
        if let Event::Barrier(barrier) = event {
            if barrier.overtakes_at.is_some() && !self.ended {
                self.wait_for_barrier(outputs, barrier);
            }
            self.answers.walked(barrier.checkpoint);
        }
    }

    /// The answer to a barrier that may overtake what waits at the outputs waits until it has left them.
    fn wait_for_barrier(&mut self, outputs: &mut [&mut dyn EdgeOutput], barrier: Barrier) {
        let main = outputs.iter().map(|output| output.barriers_in_line());
        let in_line = main.sum::<usize>() + self.side.barriers_in_line();
        (self.in_line..in_line).for_each(|_| self.answers.open_piece(barrier.checkpoint));
        self.in_line = in_line;
        if barrier.overtakes(0) {
            self.overtake(outputs, 0);
        }
    }

    /// Lets barriers overtake whose time has come.
    #[cold]
    fn overtake(&mut self, outputs: &mut [&mut dyn EdgeOutput], now: u64) {
        let main = outputs.iter_mut().flat_map(|output| output.overtake(now));
        for (checkpoint, overtaken) in main.chain(self.side.overtake(now)) {
            self.in_line -= 1;
            self.answers.add_in_flight(checkpoint, true, overtaken);
        }
    }

    /// The same at the end of a turn; has the task woken when the time of the next comes.
    #[cold]
    fn overtake_in_turn(
        &mut self,
        outputs: &mut [&mut dyn EdgeOutput],
        turn: &mut ChainTurn<'_, '_>,
    ) {
        let now = turn.context().now();
        self.overtake(outputs, now);
        let main = outputs.iter().filter_map(|output| output.overtakes_at());
        let next = main.chain(self.side.overtakes_at()).min();
        if let Some(next) = next
            && (self.alarm <= now || next < self.alarm)
        {
            self.alarm = next;
            turn.context().wake_at(next);
        }
    }

    /// A mark has gone to the main outputs and goes to the others.
    pub(super) fn mark(&self, mark: Mark) {
        if let Mark::Watermark(watermark) = mark {
            self.told.set(watermark.0);
        }
        self.side.mark(mark);
    }

    /// The end of a turn over the given main outputs.
    pub(super) fn end_turn(
        &mut self,
        outputs: &mut [&mut dyn EdgeOutput],
        turn: &mut ChainTurn<'_, '_>,
    ) -> Stage {
        let counted = std::mem::take(&mut self.counted);
        self.records_out.add(counted);
        if self.in_line > 0 {
            self.overtake_in_turn(outputs, turn);
        }
        let stage = match turn.input() {
            InputStatus::Ended => self.finish(outputs, turn),
            status => {
                self.flush(outputs, status == InputStatus::Idle, turn);
                Stage::Done
            }
        };
        outputs.iter_mut().for_each(|o| o.check(&self.failure));
        self.side.check(&self.failure);
        stage
    }

    /// Lets half-full buffers leave, and has the task woken when the next of them has waited enough.
    #[inline]
    fn flush(
        &mut self,
        outputs: &mut [&mut dyn EdgeOutput],
        idle: bool,
        turn: &mut ChainTurn<'_, '_>,
    ) {
        let now = turn.context().now();
        let main = outputs.iter_mut().map(|output| output.end_turn(now, idle));
        let next = main.chain([self.side.end_turn(now, idle)]).flatten().min();
        if let Some(next) = next
            && (self.alarm <= now || next < self.alarm)
        {
            self.alarm = next;
            turn.context().wake_at(next);
        }
    }

    fn finish(
        &mut self,
        outputs: &mut [&mut dyn EdgeOutput],
        turn: &mut ChainTurn<'_, '_>,
    ) -> Stage {
        if !std::mem::replace(&mut self.ended, true) {
            for output in outputs.iter_mut() {
                output.event(Event::EndOfPartition);
            }
            self.side.event(Event::EndOfPartition);
        }
        if self.in_line > 0 {
            // Credits that the end of one edge gave back may have let a barrier of another leave.
            self.overtake_in_turn(outputs, turn);
        }
        if outputs.iter().all(|output| output.finished()) && self.side.finished() {
            Stage::Done
        } else {
            Stage::Waiting
        }
    }
}

/// The border of a chain that ends in one exchange: routing is static.
pub(crate) struct Border<W, R> {
    output: RoutedPartition<W, R>,
    end: ChainEnd,
}

impl<W: Wire, R: Router<W>> Border<W, R> {
    pub(crate) fn new(router: R, partition: ResultPartition, context: &BuildContext) -> Self {
        Self {
            output: RoutedPartition::new(router, partition, context),
            end: ChainEnd::new(context),
        }
    }
}

impl<K: Key + Wire, V: Record> Border<KeyValue<K, V>, HashOfKey<K>> {
    /// As [`Push::push`], with the hash of the key, which is known already.
    #[inline(always)]
    pub(crate) fn push_hashed(&mut self, hash: KeyHash, item: (K::Of<'_>, V), at: Timestamp) {
        self.end.count(1);
        let route = self.output.router.route_hash(hash);
        self.output.write_to(route, &item, at);
    }
}

impl<W: Wire, R: Router<W>> Push<W> for Border<W, R> {
    #[inline(always)]
    fn push(&mut self, item: W::Of<'_>, at: Timestamp) {
        self.end.count(1);
        self.output.route(&item, at);
    }

    #[inline(always)]
    fn push_each<'a>(
        &mut self,
        count: usize,
        mut make: impl FnMut(usize) -> (W::Of<'a>, Timestamp),
    ) {
        self.end.count(count as u64);
        let mut done = 0;
        while count - done >= TOGETHER {
            let mut ats = [Timestamp::NONE; TOGETHER];
            let items = std::array::from_fn(|number| {
                let (item, at) = make(done + number);
                ats[number] = at;
                item
            });
            self.output.route_each(&items, &ats);
            done += TOGETHER;
        }
        for number in done..count {
            let (item, at) = make(number);
            self.output.route(&item, at);
        }
    }

    #[inline(always)]
    fn ready(&self) -> bool {
        self.output.ready() && !self.end.failure.is_set()
    }
    fn mark(&mut self, mark: Mark) {
        self.output.mark(mark);
        self.end.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.end.event(&mut [&mut self.output], event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        self.end.end_turn(&mut [&mut self.output], turn)
    }
}

/// The border of a shared chain: any number of exchanges read it.
pub(crate) struct FanoutBorder<W: Item> {
    outputs: Vec<Box<dyn EdgeWriter<W>>>,
    end: ChainEnd,
}

impl<W: Item> FanoutBorder<W> {
    pub(crate) fn new(outputs: Vec<Box<dyn EdgeWriter<W>>>, context: &BuildContext) -> Self {
        Self {
            outputs,
            end: ChainEnd::new(context),
        }
    }
}

impl<W: Wire> Push<W> for FanoutBorder<W> {
    fn push(&mut self, item: W::Of<'_>, at: Timestamp) {
        self.end.count(1);
        for output in &mut self.outputs {
            output.write(&item, at);
        }
    }
    fn ready(&self) -> bool {
        self.outputs.iter().all(|output| output.ready()) && !self.end.failure.is_set()
    }
    fn mark(&mut self, mark: Mark) {
        self.outputs.iter_mut().for_each(|output| output.mark(mark));
        self.end.mark(mark);
    }
    fn event(&mut self, event: Event) {
        let mut outputs: Vec<&mut dyn EdgeOutput> =
            self.outputs.iter_mut().map(|o| o.as_output()).collect();
        self.end.event(&mut outputs, event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let mut outputs: Vec<&mut dyn EdgeOutput> =
            self.outputs.iter_mut().map(|o| o.as_output()).collect();
        self.end.end_turn(&mut outputs, turn)
    }
}
