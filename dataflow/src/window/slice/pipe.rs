//! The chains of a window aggregate: the end of the one before the exchange, the head of the one behind.
//!
//! Both ends of the exchange have to agree on what crosses it, records or partial results: both ask
//! [`gathers`], which answers from the program and the job's configuration. Runs on the shard of the
//! subtask that is built.

use std::marker::PhantomData;

use thalweg_core::config::options;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Damaged, Item, Key, KeyValue, Wire};
use thalweg_memory::{Buffer, Cursor, Entry, EntryLayout, Mark, Remainder};
use thalweg_network::Event;

use super::local::LocalStage;
use super::operator::{OpenSlices, SliceOperator};
use super::voice::{OpenVoice, Voice};
use super::{AlignedWindows, SliceOptions};
use crate::graph::{EdgeId, Shape, SubtaskFactory, VertexTemplate};
use crate::operator::{Frame, KeyedPipe, Lifecycle, OpenKeyed};
use crate::partition::{EdgePattern, Hash, HashOfKey, Select};
use crate::stream::{DataStream, Draft, Exchanged, KeyedInput, KeyedStream, Pipe};
use crate::task::{
    Border, BuildContext, BuildError, ChainTurn, Consume, Head, InputHead, Push, Stage,
};
use crate::window::WindowAggregate;

/// What crosses the exchange where records are gathered before it: how many, and what they come to. Its
/// key stands beside it, its slice is the one in which its event time lies.
pub(super) type Partial<A> = (u32, A);

/// What a voice gives out of the rows of an aggregate.
type OutOf<K, T, G, V> = <<V as OpenVoice<K, <G as WindowAggregate<K, T>>::Row>>::Voice as Voice<
    K,
    <G as WindowAggregate<K, T>>::Row,
>>::Out;
/// The stream behind a window aggregate.
pub(crate) type Sliced<K, T, S, G, V> = DataStream<OutOf<K, T, G, V>, SlicePipe<K, T, S, G, V>>;

/// Aggregates the records of each key per window, and lets the voice say what comes of it.
///
/// Results have the last time of their window and come in the time order of windows.
pub(crate) fn aggregate_slices<K, T, S, I, G, V>(
    keyed: KeyedStream<K, T, S, I>,
    windows: AlignedWindows,
    options: SliceOptions<T>,
    aggregate: G,
    voice: V,
) -> Sliced<K, T, S, G, V>
where
    K: Key + Wire,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
    G: WindowAggregate<K, T>,
    V: OpenVoice<K, G::Row>,
{
    let KeyedStream {
        input,
        selector,
        parallelism,
        ..
    } = keyed;
    let allowed = options.local_aggregation && options.late.is_none();
    let open = OpenSlices {
        windows,
        options,
        aggregate,
        voice,
    };
    let (draft, gathering) = match input.into_chain(&selector) {
        Ok(stream) => (gather_before(stream, &selector, &open, allowed), allowed),
        Err(Exchanged(draft)) => (draft, false),
    };
    if let Some(parallelism) = parallelism {
        draft.set_parallelism(parallelism);
    }
    draft.add("window", "window");
    draft.cut_at_one_time();
    let pipe = SlicePipe {
        selector,
        open,
        gathering,
        types: PhantomData,
    };
    DataStream::new(pipe, draft)
}

/// Ends a chain in the exchange of a window aggregate; answers the chain behind it.
fn gather_before<K, T, S, P, G, V>(
    stream: DataStream<T, P>,
    selector: &S,
    open: &OpenSlices<T, G, V>,
    allowed: bool,
) -> Draft
where
    K: Key + Wire,
    T: Wire,
    S: Select<T, K>,
    P: Pipe<Out = T>,
    G: WindowAggregate<K, T>,
{
    let shape = Shape::Fixed(EdgePattern::AllToAll);
    if !allowed {
        let router = Hash::<K, _>::new(selector.clone());
        return stream.exchange("hash", shape, true, router);
    }
    let next = Draft::begin(stream.draft.graph());
    let edge = stream.draft.edge_to(&next, "hash", shape, true);
    stream.draft.finish(GatherTemplate {
        pipe: stream.pipe,
        selector: selector.clone(),
        windows: open.windows,
        aggregate: open.aggregate.clone(),
        edge,
        types: PhantomData::<fn(K, T)>,
    });
    next
}

/// Whether this job gathers records before the exchange, where the program allows it.
fn gathers(context: &BuildContext) -> bool {
    context
        .info()
        .configuration
        .get(&options::LOCAL_AGGREGATION)
}

/// A chain that ends in the exchange of a window aggregate.
struct GatherTemplate<K, T, S, P, G> {
    pipe: P,
    selector: S,
    windows: AlignedWindows,
    aggregate: G,
    edge: EdgeId,
    types: PhantomData<fn(K, T)>,
}

