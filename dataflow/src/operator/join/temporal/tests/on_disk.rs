//! A temporal join driven by hand in memory that is too little: late rows find versions that are on disk, versions that
//! were replaced are forgotten there, and rows that are being joined wait for their version again.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::Key;
use thalweg_state::WINDOW;

use super::super::Deletion;
use super::super::operator::{OpenTemporal, Temporal};
use super::super::row::Outer;
use crate::function::FunctionError;
use crate::operator::frame::{Firing, Lifecycle};
use crate::operator::join::testing::{Acted, Driven, First, Rec, Taken, drive, rec};
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator};
use crate::stream::KeyedBoth;

/// The numbers of a row and of its version.
type Joined = (i64, Option<i64>);
type Both = fn(&Rec, Option<&Rec>) -> Joined;
type Join = Temporal<u64, Rec, Rec, First, First, Outer<Both, Joined>>;

const KEYS: u64 = 16_000;
/// Records that are applied at once.
const BATCH: u64 = 16;
/// The key with many rows of one time.
const HOT: u64 = 7;
const ROWS: i64 = 40;
/// Rows for which there is room at first.
const ROOM: usize = 5;
/// The times of both versions of a key, and of the rows.
const FIRST: Timestamp = Timestamp(10);
const SECOND: Timestamp = Timestamp(20);
const ROW: Timestamp = Timestamp(30);

enum Story {
    /// Every key has this version.
    Versions(Timestamp, u64),
    /// Versions that were replaced are forgotten.
    Forget,
    /// Every key has a row, which is late.
    LateRows(u64),
    /// One key has rows.
    Rows,
    /// They are joined, as far as there is room.
    Interrupt,
    /// Others are read ahead until the version has left memory.
    Crowd(u64),
    GoOn {
        waited: bool,
    },
    /// Every key has one version.
    Look(u64),
}

struct Program {
    join: Join,
    out: Taken<Joined>,
    story: Story,
}

fn hash(key: u64) -> KeyHash {
    u64::hash(&key)
}

impl Program {
    /// Seeks what some records of an input need; whether they may be applied.
    fn seek(&mut self, input: u32, from: u64, recs: &[Rec], at: Timestamp) -> bool {
        if !self.join.overflows() {
            return true;
        }
        if !TwoInputOperator::<Rec, Rec, Joined>::has_room(&mut self.join, input, recs.len()) {
            return false;
        }
        let there = recs.iter().enumerate().filter(|(nth, rec)| {
            let (place, of) = (((from as usize + nth) % WINDOW) as u8, (hash(rec.0), at));
            match input {
                0 => self.join.seek_first(place, of, rec),
                _ => self.join.seek_second(place, of, rec),
            }
        });
        there.count() == recs.len()
    }

    fn versions(&mut self, at: Timestamp, from: u64) -> Result<Acted, FunctionError> {
        let recs: Vec<Rec> = (from..from + BATCH).map(|key| rec(key, at.0)).collect();
        if !self.seek(1, from, &recs, at) {
            return Ok(Acted::Waits);
        }
        for rec in recs {
            self.join.second(hash(rec.0), rec, at, &mut self.out)?;
        }
        let next = from + BATCH;
        self.story = match next < KEYS {
            true => Story::Versions(at, next),
            false if at == FIRST => Story::Versions(SECOND, 0),
            false => {
                Lifecycle::<Joined>::watermark(&mut self.join, SECOND);
                Story::Forget
            }
        };
        Ok(Acted::More)
    }

    fn forget(&mut self) -> Result<Acted, FunctionError> {
        match self.join.fire(&mut self.out, 128)? {
            Firing::More => return Ok(Acted::More),
            Firing::Waiting => return Ok(Acted::Waits),
            Firing::Done => {}
        }
        self.out.room = usize::MAX;
        self.story = Story::LateRows(0);
        Ok(Acted::More)
    }

    fn late_rows(&mut self, from: u64) -> Result<Acted, FunctionError> {
        let recs: Vec<Rec> = (from..from + BATCH).map(|key| rec(key, 0)).collect();
        if !self.seek(0, from, &recs, SECOND) {
            return Ok(Acted::Waits);
        }
        for rec in recs {
            self.join.first(hash(rec.0), rec, SECOND, &mut self.out)?;
        }
        self.story = Story::LateRows(from + BATCH);
        if from + BATCH >= KEYS {
            let joined = std::mem::take(&mut self.out.taken);
            assert_eq!(joined, [(0, Some(SECOND.0)); KEYS as usize]);
            self.story = Story::Rows;
        }
        Ok(Acted::More)
    }

