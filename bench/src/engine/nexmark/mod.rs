//! `q0` to `q8`: the queries of an auction site.

mod highest_bid;
mod hot_auctions;
mod new_sellers;

use std::fmt;

use thalweg::connectors::Generator;
use thalweg::prelude::*;

use super::checksum::{Checksum, Total};
use crate::workload::definitions::{h2, h3, h4, java_hash};
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
    /// The auctions with the most bids per sliding window.
    Q5,
    /// The highest bid per window.
    Q7,
    /// Persons who registered and offered something in the same window.
    Q8,
}

impl Query {
    /// Its name as a workload.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Query::Q0 => "q0",
            Query::Q1 => "q1",
            Query::Q2 => "q2",
            Query::Q5 => "q5",
            Query::Q7 => "q7",
            Query::Q8 => "q8",
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Builds the program of a query over `count` events, `per_ms` of them a millisecond.
pub(super) fn program(environment: &Environment, query: Query, count: u64, per_ms: u64) -> Total {
    let total = Total::default();
    match query {
        Query::Q0 => {
            bids_of(events(environment, count, per_ms)).sink(Checksum::new(bid_term, &total));
        }
        Query::Q1 => {
            bids_of(events(environment, count, per_ms))
                .map(|bid: Bid| Bid {
                    price: bid.price * 908 / 1000,
                    ..bid
                })
                .sink(Checksum::new(bid_term, &total));
        }
        Query::Q2 => {
            bids_of(events(environment, count, per_ms))
                .filter(|bid: &Bid| bid.auction.is_multiple_of(123))
                .map(|bid: Bid| (bid.auction, bid.price))
                .sink(Checksum::new(|row: &(u64, u64)| h2(row.0, row.1), &total));
        }
        Query::Q5 => {
            let bids = bids_of(events_in_time(environment, count, per_ms));
            hot_auctions::query(bids).sink(Checksum::new(
                |row: &(u64, i64, u64)| h3(row.0, row.1 as u64, row.2),
                &total,
            ));
        }
        Query::Q7 => {
            let bids = bids_of(events_in_time(environment, count, per_ms));
            highest_bid::query(bids).sink(Checksum::new(bid_term, &total));
        }
        Query::Q8 => {
            let events = events_in_time(environment, count, per_ms);
            new_sellers::query(events).sink(Checksum::new(
                |row: &(u64, String, i64)| h3(row.0, java_hash(row.1.as_bytes()), row.2 as u64),
                &total,
            ));
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
    count: u64,
    per_ms: u64,
) -> DataStream<Event, impl Pipe<Out = Event> + use<>> {
    environment.source(Generator::timed(
        count,
        // A call of its own would hand every event over in memory, written in pieces and read as one.
        #[inline(always)]
        move |n| {
            let time = Timestamp(nexmark::time(n, per_ms));
            (nexmark::event(n, per_ms), time)
        },
    ))
}

/// The events with watermarks, made where they are read: their times never go back within a split.
fn events_in_time(
    environment: &Environment,
    count: u64,
    per_ms: u64,
) -> DataStream<Event, impl Pipe<Out = Event> + use<>> {
    let strategy = WatermarkStrategy::<Event>::for_monotonous_timestamps();
    let generator = Generator::timed(
        count,
        #[inline(always)]
        move |n| {
            let time = Timestamp(nexmark::time(n, per_ms));
            (nexmark::event(n, per_ms), time)
        },
    );
    environment.source_with(generator, strategy)
}

/// The bids among events.
fn bids_of(
    events: DataStream<Event, impl Pipe<Out = Event>>,
) -> DataStream<Bid, impl Pipe<Out = Bid>> {
    events.flat_map(|event: Event, out: &mut Collector<Bid>| {
        if let Event::Bid(bid) = event {
            out.emit(bid);
        }
    })
}
