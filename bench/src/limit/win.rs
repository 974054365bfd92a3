//! The ceiling of `win`: generate, partition by key, exchange, count by key and window, emit the rows.
//!
//! Every record, key and event time, is handed over to the owner of its key, which looks the key up in
//! the table of the window the time lies in: a table of lines with four keys each, as for `sum`, found by
//! the key's hash. Nothing rests on keys being small numbers, and nothing is counted before the exchange.
//! Invariant: a window is emitted once, when both producers have gone past its end.

use super::generate::mine;
use super::level::{Level, per_level};
use super::on_threads;
use super::ring::{End, Exchange, Pause};
use super::table::{SumTable, owner};
#[cfg(target_arch = "x86_64")]
use super::wide;
use crate::workload::Totals;
use crate::workload::definitions::{WIN_KEYS, WIN_MS, h3, win_record};

/// Records per generated block.
const BLOCK: usize = 512;
/// A batch is sent when it holds this many records.
const FULL: usize = 1536;
/// What a batch can hold: a block more, and a vector that may overhang.
const ROOM: usize = FULL + BLOCK + 8;
/// Records looked up at a time.
const GROUP: usize = 64;

/// Records on their way to the owner of their keys, in the order of their times.
#[repr(align(64))]
pub(super) struct Batch {
    pub(super) len: usize,
    pub(super) last: bool,
    /// Which thread made them.
    from: usize,
    pub(super) keys: [u64; ROOM],
    pub(super) times: [u64; ROOM],
}

impl Batch {
    fn fresh() -> Box<Self> {
        Box::new(Self {
            len: 0,
            last: false,
            from: 0,
            keys: [0; ROOM],
            times: [0; ROOM],
        })
    }
}

/// A window that is being counted.
struct Open {
    number: u64,
    counts: SumTable,
}

/// What one thread keeps.
struct Owner {
    level: Level,
    threads: u32,
    open: Vec<Open>,
    spare: Vec<SumTable>,
    /// The newest window each producer has reached.
    reached: [u64; 2],
    rows: u64,
    checksum: u64,
    ended: bool,
}

/// Runs `win` over `records` records on one or two threads.
pub(super) fn run(level: Level, records: u64, threads: u32) -> Totals {
    let exchange = Exchange::new();
    let results = on_threads(threads as usize, |thread| {
        let mut owner = Owner::new(level, threads);
        if threads == 1 {
            owner.alone(records);
        } else {
            owner.exchanging(records, thread, exchange.end(thread, Batch::fresh));
        }
        owner.emit_before(u64::MAX);
        (owner.rows, owner.checksum)
    });
    let mut totals = Totals {
        records,
        rows_out: 0,
        checksum: 0,
    };
    for (rows, checksum) in results {
        totals.rows_out += rows;
        totals.checksum = totals.checksum.wrapping_add(checksum);
    }
    totals
}

impl Owner {
    fn new(level: Level, threads: u32) -> Self {
        Self {
            level,
            threads,
            open: Vec::new(),
            spare: Vec::new(),
            reached: [0; 2],
            rows: 0,
            checksum: 0,
            ended: false,
        }
    }

    fn alone(&mut self, records: u64) {
        self.reached[1] = u64::MAX;
        let mut batch = Batch::fresh();
        let mut at = 0;
        while at < records {
            let count = (records - at).min(FULL as u64) as usize;
            fill(self.level, &mut batch, at, count);
            self.consume(&mut batch);
            at += count as u64;
        }
    }

    fn exchanging(&mut self, records: u64, thread: usize, mut end: End<'_, Batch>) {
        let mut own = Batch::fresh();
        own.from = thread;
        let mut other = Batch::fresh();
        let mut left = mine(records, 2, thread as u64);
        let mut at = thread as u64;
        while left > 0 {
            let count = left.min(BLOCK as u64);
            part(
                self.level,
                &mut own,
                &mut other,
                at,
                count as usize,
                thread as u64,
            );
            at += 2 * count;
            left -= count;
            if other.len >= FULL {
                other.from = thread;
                end.send(&mut other, |batch| self.consume(batch));
                end.receive(|batch| self.consume(batch));
            }
            if own.len >= FULL {
                self.consume(&mut own);
            }
        }
        self.consume(&mut own);
        self.reach(thread, u64::MAX);
        other.from = thread;
        other.last = true;
        end.send(&mut other, |batch| self.consume(batch));
        let mut pause = Pause::default();
        while !self.ended {
            if !end.receive(|batch| self.consume(batch)) {
                pause.once_more();
            }
        }
    }

