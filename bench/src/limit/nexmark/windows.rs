//! The ceilings of `q5`, `q7` and `q8`: stretches of event time in dense arrays.
//!
//! Each thread takes a run of whole windows; the threads share nothing until they end. Every event is
//! made, also one the query has no use for: that is the source's work.

use std::collections::VecDeque;
use std::hint::black_box;
use std::ops::Range;

use crate::workload::definitions::{h3, h4, java_hash};
use crate::workload::nexmark::{Bid, Event, auction, bid, event, is_bid};

/// The slide of `q5`, ms.
const SLIDE: u64 = 2_000;
/// How many slides a window of `q5` spans.
const SLIDES: u64 = 5;
/// The window of `q7` and `q8`, ms.
const WINDOW: u64 = 10_000;

/// Rows and the sum of their terms.
pub(super) type Part = (u64, u64);

/// The run of windows of one thread of several.
fn share(windows: u64, thread: u64, threads: u64) -> Range<u64> {
    windows * thread / threads..windows * (thread + 1) / threads
}

/// The events of stretch number `index`, each `length` ms long.
fn stretch(index: u64, length: u64, events: u64, per_ms: u64) -> Range<u64> {
    let from = (index * length * per_ms).min(events);
    let to = ((index + 1) * length * per_ms).min(events);
    from..to
}

/// How many stretches of `length` ms hold the events.
fn stretches(length: u64, events: u64, per_ms: u64) -> u64 {
    events.div_ceil(length * per_ms)
}

/// Bids per auction of one slide: the first auction and a count for it and each behind it.
struct Counts {
    first: u64,
    bids: Vec<u32>,
}

#[inline(always)]
fn count(range: Range<u64>, per_ms: u64) -> Counts {
    // Ids of an epoch reach from a hundred behind its last auction to ten ahead of it.
    let lowest = |n: u64| (n / 50 * 3 + 2).saturating_sub(100);
    let (first, end) = (lowest(range.start), range.end / 50 * 3 + 14);
    let mut counts = Counts {
        first,
        bids: vec![0; (end - first) as usize],
    };
    for n in range {
        if is_bid(n) {
            let bid = bid(n, per_ms);
            black_box(bid.price);
            counts.bids[(bid.auction - 1000 - first) as usize] += 1;
        } else {
            black_box(event(n, per_ms));
        }
    }
    counts
}

/// `q5`. Window `k` of this part covers the slides `k - 4` to `k`.
#[inline(always)]
pub(super) fn hot_auctions(thread: u64, threads: u64, events: u64, per_ms: u64) -> Part {
    let slides = stretches(SLIDE, events, per_ms);
    let windows = if slides == 0 { 0 } else { slides + SLIDES - 1 };
    let mine = share(windows, thread, threads);
    let mut total = (0, 0u64);
    let mut open: VecDeque<Counts> = VecDeque::new();
    let mut sums: Vec<u32> = Vec::new();
    let before = mine.start.saturating_sub(SLIDES - 1);
    for slide in before..mine.end {
        if slide < slides {
            open.push_back(count(stretch(slide, SLIDE, events, per_ms), per_ms));
        }
        let gone = slide >= SLIDES && slide - SLIDES >= before && slide - SLIDES < slides;
        if gone {
            open.pop_front();
        }
        if slide < mine.start {
            continue;
        }
        let part = hottest(&open, &mut sums, slide);
        total = (total.0 + part.0, total.1.wrapping_add(part.1));
    }
    total
}

/// The rows of the window that ends with `slide`.
#[inline(always)]
fn hottest(open: &VecDeque<Counts>, sums: &mut Vec<u32>, slide: u64) -> Part {
    let Some(first) = open.front().map(|counts| counts.first) else {
        return (0, 0);
    };
    sums.clear();
    for counts in open {
        let at = (counts.first - first) as usize;
        let end = at + counts.bids.len();
        if sums.len() < end {
            sums.resize(end, 0);
        }
        for (sum, bids) in sums[at..end].iter_mut().zip(&counts.bids) {
            *sum += bids;
        }
    }
    let most = sums.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return (0, 0);
    }
    let start = (slide * SLIDE) as i64 - ((SLIDES - 1) * SLIDE) as i64;
    let mut total = (0, 0u64);
    for (id, bids) in (first + 1000..).zip(sums.iter()) {
        if *bids == most {
            let term = h3(id, start as u64, u64::from(most));
            total = (total.0 + 1, total.1.wrapping_add(term));
        }
    }
    total
}

/// `q7`.
#[inline(always)]
pub(super) fn highest_bids(thread: u64, threads: u64, events: u64, per_ms: u64) -> Part {
    let windows = stretches(WINDOW, events, per_ms);
    let mut total = (0, 0u64);
    for window in share(windows, thread, threads) {
        let mut highest: Option<Bid> = None;
        for n in stretch(window, WINDOW, events, per_ms) {
            if !is_bid(n) {
                black_box(event(n, per_ms));
                continue;
            }
            let bid = bid(n, per_ms);
            // In the order of events, so of equals in price and time only the ids decide.
            let better = highest.as_ref().is_none_or(|there| {
                bid.price > there.price
                    || bid.price == there.price
                        && bid.time == there.time
                        && (bid.auction, bid.bidder) < (there.auction, there.bidder)
            });
            if better {
                highest = Some(bid);
            }
        }
        if let Some(bid) = highest {
            let term = h4(bid.auction, bid.bidder, bid.price, bid.time as u64);
            total = (total.0 + 1, total.1.wrapping_add(term));
        }
    }
    total
}

/// `q8`.
#[inline(always)]
pub(super) fn new_sellers(thread: u64, threads: u64, events: u64, per_ms: u64) -> Part {
    let windows = stretches(WINDOW, events, per_ms);
    let mut total = (0, 0u64);
    let mut persons: Vec<(u64, String)> = Vec::new();
    let mut offers: Vec<bool> = Vec::new();
    for window in share(windows, thread, threads) {
        let range = stretch(window, WINDOW, events, per_ms);
        // Persons of a window have ids one behind the other.
        let first = 1000 + range.start.div_ceil(50);
        offers.clear();
        offers.resize((range.end - range.start) as usize / 50 + 2, false);
        persons.clear();
        for n in range {
            match n % 50 {
                0 => {
                    if let Event::Person(person) = event(n, per_ms) {
                        persons.push((person.id, person.name));
                    }
                }
                1..4 => {
                    let seller = auction(n, per_ms).seller.checked_sub(first);
                    let place = seller.and_then(|at| offers.get_mut(at as usize));
                    if let Some(offer) = place {
                        *offer = true;
                    }
                }
                _ => {
                    black_box(bid(n, per_ms));
                }
            }
        }
        for (id, name) in &persons {
            if offers[(id - first) as usize] {
                let start = window * WINDOW;
                let term = h3(*id, java_hash(name.as_bytes()), start);
                total = (total.0 + 1, total.1.wrapping_add(term));
            }
        }
    }
    total
}
