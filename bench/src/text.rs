//! Text to count words in: Zipf-distributed words of realistic lengths, in lines, in files.
//!
//! Entered by `thalweg-bench text`. The same arguments give the same bytes on any machine: all
//! choices are `mix` of the seed and a position, and the distribution is rounded to integers once.
//! Each file is a function of its own number, so files are made in parallel.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::workload::definitions::{mix, pick};

/// Letters by frequency in English, so that words look and compress like words.
const LETTERS: &[u8; 64] = b"eeeeeeeettttttaaaaaoooooiiiiinnnnnssssshhhhrrrrddddlllcccuummwfg";
const GUIDE: usize = 1 << 16;
const BUFFER: usize = 1 << 20;

/// What text to make.
#[derive(Clone, Debug)]
pub struct TextPlan {
    /// Bytes over all files; the files end within one word of it.
    pub bytes: u64,
    /// Number of distinct words.
    pub vocabulary: u32,
    /// Another seed, another text.
    pub seed: u64,
    /// Number of files, `part-0.txt` and so on.
    pub files: u32,
}

/// Writes the text into `directory`, which is made if missing; the files' paths.
///
/// # Errors
/// Whatever the file system refuses.
#[allow(
    clippy::disallowed_methods,
    reason = "text is written before anything is measured"
)]
pub fn write(plan: &TextPlan, directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let words = Vocabulary::new(plan.vocabulary, plan.seed);
    let files = u64::from(plan.files.max(1));
    let lanes = thread::available_parallelism()
        .map_or(1, |n| n.get() as u64)
        .min(files);
    thread::scope(|scope| {
        let words = &words;
        let writers: Vec<_> = (0..lanes)
            .map(|lane| {
                scope.spawn(move || {
                    (lane..files)
                        .step_by(lanes as usize)
                        .try_for_each(|number| write_file(plan, words, directory, number))
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    Ok((0..files).map(|number| path(directory, number)).collect())
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("part-{number}.txt"))
}

fn write_file(
    plan: &TextPlan,
    words: &Vocabulary,
    directory: &Path,
    number: u64,
) -> io::Result<()> {
    let files = u64::from(plan.files.max(1));
    let size = plan.bytes / files + u64::from(plan.bytes % files > number);
    let mut file = File::create(path(directory, number))?;
    let mut block = Vec::with_capacity(BUFFER + 64);
    let (mut state, mut written, mut left_in_line) = (mix(plan.seed ^ mix(number)), 0, 0);
    loop {
        state = mix(state);
        let word = words.draw(state);
        if written + word.len() as u64 + 1 > size {
            break;
        }
        if left_in_line == 0 {
            left_in_line = 6 + pick(mix(!state), 13);
        }
        left_in_line -= 1;
        block.extend_from_slice(word);
        block.push(if left_in_line == 0 { b'\n' } else { b' ' });
        written += word.len() as u64 + 1;
        if block.len() >= BUFFER {
            file.write_all(&block)?;
            block.clear();
        }
    }
    if left_in_line > 0
        && let Some(end) = block.last_mut()
    {
        *end = b'\n';
    }
    file.write_all(&block)
}

/// The words by rank and the way to draw one.
struct Vocabulary {
    letters: Vec<u8>,
    ends: Vec<u32>,
    /// Of 2^64 draws, how many fall on this rank or one before it.
    below: Vec<u64>,
    /// The first rank a draw with these leading bits can fall on.
    guide: Vec<u32>,
}

impl Vocabulary {
    fn new(size: u32, seed: u64) -> Self {
        let size = size.max(1);
        let (letters, ends) = spell(size, seed);
        let below = cumulative(size);
        let mut guide = Vec::with_capacity(GUIDE);
        let mut rank = 0;
        for lead in 0..GUIDE as u64 {
            while below[rank] < lead << 48 {
                rank += 1;
            }
            guide.push(rank as u32);
        }
        Self {
            letters,
            ends,
            below,
            guide,
        }
    }

    #[inline]
    fn draw(&self, r: u64) -> &[u8] {
        let mut rank = self.guide[(r >> 48) as usize] as usize;
        while self.below[rank] < r {
            rank += 1;
        }
        let start = if rank == 0 {
            0
        } else {
            self.ends[rank - 1] as usize
        };
        &self.letters[start..self.ends[rank] as usize]
    }
}

/// Inverse CDF of Zipf with exponent 1: rank r weighs 1/(r+1).
fn cumulative(size: u32) -> Vec<u64> {
    let total: f64 = (1..=size).map(|rank| 1.0 / f64::from(rank)).sum();
    let mut sum = 0.0;
    let mut below: Vec<u64> = (1..=size)
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            (sum / total * 2f64.powi(64)) as u64
        })
        .collect();
    if let Some(last) = below.last_mut() {
        *last = u64::MAX;
    }
    below
}

/// Distinct words, the frequent ones short as in any language.
fn spell(size: u32, seed: u64) -> (Vec<u8>, Vec<u32>) {
    let mut seen: HashSet<Vec<u8>, FixedState> = HashSet::with_hasher(FixedState::with_seed(0));
    let (mut letters, mut ends) = (Vec::new(), Vec::new());
    let mut state = mix(!seed);
    for rank in 0..size {
        let mut tries = 0;
        loop {
            state = mix(state);
            let word = word(state, length(rank, state) + tries / 8);
            if seen.insert(word.clone()) {
                letters.extend_from_slice(&word);
                break;
            }
            tries += 1;
        }
        ends.push(letters.len() as u32);
    }
    (letters, ends)
}

/// Letters of the word of `rank`: about the logarithm of the rank, spread by a few.
fn length(rank: u32, r: u64) -> u64 {
    let typical = 1 + u64::from((rank + 1).ilog2()) / 3;
    typical + pick(r, 3) + pick(mix(r), 2)
}

fn word(r: u64, length: u64) -> Vec<u8> {
    (0..length)
        .map(|at| LETTERS[(mix(r ^ (at << 56)) >> 58) as usize])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn plan() -> TextPlan {
        TextPlan {
            bytes: 600_000,
            vocabulary: 1_000,
            seed: 1,
            files: 3,
        }
    }

    fn made(plan: &TextPlan) -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let paths = write(plan, directory.path()).unwrap();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn the_same_plan_gives_the_same_bytes_and_another_seed_others() {
        let text = made(&plan());
        assert_eq!(text, made(&plan()));
        assert_ne!(text, made(&TextPlan { seed: 2, ..plan() }));
        assert_ne!(text[0], text[1]);
    }

    #[test]
    fn files_have_their_share_and_end_with_a_line() {
        for text in made(&plan()) {
            assert!((199_950..=200_000).contains(&text.len()), "{}", text.len());
            assert_eq!(text.last(), Some(&b'\n'));
            assert!(!text.windows(2).any(|two| two == b"  " || two == b"\n\n"));
        }
    }

    #[test]
    fn frequencies_follow_the_rank() {
        let text = made(&plan()).concat();
        let mut counts = BTreeMap::new();
        for word in text
            .split(|&byte| byte == b' ' || byte == b'\n')
            .filter(|w| !w.is_empty())
        {
            *counts.entry(word).or_insert(0u32) += 1;
        }
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        assert!(counts.len() > 990, "almost all words occur");
        let ratio = f64::from(counts[0]) / f64::from(counts[9]);
        assert!(
            (8.0..12.5).contains(&ratio),
            "first to tenth is ten to one, not {ratio}"
        );
    }

    #[test]
    fn words_are_distinct() {
        let (letters, ends) = spell(50_000, 1);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let mut words: Vec<&[u8]> = starts
            .zip(&ends)
            .map(|(from, &to)| &letters[from as usize..to as usize])
            .collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 50_000);
    }
}
