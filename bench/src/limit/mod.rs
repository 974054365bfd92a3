//! The same work by hand: what this machine can do at most.
//!
//! Entered by [`run`]; no engine, no generality: one or two pinned threads, batches kept in the
//! second-level cache, dense tables, vector instructions found at run time. The checksum a limit
//! prints is the engine's, or the comparison of the two is void. `unsafe` is allowed in this folder.
//!
//! A limit may know what an engine may not: the number of keys, that a running sum is an addition,
//! that the sink wants a word's hash and may find it beside the count. It does the same steps
//! nonetheless: every record is parted by key, handed over, looked up, and emitted as a row whose
//! term is computed.

mod generate;
mod latency;
mod level;
mod machine;
mod nexmark;
mod ranges;
mod ring;
mod sum;
mod table;
mod wake;
mod wc;
#[cfg(target_arch = "x86_64")]
mod wide;
mod win;
mod words;

use std::io;
use std::path::PathBuf;
use std::thread;

use thiserror::Error;

use crate::engine::Query;
use crate::report::{Measured, Report, forget_peak_rss};
use crate::workload::Totals;

pub use latency::latency;
pub use level::Level;
pub use machine::{Stopwatch, process_cpu_seconds};
pub use wake::wake;

/// A workload and what it works on.
#[derive(Clone, Debug)]
pub enum Work {
    /// Generate records and take their terms.
    Gen {
        /// How many.
        records: u64,
    },
    /// Keep a running sum by key.
    Sum {
        /// How many records.
        records: u64,
    },
    /// Count by key and window of a second.
    Win {
        /// How many records.
        records: u64,
    },
    /// Count words.
    Wc {
        /// Text files, or directories whose files are all read.
        inputs: Vec<PathBuf>,
    },
    /// Answer a query over the events of an auction site.
    Nexmark {
        /// Which.
        query: Query,
        /// How many events.
        events: u64,
        /// Events per millisecond of event time.
        per_ms: u64,
    },
}