    /// Counts a batch's records in their windows and empties the batch.
    fn consume(&mut self, batch: &mut Batch) {
        let len = batch.len.min(ROOM);
        let mut done = 0;
        while done < len {
            let number = batch.times[done] / WIN_MS;
            // Times rise within a batch: the records of a window stand together.
            let end = (number + 1) * WIN_MS;
            let same = batch.times[done..len].partition_point(|time| *time < end);
            let open = self.window(number);
            count(
                self.level,
                &mut self.open[open].counts,
                &batch.keys[done..done + same],
            );
            done += same;
            self.reach(batch.from, number);
        }
        if batch.last {
            self.ended = true;
            self.reach(batch.from, u64::MAX);
        }
        batch.len = 0;
    }

    /// The place of a window that is open or is to be.
    fn window(&mut self, number: u64) -> usize {
        if let Some(place) = self.open.iter().rposition(|open| open.number == number) {
            return place;
        }
        let fresh = || SumTable::for_share(WIN_KEYS, self.threads);
        let counts = self.spare.pop().unwrap_or_else(fresh);
        self.open.push(Open { number, counts });
        self.open.len() - 1
    }

    /// A producer has come to a window, and sends nothing of those before it any more.
    fn reach(&mut self, producer: usize, number: u64) {
        if number > self.reached[producer] {
            self.reached[producer] = number;
            self.emit_before(self.reached[0].min(self.reached[1]));
        }
    }

    /// Emits the windows before this one.
    fn emit_before(&mut self, number: u64) {
        while let Some(place) = self.open.iter().position(|open| open.number < number) {
            let Open { number, mut counts } = self.open.remove(place);
            let (rows, checksum) = (&mut self.rows, &mut self.checksum);
            counts.drain(|key, count| {
                *rows += 1;
                *checksum = checksum.wrapping_add(h3(key, number * WIN_MS, count));
            });
            self.spare.push(counts);
        }
    }
}

per_level! {
    /// Puts the `count` records from `from` into an empty batch.
    fn fill(batch: &mut Batch, from: u64, count: usize) = fill_body
}

#[inline(always)]
fn fill_body<const WIDE: u8>(batch: &mut Batch, from: u64, count: usize) {
    let (keys, times) = (&mut batch.keys[..count], &mut batch.times[..count]);
    for (number, (key, time)) in (from..).zip(keys.iter_mut().zip(times)) {
        (*key, *time) = win_record(number);
    }
    batch.len = count;
}

per_level! {
    /// Parts the next `count` records of a thread's residue class by owner.
    fn part(own: &mut Batch, other: &mut Batch, from: u64, count: usize, thread: u64) = part_body
}

#[inline(always)]
fn part_body<const WIDE: u8>(
    own: &mut Batch,
    other: &mut Batch,
    from: u64,
    count: usize,
    thread: u64,
) {
    assert!(
        count <= BLOCK && own.len < FULL && other.len < FULL,
        "a block fits"
    );
    #[cfg(target_arch = "x86_64")]
    let done = if WIDE > 1 {
        // SAFETY: `WIDE` is above 1 only under a level that has AVX-512, and by the assertion above
        // a block and eight lanes fit behind the records of both batches.
        unsafe { wide::part_timed_eights(own, other, from, count / 8, thread) }
    } else {
        0
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    for at in done..count {
        let (key, time) = win_record(from.wrapping_add(2 * at as u64));
        let stays = owner(key) == thread;
        // Written to both, kept by one: no branch to mispredict.
        for (batch, kept) in [(&mut *own, stays), (&mut *other, !stays)] {
            batch.keys[batch.len] = key;
            batch.times[batch.len] = time;
            batch.len += usize::from(kept);
        }
    }
}

per_level! {
    /// Counts one for each of these keys.
    fn count(table: &mut SumTable, keys: &[u64]) = count_body
}

#[inline(always)]
fn count_body<const WIDE: u8>(table: &mut SumTable, keys: &[u64]) {
    let mut homes = [0; GROUP];
    for keys in keys.chunks(GROUP) {
        table.homes(keys, &mut homes[..keys.len()]);
        for (&key, &home) in keys.iter().zip(&homes) {
            // SAFETY: the home was made above.
            unsafe { table.add::<WIDE>(home, key, 1) };
        }
    }
}
