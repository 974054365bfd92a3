//! What the job must write, worked out over lists. Shares nothing with the engine.

use std::collections::BTreeMap;

use super::knobs::Knobs;
use super::larger;
use super::program::{
    APART, GAP, LATER, OUTPUTS, REACH, RULED, SELDOM, TOLD, WINDOW, key_of, rule_of, time_of,
};

/// Lines with how often each is written.
pub(super) type Lines = BTreeMap<String, u32>;

/// The lines of each output.
pub(super) fn expected(knobs: &Knobs) -> BTreeMap<&'static str, Lines> {
    if knobs.memory.is_some() {
        return BTreeMap::from([(larger::COUNTED, larger::expected(knobs))]);
    }
    if knobs.apart {
        return APART.map(|output| (output, of_part(output, knobs))).into();
    }
    let mut by_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for number in 0..knobs.records {
        let numbers = by_key.entry(key_of(number, knobs.keys)).or_default();
        numbers.push(number);
    }
    let mut outputs = OUTPUTS.map(|_| Lines::new());
    let [told, windows, sessions, pairs, ruled] = &mut outputs;
    for number in (0..knobs.records).filter(|number| number.is_multiple_of(SELDOM)) {
        let rule = rule_of(number / RULED);
        count(ruled, format!("ruled {number} {rule}"));
    }
    for (key, numbers) in &by_key {
        let mut timed: Vec<(i64, u64)> = numbers.iter().map(|n| (time_of(*n, knobs), *n)).collect();
        tell(told, *key, numbers, knobs);
        timed.sort_unstable();
        for (left_at, left) in &timed {
            let near = timed.iter().filter(|(at, _)| (at - left_at).abs() <= REACH);
            near.for_each(|(_, right)| count(pairs, format!("pair {key} {left} {right}")));
        }
        for group in timed.chunk_by(|a, b| a.0.div_euclid(WINDOW) == b.0.div_euclid(WINDOW)) {
            count(windows, format!("window {key} {}", group.len()));
        }
        for group in timed.chunk_by(|a, b| b.0 - a.0 <= GAP) {
            count(sessions, format!("session {key} {}", group.len()));
        }
    }
    OUTPUTS.into_iter().zip(outputs).collect()
}

fn of_part(output: &str, knobs: &Knobs) -> Lines {
    let (mut counts, mut lines) = (BTreeMap::new(), Lines::new());
    for number in 0..knobs.records {
        if output == APART[2] {
            count(&mut lines, format!("{output} {number}"));
            continue;
        }
        let key = key_of(number, knobs.keys);
        let of_key: &mut u64 = counts.entry(key).or_default();
        *of_key += 1;
        count(&mut lines, format!("{output} {key} {of_key}"));
    }
    lines
}

fn tell(told: &mut Lines, key: u64, numbers: &[u64], knobs: &Knobs) {
    let (mut sum, mut by_digit) = (0, [0; 3]);
    for (before, number) in numbers.iter().enumerate() {
        let nth = before as u64 + 1;
        sum += number;
        let same = &mut by_digit[(number % 3) as usize];
        *same += 1;
        if nth.is_multiple_of(TOLD) {
            let mean = sum / nth;
            count(told, format!("told {key} {nth} {sum} {TOLD} {same} {mean}"));
            // A timer of one key and time fires once, however often it was registered: who registers it again
            // is no older than it less LATER, so it has not fired yet.
            let timer = format!("timer {key} {}", time_of(*number, knobs) + LATER);
            told.insert(timer, 1);
        }
    }
}

fn count(lines: &mut Lines, line: String) {
    *lines.entry(line).or_insert(0) += 1;
}
