//! Which runs of an operator to merge, and when.
//!
//! Asked after each checkpoint with the operator's runs, newest first. Invariant: a plan names neighbours,
//! and only such as can be merged; it changes nothing. The merged run takes the place of its inputs in the
//! checkpoints to come; those that are kept still name the inputs, whose files go when no checkpoint names
//! them any more. Plain data, lives on any thread.

use std::ops::Range;

use super::merge::Below;

/// What a plan needs to know of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRun {
    /// Length of its file.
    pub bytes: u64,
    /// The key groups for which it counts.
    pub groups: Range<u16>,
    /// Whether it is full for some state.
    pub full: bool,
}

/// Neighbours to be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionPlan {
    /// Places among the runs, newest first.
    pub runs: Range<usize>,
    /// What lies below them.
    pub below: Below,
}

/// When runs are merged.
///
/// Runs of about one size are merged when there are some of them, so that each byte is written again about
/// as often as the logarithm of the size says. All are merged when what is newer than the oldest run
/// outweighs it, so that little of what is kept is out of date. And there are never more runs than a
/// restore should have to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionPolicy {
    most_runs: usize,
    alike: usize,
    waste_percent: u64,
}

impl Default for CompactionPolicy {
    /// At most 16 runs; 4 of about one size are merged; newer runs may weigh as much as the oldest.
    fn default() -> Self {
        CompactionPolicy {
            most_runs: 16,
            alike: 4,
            waste_percent: 100,
        }
    }
}

impl CompactionPolicy {
    /// The most runs there may be, at least 2.
    #[must_use]
    pub fn with_most_runs(mut self, runs: usize) -> CompactionPolicy {
        self.most_runs = runs.max(2);
        self
    }

    /// How many runs of about one size are merged, at least 2.
    #[must_use]
    pub fn with_alike(mut self, runs: usize) -> CompactionPolicy {
        self.alike = runs.max(2);
        self
    }

    /// How much runs newer than the oldest may weigh, in percent of the oldest, at least 10.
    #[must_use]
    pub fn with_waste_percent(mut self, percent: u64) -> CompactionPolicy {
        self.waste_percent = percent.max(10);
        self
    }

    /// What to merge next, if anything. `chain` is given newest first.
    ///
    /// ```
    /// use thalweg_state::run::{Below, ChainRun, CompactionPolicy};
    /// let run = |bytes| ChainRun { bytes, groups: 0..128, full: bytes > 1_000 };
    /// let policy = CompactionPolicy::default();
    /// assert_eq!(policy.plan(&[run(90), run(100), run(5_000)]), None);
    ///
    /// let four = [run(90), run(100), run(120), run(80), run(5_000)];
    /// let plan = policy.plan(&four).map(|plan| (plan.runs, plan.below));
    /// assert_eq!(plan, Some((0..4, Below::OlderRuns)));
    ///
    /// let plan = policy.plan(&[run(3_000), run(2_500), run(5_000)]).map(|plan| plan.below);
    /// assert_eq!(plan, Some(Below::Nothing));
    /// ```
    #[must_use]
    pub fn plan(&self, chain: &[ChainRun]) -> Option<CompactionPlan> {
        let runs = self
            .wasteful(chain)
            .or_else(|| self.alike(chain))
            .or_else(|| self.many(chain))?;
        let all = runs == (0..chain.len());
        let below = if all {
            Below::Nothing
        } else {
            Below::OlderRuns
        };
        Some(CompactionPlan { runs, below })
    }

    /// All, when the newer ones outweigh the oldest.
    fn wasteful(&self, chain: &[ChainRun]) -> Option<Range<usize>> {
        let (oldest, newer) = chain.split_last()?;
        let limit = u128::from(oldest.bytes) * u128::from(self.waste_percent) / 100;
        let enough = newer.len() + 1 >= self.alike || chain.len() > self.most_runs || oldest.full;
        (!newer.is_empty() && enough && weight(newer) > limit).then_some(0..chain.len())
    }

    /// The newest runs of which none outweighs those before it by far.
    fn alike(&self, chain: &[ChainRun]) -> Option<Range<usize>> {
        (0..chain.len()).find_map(|start| {
            let mut end = start + 1;
            let mut gathered = u128::from(chain[start].bytes);
            while let Some(next) = chain.get(end) {
                // Of a size with the mean of those gathered, give or take a half.
                let fits = 2 * u128::from(next.bytes) * (end - start) as u128 <= 3 * gathered;
                if !fits || !can_merge(chain, start..end + 1) {
                    break;
                }
                gathered += u128::from(next.bytes);
                end += 1;
            }
            (end - start >= self.alike).then_some(start..end)
        })
    }

