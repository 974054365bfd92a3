//! Functions that block their shard, and what the log says of them.

use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, Once};
use std::time::Duration;

use thalweg_connectors::{Generator, Sinks};
use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
use tracing_subscriber::fmt::MakeWriter;

use super::{Hold, hold};
use crate::stage;

/// What was logged in this process, warnings and worse.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct ToLog;

impl std::io::Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for ToLog {
    type Writer = ToLog;
    fn make_writer(&self) -> ToLog {
        ToLog
    }
}

fn keep_log() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(ToLog)
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

fn logged(words: &[&str]) -> bool {
    let log = LOG.lock().unwrap();
    let log = String::from_utf8_lossy(&log);
    log.lines()
        .any(|line| words.iter().all(|word| line.contains(word)))
}

/// The operators of a job, in their order, and who is told to be in work when one of them blocks: maps and filters run
/// in the loop of what is before them. The key selector belongs to the exchange.
const OPERATORS: [(&str, &str); 7] = [
    ("made", "made or mapped or looked at"),
    ("mapped", "made or mapped or looked at"),
    ("looked at", "made or mapped or looked at"),
    ("spread", "spread or kept"),
    ("kept", "spread or kept"),
    ("key selector", "exchange behind kept"),
    ("counted", "counted or discarded"),
];

/// Runs a job in which the operator at `place` blocks its shard until the log says so.
fn block_in(place: usize) {
    keep_log();
    let settings = [
        ("parallelism.default", "2"),
        ("thalweg.shard.stall-threshold", "50ms"),
    ];
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let (Hold { entered, release }, wait) = hold();
    let wait_in = |here: usize| {
        let wait = wait.clone();
        move |n: u64| if here == place { wait(n) } else { n }
    };
    let (looks, spreads, keeps) = (wait_in(2), wait_in(3), wait_in(4));
    let (selects, counts) = (wait_in(5), wait_in(6));
    let (operator, told) = OPERATORS[place];
    // No other job of this process has the same names.
    let mark = |names: &str| names.replace(" or ", &format!(" {place} or ")) + &format!(" {place}");
    let name = |here: usize| mark(OPERATORS[here].0);
    let told = format!("operator=\"{}\"", mark(told));
    (environment.source(Generator::new(100, wait_in(0))))
        .name(&name(0))
        .map(wait_in(1))
        .name(&name(1))
        .inspect(move |n: &u64| {
            looks(*n);
        })
        .name(&name(2))
        .flat_map(move |n: u64, out: &mut Collector<'_, u64>| {
            out.emit(n);
            // Behind what follows it in the chain.
            spreads(n);
        })
        .name(&name(3))
        .filter(move |n: &u64| keeps(*n) < 100)
        .name(&name(4))
        .key_by(move |n: &u64| selects(*n))
        .process(move |_: &mut OpenContext<u64>| {
            let counts = counts.clone();
            move |n: u64, _: &ProcessContext<u64>, out: &mut Collector<'_, u64>| {
                out.emit(counts(n));
                Ok(())
            }
        })
        .name(&name(6))
        .discard()
        .name(&mark("discarded"));
    let watch = move || {
        entered.recv_timeout(stage::PATIENCE).unwrap();
        let (_never, pause) = sync_channel::<()>(0);
        let mut looks = 0;
        // Asked for again and again, so that a slow machine is waited for and a fast one is not.
        while !logged(&["WARN", &told, "/2)", "runs too long"]) && looks < 3000 {
            let _ = pause.recv_timeout(Duration::from_millis(10));
            looks += 1;
        }
        release.send(()).unwrap();
        looks < 3000
    };
    let watcher = stage::thread(watch);
    environment.execute("sleepy").unwrap();
    let log = || String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
    assert!(
        watcher.join().unwrap(),
        "{operator} not reported: {}",
        log()
    );
}

#[test]
fn a_function_that_blocks_its_shard_is_reported_with_its_operator() {
    (0..OPERATORS.len()).for_each(block_in);
}
