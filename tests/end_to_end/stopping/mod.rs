//! Jobs that are stopped, jobs beside each other.

mod stalls;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use thalweg_connectors::{Collects, Generator, Sinks, Sources};
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_dataflow::executor::JobError;

use crate::stage::{self, Settings};

const SECOND_NS: u64 = 1_000_000_000;

/// Runs an endless job, cancels it once records flow, and answers how long it took to end, ns.
fn time_to_stop(settings: Settings<'_>) -> u64 {
    let (environment, token) = stage::shards(settings);
    let (flowing, flows) = sync_channel(1);
    let seen = AtomicU64::new(0);
    let seen = Arc::new(seen);
    let count = move |_: u64| {
        if seen.fetch_add(1, Ordering::Relaxed) == 10_000 {
            let _ = flowing.try_send(());
        }
    };
    environment
        .source(Generator::new(None, |n| n))
        .key_by(|n| n % 1000)
        .sum(|n| *n % 10)
        .map(|(_, sum): (u64, u64)| sum)
        .rebalance()
        .for_each(count);
    let cancelled_at = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&cancelled_at);
    let cancel = move || {
        flows.recv_timeout(stage::PATIENCE).unwrap();
        told.store(monotonic_ns(), Ordering::Relaxed);
        token.cancel();
    };
    let canceller = stage::thread(cancel);
    let error = environment.execute("endless").unwrap_err();
    let ended = monotonic_ns();
    canceller.join().unwrap();
    let JobError::Cancelled { summary } = &error else {
        panic!("not cancelled: {error:?}");
    };
    assert!(!summary.duration.is_zero());
    assert!(error.to_string().contains("cancelled after"), "{error}");
    ended - cancelled_at.load(Ordering::Relaxed)
}

#[test]
fn a_cancelled_job_ends_within_a_second() {
    for driver in ["auto", "epoll"] {
        for parallelism in ["1", "2", "8"] {
            let settings = [
                ("parallelism.default", parallelism),
                ("thalweg.io.driver", driver),
                ("execution.runtime-mode", "STREAMING"),
            ];
            let took = time_to_stop(&settings);
            assert!(
                took < SECOND_NS,
                "{driver}, parallelism {parallelism}: {took} ns"
            );
        }
    }
}

/// A function that does not return until the test lets it; `entered` tells that it was called.
struct Hold {
    entered: Receiver<()>,
    release: SyncSender<()>,
}

fn hold() -> (Hold, impl Fn(u64) -> u64 + Clone + Send + 'static) {
    let (tell, entered) = sync_channel(1);
    let (release, released) = sync_channel(1);
    let released = Arc::new(Mutex::new(released));
    let once = Arc::new(AtomicBool::new(true));
    let wait = move |n: u64| {
        if once.swap(false, Ordering::Relaxed) {
            let _ = tell.try_send(());
            let _ = released.lock().unwrap().recv_timeout(stage::PATIENCE);
        }
        n
    };
    (Hold { entered, release }, wait)
}

#[test]
fn a_function_that_never_returns_does_not_hold_up_the_end() {
    let (environment, token) = stage::shards(&[("parallelism.default", "2")]);
    let (hold, wait) = hold();
    environment
        .source(Generator::new(None, |n| n))
        .map(wait)
        .discard();
    let Hold { entered, release } = hold;
    let cancel = move || {
        entered.recv_timeout(stage::PATIENCE).unwrap();
        let at = monotonic_ns();
        token.cancel();
        at
    };
    let canceller = stage::thread(cancel);
    let error = environment.execute("stuck").unwrap_err();
    let took = monotonic_ns() - canceller.join().unwrap();
    assert!(matches!(error, JobError::Cancelled { .. }), "{error:?}");
    assert!(took < 2 * SECOND_NS, "{took} ns");
    release.send(()).unwrap();
}

#[test]
fn jobs_beside_each_other_do_not_meet() {
    const JOBS: u64 = 4;
    const RECORDS: u64 = 20_000;
    let run = |job: u64| {
        let (environment, token) = stage::shards(&[("parallelism.default", "2")]);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        for round in 0..3 {
            let bad = job == 1 && round == 1;
            let rows = environment
                .generate(RECORDS, move |n| (n % 10, job))
                .inspect(move |record| assert!(!bad || record.0 < 9, "job {job} is bad"))
                .key_by(|record| record.0)
                .sum(|record| record.1)
                .map(|(key, sum): (u64, u64)| (key, sum))
                .collect();
            match environment.execute(&format!("job {job}")) {
                Err(JobError::Failed { message, .. }) if bad => {
                    assert!(message.contains("job 1 is bad"), "{message}");
                    continue;
                }
                outcome => drop(outcome.unwrap()),
            }
            assert!(!bad, "the bad one came through");
            let rows = rows.take();
            assert_eq!(rows.len() as u64, RECORDS, "job {job}");
            for key in 0..10 {
                let of_key = rows.iter().filter(|row| row.0 == key).map(|row| row.1);
                assert_eq!(
                    of_key.max(),
                    Some(job * RECORDS / 10),
                    "job {job}, key {key}"
                );
            }
        }
    };
    let jobs: Vec<_> = (0..JOBS)
        .map(|job| stage::thread(move || run(job)))
        .collect();
    jobs.into_iter().for_each(|job| job.join().unwrap());
}
