//! The user functions of drawn programs, for numbers and for pairs. Called by the program on its shards
//! and by the reference; pure, and commutative where a program combines with them.

use thalweg_memory::Record;

use super::dice::Dice;
use super::program::Input;

/// A number and a text.
pub(crate) type Pair = (u64, String);

/// A record of drawn programs.
pub(crate) trait Datum: Record + Clone + Sync + Ord + std::fmt::Debug {
    /// What it converts to.
    type Other: Datum<Other = Self>;

    /// Record `number` of the input.
    fn make(input: &Input, number: u64) -> Self;
    fn number(&self) -> u64;
    /// The same record from where it lies.
    fn revive(view: &Self::Archived) -> Self;
    fn mapped(self, by: u64) -> Self;
    fn converted(self, by: u64) -> Self::Other;
    /// Combines two records of one key of `modulus` into one of the same key.
    fn join(&mut self, other: Self, modulus: u64);

    fn key(&self, modulus: u64) -> u64 {
        self.number() % modulus
    }
    fn kept(&self, by: u64) -> bool {
        !(self.number() / 7).is_multiple_of(by)
    }
    fn copies(&self, most: u64) -> u64 {
        (self.number() / 3) % (most + 1)
    }
    fn weight(&self) -> u64 {
        self.number() % 1_000_003
    }
    fn text_key(&self, modulus: u64) -> String {
        format!("key {}", self.key(modulus))
    }
    fn aside(&self, modulus: u64) -> bool {
        (self.number() / 5).is_multiple_of(modulus)
    }
}

/// Small numbers among large ones, so that keys repeat.
fn drawn(input: &Input, number: u64) -> (u64, Dice) {
    let mut dice = Dice::new(input.seed.wrapping_add(number.wrapping_mul(0x1234_5677)));
    let value = match dice.below(4) {
        0 => dice.below(20),
        1 => dice.next(),
        _ => dice.below(1000),
    };
    (value, dice)
}

fn mixed(number: u64, by: u64) -> u64 {
    number.wrapping_mul(2 * by + 1).rotate_left(by as u32 % 8)
}

impl Datum for u64 {
    type Other = Pair;

    fn make(input: &Input, number: u64) -> Self {
        drawn(input, number).0
    }
    fn number(&self) -> u64 {
        *self
    }
    fn revive(view: &Self::Archived) -> Self {
        view.to_native()
    }
    fn mapped(self, by: u64) -> Self {
        mixed(self, by)
    }
    fn converted(self, by: u64) -> Pair {
        (self, "x".repeat((self % (by + 1)) as usize))
    }
    fn join(&mut self, other: Self, modulus: u64) {
        // 32 bits, so that it can be multiplied back without overflow.
        let joined = ((*self / modulus) ^ (other / modulus)) & 0xffff_ffff;
        *self = joined * modulus + *self % modulus;
    }
}

impl Datum for Pair {
    type Other = u64;

    fn make(input: &Input, number: u64) -> Self {
        let (value, mut dice) = drawn(input, number);
        let length = dice.below(input.text + 1);
        let text = (0..length).map(|at| char::from(b'a' + ((value ^ at) % 26) as u8));
        (value, text.collect())
    }
    fn number(&self) -> u64 {
        self.0
    }
    fn revive(view: &Self::Archived) -> Self {
        (view.0.to_native(), view.1.as_str().to_owned())
    }
    fn mapped(mut self, by: u64) -> Self {
        self.0 = mixed(self.0, by);
        if by.is_multiple_of(2) {
            self.1.push('+');
        }
        self
    }
    fn converted(self, by: u64) -> u64 {
        let text: u64 = self.1.bytes().map(u64::from).sum();
        self.0.wrapping_add(text.wrapping_mul(by))
    }
    fn join(&mut self, other: Self, _modulus: u64) {
        // The greater one: commutative, and its key is the key of both.
        if other > *self {
            *self = other;
        }
    }
}
