//! What the job must write, worked out over lists. Shares nothing with the engine.

use std::collections::BTreeMap;

use super::input::{
    GAP, KEYS, LATER, REACH, RULED, SIZE, SLIDE, TOLD, WINDOW, key_of, rule_of, time_of,
};

/// Lines with how often each is written.
pub(super) type Lines = BTreeMap<String, u32>;

/// The lines of each output when there are so many records.
pub(super) fn expected(records: u64) -> BTreeMap<&'static str, Lines> {
    let mut by_key: BTreeMap<u64, Vec<u64>> = (0..KEYS).map(|key| (key, Vec::new())).collect();
    for number in 0..records {
        by_key.entry(key_of(number)).or_default().push(number);
    }
    let (mut told, mut windows, mut pairs) = (Lines::new(), Lines::new(), Lines::new());
    let (mut ruled, mut gathered) = (Lines::new(), Lines::new());
    for (key, numbers) in &by_key {
        let mut timed: Vec<(i64, u64)> = numbers.iter().map(|n| (time_of(*n), *n)).collect();
        tell(&mut told, *key, numbers);
        timed.sort_unstable();
        window(&mut windows, *key, &timed);
        pair(&mut pairs, *key, &timed);
    }
    for number in 0..records {
        count(
            &mut ruled,
            format!("ruled {number} {}", rule_of(number / RULED)),
        );
        count(&mut gathered, format!("gathered {number}"));
    }
    BTreeMap::from([
        ("told", told),
        ("windows", windows),
        ("pairs", pairs),
        ("ruled", ruled),
        ("gathered", gathered),
    ])
}

fn tell(told: &mut Lines, key: u64, numbers: &[u64]) {
    let (mut sum, mut by_digit) = (0, [0; 3]);
    for (before, number) in numbers.iter().enumerate() {
        let nth = before as u64 + 1;
        sum += number;
        let same = &mut by_digit[(number % 3) as usize];
        *same += 1;
        count(told, format!("seen {number} {key} {nth} {sum}"));
        if nth.is_multiple_of(TOLD) {
            let last: u64 = numbers[before + 1 - TOLD as usize..=before].iter().sum();
            let mean = sum / nth;
            count(
                told,
                format!("told {key} {nth} {TOLD} {last} {same} {mean}"),
            );
            // A timer of one key and time fires once, however often it was registered: who registers it again
            // is no older than it less LATER, so it has not fired yet.
            told.insert(format!("timer {key} {}", time_of(*number) + LATER), 1);
        }
    }
}

/// Windows of all three kinds, over the records of a key in the order of time.
fn window(windows: &mut Lines, key: u64, timed: &[(i64, u64)]) {
    for group in timed.chunk_by(|a, b| a.0.div_euclid(WINDOW) == b.0.div_euclid(WINDOW)) {
        count(windows, format!("window {key} {}", group.len()));
    }
    let mut sliding: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for (at, number) in timed {
        let last = at.div_euclid(SLIDE) * SLIDE;
        for start in (0..SIZE / SLIDE).map(|back| last - back * SLIDE) {
            let so_far = sliding.entry(start).or_default();
            *so_far = (so_far.0 + 1, so_far.1 + number);
        }
    }
    for (start, (of, sum)) in sliding {
        count(windows, format!("slide {key} {start} {of} {sum}"));
    }
    for group in timed.chunk_by(|a, b| b.0 - a.0 <= GAP) {
        let numbers = || group.iter().map(|record| record.1);
        let (least, most) = (numbers().min(), numbers().max());
        let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
        count(
            windows,
            format!("session {key} {least} {most} {}", group.len()),
        );
    }
}

/// All pairs of a key that are near each other: both sides read the same numbers.
fn pair(pairs: &mut Lines, key: u64, timed: &[(i64, u64)]) {
    let mut from = 0;
    for (at, left) in timed {
        from += timed[from..].partition_point(|right| right.0 < at - REACH);
        let near = timed[from..]
            .iter()
            .take_while(|right| right.0 <= at + REACH);
        near.for_each(|(_, right)| count(pairs, format!("pair {key} {left} {right}")));
    }
}

fn count(lines: &mut Lines, line: String) {
    *lines.entry(line).or_insert(0) += 1;
}
