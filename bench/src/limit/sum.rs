//! The ceiling of `sum`: generate, partition by key, exchange, add to the key's sum, emit the row.
//!
//! Keys and values travel as two arrays per batch, filled with one store per eight records where the
//! CPU can compress a vector. Each thread owns half of the keys in a dense table and prefetches its
//! lines some records ahead. Invariant: every record is consumed by the owner of its key, and each
//! consumed record is one row whose term is computed from the sums before and after it.

use super::generate::mine;
use super::level::{Level, per_level};
use super::on_threads;
use super::ring::{End, Exchange, Pause};
use super::table::{SumTable, owner};
#[cfg(target_arch = "x86_64")]
use super::wide;
use crate::workload::Totals;
use crate::workload::definitions::{GOLDEN, SUM_KEYS, mix, pick, step, sum_record};

/// Records per generated block.
const BLOCK: usize = 512;
/// A batch is sent when it holds this many records.
const FULL: usize = 1536;
/// What a batch can hold: a block more, and a vector that may overhang.
const ROOM: usize = FULL + BLOCK + 8;
/// How many records ahead a line is asked for.
const AHEAD: usize = 24;
/// How many rows are added up at a time.
const GROUP: usize = 16;

#[repr(align(64))]
pub(super) struct Batch {
    pub(super) len: usize,
    pub(super) last: bool,
    pub(super) keys: [u64; ROOM],
    pub(super) values: [u64; ROOM],
}

impl Batch {
    fn fresh() -> Box<Self> {
        Box::new(Self {
            len: 0,
            last: false,
            keys: [0; ROOM],
            values: [0; ROOM],
        })
    }
}

/// What one thread keeps.
struct Owner {
    level: Level,
    table: SumTable,
    homes: Box<[u32; ROOM + AHEAD]>,
    olds: Box<[u64; ROOM]>,
    rows: u64,
    checksum: u64,
    ended: bool,
}

/// Runs `sum` over `records` records on one or two threads.
pub(super) fn run(level: Level, records: u64, threads: u32) -> Totals {
    let exchange = Exchange::new();
    let results = on_threads(threads as usize, |thread| {
        let mut owner = Owner::new(level, threads);
        if threads == 1 {
            owner.alone(records);
        } else {
            owner.exchanging(records, thread, exchange.end(thread, Batch::fresh));
        }
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
            table: SumTable::for_share(SUM_KEYS, threads),
            homes: Box::new([0; ROOM + AHEAD]),
            olds: Box::new([0; ROOM]),
            rows: 0,
            checksum: 0,
            ended: false,
        }
    }

    fn alone(&mut self, records: u64) {
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
                end.send(&mut other, |batch| self.consume(batch));
                end.receive(|batch| self.consume(batch));
            }
            if own.len >= FULL {
                self.consume(&mut own);
            }
        }
        self.consume(&mut own);
        other.last = true;
        end.send(&mut other, |batch| self.consume(batch));
        let mut pause = Pause::default();
        while !self.ended {
            if !end.receive(|batch| self.consume(batch)) {
                pause.once_more();
            }
        }
    }

    /// Adds a batch's records to their sums, emits a row for each, and empties the batch.
    #[inline]
    fn consume(&mut self, batch: &mut Batch) {
        self.checksum = self.checksum.wrapping_add(consume(
            self.level,
            &mut self.table,
            &mut self.homes,
            &mut self.olds,
            batch,
        ));
        self.rows += batch.len as u64;
        self.ended |= batch.last;
        batch.len = 0;
    }
}

per_level! {
    /// Puts the `count` records from `from` into an empty batch.
    fn fill(batch: &mut Batch, from: u64, count: usize) = fill_body
}

#[inline(always)]
fn fill_body<const WIDE: u8>(batch: &mut Batch, from: u64, count: usize) {
    let (keys, values) = (&mut batch.keys[..count], &mut batch.values[..count]);
    // Stepping the product saves a multiplication per record, of which vectors have too few.
    let mut product = from.wrapping_mul(GOLDEN);
    for (key, value) in keys.iter_mut().zip(values) {
        *value = mix(product);
        *key = pick(*value, SUM_KEYS);
        product = product.wrapping_add(GOLDEN);
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
        unsafe { wide::part_eights(own, other, from, count / 8, thread) }
    } else {
        0
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    for at in done..count {
        let (key, value) = sum_record(from.wrapping_add(2 * at as u64));
        let stays = owner(key) == thread;
        // Written to both, kept by one: no branch to mispredict.
        for (batch, kept) in [(&mut *own, stays), (&mut *other, !stays)] {
            batch.keys[batch.len] = key;
            batch.values[batch.len] = value;
            batch.len += usize::from(kept);
        }
    }
}

per_level! {
    /// Adds the records of a batch to their sums; the checksum of its rows.
    fn consume(
        table: &mut SumTable,
        homes: &mut [u32; ROOM + AHEAD],
        olds: &mut [u64; ROOM],
        batch: &Batch,
    ) -> u64 = consume_body
}

#[inline(always)]
fn consume_body<const WIDE: u8>(
    table: &mut SumTable,
    homes: &mut [u32; ROOM + AHEAD],
    olds: &mut [u64; ROOM],
    batch: &Batch,
) -> u64 {
    let len = batch.len.min(ROOM);
    let (keys, values) = (&batch.keys[..len], &batch.values[..len]);
    table.homes(keys, &mut homes[..len]);
    homes[len..len + AHEAD].fill(0);
    for &home in &homes[..AHEAD] {
        table.prefetch(home);
    }
    let mut sum = 0u64;
    let mut done = 0;
    for from in (0..len).step_by(GROUP) {
        let to = (from + GROUP).min(len);
        for at in from..to {
            table.prefetch(homes[at + AHEAD]);
            // SAFETY: the homes up to `len` were made above.
            olds[at] = unsafe { table.add::<WIDE>(homes[at], keys[at], values[at]) };
        }
        // The group before: arithmetic for the time the lines of this one are on their way, over
        // sums that have left the store buffer.
        sum = sum.wrapping_add(terms(
            &keys[done..from],
            &values[done..from],
            &olds[done..from],
        ));
        done = from;
    }
    sum.wrapping_add(terms(
        &keys[done..len],
        &values[done..len],
        &olds[done..len],
    ))
}

/// The terms of rows whose sums were `olds` before and grew by `values`.
#[inline(always)]
fn terms(keys: &[u64], values: &[u64], olds: &[u64]) -> u64 {
    let mut sum = 0u64;
    for ((&key, &value), &old) in keys.iter().zip(values).zip(olds) {
        sum = sum.wrapping_add(step(key, old, old.wrapping_add(value)));
    }
    sum
}
