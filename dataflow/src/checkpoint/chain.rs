//! The runs that together are the state of an operator at its last durable cut, and when to begin them anew.
//!
//! Asked at each barrier, added to with each durable cut. Invariant: the files of a chain are bounded, however often
//! the job is restored: each has to be opened then, and looked through for what is not in memory. Lives on one
//! shard's thread.

use std::collections::BTreeSet;

use thalweg_state::RunHandle;

/// Files after which a cut writes everything anew instead of one more change. What state larger than memory began its
/// chain with counts as one.
const MOST_FILES: usize = 32;
/// Files of a chain with what it began with, where that is not known, as after a restore, or little.
const MOST_OF_ALL: usize = 128;
/// Changes that are not worth writing everything anew for.
const FEW_ROWS: u64 = 10_000;

/// The runs of one operator.
pub(super) struct Chain {
    /// Newest first. After a rescale there is a chain for each former subtask, one behind the other.
    runs: Vec<RunHandle>,
    /// How many of them, the oldest, hold what there was when the chain was begun.
    base: usize,
    /// The most files that all of them may be.
    most: usize,
}

impl Chain {
    /// That of what an operator was restored from; nothing where it begins empty.
    pub(super) fn restored(runs: Vec<RunHandle>) -> Chain {
        Chain {
            base: runs.len(),
            runs,
            most: MOST_OF_ALL,
        }
    }

    /// Adds the runs of a cut, newest first, which may make all older ones needless; answers all that count now.
    pub(super) fn with(&mut self, new: Vec<RunHandle>, full: bool) -> Vec<RunHandle> {
        if full {
            self.runs.clear();
            self.base = new.len();
            self.most = MOST_OF_ALL.max(2 * files(&new));
        }
        self.runs.splice(0..0, new);
        self.runs.clone()
    }

    /// Whether a file is one of its runs.
    pub(super) fn names(&self, file: &str) -> bool {
        self.runs.iter().any(|run| run.file == file)
    }

    /// Whether its changes outgrew what they change, or its files are too many.
    pub(super) fn is_outgrown(&self) -> bool {
        let (changes, base) = self.runs.split_at(self.runs.len() - self.base);
        // State larger than memory is in no run in full: the runs its chain began with count as one.
        let (whole, changed, most) = match self.runs.iter().any(|run| run.full) {
            true => (
                rows(self.runs.iter().filter(|run| run.full)),
                rows(self.runs.iter().filter(|run| !run.full)),
                files(&self.runs),
            ),
            false => (rows(base), rows(changes), files(changes) + 1),
        };
        changed > whole.max(FEW_ROWS) || most >= MOST_FILES || files(&self.runs) > self.most
    }
}

fn rows<'r>(runs: impl IntoIterator<Item = &'r RunHandle>) -> u64 {
    runs.into_iter().map(|run| run.rows).sum()
}

/// A file that counts for several states, or for several ranges of key groups, is one.
fn files(runs: &[RunHandle]) -> usize {
    let names: BTreeSet<&str> = runs.iter().map(|run| &*run.file).collect();
    names.len()
}

#[cfg(test)]
mod tests {
    use thalweg_state::run::StateNumber;

    use super::*;

    fn run(file: usize, rows: u64, full: bool) -> RunHandle {
        RunHandle {
            file: format!("{file}.run"),
            bytes: 100,
            checksum: 0,
            rows,
            groups: 0..128,
            full,
            only: None,
        }
    }

    /// Cuts of so many files each, of a chain that no run holds in full, until it is begun anew.
    fn cuts(chain: &mut Chain, files: usize, name: &mut usize) -> usize {
        let mut cuts = 0;
        while !chain.is_outgrown() && cuts < 1_000 {
            let numbers = *name..*name + files;
            *name = numbers.end;
            chain.with(numbers.map(|name| run(name, 1, false)).collect(), false);
            cuts += 1;
        }
        cuts
    }

    #[test]
    fn a_chain_is_begun_anew_by_its_files_and_a_file_of_several_states_is_one() {
        for (files, expected) in [(1, 31), (4, 8)] {
            let mut chain = Chain::restored(Vec::new());
            let base = (0..100).map(|name| run(name, 50_000, false));
            chain.with(base.collect(), true);
            assert_eq!(cuts(&mut chain, files, &mut 1_000), expected);
        }
        let mut chain = Chain::restored(vec![run(0, 1, true)]);
        for cut in 1..=10 {
            let only = |state| RunHandle {
                only: Some(StateNumber(state)),
                ..run(cut, 1, false)
            };
            chain.with((0..5).map(only).collect(), false);
            assert!(!chain.is_outgrown(), "after {cut} files");
        }
    }

    #[test]
    fn changes_that_outgrow_what_they_change_begin_a_chain_anew() {
        for full in [true, false] {
            let mut chain = Chain::restored(Vec::new());
            chain.with(vec![run(0, 50_000, full)], true);
            chain.with(vec![run(1, 50_000, false)], false);
            assert!(!chain.is_outgrown());
            chain.with(vec![run(2, 1, false)], false);
            assert!(chain.is_outgrown());
        }
    }

    #[test]
    fn a_chain_that_is_restored_again_and_again_does_not_grow_for_ever() {
        let (mut name, mut runs, mut most) = (0, Vec::new(), 0);
        for _restore in 0..100 {
            let mut chain = Chain::restored(runs);
            for _cut in 0..10 {
                let full = chain.is_outgrown();
                name += 2;
                let new = vec![run(name, 1, false), run(name + 1, 1, false)];
                runs = chain.with(new, full);
                most = most.max(files(&runs));
            }
            runs = chain.with(Vec::new(), false);
        }
        assert!(most > MOST_FILES && most <= MOST_OF_ALL + 2, "{most} files");
    }

    #[test]
    fn a_chain_that_begins_with_many_files_is_not_begun_anew_at_once() {
        let mut chain = Chain::restored(Vec::new());
        let base = (0..400).map(|name| run(name, 1, false));
        chain.with(base.collect(), true);
        assert!(!chain.is_outgrown());
        assert!(Chain::restored(chain.with(Vec::new(), false)).is_outgrown());
    }
}
