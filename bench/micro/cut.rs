//! What a cut of a table costs: the barrier itself, its rows, and changes while it is written.
//!
//! *freeze*, printed, is the time a barrier stops the operator; *rows* the writing of a cut in slices of
//! 1,000, per row; *longest slice* is printed beside it. *update* is a change while no cut is written and *update in a
//! cut* one whose entry has its row written aside first. Figures are per call or per row.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use thalweg_bench::workload::definitions::{pick, sm};
use thalweg_core::{Epoch, KeyHash, MaxParallelism};
use thalweg_memory::Budget;
use thalweg_state::{CutKind, KeyedTable, Row, Scan, Snapshot};

const BUDGET_BYTES: u64 = 4 << 30;
const SLICE: usize = 1_000;

fn filled(keys: u64) -> KeyedTable<u64, u64> {
    let budget = Budget::new("bench", BUDGET_BYTES);
    let table = KeyedTable::new(0..128, MaxParallelism::default(), budget);
    let Ok(mut table) = table else {
        panic!("an empty table needs no memory");
    };
    for key in 0..keys {
        let made = table.upsert(KeyHash::of_u64(key), &key, || 0, |_| {});
        assert!(made.is_ok(), "the budget has room");
    }
    table
}

fn update(table: &mut KeyedTable<u64, u64>, key: u64) {
    let updated = table.update(KeyHash::of_u64(key), &key, |count| *count += 1);
    assert!(updated == Ok(Some(())), "the key is there");
}

/// A table and its checkpoints.
struct Cut {
    table: KeyedTable<u64, u64>,
    epoch: u64,
    bytes: u64,
    longest: Duration,
}

impl Cut {
    fn freeze(&mut self, kind: CutKind) {
        self.epoch += 1;
        self.table.freeze(Epoch(self.epoch), kind);
    }

    /// Writes the cut to its end; answers the rows and the time.
    #[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    fn write(&mut self) -> (u64, Duration) {
        let (mut rows, mut time) = (0, Duration::ZERO);
        loop {
            let bytes = &mut self.bytes;
            let begun = Instant::now();
            let written = self.table.emit(SLICE, &mut |row: Row<'_>| {
                rows += 1;
                *bytes = bytes.wrapping_add(black_box(row).bytes() as u64);
            });
            let took = begun.elapsed();
            time += took;
            self.longest = self.longest.max(took);
            match written {
                Ok(Scan::Done) => return (rows, time),
                Ok(Scan::More) => {}
                Err(error) => panic!("the cut is not written: {error}"),
            }
        }
    }
}

/// Times single barriers, which are too short and too far apart for criterion: between two of them the cut
/// has to be written.
#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn freeze(cut: &mut Cut, keys: u64) {
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        cut.freeze(CutKind::Changes);
        times.push(begun.elapsed());
        cut.write();
    }
    times.sort_unstable();
    let (median, longest) = (times[50], times[99]);
    say(&format!(
        "freeze/{keys}: median {median:?}, longest {longest:?}"
    ));
}

/// Cuts of everything, and of changes to one key of `one_in`.
fn rows(group: &mut BenchmarkGroup<'_, WallTime>, cut: &mut Cut, keys: u64, one_in: u64) {
    let (name, kind) = match one_in {
        1 => ("rows of everything", CutKind::Everything),
        10 => ("rows of a tenth", CutKind::Changes),
        _ => ("rows of a thousandth", CutKind::Changes),
    };
    group.throughput(Throughput::Elements(keys / one_in));
    cut.longest = Duration::ZERO;
    group.bench_function(BenchmarkId::new(name, keys), |bencher| {
        bencher.iter_custom(|times| {
            let mut time = Duration::ZERO;
            for _ in 0..times {
                (0..keys)
                    .step_by(one_in as usize)
                    .for_each(|key| update(&mut cut.table, key));
                cut.freeze(kind);
                let (written, took) = cut.write();
                assert_eq!(written, keys.div_ceil(one_in));
                time += took;
            }
            time
        });
    });
    say(&format!("{name}/{keys}: longest slice {:?}", cut.longest));
}

#[allow(clippy::print_stderr, reason = "a figure criterion has no place for")]
fn say(figure: &str) {
    eprintln!("{figure}");
}

fn updates(group: &mut BenchmarkGroup<'_, WallTime>, cut: &mut Cut, keys: u64) {
    group.throughput(Throughput::Elements(1));
    let mut i = 0;
    let mut key = || {
        i += 1;
        pick(sm(i), keys)
    };
    group.bench_function(BenchmarkId::new("update", keys), |bencher| {
        bencher.iter(|| update(&mut cut.table, key()));
    });
    group.bench_function(BenchmarkId::new("update in a cut", keys), |bencher| {
        let mut left = 0;
        bencher.iter(|| {
            if left == 0 {
                // Most of the keys that are drawn are then still to be written.
                left = keys / 4;
                cut.freeze(CutKind::Copy);
            }
            left -= 1;
            update(&mut cut.table, key());
        });
        cut.table.cut_failed();
    });
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("cut");
    for keys in [1_000_000, 10_000_000] {
        let mut cut = Cut {
            table: filled(keys),
            epoch: 0,
            bytes: 0,
            longest: Duration::ZERO,
        };
        updates(&mut group, &mut cut, keys);
        freeze(&mut cut, keys);
        for one_in in [1, 10, 1_000] {
            rows(&mut group, &mut cut, keys, one_in);
        }
        black_box(cut.bytes);
    }
    group.finish();
    criterion.final_summary();
}
