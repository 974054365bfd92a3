//! What was well written, and drawn changes of it: the fuzzing that every run of the tests does.
//!
//! Included by the tests that throw bytes at formats. Everything drawn follows from the seeds; of bytes that break a
//! format those that did it are printed.

use std::io::Write as _;

use thalweg_core::seam::clock::Random;

/// Says in which bytes it was when a check panics.
struct Told<'b>(&'b [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A test is failing: there is nobody to hand an error to.
            let _ = writeln!(std::io::stderr(), "broken by {:02x?}", self.0);
        }
    }
}

/// Checks every seed, and `count` changes of seeds.
pub(crate) fn each_mutant(seeds: &[Vec<u8>], count: u64, check: impl Fn(&[u8])) {
    let told = |bytes: &[u8]| {
        let told = Told(bytes);
        check(told.0);
    };
    seeds.iter().for_each(|seed| told(seed));
    let mut dice = Random::new(count);
    for _ in 0..count {
        let mut bytes = seeds[dice.below(seeds.len() as u64) as usize].clone();
        for _ in 0..=dice.below(3) {
            change(&mut bytes, seeds, &mut dice);
        }
        told(&bytes);
    }
}

/// One change: bits, bytes and numbers that are others, bytes that are missing, doubled or of another seed.
fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Random) {
    let at = dice.below(bytes.len() as u64 + 1) as usize;
    let end = at + dice.below((bytes.len() - at) as u64 + 1) as usize;
    let numbers = [
        0,
        1,
        0x7F,
        0xFF,
        0xFFFF,
        u64::from(u32::MAX),
        1 << 40,
        u64::MAX,
    ];
    let number = numbers[dice.below(numbers.len() as u64) as usize].to_le_bytes();
    let width = [1, 2, 4, 8][dice.below(4) as usize];
    match dice.below(7) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        2 if at < bytes.len() => bytes[at] = dice.draw() as u8,
        3 => bytes
            .iter_mut()
            .skip(at)
            .zip(&number[..width])
            .for_each(|(byte, other)| *byte = *other),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..end)),
        _ => {
            let from = &seeds[dice.below(seeds.len() as u64) as usize];
            let begin = dice.below(from.len() as u64 + 1) as usize;
            let piece = from[begin..].iter().take(width * 4).copied();
            drop(bytes.splice(at..at, piece.collect::<Vec<u8>>()));
        }
    }
}
