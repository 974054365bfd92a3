//! Draws a program from a seed.
//!
//! Keeps account of the type of records, the parallelism of the chain and how many records there may be,
//! so that every drawn program is valid and small. Every fourth is a hard one: segments of 512 bytes, one
//! credit, parallelism 8, three keyed stages.

use super::dice::Dice;
use super::program::{
    Aggregate, Counting, End, Exchange, Host, Input, Keyed, Last, Partitioner, Program, Step,
};

/// More records than this are not drawn.
const MOST_RECORDS: u64 = 12_000;

const PARTITIONERS: [Partitioner; 7] = [
    Partitioner::Forward,
    Partitioner::Rebalance,
    Partitioner::Rescale,
    Partitioner::Shuffle,
    Partitioner::Broadcast,
    Partitioner::Global,
    Partitioner::Custom,
];
const COUNTINGS: [Counting; 7] = [
    Counting::Count,
    Counting::CountInPlace,
    Counting::CountByText,
    Counting::SumOfOnes,
    Counting::Fold,
    Counting::ValueState,
    Counting::ReducingState,
];
const AGGREGATES: [Aggregate; 11] = [
    Aggregate::Count,
    Aggregate::Sum,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::MinBy,
    Aggregate::MaxBy,
    Aggregate::Average,
    Aggregate::Fold,
    Aggregate::Reduce,
    Aggregate::ValueState,
    Aggregate::ReducingState,
];

/// Whether the program of this seed is one of the hard ones.
pub(crate) fn is_hard(seed: u64) -> bool {
    seed % 4 == 3
}

/// The program of a seed.
pub(crate) fn program(seed: u64) -> Program {
    let mut dice = Dice::new(seed);
    let hard = is_hard(seed);
    let parallelism = if hard { 8 } else { 1 + dice.below(8) as u32 };
    let mut drawing = Drawing {
        default: parallelism,
        now: parallelism,
        pairs: false,
        records: 0,
        bare: false,
        tags: 0,
        depth: 0,
        origin: None,
        dice,
    };
    let input = drawing.input(None);
    let steps = match hard {
        true => drawing.hard_steps(),
        false => {
            let most = drawing.dice.below(9);
            drawing.steps(most)
        }
    };
    let end = match drawing.dice.chance(50) {
        true => End::Collect,
        false => End::Last(drawing.last()),
    };
    let mut dice = drawing.dice;
    Program {
        batch: dice.chance(35),
        parallelism,
        shards: 1 + dice.below(4) as u32,
        segment: if hard {
            "512b"
        } else {
            dice.pick(&["512b", "512b", "1kb", "4kb", "32kb"])
        },
        exclusive: if hard { 1 } else { dice.pick(&[1, 1, 2, 4]) },
        floating: if hard { 0 } else { dice.pick(&[0, 0, 1, 8]) },
        turn_budget_us: dice.pick(&[1, 20, 200]),
        buffer_timeout: dice.pick(&["0ms", "0ms", "0ms", "20us", "1ms"]),
        input,
        steps,
        end,
        host: Host {
            tick_ns: dice.pick(&[50, 2_000, 20_000, 300_000]),
            latency_ns: dice.pick(&[50, 1_000, 200_000, 3_000_000]),
            stalls: dice.pick(&[0, 0, 2_000, 50_000]),
            stall_rounds: dice.pick(&[1, 20, 200]),
        },
    }
}

/// A program being drawn, and what the next step stands behind.
struct Drawing {
    dice: Dice,
    default: u32,
    now: u32,
    pairs: bool,
    records: u64,
    /// Right behind an exchange whose parallelism was said: a union would not know it.
    bare: bool,
    tags: usize,
    depth: u32,
    /// Right behind `share`: the parallelism of the shared chain, from which an exchange starts.
    origin: Option<u32>,
}

impl Drawing {
    fn input(&mut self, pairs: Option<bool>) -> Input {
        let dice = &mut self.dice;
        let collection = dice.chance(25);
        let count = match dice.below(10) {
            0 => 0,
            1 => dice.below(4),
            2..4 => 1000 + dice.below(4000),
            _ => dice.below(300),
        };
        let input = Input {
            pairs: pairs.unwrap_or_else(|| dice.chance(50)),
            count,
            seed: dice.next(),
            text: dice.pick(&[0, 8, 30, 30, 1500]),
            collection,
            parallelism: (!collection && dice.chance(40)).then(|| 1 + dice.below(8) as u32),
        };
        self.now = match collection {
            true => 1,
            false => input.parallelism.unwrap_or(self.default),
        };
        self.pairs = input.pairs;
        self.records = count;
        self.bare = false;
        input
    }

    fn steps(&mut self, most: u64) -> Vec<Step> {
        (0..most).filter_map(|_| self.step()).collect()
    }