/// Why a run by hand failed.
#[derive(Debug, Error)]
pub enum LimitError {
    /// An input could not be read.
    #[error("cannot read {}: {source}; name text files or directories by --input", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Does `work` on one or two threads with the best instructions of this CPU.
///
/// # Errors
/// If an input cannot be read.
///
/// # Panics
/// If `threads` is neither 1 nor 2.
pub fn run(work: &Work, threads: u32) -> Result<Report, LimitError> {
    let level = Level::detect();
    forget_peak_rss();
    let watch = Stopwatch::start();
    let totals = totals(work, threads, level)?;
    let (seconds, cpu_seconds) = watch.seconds();
    let name = match work {
        Work::Gen { .. } => "gen",
        Work::Sum { .. } => "sum",
        Work::Win { .. } => "win",
        Work::Wc { .. } => "wc",
        Work::Nexmark { query, .. } => query.name(),
    };
    Ok(Report::new(
        "limit",
        name,
        threads,
        totals,
        Measured {
            seconds,
            cpu_seconds,
        },
    ))
}

/// Does `work` with the instructions of `level`.
fn totals(work: &Work, threads: u32, level: Level) -> Result<Totals, LimitError> {
    assert!(
        threads == 1 || threads == 2,
        "the work by hand is written for one or two threads"
    );
    match work {
        Work::Gen { records } => Ok(generate::run(level, *records, threads)),
        Work::Sum { records } => Ok(sum::run(level, *records, threads)),
        Work::Win { records } => Ok(win::run(level, *records, threads)),
        Work::Wc { inputs } => wc::run(level, inputs, threads),
        Work::Nexmark {
            query,
            events,
            per_ms,
        } => Ok(nexmark::run(level, *query, *events, *per_ms, threads)),
    }
}

/// Runs `body` on `threads` pinned threads; their results in order.
#[allow(clippy::disallowed_methods, reason = "by hand: there is no shard")]
fn on_threads<R: Send>(threads: usize, body: impl Fn(usize) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let body = &body;
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    machine::pin(thread);
                    body(thread)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::definitions::{WIN_MS, h2, h3, step, sum_record, win_record};
    use std::collections::BTreeMap;
    use std::fs;

    /// Runs `work` in every way there is and expects the same totals of all.
    fn check(work: &Work, expected: Totals) {
        for level in Level::available() {
            for threads in [1, 2] {
                let totals = totals(work, threads, level).unwrap();
                assert_eq!(
                    totals, expected,
                    "{work:?} on {threads} threads with {level:?}"
                );
            }
        }
    }

    fn plain_sum(records: u64) -> u64 {
        let mut sums = BTreeMap::new();
        (0..records)
            .map(sum_record)
            .fold(0, |checksum: u64, (key, value)| {
                let sum = sums.entry(key).or_insert(0u64);
                let old = *sum;
                *sum = old.wrapping_add(value);
                checksum.wrapping_add(step(key, old, *sum))
            })
    }

    #[test]
    fn gen_is_golden() {
        for (records, checksum) in [
            (1_000, 0x19fc_b25a_86e9_3ce5),
            (100_003, 0x8dab_f0d8_6770_45b9),
        ] {
            check(
                &Work::Gen { records },
                Totals {
                    records,
                    rows_out: records,
                    checksum,
                },
            );
        }
        let five = (0..5)
            .map(sum_record)
            .fold(0u64, |sum, (k, v)| sum.wrapping_add(h2(k, v)));
        check(
            &Work::Gen { records: 5 },
            Totals {
                records: 5,
                rows_out: 5,
                checksum: five,
            },
        );
    }

    #[test]
    fn sum_is_golden() {
        let golden = [
            (1_000, 0x1b67_79a4_36bc_4576),
            (100_003, 0xf3c9_a584_36b8_3d1e),
            (300_000, 0x4749_f1a7_c886_addb),
        ];
        for (records, checksum) in golden {
            assert_eq!(plain_sum(records), checksum);
            check(
                &Work::Sum { records },
                Totals {
                    records,
                    rows_out: records,
                    checksum,
                },
            );
        }
        for records in [0, 1, 7, 1_537, 4_096, 20_011] {
            let checksum = plain_sum(records);
            check(
                &Work::Sum { records },
                Totals {
                    records,
                    rows_out: records,
                    checksum,
                },
            );
        }
    }

    #[test]
    fn queries_are_golden() {
        let golden = [
            (Query::Q0, 20_011, 1, 18_407, 0x1eee_f66c_042a_16b4),
            (Query::Q0, 300_007, 7, 276_003, 0xc582_634e_601a_7c2d),
            (Query::Q1, 20_011, 1, 18_407, 0xe5b8_023e_add5_028a),
            (Query::Q1, 300_007, 7, 276_003, 0xcbca_04f5_42cf_e946),
            (Query::Q2, 20_011, 1, 72, 0xbe2e_5c90_9f51_ee71),
            (Query::Q2, 300_007, 7, 1_859, 0x5e36_134e_6b4b_cffc),
            (Query::Q5, 20_011, 1, 15, 0xfc9e_ba1a_791c_7712),
            (Query::Q5, 300_007, 1, 158, 0x9629_5527_26f1_b001),
            (Query::Q5, 300_007, 7, 29, 0xf061_3eff_279d_10c0),
            (Query::Q7, 20_011, 1, 3, 0x8feb_915e_6e68_6991),
            (Query::Q7, 300_007, 1, 31, 0x0ffd_fe7d_3ef8_f517),
            (Query::Q7, 300_007, 7, 5, 0x8a83_19be_d771_8ef6),
            (Query::Q8, 20_011, 1, 134, 0xce14_15bf_69c4_85ab),
            (Query::Q8, 300_007, 1, 626, 0x5be4_ae6c_f36b_7eb3),
            (Query::Q8, 300_007, 7, 2_225, 0xbb59_9ffc_0bf0_ccf5),
        ];
        for (query, events, per_ms, rows_out, checksum) in golden {
            let work = Work::Nexmark {
                query,
                events,
                per_ms,
            };
            let expected = Totals {
                records: events,
                rows_out,
                checksum,
            };
            check(&work, expected);
        }
    }

    #[test]
    fn win_equals_a_plain_count() {
        for records in [0, 1, 1_537, 100_003, 2_500_001] {
            let mut counts = BTreeMap::new();
            for (key, time) in (0..records).map(win_record) {
                *counts.entry((key, time / WIN_MS * WIN_MS)).or_insert(0_u64) += 1;
            }
            let terms = counts
                .iter()
                .map(|(&(key, start), &count)| h3(key, start, count));
            let totals = Totals {
                records,
                rows_out: counts.len() as u64,
                checksum: terms.fold(0, u64::wrapping_add),
            };
            check(&Work::Win { records }, totals);
        }
    }

    #[test]
    fn wc_is_golden() {
        let directory = tempfile::tempdir().unwrap();
        let text = "to be or not to be\nthat is  the question\n\n\
                    Straße a-word-longer-than-sixteen-bytes be\ta be";
        fs::write(directory.path().join("text"), text).unwrap();
        let work = Work::Wc {
            inputs: vec![directory.path().to_owned()],
        };
        check(
            &work,
            Totals {
                records: 14,
                rows_out: 14,
                checksum: 0x61ab_867c_be5d_abb8,
            },
        );
    }

    #[test]
    fn wc_equals_a_plain_count_on_a_growing_table() {
        let directory = tempfile::tempdir().unwrap();
        let plan = crate::text::TextPlan {
            bytes: 6_000_000,
            vocabulary: 200_000,
            seed: 3,
            files: 3,
        };
        let paths = crate::text::write(&plan, directory.path()).unwrap();
        let mut counts = BTreeMap::new();
        let mut expected = Totals {
            records: 0,
            rows_out: 0,
            checksum: 0,
        };
        let text = paths
            .iter()
            .map(|path| fs::read(path).unwrap())
            .collect::<Vec<_>>()
            .concat();
        for word in text
            .split(|&byte| byte == b' ' || byte == b'\n')
            .filter(|word| !word.is_empty())
        {
            let count = counts.entry(word).or_insert(0u64);
            *count += 1;
            let term = step(
                crate::workload::definitions::java_hash(word),
                *count - 1,
                *count,
            );
            expected.records += 1;
            expected.checksum = expected.checksum.wrapping_add(term);
        }
        expected.rows_out = expected.records;
        check(&Work::Wc { inputs: paths }, expected);
    }
}
