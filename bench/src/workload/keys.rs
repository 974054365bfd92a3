//! Which key a record of `bigstate` has: each as likely as the next, or few of them most of the time.
//!
//! Plain data, shared by the subtasks of a source. Invariant: the key of a record follows from its number.

use std::sync::Arc;

use super::definitions::{pick, sm};

/// How keys are drawn.
#[derive(Clone, Debug)]
pub struct Keys {
    count: u64,
    /// Of Zipf's law: the probability of this key and all before it.
    cumulative: Option<Arc<[f64]>>,
}

impl Keys {
    /// So many keys, the `n`-th as likely as `n` to the power of minus `zipf`; all alike if that is 0.
    #[must_use]
    pub fn new(count: u64, zipf: f64) -> Keys {
        let cumulative = (zipf > 0.0).then(|| cumulative(count, zipf));
        Keys { count, cumulative }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The key of record `i`.
    #[inline]
    #[must_use]
    pub fn of(&self, i: u64) -> u64 {
        let drawn = sm(i);
        match &self.cumulative {
            None => pick(drawn, self.count),
            Some(cumulative) => {
                let uniform = (drawn >> 11) as f64 * f64::EPSILON / 2.0;
                let key = cumulative.partition_point(|reached| *reached <= uniform) as u64;
                key.min(self.count - 1)
            }
        }
    }
}

fn cumulative(count: u64, zipf: f64) -> Arc<[f64]> {
    let weight = |key: u64| ((key + 1) as f64).powf(-zipf);
    let total: f64 = (0..count).map(weight).sum();
    let mut reached = 0.0;
    let step = |key: u64| {
        reached += weight(key) / total;
        reached
    };
    (0..count).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_likely_as_they_should_be() {
        for (zipf, first) in [(0.0, 0.01), (1.0, 0.1928)] {
            let keys = Keys::new(100, zipf);
            let mut counts = [0_u32; 100];
            (0..100_000).for_each(|i| counts[keys.of(i) as usize] += 1);
            let share = f64::from(counts[0]) / 100_000.0;
            assert!((share - first).abs() < 0.01, "{zipf}: {share}");
            assert!(counts.iter().all(|count| *count > 0), "{zipf}");
        }
    }
}
