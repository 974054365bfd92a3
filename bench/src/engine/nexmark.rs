//! `q0` to `q8`: the queries of an auction site.

use std::fmt;

use thalweg::connectors::Generator;
use thalweg::prelude::*;

use super::checksum::{Checksum, Total};
use crate::workload::definitions::{h2, h4};
use crate::workload::nexmark::{self, Bid, Event};

/// A query over the events of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Every bid.
    Q0,
    /// Every bid, its price in another currency.
    Q1,
    /// The bids for some auctions.
    Q2,
}

impl Query {
    /// Its name as a workload.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Query::Q0 => "q0",
            Query::Q1 => "q1",
            Query::Q2 => "q2",
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Builds the program of a query over `events` events, `per_ms` of them a millisecond.
pub(super) fn program(environment: &Environment, query: Query, events: u64, per_ms: u64) -> Total {
    let total = Total::default();
    match query {
        Query::Q0 => {
            bids(environment, events, per_ms).sink(Checksum::new(bid_term, &total));
        }
        Query::Q1 => {
            bids(environment, events, per_ms)
                .map(|bid: Bid| Bid {
                    price: bid.price * 908 / 1000,
                    ..bid
                })
                .sink(Checksum::new(bid_term, &total));
        }
        Query::Q2 => {
            bids(environment, events, per_ms)
                .filter(|bid: &Bid| bid.auction % 123 == 0)
                .map(|bid: Bid| (bid.auction, bid.price))
                .sink(Checksum::new(|row: &(u64, u64)| h2(row.0, row.1), &total));
        }
    }
    total
}

fn bid_term(bid: &Bid) -> u64 {
    h4(bid.auction, bid.bidder, bid.price, bid.time as u64)
}

/// All events, with their event times.
fn events(
    environment: &Environment,
    events: u64,
    per_ms: u64,
) -> DataStream<Event, impl Pipe<Out = Event> + use<>> {
    environment.source(Generator::timed(events, move |n| {
        let time = Timestamp(nexmark::time(n, per_ms));
        (nexmark::event(n, per_ms), time)
    }))
}

/// The bids among them.
fn bids(
    environment: &Environment,
    count: u64,
    per_ms: u64,
) -> DataStream<Bid, impl Pipe<Out = Bid> + use<>> {
    events(environment, count, per_ms).flat_map(|event: Event, out: &mut Collector<Bid>| {
        if let Event::Bid(bid) = event {
            out.emit(bid);
        }
    })
}
