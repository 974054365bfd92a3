//! The operators: one operator, one file, with its method on the stream, its pipe and its logic.

mod aggregate;
mod async_io;
mod bounded;
mod connect;
mod count;
pub(crate) mod extreme;
mod filter;
mod flat_map;
mod fold;
mod frame;
mod inspect;
mod iterate;
mod join;
mod keyed;
mod map;
mod process;
mod process_function;
mod read_splits;
mod reduce;
mod selection;
mod side_output;
mod sum;
mod two_inputs;

pub use aggregate::KeyedAggregate;
pub use async_io::{AsyncIo, Retry, Unanswered};
pub use bounded::Order;
pub use connect::{
    BroadcastContext, BroadcastOpenContext, BroadcastProcessFunction, CoProcessFunction,
    ConnectWith, ConnectedBroadcast, KeyedBroadcastProcessFunction, KeyedFirst,
};
pub(crate) use frame::{Firing, Frame, Lifecycle};
pub(crate) use iterate::{Circuit, IterationPlan, LapCombiner, OUTSIDE, Onward};
pub use iterate::{FEEDBACK_DROPPED, Iteration};
pub use join::{
    Either, EitherStream, IntervalJoin, IntervalJoinBetween, JoinContext, JoinStreams, JoinWhere,
    JoinedStreams, SelectEither, TemporalJoin, WindowJoin,
};
pub(crate) use keyed::{KeyedOperator, KeyedPipe, OpenKeyed};
pub use process_function::{KeyedProcessFunction, ProcessFunction};
pub use read_splits::SplitReader;
pub use selection::{F0, F1, F2, F3, F4, F5, F6, F7, Field, Projection, SplitStream};

/// The calls an operator without results of its own passes on to the stage behind it.
macro_rules! pass_on {
    () => {
        fn mark(&mut self, mark: thalweg_memory::Mark) {
            self.next.mark(mark);
        }
        $crate::operator::pass_on_but_mark!();
    };
}
pub(crate) use pass_on;

/// The same for an operator that looks at marks itself.
macro_rules! pass_on_but_mark {
    () => {
        #[inline(always)]
        fn ready(&self) -> bool {
            self.next.ready()
        }
        fn event(&mut self, event: thalweg_network::Event) {
            self.next.event(event);
        }
        fn end_turn(&mut self, turn: &mut $crate::task::ChainTurn<'_, '_>) -> $crate::task::Stage {
            self.next.end_turn(turn)
        }
    };
}
pub(crate) use pass_on_but_mark;