    /// The lightest neighbours by whose merging there are as many runs as there may be.
    fn many(&self, chain: &[ChainRun]) -> Option<Range<usize>> {
        let over = chain
            .len()
            .checked_sub(self.most_runs)
            .filter(|&over| over > 0)?;
        let windows = (0..self.most_runs).map(|start| start..start + over + 1);
        let fit = windows.filter(|window| can_merge(chain, window.clone()));
        let lightest = fit.min_by_key(|window| weight(&chain[window.clone()]));
        Some(lightest.unwrap_or(0..chain.len()))
    }
}

fn weight(runs: &[ChainRun]) -> u128 {
    runs.iter().map(|run| u128::from(run.bytes)).sum()
}

/// Whether runs can be merged by themselves. Those of former subtasks count for different groups: where one
/// is full, what lies below it must stay hidden for its groups only, which one run cannot say.
fn can_merge(chain: &[ChainRun], runs: Range<usize>) -> bool {
    let some = &chain[runs.clone()];
    let one_range = some.iter().all(|run| run.groups == some[0].groups);
    one_range || some.iter().all(|run| !run.full) || some.len() == chain.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A chain under a policy, and what was written to keep it.
    struct Chain {
        runs: Vec<ChainRun>,
        /// Bytes of state: a full run is never larger.
        state: u64,
        cut: u64,
        merged: u64,
    }

    impl Chain {
        fn of_state(state: u64) -> Chain {
            Chain {
                runs: Vec::new(),
                state,
                cut: 0,
                merged: 0,
            }
        }

        fn checkpoint(&mut self, policy: &CompactionPolicy, bytes: u64) {
            let full = self.runs.is_empty();
            self.runs.insert(
                0,
                ChainRun {
                    bytes,
                    groups: 0..128,
                    full,
                },
            );
            self.cut += bytes;
            while let Some(CompactionPlan { runs, below }) = policy.plan(&self.runs) {
                assert!(runs.len() >= 2 && runs.end <= self.runs.len());
                assert_eq!(below == Below::Nothing, runs.len() == self.runs.len());
                let inputs: Vec<ChainRun> = self.runs.splice(runs.clone(), []).collect();
                let bytes = (weight(&inputs) as u64).min(self.state);
                let full = inputs.iter().any(|run| run.full);
                self.merged += bytes;
                self.runs.insert(
                    runs.start,
                    ChainRun {
                        bytes,
                        groups: 0..128,
                        full,
                    },
                );
            }
        }
    }

    proptest! {
        #[test]
        fn runs_stay_few_and_little_is_out_of_date(
            cuts in vec(1..2_000_u64, 1..300),
            most in 2..20_usize,
            alike in 2..8_usize,
        ) {
            let policy = CompactionPolicy::default().with_most_runs(most).with_alike(alike);
            let mut chain = Chain::of_state(20_000);
            for bytes in cuts {
                chain.checkpoint(&policy, bytes);
                prop_assert!(chain.runs.len() <= most);
                let kept = weight(&chain.runs) as u64;
                prop_assert!(kept <= 3 * chain.state, "{kept} bytes kept of {}", chain.state);
            }
        }

        #[test]
        fn what_cannot_be_merged_is_not_planned(
            runs in vec((1..1_000_u64, 0..3_u16, any::<bool>()), 0..40),
        ) {
            let run = |(bytes, part, full)| ChainRun { bytes, groups: part * 10..part * 10 + 10, full };
            let chain: Vec<ChainRun> = runs.into_iter().map(run).collect();
            if let Some(plan) = CompactionPolicy::default().plan(&chain) {
                prop_assert!(plan.runs.len() >= 2 && can_merge(&chain, plan.runs));
            } else {
                prop_assert!(chain.len() <= 16);
            }
        }
    }

    /// Equal cuts of which nothing is ever overwritten, and small cuts of a large state.
    #[test]
    fn bytes_are_written_again_few_times() {
        for (state, cut, at_most) in [(u64::MAX, 100, 6.0), (1_000_000, 1_000, 8.0)] {
            let mut chain = Chain::of_state(state);
            chain.checkpoint(
                &CompactionPolicy::default(),
                if state == u64::MAX { cut } else { state },
            );
            (chain.cut, chain.merged) = (0, 0);
            for _ in 0..5_000 {
                chain.checkpoint(&CompactionPolicy::default(), cut);
            }
            let again = chain.merged as f64 / chain.cut as f64;
            println!(
                "cuts of {cut}: each byte written {again:.2} times more, {} runs",
                chain.runs.len()
            );
            assert!(again <= at_most, "{again}");
        }
    }
}
