//! The ceilings of the queries: make every event, and do with it what the query asks.
//!
//! Without windows each thread makes the events of its residue class. The threads share nothing until
//! they end.

mod windows;

use self::windows::{highest_bids, hot_auctions, new_sellers};
use super::level::{Level, per_level};
use super::on_threads;
use crate::engine::Query;
use crate::workload::Totals;
use crate::workload::definitions::{h2, h4};
use crate::workload::nexmark::{bid, is_bid};

/// Runs a query over `events` events on `threads` threads.
pub(super) fn run(level: Level, query: Query, events: u64, per_ms: u64, threads: u32) -> Totals {
    let threads = u64::from(threads);
    let parts = on_threads(threads as usize, |thread| {
        let from = thread as u64;
        match query {
            Query::Q0 => all(level, from, threads, events, per_ms),
            Query::Q1 => converted(level, from, threads, events, per_ms),
            Query::Q2 => some(level, from, threads, events, per_ms),
            Query::Q5 => hot(level, from, threads, events, per_ms),
            Query::Q7 => highest(level, from, threads, events, per_ms),
            Query::Q8 => sellers(level, from, threads, events, per_ms),
        }
    });
    let add = |sum: (u64, u64), part: (u64, u64)| (sum.0 + part.0, sum.1.wrapping_add(part.1));
    let (rows_out, checksum) = parts.into_iter().fold((0, 0), add);
    Totals {
        records: events,
        rows_out,
        checksum,
    }
}

per_level! {
    /// Rows and terms of `q0` over every `stride`-th event from `from`.
    fn all(from: u64, stride: u64, events: u64, per_ms: u64) -> (u64, u64) = all_body
}
per_level! {
    /// Rows and terms of `q1`.
    fn converted(from: u64, stride: u64, events: u64, per_ms: u64) -> (u64, u64) = converted_body
}
per_level! {
    /// Rows and terms of `q2`.
    fn some(from: u64, stride: u64, events: u64, per_ms: u64) -> (u64, u64) = some_body
}

per_level! {
    /// Rows and terms of `q5`.
    fn hot(thread: u64, threads: u64, events: u64, per_ms: u64) -> (u64, u64) = hot_body
}
per_level! {
    /// Rows and terms of `q7`.
    fn highest(thread: u64, threads: u64, events: u64, per_ms: u64) -> (u64, u64) = highest_body
}
per_level! {
    /// Rows and terms of `q8`.
    fn sellers(thread: u64, threads: u64, events: u64, per_ms: u64) -> (u64, u64) = sellers_body
}

#[inline(always)]
fn hot_body<const WIDE: u8>(thread: u64, threads: u64, events: u64, per_ms: u64) -> (u64, u64) {
    hot_auctions(thread, threads, events, per_ms)
}

#[inline(always)]
fn highest_body<const WIDE: u8>(thread: u64, threads: u64, events: u64, per_ms: u64) -> (u64, u64) {
    highest_bids(thread, threads, events, per_ms)
}

#[inline(always)]
fn sellers_body<const WIDE: u8>(thread: u64, threads: u64, events: u64, per_ms: u64) -> (u64, u64) {
    new_sellers(thread, threads, events, per_ms)
}

#[inline(always)]
fn all_body<const WIDE: u8>(from: u64, stride: u64, events: u64, per_ms: u64) -> (u64, u64) {
    let mut total = (0, 0u64);
    for n in (from..events)
        .step_by(stride as usize)
        .filter(|n| is_bid(*n))
    {
        let bid = bid(n, per_ms);
        let term = h4(bid.auction, bid.bidder, bid.price, bid.time as u64);
        total = (total.0 + 1, total.1.wrapping_add(term));
    }
    total
}

#[inline(always)]
fn converted_body<const WIDE: u8>(from: u64, stride: u64, events: u64, per_ms: u64) -> (u64, u64) {
    let mut total = (0, 0u64);
    for n in (from..events)
        .step_by(stride as usize)
        .filter(|n| is_bid(*n))
    {
        let bid = bid(n, per_ms);
        let price = bid.price * 908 / 1000;
        let term = h4(bid.auction, bid.bidder, price, bid.time as u64);
        total = (total.0 + 1, total.1.wrapping_add(term));
    }
    total
}

#[inline(always)]
fn some_body<const WIDE: u8>(from: u64, stride: u64, events: u64, per_ms: u64) -> (u64, u64) {
    let mut total = (0, 0u64);
    for n in (from..events)
        .step_by(stride as usize)
        .filter(|n| is_bid(*n))
    {
        let bid = bid(n, per_ms);
        if bid.auction.is_multiple_of(123) {
            let term = h2(bid.auction, bid.price);
            total = (total.0 + 1, total.1.wrapping_add(term));
        }
    }
    total
}
