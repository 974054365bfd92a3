//! Nothing is allocated per record: the engine's promise, counted by the allocator of this program.
//!
//! One program and one test, because the count is of the whole process: nothing else may run beside.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and may say what it saw"
)]

mod counting;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_cluster::{CancelToken, LocalExecutor};
use thalweg_connectors::{Generator, Sinks, Sources};
use thalweg_core::config::Configuration;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
use thalweg_memory::Str;

use self::counting::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Records before counting begins: tables have grown, pools are filled.
const WARM: u64 = 1_000_000;
/// Records while counting.
const COUNTED: u64 = 2_000_000;
/// Allocations in all that are not of records: a queue that grows once more.
const BESIDE: u64 = 50;
/// Glommio allocates when it polls its rings and when it sleeps: by turns and waits, not by records. Twenty
/// or so were seen; a busy machine makes a few more.
const BESIDE_GLOMMIO: u64 = 100;
/// Reading a file allocates once or twice for each block of 256 KiB, of which there are some fifty.
const BESIDE_FILE: u64 = 150;

/// Counts records at the sink, and allocations between two of them.
#[derive(Clone, Default)]
struct Gauge {
    seen: Arc<AtomicU64>,
    at_warm: Arc<AtomicU64>,
    at_end: Arc<AtomicU64>,
}

impl Gauge {
    fn pass(&self) {
        match self.seen.fetch_add(1, Ordering::Relaxed) + 1 {
            WARM => self.at_warm.store(allocations(), Ordering::Relaxed),
            n if n == WARM + COUNTED => self.at_end.store(allocations(), Ordering::Relaxed),
            _ => {}
        }
    }

    fn counted(&self) -> u64 {
        let (from, to) = (
            self.at_warm.load(Ordering::Relaxed),
            self.at_end.load(Ordering::Relaxed),
        );
        assert!(from > 0 && to >= from, "both points were passed");
        to - from
    }
}

fn environment(parallelism: u32, driver: &str) -> Environment {
    let mut configuration = Configuration::new();
    configuration
        .set_str("execution.runtime-mode", "STREAMING")
        .unwrap();
    configuration.set_str("thalweg.io.driver", driver).unwrap();
    let executor = LocalExecutor::new(CancelToken::new());
    let environment = Environment::with_executor(Arc::new(executor), configuration);
    environment.set_parallelism(parallelism);
    environment
}

/// A running sum per key, in a value state.
fn keyed_sum(environment: &Environment) -> u64 {
    let open = |open: &mut OpenContext<u64>| {
        let mut sum = open.value_state::<u64>("sum");
        move |record: (u64, u64), _: &ProcessContext<u64>, out: &mut Collector<'_, u64>| {
            sum.update(|sum| *sum += record.1)?;
            out.emit(sum.get()?.unwrap_or_default());
            Ok(())
        }
    };
    let gauge = Gauge::default();
    let at_sink = gauge.clone();
    environment
        .source(Generator::new(WARM + COUNTED + 100_000, |n| (n % 5000, n)))
        .key_by(|record| record.0)
        .process(open)
        .for_each(move |_| at_sink.pass());
    environment.execute("sum").unwrap();
    gauge.counted()
}

const LINES: [&str; 4] = [
    "the quick brown fox jumps over the lazy dog",
    "a line with averyveryverylongwordthatisnoshortstringanymore in it",
    "",
    "numbers 1 2 3 and the end",
];

/// A file with words enough.
fn write_text(path: &Path) {
    let words: u64 = LINES
        .map(|line| line.split_ascii_whitespace().count() as u64)
        .iter()
        .sum();
    let mut out = BufWriter::new(File::create(path).unwrap());
    for _ in 0..(WARM + COUNTED) / words + 10_000 {
        LINES
            .iter()
            .for_each(|line| writeln!(out, "{line}").unwrap());
    }
    out.flush().unwrap();
}

/// The words of a text file counted, borrowed from their line all the way.
fn word_count(environment: &Environment, text: &Path) -> u64 {
    let gauge = Gauge::default();
    let at_sink = gauge.clone();
    let split = |line: &str, out: &mut Collector<Str>| {
        line.split_ascii_whitespace()
            .for_each(|word| out.emit(word));
    };
    environment
        .read_text(text)
        .flat_map(split)
        .key_by_str(|word: &&str| *word)
        .count()
        .for_each(move |_| at_sink.pass());
    environment.execute("words").unwrap();
    gauge.counted()
}

#[test]
fn no_record_allocates() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    write_text(&text);
    for (driver, beside) in [("epoll", BESIDE), ("auto", BESIDE_GLOMMIO)] {
        for parallelism in [1, 2, 4] {
            let sum = keyed_sum(&environment(parallelism, driver));
            let words = word_count(&environment(parallelism, driver), &text);
            println!("{driver}, parallelism {parallelism}: {sum} and {words} of {COUNTED}");
            assert!(
                sum <= beside && words <= beside + BESIDE_FILE,
                "{driver}, parallelism {parallelism}: {sum} allocations for {COUNTED} sums, {words} \
                 for {COUNTED} words"
            );
        }
    }
}