    fn rows(&mut self) -> Result<Acted, FunctionError> {
        let recs: Vec<Rec> = (0..ROWS).map(|number| rec(HOT, number)).collect();
        if !self.seek(0, 0, &recs, ROW) {
            return Ok(Acted::Waits);
        }
        for rec in recs {
            self.join.first(hash(HOT), rec, ROW, &mut self.out)?;
        }
        Lifecycle::<Joined>::watermark(&mut self.join, ROW);
        self.out.room = ROOM;
        self.story = Story::Interrupt;
        Ok(Acted::More)
    }

    fn interrupt(&mut self) -> Result<Acted, FunctionError> {
        if self.join.fire(&mut self.out, 128)? == Firing::Waiting {
            return Ok(Acted::Waits);
        }
        assert_eq!(self.out.taken.len(), ROOM);
        self.story = Story::Crowd(0);
        Ok(Acted::More)
    }

    /// Reads what many other records and timers need.
    fn crowd(&mut self, turn: u64) -> Acted {
        assert!(turn < 100_000, "the version does not leave memory");
        let versions = &mut self.join.versions.table;
        if versions.hot().get(hash(HOT), &HOT).is_none() {
            self.story = Story::GoOn { waited: false };
            self.out.room = usize::MAX;
            return Acted::More;
        }
        for place in 0..=WINDOW as u64 {
            let key = HOT + 1 + (turn * 97 + place) % (KEYS - HOT - 1);
            versions.seek(place as usize, hash(key), &key, &());
        }
        self.story = Story::Crowd(turn + 1);
        Acted::Waits
    }

    fn go_on(&mut self, waited: bool) -> Result<Acted, FunctionError> {
        match self.join.fire(&mut self.out, 128)? {
            Firing::Waiting => {
                self.story = Story::GoOn { waited: true };
                return Ok(Acted::Waits);
            }
            Firing::More => return Ok(Acted::More),
            Firing::Done => {}
        }
        assert!(waited, "the version was on disk");
        let rows: Vec<Joined> = (0..ROWS).map(|row| (row, Some(SECOND.0))).collect();
        assert_eq!(self.out.taken, rows);
        self.story = Story::Look(0);
        Ok(Acted::More)
    }

    fn look(&mut self, from: u64) -> Acted {
        let recs: Vec<Rec> = (from..from + BATCH).map(|key| rec(key, 0)).collect();
        if !self.seek(1, from, &recs, SECOND) {
            return Acted::Waits;
        }
        for rec in recs {
            let count = self.join.versions.count(hash(rec.0), &rec.0);
            assert_eq!(count, 1, "versions of key {}", rec.0);
        }
        self.story = Story::Look(from + BATCH);
        match from + BATCH < KEYS {
            true => Acted::More,
            false => Acted::Over,
        }
    }
}

impl Driven for Program {
    type Out = Joined;
    type Join = Join;

    fn join(&mut self) -> &mut Join {
        &mut self.join
    }

    fn act(&mut self) -> Result<Acted, FunctionError> {
        match self.story {
            Story::Versions(at, from) => self.versions(at, from),
            Story::Forget => self.forget(),
            Story::LateRows(from) => self.late_rows(from),
            Story::Rows => self.rows(),
            Story::Interrupt => self.interrupt(),
            Story::Crowd(turn) => Ok(self.crowd(turn)),
            Story::GoOn { waited } => self.go_on(waited),
            Story::Look(from) => Ok(self.look(from)),
        }
    }
}

#[test]
fn versions_on_disk_are_found_by_late_rows_awaited_by_rows_and_forgotten() {
    drive(3 << 20, |context| {
        let both: Both = |row, version| (row.1, version.map(|version| version.1));
        let open = OpenTemporal {
            keys: KeyedBoth::new(First, First),
            function: Outer {
                f: both,
                out: std::marker::PhantomData,
            },
            deletion: Deletion {
                is_one: |_| false,
                kept: None,
            },
            late: (None, None),
        };
        Program {
            join: open.open("join", context).unwrap(),
            out: Taken {
                taken: Vec::new(),
                room: ROOM,
            },
            story: Story::Versions(FIRST, 0),
        }
    });
}