    /// Three keyed stages with others between them.
    fn hard_steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..3 {
            let between = self.dice.below(3);
            steps.extend(self.steps(between));
            steps.push(Step::Keyed(self.keyed()));
        }
        steps
    }

    /// The next step, or none where what was drawn does not fit.
    fn step(&mut self) -> Option<Step> {
        let origin = self.origin.take();
        let step = self.some_step(origin);
        if step.is_none() {
            self.origin = origin;
        }
        step
    }

    fn some_step(&mut self, origin: Option<u32>) -> Option<Step> {
        let step = match self.dice.below(100) {
            0..10 => Step::Map(self.dice.below(9)),
            10..18 => Step::Filter(2 + self.dice.below(4)),
            18..24 => {
                let most = 1 + self.dice.below(3);
                Step::FlatMap(self.grow(most)?)
            }
            24..28 => Step::Inspect,
            28..33 => Step::Process,
            33..40 => {
                self.pairs = !self.pairs;
                Step::Convert(self.dice.below(40))
            }
            62..70 => {
                self.now = self.default;
                self.bare = false;
                return Some(Step::NewChain {
                    disable: self.dice.chance(50),
                });
            }
            40..62 => return self.exchange(origin).map(Step::Exchange),
            70..82 => return Some(Step::Keyed(self.keyed())),
            _ if self.bare || self.depth > 1 => return None,
            82..88 => return self.union(),
            88..94 => return self.diamond(),
            _ => return self.side(),
        };
        self.bare = false;
        Some(step)
    }

    /// Answers `factor` if there may be so many times the records.
    fn grow(&mut self, factor: u64) -> Option<u64> {
        let grown = self.records * factor;
        (grown <= MOST_RECORDS).then(|| {
            self.records = grown;
            factor
        })
    }

    fn some_parallelism(&mut self) -> Option<u32> {
        (self.dice.chance(40)).then(|| self.dice.pick(&[1, 1, 2, 3, 4, 5, 6, 7, 8]))
    }

    fn exchange(&mut self, origin: Option<u32>) -> Option<Exchange> {
        let by = self.dice.pick(&PARTITIONERS);
        let from = origin.unwrap_or(self.now);
        let parallelism = match by {
            Partitioner::Forward => (from != self.default).then_some(from),
            _ => self.some_parallelism(),
        };
        let next = parallelism.unwrap_or(self.default);
        if by == Partitioner::Broadcast {
            self.grow(u64::from(next))?;
        }
        self.now = next;
        let view = self.dice.chance(20);
        self.bare = parallelism.is_some() && !view;
        Some(Exchange {
            by,
            parallelism,
            view,
        })
    }

    fn keyed(&mut self) -> Keyed {
        let by = self.dice.pick(&COUNTINGS);
        let modulus = self.dice.pick(&[1, 3, 10, 100, 5000, 5000]);
        let parallelism = self.some_parallelism();
        self.now = parallelism.unwrap_or(self.default);
        self.pairs = true;
        self.bare = false;
        Keyed {
            by,
            modulus,
            parallelism,
        }
    }

    fn last(&mut self) -> Last {
        Last {
            by: self.dice.pick(&AGGREGATES),
            modulus: self.dice.pick(&[1, 3, 10, 100, 5000, 5000]),
            parallelism: self.some_parallelism(),
        }
    }

    /// Steps of a branch, which ends with the type it begins with and may be joined.
    fn branch(&mut self, pairs: bool) -> Vec<Step> {
        self.depth += 1;
        let most = self.dice.below(4);
        let mut steps = self.steps(most);
        self.depth -= 1;
        if self.pairs != pairs {
            steps.push(Step::Convert(self.dice.below(20)));
        } else if self.bare {
            steps.push(Step::Inspect);
        }
        self.pairs = pairs;
        self.bare = false;
        steps
    }

    fn joined(&mut self, records: u64) {
        self.records = records;
        self.now = self.default;
        self.bare = false;
    }

    fn union(&mut self) -> Option<Step> {
        let (records, pairs) = (self.records, self.pairs);
        if records > MOST_RECORDS / 2 {
            return None;
        }
        let input = self.input(Some(pairs));
        let steps = self.branch(pairs);
        self.joined(records + self.records);
        Some(Step::Union(input, steps))
    }

    fn diamond(&mut self) -> Option<Step> {
        let (records, pairs, now) = (self.records, self.pairs, self.now);
        if records > MOST_RECORDS / 2 {
            return None;
        }
        let mut sides = [Vec::new(), Vec::new()];
        let mut total = 0;
        for steps in &mut sides {
            // A reader of a shared stream begins as a chain of its own.
            (self.records, self.now, self.origin) = (records, self.default, Some(now));
            *steps = self.branch(pairs);
            self.origin = None;
            total += self.records;
        }
        self.joined(total);
        let [left, right] = sides;
        Some(Step::Diamond(left, right))
    }

    fn side(&mut self) -> Option<Step> {
        let pairs = self.pairs;
        let tag = self.tags;
        if tag == super::build::TAGS.len() {
            return None;
        }
        self.tags += 1;
        let records = self.records;
        self.now = self.default;
        let steps = self.branch(pairs);
        // Every record takes one way or the other.
        self.joined(records + self.records);
        Some(Step::Side {
            modulus: 1 + self.dice.below(4),
            tag,
            steps,
        })
    }
}
