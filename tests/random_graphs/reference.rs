//! What a drawn program must give, worked out over vectors on one thread. Knows nothing of the engine.

use std::collections::BTreeMap;

use super::functions::{Datum, Pair};
use super::program::{Aggregate, Counting, End, Input, Keyed, Last, Partitioner, Program, Step};

/// What a program must give.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Records its sources emit.
    pub(crate) read: u64,
    /// Records that passed an unkeyed process.
    pub(crate) processed: u64,
    pub(crate) result: Outcome,
}

/// What its sink must have gathered.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Exactly these, in any order: sorted.
    Rows(Vec<Pair>),
    /// Per key: how many rows and the last of them.
    Last(BTreeMap<u64, (u64, String)>),
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Rows(Vec::new())
    }
}

/// Records of either type.
enum Records {
    Numbers(Vec<u64>),
    Pairs(Vec<Pair>),
}

/// What [`Records`] needs to know of its two types.
trait Kept: Datum {
    fn keep(records: Vec<Self>) -> Records;
    fn other(records: Vec<Self::Other>) -> Records;
    fn of(records: Records) -> Vec<Self>;
}

impl Kept for u64 {
    fn keep(records: Vec<u64>) -> Records {
        Records::Numbers(records)
    }
    fn other(records: Vec<Pair>) -> Records {
        Records::Pairs(records)
    }
    fn of(records: Records) -> Vec<u64> {
        match records {
            Records::Numbers(records) => records,
            Records::Pairs(_) => unreachable!("branches end with the type they begin with"),
        }
    }
}

impl Kept for Pair {
    fn keep(records: Vec<Pair>) -> Records {
        Records::Pairs(records)
    }
    fn other(records: Vec<u64>) -> Records {
        Records::Numbers(records)
    }
    fn of(records: Records) -> Vec<Pair> {
        match records {
            Records::Pairs(records) => records,
            Records::Numbers(_) => unreachable!("branches end with the type they begin with"),
        }
    }
}

/// Works the program out.
pub(crate) fn expected(program: &Program) -> Expected {
    let mut working = Working {
        batch: program.batch,
        parallelism: program.parallelism,
        expected: Expected::default(),
    };
    let records = working.input(&program.input);
    let result = match working.all(records, &program.steps) {
        Records::Numbers(records) => working.ended(records, program.end),
        Records::Pairs(records) => working.ended(records, program.end),
    };
    Expected {
        result,
        ..working.expected
    }
}

struct Working {
    batch: bool,
    parallelism: u32,
    expected: Expected,
}

impl Working {
    fn input(&mut self, input: &Input) -> Records {
        self.expected.read += input.count;
        match input.pairs {
            true => Records::Pairs((0..input.count).map(|n| Pair::make(input, n)).collect()),
            false => Records::Numbers((0..input.count).map(|n| u64::make(input, n)).collect()),
        }
    }

    fn all(&mut self, records: Records, steps: &[Step]) -> Records {
        steps.iter().fold(records, |records, step| match records {
            Records::Numbers(records) => self.one(records, step),
            Records::Pairs(records) => self.one(records, step),
        })
    }

