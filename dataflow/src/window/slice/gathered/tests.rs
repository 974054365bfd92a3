//! What goes into the table comes out, whatever collides, stays or goes.

use super::*;
use crate::partition::SelectOwned;
use std::collections::BTreeMap;
use thalweg_core::event_time::Timestamp;

const SPAN: TimeWindow = TimeWindow::new(Timestamp(0), Timestamp(1));

/// A key and a number.
type Numbered = (u64, u64);

fn by_key() -> impl Select<Numbered, u64> {
    SelectOwned(|numbered: &Numbered| numbered.0)
}

/// Sums the numbers of a key.
#[derive(Clone)]
struct Sum;

impl WindowAggregate<u64, Numbered> for Sum {
    type Accumulator = u64;
    type Row = u64;

    fn create(&self) -> u64 {
        0
    }
    fn add(&self, sum: &mut u64, (_, number): Numbered) {
        *sum += number;
    }
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    fn row(&self, _: u64, _: TimeWindow, sum: &u64) -> u64 {
        *sum
    }
}

/// Makes room for so many bytes.
#[derive(Clone)]
struct Reserve;

impl WindowAggregate<u64, Numbered> for Reserve {
    type Accumulator = Vec<u8>;
    type Row = u64;

    fn create(&self) -> Vec<u8> {
        Vec::new()
    }
    fn add(&self, bytes: &mut Vec<u8>, (_, count): Numbered) {
        bytes.reserve_exact(count as usize);
    }
    fn merge(&self, _: &mut Vec<u8>, _: &Vec<u8>) {}
    fn row(&self, key: u64, _: TimeWindow, _: &Vec<u8>) -> u64 {
        key
    }
}

/// Gathers drawn numbers of `keys` keys and empties the table when `give_at` keys are there.
fn check(keys: u64, numbers: u64, give_at: usize, hash: impl Fn(u64) -> KeyHash) {
    let mut table = Gathered::<u64, u64>::new(SPAN, MOST_BYTES).unwrap();
    let (mut plain, mut sent) = (BTreeMap::new(), BTreeMap::new());
    let mut give = |table: &mut Gathered<u64, u64>| {
        while let Some(part) = table.give(|| 0) {
            assert_eq!(part.hash, hash(part.key));
            let sum = sent.entry(part.key).or_insert((0, 0));
            *sum = (sum.0 + part.records, sum.1 + part.held);
        }
    };
    let mut dice = 7_u64;
    let mut numbers = (0..numbers).map(|number| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((dice >> 33) % keys, number)
    });
    let mut in_bursts = false;
    loop {
        // As the stage does: bursts, of which every key was looked for before the first is taken in, and singles.
        in_bursts = !in_bursts;
        let together = in_bursts && table.has_room_for(TOGETHER);
        let count = if together { TOGETHER } else { 1 };
        let some: Vec<Numbered> = numbers.by_ref().take(count).collect();
        let hashes: Vec<_> = some.iter().map(|(key, _)| hash(*key)).collect();
        let hashes_of_all: Result<&[KeyHash; TOGETHER], _> = hashes.as_slice().try_into();
        if let (Ok(hashes), Ok(items)) = (hashes_of_all, some.as_slice().try_into()) {
            let (items, seats): ([Numbered; TOGETHER], _) = (items, table.look_for(hashes));
            table.take_in_each(items, hashes, &seats, &by_key(), &Sum);
        } else {
            for (hash, item) in hashes.iter().zip(&some) {
                table.take_in(*hash, *item, &by_key(), &Sum);
            }
        }
        for (key, number) in &some {
            let sum = plain.entry(*key).or_insert((0, 0));
            *sum = (sum.0 + 1, sum.1 + number);
        }
        if table.is_full() || table.taken.len() >= give_at {
            give(&mut table);
        }
        if some.is_empty() {
            break;
        }
    }
    give(&mut table);
    assert!(sent == plain, "every number went out once, with its key");
}

#[test]
fn what_goes_in_comes_out_summed_by_key() {
    for (keys, give_at) in [(1, 2), (100, 50), (2_000, 700), (50_000, usize::MAX)] {
        check(keys, 100_000, give_at, KeyHash::of_u64);
    }
}

#[test]
fn keys_whose_hashes_collide_are_kept_apart() {
    check(50, 3_000, usize::MAX, |_| KeyHash(3));
    check(50, 3_000, 7, |_| KeyHash(u64::MAX));
    check(2_000, 20_000, 1_500, |key| KeyHash(key % 64 * 128));
}

/// Gathers a number of each key, gives all out, and answers how many came out and how many keys stay.
fn slice(table: &mut Gathered<u64, u64>, keys: std::ops::Range<u64>) -> (u64, usize) {
    table.begin(SPAN);
    for key in keys.clone() {
        table.take_in(KeyHash::of_u64(key), (key, key), &by_key(), &Sum);
    }
    let mut given = 0;
    while let Some(part) = table.give(|| 0) {
        assert!(keys.contains(&part.key));
        assert_eq!((part.records, part.held), (1, part.key));
        given += 1;
    }
    (given, table.taken.len())
}

#[test]
fn keys_stay_where_most_of_them_come_again() {
    let mut table = Gathered::new(SPAN, MOST_BYTES).unwrap();
    assert_eq!(slice(&mut table, 0..1_000), (1_000, 1_000));
    assert_eq!(slice(&mut table, 0..1_000), (1_000, 1_000));
    assert_eq!(slice(&mut table, 0..600), (600, 1_000));
    assert_eq!(slice(&mut table, 500..1_100), (600, 1_100));
    assert_eq!(slice(&mut table, 0..500), (500, 0), "most have not come");
    for _ in 1..ALL_GO {
        assert_eq!(slice(&mut table, 0..500), (500, 0), "as they did not");
    }
    assert_eq!(slice(&mut table, 0..500), (500, 0));
    assert_eq!(slice(&mut table, 0..500), (500, 500), "it is tried again");
}

#[test]
fn keys_leave_room_for_others() {
    let mut table = Gathered::new(SPAN, MOST_BYTES).unwrap();
    let most = (table.limit * STAY_PERCENT / 100) as u64;
    assert_eq!(slice(&mut table, 0..most), (most, most as usize));
    assert_eq!(slice(&mut table, 0..most + 1), (most + 1, 0));
    assert!(table.buckets.buckets().iter().all(Bucket::is_vacant));
}

#[test]
fn accumulators_on_the_heap_fill_the_table() {
    let mut table = Gathered::<u64, Vec<u8>>::new(SPAN, 1 << 10).unwrap();
    let most = table.most_heap;
    assert_eq!(most, 2 << 10);
    let mut reserve = |bytes: usize| {
        table.take_in(KeyHash(1), (1, bytes as u64), &by_key(), &Reserve);
        table.is_full()
    };
    assert!(!reserve(most - 1));
    assert!(reserve(most));
    assert!(table.is_full());
    let part = table
        .give(Vec::new)
        .map(|part| (part.records, part.held.len()));
    assert_eq!(part, Some((2, 0)));
    assert!(table.give(Vec::new).is_none());
    assert!(!table.is_full());
}
