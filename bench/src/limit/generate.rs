//! The ceiling of `gen`: make every record and add its term, with nothing between.
//!
//! Each thread makes the records of its residue class; the threads share nothing until they end.

use super::level::{Level, per_level};
use super::on_threads;
use crate::workload::Totals;
use crate::workload::definitions::{GOLDEN, SUM_KEYS, h2, mix, pick};

/// Runs `gen` over `records` records on `threads` threads.
pub(super) fn run(level: Level, records: u64, threads: u32) -> Totals {
    let threads = u64::from(threads);
    let sums = on_threads(threads as usize, |thread| {
        let mine = mine(records, threads, thread as u64);
        terms(level, thread as u64, threads, mine)
    });
    Totals {
        records,
        rows_out: records,
        checksum: sums.into_iter().fold(0, u64::wrapping_add),
    }
}

/// How many of `records` records are congruent to `thread` modulo `threads`.
pub(super) fn mine(records: u64, threads: u64, thread: u64) -> u64 {
    records / threads + u64::from(records % threads > thread)
}

per_level! {
    /// The terms of `count` records from `from`, every `stride`-th.
    fn terms(from: u64, stride: u64, count: u64) -> u64 = terms_body
}

#[inline(always)]
fn terms_body<const WIDE: u8>(from: u64, stride: u64, count: u64) -> u64 {
    let mut sum = 0u64;
    // Stepping the product saves a multiplication per record, of which vectors have too few.
    let mut product = from.wrapping_mul(GOLDEN);
    for _ in 0..count {
        let value = mix(product);
        sum = sum.wrapping_add(h2(pick(value, SUM_KEYS), value));
        product = product.wrapping_add(stride.wrapping_mul(GOLDEN));
    }
    sum
}
