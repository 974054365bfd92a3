//! An interval join driven by hand in memory that is too little: what has gone to disk while the pairs of a record were
//! interrupted is waited for, and slices that are forgotten on disk do not come back.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::Key;
use thalweg_state::WINDOW;

use super::super::operator::{Bounds, Interval, OpenInterval};
use crate::function::FunctionError;
use crate::operator::frame::{Firing, Lifecycle};
use crate::operator::join::function::Apply;
use crate::operator::join::testing::{Acted, Driven, First, Rec, Taken, drive, rec};
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator};
use crate::stream::KeyedBoth;

/// The numbers of a left and a right record.
type Pair = (i64, i64);
type Join = Interval<u64, Rec, Rec, First, First, Apply<fn(&Rec, &Rec) -> Pair, Pair>>;

const KEYS: u64 = 16_000;
/// The key whose record is interrupted, and how many partners it has.
const HOT: u64 = u64::MAX;
const PARTNERS: i64 = 40;
/// Pairs for which there is room at first.
const ROOM: usize = 5;
/// When all records are.
const AT: Timestamp = Timestamp(50);

enum Story {
    Fill(u64),
    Interrupt,
    /// Other records are read ahead until the partners have left memory.
    Crowd(u64),
    GoOn {
        waited: bool,
    },
    Forget,
    Look(u64),
}

struct Program {
    join: Join,
    out: Taken<Pair>,
    story: Story,
}

fn hash(key: u64) -> KeyHash {
    u64::hash(&key)
}

impl Program {
    /// Adds right records, some at once.
    fn fill(&mut self, from: u64) -> Result<Acted, FunctionError> {
        const BATCH: u64 = 16;
        let recs = (from..from + BATCH).map(|number| {
            let key = if number < PARTNERS as u64 {
                HOT
            } else {
                number
            };
            rec(key, number as i64)
        });
        let recs: Vec<Rec> = recs.collect();
        if self.join.overflows() {
            if !TwoInputOperator::<Rec, Rec, Pair>::has_room(&mut self.join, 1, recs.len()) {
                return Ok(Acted::Waits);
            }
            let there = recs.iter().enumerate().filter(|(nth, rec)| {
                let place = (from as usize + nth) % WINDOW;
                self.join.seek_second(place as u8, (hash(rec.0), AT), rec)
            });
            if there.count() < recs.len() {
                return Ok(Acted::Waits);
            }
        }
        for rec in recs {
            self.join.second(hash(rec.0), rec, AT, &mut self.out)?;
        }
        self.story = match from < KEYS {
            true => Story::Fill(from + BATCH),
            false => Story::Interrupt,
        };
        Ok(Acted::More)
    }

    /// A left record meets its partners, as far as there is room.
    fn interrupt(&mut self) -> Result<Acted, FunctionError> {
        let left = rec(HOT, -1);
        if !self.join.seek_first(0, (hash(HOT), AT), &left) {
            return Ok(Acted::Waits);
        }
        self.join.first(hash(HOT), left, AT, &mut self.out)?;
        assert_eq!(self.out.taken.len(), ROOM);
        self.story = Story::Crowd(0);
        Ok(Acted::More)
    }

    /// Reads what many other records need.
    fn crowd(&mut self, turn: u64) -> Acted {
        assert!(turn < 100_000, "the partners do not leave memory");
        let partners = self.join.right.records.hot();
        if partners.get_in(hash(HOT), &HOT, &0).is_none() {
            self.story = Story::GoOn { waited: false };
            self.out.room = usize::MAX;
            return Acted::More;
        }
        for place in 0..WINDOW as u64 {
            let key = PARTNERS as u64 + (turn * 97 + place) % (KEYS - PARTNERS as u64);
            let other = rec(key, 0);
            self.join.seek_second(place as u8, (hash(key), AT), &other);
        }
        self.story = Story::Crowd(turn + 1);
        Acted::Waits
    }

    fn go_on(&mut self, waited: bool) -> Result<Acted, FunctionError> {
        let fired = self.join.fire(&mut self.out, 128)?;
        if fired == Firing::Waiting {
            self.story = Story::GoOn { waited: true };
            return Ok(Acted::Waits);
        }
        assert!(waited, "the partners were on disk");
        let pairs: Vec<Pair> = (0..PARTNERS).map(|right| (-1, right)).collect();
        assert_eq!(self.out.taken, pairs);
        Lifecycle::<Pair>::watermark(&mut self.join, Timestamp(10_000));
        self.story = Story::Forget;
        Ok(Acted::More)
    }

    fn forget(&mut self) -> Result<Acted, FunctionError> {
        match self.join.fire(&mut self.out, 128)? {
            Firing::More => Ok(Acted::More),
            Firing::Waiting => Ok(Acted::Waits),
            Firing::Done => {
                self.story = Story::Look(PARTNERS as u64);
                Ok(Acted::More)
            }
        }
    }

    /// Looks for slices, whose keys are as many as a window has places.
    fn look(&mut self, from: u64) -> Acted {
        let records = &mut self.join.right.records;
        let keys = from..KEYS.min(from + WINDOW as u64);
        let there = (keys.clone().enumerate())
            .filter(|(place, key)| records.seek(*place, hash(*key), key, &0));
        if there.count() < keys.clone().count() {
            return Acted::Waits;
        }
        assert!(records.hot().is_empty(), "slices have come back");
        self.story = Story::Look(keys.end);
        match keys.end < KEYS {
            true => Acted::More,
            false => Acted::Over,
        }
    }
}

impl Driven for Program {
    type Out = Pair;
    type Join = Join;

    fn join(&mut self) -> &mut Join {
        &mut self.join
    }

    fn act(&mut self) -> Result<Acted, FunctionError> {
        match self.story {
            Story::Fill(from) => self.fill(from),
            Story::Interrupt => self.interrupt(),
            Story::Crowd(turn) => Ok(self.crowd(turn)),
            Story::GoOn { waited } => self.go_on(waited),
            Story::Forget => self.forget(),
            Story::Look(from) => Ok(self.look(from)),
        }
    }
}

#[test]
fn interrupted_pairs_wait_for_the_disk_and_what_is_forgotten_there_stays_away() {
    drive(2 << 20, |context| {
        let pair: fn(&Rec, &Rec) -> Pair = |left, right| (left.1, right.1);
        let open = OpenInterval {
            keys: KeyedBoth::new(First, First),
            bounds: Bounds {
                lower_ms: -100,
                upper_ms: 100,
            },
            function: Apply::new(pair),
            late: (None, None),
        };
        Program {
            join: open.open("join", context).unwrap(),
            out: Taken {
                taken: Vec::new(),
                room: ROOM,
            },
            story: Story::Fill(0),
        }
    });
}
