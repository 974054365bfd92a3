//! `q7`: the highest bid of each window.

use std::cmp::Reverse;
use std::time::Duration;

use thalweg::prelude::*;
use thalweg::window::assigner::TumblingWindows;
use thalweg::window::{TimeWindow, WindowAggregate};

use crate::workload::nexmark::Bid;

/// How long a window is.
const SIZE: Duration = Duration::from_secs(10);

/// The rows of `q7`.
pub(super) fn query(
    bids: DataStream<Bid, impl Pipe<Out = Bid>>,
) -> DataStream<Bid, impl Pipe<Out = Bid>> {
    bids.window_all(TumblingWindows::event_time(SIZE))
        .aggregate(Highest)
        .flat_map(|highest: Option<Bid>, out: &mut Collector<Bid>| {
            highest.into_iter().for_each(|bid| out.emit(bid));
        })
}

/// Keeps the highest bid; of equals the earliest, then that for the lowest auction by the lowest bidder.
#[derive(Clone)]
struct Highest;

impl Highest {
    fn take(highest: &mut Option<Bid>, bid: Bid) {
        let rank = |bid: &Bid| (bid.price, Reverse((bid.time, bid.auction, bid.bidder)));
        if highest
            .as_ref()
            .is_none_or(|there| rank(&bid) > rank(there))
        {
            *highest = Some(bid);
        }
    }
}

impl WindowAggregate<(), Bid> for Highest {
    type Accumulator = Option<Bid>;
    type Row = Option<Bid>;

    fn create(&self) -> Option<Bid> {
        None
    }
    fn add(&self, highest: &mut Option<Bid>, bid: Bid) {
        Self::take(highest, bid);
    }
    fn merge(&self, into: &mut Option<Bid>, other: &Option<Bid>) {
        if let Some(bid) = other {
            Self::take(into, *bid);
        }
    }
    fn row(&self, (): (), _window: TimeWindow, highest: &Option<Bid>) -> Option<Bid> {
        *highest
    }
}
