//! `q5`: the auctions with the most bids of each sliding window.

use std::time::Duration;

use thalweg::prelude::*;
use thalweg::window::assigner::{SlidingWindows, TumblingWindows};
use thalweg::window::{TimeWindow, WindowAggregate};

use crate::workload::nexmark::Bid;

/// How long a window is.
const SIZE: Duration = Duration::from_secs(10);
/// How far apart windows begin.
const SLIDE: Duration = Duration::from_secs(2);

/// An auction, the start of a window, and its bids in it.
pub(super) type Bids = (u64, i64, u64);

/// The rows of `q5`: two stages, bids per auction and window, then the auctions with the most of them.
pub(super) fn query(
    bids: DataStream<Bid, impl Pipe<Out = Bid>>,
) -> DataStream<Bids, impl Pipe<Out = Bids>> {
    bids.key_by(|bid: &Bid| bid.auction)
        .window(SlidingWindows::event_time(SIZE, SLIDE))
        .aggregate(CountBids)
        .key_by(|row: &Bids| row.1)
        // A result's time is the last of its window: all results of one window are in one of these.
        .window(TumblingWindows::event_time(SLIDE))
        .aggregate(Hottest)
        .flat_map(|hottest: Hot, out: &mut Collector<Bids>| {
            for auction in &hottest.auctions {
                out.emit((*auction, hottest.window, hottest.bids));
            }
        })
}

/// Counts the bids of an auction.
#[derive(Clone)]
struct CountBids;

impl WindowAggregate<u64, Bid> for CountBids {
    type Accumulator = u64;
    type Row = Bids;

    fn create(&self) -> u64 {
        0
    }
    fn add(&self, bids: &mut u64, _bid: Bid) {
        *bids += 1;
    }
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    fn subtract(&self, from: &mut u64, other: &u64) -> bool {
        *from -= other;
        true
    }
    fn row(&self, auction: u64, window: TimeWindow, bids: &u64) -> Bids {
        (auction, window.start.0, *bids)
    }
}

/// The auctions with the most bids of a window.
#[record]
#[derive(Clone, Debug, Default)]
pub(super) struct Hot {
    window: i64,
    bids: u64,
    auctions: Vec<u64>,
}

/// Keeps the auctions with the most bids.
#[derive(Clone)]
struct Hottest;

impl WindowAggregate<i64, Bids> for Hottest {
    type Accumulator = Hot;
    type Row = Hot;

    fn create(&self) -> Hot {
        Hot::default()
    }
    fn add(&self, hot: &mut Hot, (auction, window, bids): Bids) {
        if bids > hot.bids {
            hot.window = window;
            hot.bids = bids;
            hot.auctions.clear();
        }
        if bids == hot.bids {
            hot.auctions.push(auction);
        }
    }
    fn merge(&self, into: &mut Hot, other: &Hot) {
        if other.bids > into.bids {
            into.clone_from(other);
        } else if other.bids == into.bids {
            into.auctions.extend_from_slice(&other.auctions);
        }
    }
    fn row(&self, _window: i64, _slice: TimeWindow, hot: &Hot) -> Hot {
        hot.clone()
    }
}