    fn one<T: Kept>(&mut self, records: Vec<T>, step: &Step) -> Records {
        let all = records.into_iter();
        match step {
            Step::Map(by) => T::keep(all.map(|record| record.mapped(*by)).collect()),
            Step::Filter(by) => T::keep(all.filter(|record| record.kept(*by)).collect()),
            Step::FlatMap(most) => {
                let copied = all.flat_map(|record| {
                    let copies = record.copies(*most) as usize;
                    vec![record; copies]
                });
                T::keep(copied.collect())
            }
            Step::Inspect | Step::NewChain { .. } => T::keep(all.collect()),
            Step::Process => {
                self.expected.processed += all.len() as u64;
                T::keep(all.collect())
            }
            Step::Convert(by) => T::other(all.map(|record| record.converted(*by)).collect()),
            Step::Exchange(exchange) => {
                let copies = match exchange.by {
                    Partitioner::Broadcast => exchange.parallelism.unwrap_or(self.parallelism),
                    _ => 1,
                };
                T::keep(
                    all.flat_map(|record| vec![record; copies as usize])
                        .collect(),
                )
            }
            Step::Keyed(keyed) => Records::Pairs(self.counted(all.collect(), *keyed)),
            Step::Union(input, steps) => {
                let other = self.input(input);
                let other = T::of(self.all(other, steps));
                T::keep(all.chain(other).collect())
            }
            Step::Diamond(left, right) => {
                let records: Vec<T> = all.collect();
                let left = T::of(self.all(T::keep(records.clone()), left));
                let right = T::of(self.all(T::keep(records), right));
                T::keep(left.into_iter().chain(right).collect())
            }
            Step::Side { modulus, steps, .. } => {
                let (aside, main): (Vec<T>, Vec<T>) =
                    all.partition(|record| record.aside(*modulus));
                let aside = T::of(self.all(T::keep(aside), steps));
                T::keep(main.into_iter().chain(aside).collect())
            }
        }
    }

    fn counted<T: Datum>(&self, records: Vec<T>, keyed: Keyed) -> Vec<Pair> {
        let final_only = self.batch && !keyed.by.always_runs();
        debug_assert!(keyed.by != Counting::CountByText || final_only == self.batch);
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        let mut rows = Vec::new();
        for record in records {
            let count = counts.entry(record.key(keyed.modulus)).or_default();
            *count += 1;
            if !final_only {
                rows.push((record.key(keyed.modulus), count.to_string()));
            }
        }
        if final_only {
            rows.extend(counts.iter().map(|(key, count)| (*key, count.to_string())));
        }
        rows
    }

    fn ended<T: Datum>(&self, records: Vec<T>, end: End) -> Outcome {
        let End::Last(last) = end else {
            let shown = records.iter().map(|r| (r.number(), format!("{r:?}")));
            let mut rows: Vec<Pair> = shown.collect();
            rows.sort();
            return Outcome::Rows(rows);
        };
        let mut groups: BTreeMap<u64, Vec<T>> = BTreeMap::new();
        for record in records {
            groups
                .entry(record.key(last.modulus))
                .or_default()
                .push(record);
        }
        let final_only = self.batch && !last.by.always_runs();
        let of = |(key, group): (u64, Vec<T>)| {
            let rows = if final_only { 1 } else { group.len() as u64 };
            (key, (rows, final_row(group, last)))
        };
        Outcome::Last(groups.into_iter().map(of).collect())
    }
}

/// The last row of one key, whose records come in any order.
fn final_row<T: Datum>(group: Vec<T>, last: Last) -> String {
    let weights = group.iter().map(T::weight);
    let count = group.len();
    match last.by {
        Aggregate::Count => format!("{count:?}"),
        Aggregate::Sum => format!("{:?}", weights.sum::<u64>()),
        Aggregate::Min => format!("{:?}", weights.min().unwrap_or_default()),
        Aggregate::Max => format!("{:?}", weights.max().unwrap_or_default()),
        Aggregate::MinBy => group
            .iter()
            .min()
            .map_or_else(String::new, |r| format!("{r:?}")),
        Aggregate::MaxBy => group
            .iter()
            .max()
            .map_or_else(String::new, |r| format!("{r:?}")),
        Aggregate::Average => {
            let sum: f64 = weights.map(|weight| weight as f64).sum();
            format!("{:?}", sum / count as f64)
        }
        Aggregate::Fold => format!("{:?}", weights.fold(7, |folded, weight| folded ^ weight)),
        Aggregate::Reduce => {
            let joined = group.into_iter().reduce(|mut so_far, next| {
                so_far.join(next, last.modulus);
                so_far
            });
            joined.map_or_else(String::new, |record| format!("{record:?}"))
        }
        Aggregate::ValueState => {
            let longest = group.iter().map(|record| format!("{record:?}")).max();
            format!("{:?}", (Some(weights.sum::<u64>()), longest))
        }
        Aggregate::ReducingState => format!("{:?}", weights.max()),
    }
}