impl<K, T, S, P, G> VertexTemplate for GatherTemplate<K, T, S, P, G>
where
    K: Key + Wire,
    T: Wire,
    S: Select<T, K>,
    P: Pipe<Out = T>,
    G: WindowAggregate<K, T>,
{
    fn instantiate(&self) -> SubtaskFactory {
        let (pipe, selector) = (self.pipe.clone(), self.selector.clone());
        let (windows, aggregate, edge) = (self.windows, self.aggregate.clone(), self.edge);
        Box::new(move |context| {
            let partition = context.take_partition(edge)?;
            if !gathers(context) {
                let router = Hash::<K, _>::new(selector);
                let border = Border::<T, _>::new(router, partition, context);
                return pipe.build(border, context);
            }
            let border = Border::new(HashOfKey::new(), partition, context);
            let name = "window (local aggregation)";
            context.fuse_exchange();
            let stage =
                LocalStage::<K, T, S, G>::new(name, windows, selector, aggregate, border, context)?;
            pipe.build(stage, context)
        })
    }
}

/// A chain that begins with a window aggregate.
pub(crate) struct SlicePipe<K, T: Item, S, G, V> {
    selector: S,
    open: OpenSlices<T, G, V>,
    /// Whether the chain before the exchange gathers, if the job does.
    gathering: bool,
    types: PhantomData<fn(K)>,
}

impl<K, T: Item, S: Clone, G: Clone, V: Clone> Clone for SlicePipe<K, T, S, G, V> {
    fn clone(&self) -> Self {
        Self {
            selector: self.selector.clone(),
            open: self.open.clone(),
            gathering: self.gathering,
            types: PhantomData,
        }
    }
}

impl<K, T, S, G, V> Pipe for SlicePipe<K, T, S, G, V>
where
    K: Key + Wire,
    T: Wire,
    S: Select<T, K>,
    G: WindowAggregate<K, T>,
    V: OpenVoice<K, G::Row>,
{
    type Out = OutOf<K, T, G, V>;

    fn build<N: Push<Self::Out> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        if !(self.gathering && gathers(context)) {
            return KeyedPipe::<K, T, S, _>::new(self.selector, self.open).build(next, context);
        }
        let name = context.operator_name(0);
        let operator = self.open.open(&name, context)?;
        let gate = context.take_gate()?;
        let consume = PartialConsume::<K, T, G, V::Voice, N> {
            frame: Frame::open::<Self::Out>(name, operator, next, context)?,
            layout: context.input_layout(0),
        };
        Ok(Box::new(InputHead::open(gate, consume, context)?))
    }
}

/// The operator as the consumer of partial results.
struct PartialConsume<K: Key, T: Item, G: WindowAggregate<K, T>, V, N> {
    frame: Frame<SliceOperator<K, T, G, V>, N>,
    layout: EntryLayout,
}

impl<K, T, G, V, N> PartialConsume<K, T, G, V, N>
where
    K: Key + Wire,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
    N: Push<V::Out> + 'static,
{
    /// Applies partial results from the first on, as many as may be; answers how many.
    #[inline(always)]
    fn apply_each(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        let frame = &mut self.frame;
        // Before room is asked for: while the operator fires, what it holds is not to leave.
        if !frame.may_apply() {
            return 0;
        }
        if !frame.operator.makes_room_for(entries.len()) {
            // The end of the turn sees to it.
            frame.wait_for_state();
            return 0;
        }
        for (index, entry) in entries.iter().enumerate() {
            if !frame.ready() {
                return index;
            }
            let (key, partial) = buffer.item::<KeyValue<K, Partial<G::Accumulator>>>(entry);
            debug_assert!(K::hash(&key) == entry.hash, "the hash is that of the key");
            frame
                .operator
                .turn_to(input, from.wrapping_add(index as u8));
            let scope = OperatorScope::enter(&frame.name);
            let next = &mut frame.next;
            let applied = frame
                .operator
                .apply_partial(entry.hash, &key, partial, entry.at, next);
            scope.leave();
            if let Err(error) = applied {
                frame.fail(&error);
                return index;
            }
        }
        entries.len()
    }
}

impl<K, T, G, V, N> Consume for PartialConsume<K, T, G, V, N>
where
    K: Key + Wire,
    T: Item,
    G: WindowAggregate<K, T>,
    V: Voice<K, G::Row>,
    N: Push<V::Out> + 'static,
{
    fn begin_turn(&mut self, context: &mut TurnContext<'_>) {
        self.frame.begin_turn(context);
    }

    #[inline(always)]
    fn scan(&self, _input: u32, buffer: &Buffer, cursor: &mut Cursor, out: &mut [Entry]) -> usize {
        buffer.scan::<KeyValue<K, Partial<G::Accumulator>>>(self.layout, cursor, out)
    }

    #[inline(always)]
    fn approach(&mut self, input: u32, from: u8, entries: &[Entry]) {
        self.frame.approach(input, from, entries);
    }

    #[inline(always)]
    fn locate(&mut self, input: u32, from: u8, entries: usize) {
        self.frame.operator.locate(input, from, entries);
    }

    #[inline(always)]
    fn apply(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        let applied = self.apply_each(input, from, buffer, entries);
        self.frame.batch_applied();
        applied
    }

    fn revive(
        &self,
        _input: u32,
        rest: &Remainder,
        keep: &mut dyn FnMut(KeyHash) -> bool,
    ) -> Result<Buffer, Damaged> {
        Buffer::revive::<KeyValue<K, Partial<G::Accumulator>>>(rest, self.layout, keep)
    }

    fn ready(&self) -> bool {
        self.frame.ready()
    }
    fn mark(&mut self, mark: Mark) {
        self.frame.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.frame.event(event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        self.frame.end_turn(turn)
    }
}
