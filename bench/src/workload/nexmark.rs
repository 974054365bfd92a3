//! Nexmark events: an auction site in integers, stateless, event by event.
//!
//! Event *n* depends on *n* only, so any thread may make any of them. The golden values in the tests
//! were computed by an independent program with unbounded integers.

use thalweg::prelude::*;

use super::definitions::{pick, sm};

/// Somebody who registered.
#[record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub id: u64,
    /// First and last name.
    pub name: String,
    /// Which of ten cities.
    pub city: u8,
    /// Which of six states.
    pub state: u8,
    /// Event time, ms.
    pub time: i64,
}

/// Something offered.
#[record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auction {
    /// Which.
    pub id: u64,
    /// The person who sells.
    pub seller: u64,
    /// One of five categories, from 10.
    pub category: u64,
    /// The first price.
    pub initial_bid: u64,
    /// When it ends, ms.
    pub expires: i64,
    /// Event time, ms.
    pub time: i64,
}

/// A price somebody would pay.
#[record]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bid {
    /// For what.
    pub auction: u64,
    /// Who.
    pub bidder: u64,
    /// How much.
    pub price: u64,
    /// Event time, ms.
    pub time: i64,
}

/// One event of the site.
#[record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One of fifty.
    Person(Person),
    /// Three of fifty.
    Auction(Auction),
    /// The rest.
    Bid(Bid),
}

/// The first id of persons and auctions.
const FIRST_ID: u64 = 1000;
/// Events of an epoch: one person, three auctions, 46 bids.
const EPOCH: u64 = 50;
/// Persons that are active at a time.
const ACTIVE: u64 = 1000;
/// How far ahead of those registered ids may be drawn.
const LEAD: u64 = 10;
/// Auctions in flight.
const IN_FLIGHT: u64 = 100;

const FIRST: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST: [&str; 9] = [
    "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris",
];

/// One of the 99 names.
fn name(r: u64) -> String {
    let index = pick(r, (FIRST.len() * LAST.len()) as u64) as usize;
    [FIRST[index / LAST.len()], " ", LAST[index % LAST.len()]].concat()
}

/// The event time of event `n`, ms, at so many events per millisecond.
#[inline(always)]
#[must_use]
pub const fn time(n: u64, per_ms: u64) -> i64 {
    (n / per_ms) as i64
}

/// Whether event `n` is a bid.
#[inline(always)]
#[must_use]
pub const fn is_bid(n: u64) -> bool {
    n % EPOCH >= 4
}

/// Event `n` at so many events per millisecond of event time.
#[inline(always)]
#[must_use]
pub fn event(n: u64, per_ms: u64) -> Event {
    match n % EPOCH {
        0 => Event::Person(person(n, per_ms)),
        1..4 => Event::Auction(auction(n, per_ms)),
        _ => Event::Bid(bid(n, per_ms)),
    }
}

/// Event `n`, which must be a person.
#[inline(always)]
#[must_use]
pub fn person(n: u64, per_ms: u64) -> Person {
    debug_assert!(n.is_multiple_of(EPOCH));
    let (r0, r1) = draws(n);
    Person {
        id: FIRST_ID + n / EPOCH,
        name: name(r0),
        city: pick(r1, 10) as u8,
        state: pick(r1 << 32, 6) as u8,
        time: time(n, per_ms),
    }
}

/// Event `n`, which must be an auction.
#[inline(always)]
#[must_use]
pub fn auction(n: u64, per_ms: u64) -> Auction {
    let (epoch, offset) = (n / EPOCH, n % EPOCH);
    debug_assert!((1..4).contains(&offset));
    let (r0, r1) = draws(n);
    let seller = if r0 & 3 > 0 {
        epoch / 100 * 100
    } else {
        someone(epoch, r0)
    };
    let time = time(n, per_ms);
    Auction {
        id: FIRST_ID + epoch * 3 + offset - 1,
        seller: FIRST_ID + seller,
        category: 10 + pick(r1, 5),
        initial_bid: price(r1),
        expires: time + 1 + ((r0 >> 8) & 0x3fff) as i64,
        time,
    }
}

/// Event `n`, which must be a bid.
#[inline(always)]
#[must_use]
pub fn bid(n: u64, per_ms: u64) -> Bid {
    debug_assert!(is_bid(n));
    let epoch = n / EPOCH;
    let (r0, r1) = draws(n);
    let last = epoch * 3 + 2;
    let lowest = last.saturating_sub(IN_FLIGHT);
    let auction = if r0 & 1 > 0 {
        last / 100 * 100
    } else {
        lowest + pick(r0, last - lowest + LEAD + 1)
    };
    let bidder = if (r0 >> 1) & 3 > 0 {
        epoch / 100 * 100 + 1
    } else {
        someone(epoch, r1)
    };
    Bid {
        auction: FIRST_ID + auction,
        bidder: FIRST_ID + bidder,
        price: price(r1),
        time: time(n, per_ms),
    }
}

#[inline(always)]
fn draws(n: u64) -> (u64, u64) {
    (sm(2 * n), sm(2 * n + 1))
}

/// Log-uniform.
#[inline(always)]
fn price(r: u64) -> u64 {
    let k = ((r & 255) * 24) >> 8;
    100 + ((1 << k) | ((r >> 8) & ((1 << k) - 1)))
}

/// One of the persons that are active in `epoch`, or a little ahead of them.
#[inline(always)]
fn someone(epoch: u64, r: u64) -> u64 {
    let people = epoch + 1;
    let active = people.min(ACTIVE);
    people - active + pick(r, active + LEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_are_golden() {
        for (n, id, name, city, state, time) in [
            (0, 1000, "Deiter Smith", 4, 3, 0),
            (50, 1001, "Vicky Walton", 5, 0, 0),
            (123_450, 3469, "John Spencer", 6, 0, 1234),
        ] {
            let name = name.to_owned();
            let expected = Person {
                id,
                name,
                city,
                state,
                time,
            };
            assert_eq!(event(n, 100), Event::Person(expected));
        }
    }

    #[test]
    fn auctions_are_golden() {
        for (n, id, seller, category, initial_bid, expires, time) in [
            (1, 1000, 1000, 14, 7_490_789, 2374, 0),
            (2, 1001, 1000, 11, 3_440_390, 10_357, 0),
            (53, 1005, 1000, 11, 16_821, 11_218, 0),
            (5_000_001, 301_000, 101_000, 14, 486_465, 51_547, 50_000),
        ] {
            let expected = Auction {
                id,
                seller,
                category,
                initial_bid,
                expires,
                time,
            };
            assert_eq!(event(n, 100), Event::Auction(expected));
        }
    }

    #[test]
    fn bids_are_golden() {
        for (n, auction, bidder, price, time) in [
            (4, 1000, 1001, 36_116, 0),
            (5, 1000, 1008, 8_739_906, 0),
            (12_345, 1643, 1201, 253, 123),
            (98_765_432, 5_926_900, 1_976_301, 113, 987_654),
        ] {
            let expected = Bid {
                auction,
                bidder,
                price,
                time,
            };
            assert_eq!(event(n, 100), Event::Bid(expected));
        }
    }
}
