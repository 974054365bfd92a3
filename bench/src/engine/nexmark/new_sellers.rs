//! `q8`: persons who registered and offered something in the same window.

use std::time::Duration;

use thalweg::prelude::*;
use thalweg::window::assigner::TumblingWindows;
use thalweg::window::{TimeWindow, WindowAggregate};

use crate::workload::nexmark::Event;

/// How long a window is.
const SIZE: Duration = Duration::from_secs(10);

/// Who registered, or who offered something.
#[record]
#[derive(Clone, Debug)]
pub(super) struct Sign {
    person: u64,
    /// The name of one who registered.
    name: Option<String>,
}

/// A new seller: the person, the name, the start of the window.
pub(super) type Seller = (u64, String, i64);

/// The rows of `q8`: both sides as one stream, joined by person and window.
pub(super) fn query(
    events: DataStream<Event, impl Pipe<Out = Event>>,
) -> DataStream<Seller, impl Pipe<Out = Seller>> {
    events
        .flat_map(|event: Event, out: &mut Collector<Sign>| match event {
            Event::Person(person) => out.emit(Sign {
                person: person.id,
                name: Some(person.name),
            }),
            Event::Auction(auction) => out.emit(Sign {
                person: auction.seller,
                name: None,
            }),
            Event::Bid(_) => {}
        })
        .key_by(|sign: &Sign| sign.person)
        .window(TumblingWindows::event_time(SIZE))
        .aggregate(Both)
        .flat_map(|seller: Option<Seller>, out: &mut Collector<Seller>| {
            seller.into_iter().for_each(|seller| out.emit(seller));
        })
}

/// What was seen of a person in a window.
#[record]
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    name: Option<String>,
    offers: bool,
}

/// Joins the two sides of a person.
#[derive(Clone)]
struct Both;

impl WindowAggregate<u64, Sign> for Both {
    type Accumulator = Seen;
    type Row = Option<Seller>;

    fn create(&self) -> Seen {
        Seen::default()
    }
    fn add(&self, seen: &mut Seen, sign: Sign) {
        match sign.name {
            Some(name) => seen.name = Some(name),
            None => seen.offers = true,
        }
    }
    fn merge(&self, into: &mut Seen, other: &Seen) {
        into.offers |= other.offers;
        if let Some(name) = &other.name {
            into.name = Some(name.clone());
        }
    }
    fn row(&self, person: u64, window: TimeWindow, seen: &Seen) -> Option<Seller> {
        let name = seen.name.as_ref().filter(|_| seen.offers)?;
        Some((person, name.clone(), window.start.0))
    }
}
