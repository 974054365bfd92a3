//! How long a word takes from shard to shard: parked, spinning, per driver, and by hand between two bare
//! threads; and what an empty round costs.
//!
//! Run by hand on a quiet host: `cargo run --release -p thalweg-core --example wake_latency`. One way is
//! half of a round trip; with a pause between the trips both sides have parked.

#![allow(clippy::print_stdout, reason = "a measurement prints what it measured")]

use std::cell::Cell;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, ScopedJoinHandle, Thread};
use std::time::Duration;

use thalweg_core::ShardId;
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_core::seam::reactor::DriverChoice;
use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::executor::{Pump, Shard};
use thalweg_core::shard::lane::{LaneReceiver, LaneSender, lane};
use thalweg_core::shard::placement::pin_current_thread;
use thalweg_core::shard::start::{ShardConfig, start};
use thalweg_core::shard::step::{Progress, Step, StepError, TaskWaker, TurnContext};

struct Inbound {
    lane: LaneReceiver<u64>,
    arrived: Rc<Cell<Option<u64>>>,
    reader: TaskWaker,
}

impl Pump for Inbound {
    fn pump(&mut self) -> bool {
        let Some(item) = self.lane.pop() else {
            return false;
        };
        self.arrived.set(Some(item));
        self.reader.wake();
        true
    }

    fn ready_to_park(&mut self) -> bool {
        self.lane.is_empty()
    }
}

/// Answers what arrives; the first of the two also measures, and pauses before it sends again.
struct Player {
    arrived: Rc<Cell<Option<u64>>>,
    lane: LaneSender<u64>,
    peer: Arc<Doorbell>,
    measures: bool,
    pause_ns: u64,
    sent_at: u64,
    resume_at: u64,
    trips: Vec<u64>,
    rounds: usize,
    report: Option<std::sync::mpsc::SyncSender<Vec<u64>>>,
}

impl Player {
    fn send(&mut self) -> Result<Progress, StepError> {
        self.sent_at = monotonic_ns();
        self.lane
            .send(self.trips.len() as u64)
            .map_err(|_| "the lane is full")?;
        self.peer.ring();
        Ok(Progress::NONE)
    }
}

impl Step for Player {
    fn name(&self) -> &str {
        "player"
    }

    fn turn(&mut self, cx: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        let arrived = self.arrived.take().is_some();
        if !self.measures {
            return if arrived {
                self.send()
            } else {
                Ok(Progress::NONE)
            };
        }
        if arrived {
            self.trips.push(monotonic_ns() - self.sent_at);
            if self.trips.len() == self.rounds {
                if let Some(report) = self.report.take() {
                    report.send(std::mem::take(&mut self.trips))?;
                }
                return Ok(Progress::DONE);
            }
            self.resume_at = cx.now() + self.pause_ns;
            self.sent_at = 0;
        }
        if self.sent_at != 0 {
            return Ok(Progress::NONE);
        }
        if cx.now() < self.resume_at {
            cx.wake_at(self.resume_at);
            return Ok(Progress::NONE);
        }
        self.send()
    }
}

fn measure(
    driver: DriverChoice,
    spin_ns: u64,
    pause_ns: u64,
    rounds: usize,
) -> std::io::Result<()> {
    let bells = [Doorbell::new(), Doorbell::new()];
    let (to_second, from_first) = lane(4);
    let (to_first, from_second) = lane(4);
    let (report, reported) = sync_channel(1);
    let mut report = Some(report);
    let mut handles = Vec::new();
    for (number, (to, from)) in [(to_second, from_second), (to_first, from_first)]
        .into_iter()
        .enumerate()
    {
        let doorbell = Arc::clone(&bells[number]);
        let peer = Arc::clone(&bells[1 - number]);
        let report = report.take();
        let cpu = Some(number);
        let base = ShardConfig::new(ShardId(number as u16));
        let config = ShardConfig {
            driver,
            spin_ns,
            doorbell,
            cpu,
            ..base
        };
        handles.push(start(config, move |shard: &mut Shard| {
            let arrived = Rc::new(Cell::new(None));
            let reader = shard.add_step(Box::new(Player {
                arrived: Rc::clone(&arrived),
                lane: to,
                peer,
                measures: number == 0,
                pause_ns,
                sent_at: 0,
                resume_at: 0,
                trips: Vec::with_capacity(rounds),
                rounds,
                report,
            }));
            shard.add_pump(Box::new(Inbound {
                lane: from,
                arrived,
                reader,
            }));
        })?);
    }
    let mut trips: Vec<u64> = reported.recv().map_err(std::io::Error::other)?;
    let driver = handles[0].driver;
    for handle in handles {
        handle.stop();
        handle.join()?;
    }
    tell(&driver.to_string(), spin_ns, pause_ns, &mut trips);
    Ok(())
}

fn tell(who: &str, spin_ns: u64, pause_ns: u64, trips: &mut [u64]) {
    trips.sort_unstable();
    let at = |share: f64| trips[(trips.len() as f64 * share) as usize] as f64 / 2_000.0;
    println!(
        "{who:>9} spin {:>7} us pause {:>4} us: one way p50 {:>6.2} us, p99 {:>6.2} us",
        spin_ns / 1_000,
        pause_ns / 1_000,
        at(0.5),
        at(0.99)
    );
}

/// The same between two pinned threads that do nothing else: what this machine asks for a wake-up.
#[allow(
    clippy::disallowed_methods,
    reason = "what is measured is between two threads"
)]
fn measure_bare(pause_ns: u64, rounds: u64) -> std::io::Result<()> {
    let turn = AtomicU64::new(u64::MAX);
    let await_turn = |mine: u64| {
        while turn.load(Ordering::Acquire) != mine {
            thread::park();
        }
    };
    let pass_to = |other: &Thread, next: u64| {
        turn.store(next, Ordering::Release);
        other.unpark();
    };
    let mut trips = thread::scope(|scope| {
        let measuring = scope.spawn(|| -> std::io::Result<Vec<u64>> {
            pin_current_thread(0)?;
            let first = thread::current();
            let answering = scope.spawn(move || -> std::io::Result<()> {
                pin_current_thread(1)?;
                for round in 0..rounds {
                    await_turn(2 * round);
                    pass_to(&first, 2 * round + 1);
                }
                Ok(())
            });
            let mut trips = Vec::new();
            for round in 0..rounds {
                pause(pause_ns);
                let sent = monotonic_ns();
                pass_to(answering.thread(), 2 * round);
                await_turn(2 * round + 1);
                trips.push(monotonic_ns() - sent);
            }
            join(answering)?;
            Ok(trips)
        });
        join(measuring)
    })?;
    tell("bare", 0, pause_ns, &mut trips);
    Ok(())
}

fn pause(ns: u64) {
    let over = monotonic_ns() + ns;
    loop {
        let left = over.saturating_sub(monotonic_ns());
        if left == 0 {
            return;
        }
        thread::park_timeout(Duration::from_nanos(left));
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// A task that always makes progress: what a round with one turn costs.
struct Count(u64, u64, Option<std::sync::mpsc::SyncSender<u64>>);

impl Step for Count {
    fn name(&self) -> &str {
        "count"
    }

    fn turn(&mut self, cx: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        if self.0 == 0 {
            self.1 = cx.now();
        }
        self.0 += 1;
        if self.0 < 5_000_000 {
            return Ok(Progress::MADE);
        }
        if let Some(report) = self.2.take() {
            report.send((cx.now() - self.1) * 100 / self.0)?;
        }
        Ok(Progress::DONE)
    }
}

fn measure_turns(driver: DriverChoice, idle: usize) -> std::io::Result<()> {
    let (report, reported) = sync_channel(1);
    let config = ShardConfig {
        driver,
        ..ShardConfig::new(ShardId(0))
    };
    let handle = start(config, move |shard| {
        for _ in 0..idle {
            shard.add_step(Box::new(Idle));
        }
        shard.add_step(Box::new(Count(0, 0, Some(report))));
    })?;
    let hundredths = reported.recv().map_err(std::io::Error::other)?;
    println!(
        "{:>9} a round with one turn beside {idle} idle tasks: {:.1} ns",
        handle.driver,
        hundredths as f64 / 100.0
    );
    handle.stop();
    handle.join()
}

struct Idle;

impl Step for Idle {
    fn name(&self) -> &str {
        "idle"
    }

    fn turn(&mut self, _: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        Ok(Progress::NONE)
    }
}

/// Pauses that the machine takes for short, for longer, for long: the longer a CPU has slept, the longer
/// it takes to wake.
const PAUSES: [(u64, usize); 3] = [(0, 20_000), (200_000, 3_000), (2_000_000, 500)];

fn main() -> std::io::Result<()> {
    for driver in [DriverChoice::Auto, DriverChoice::Epoll] {
        for (pause_ns, rounds) in PAUSES {
            measure(driver, 0, pause_ns, rounds)?;
            measure_bare(pause_ns, rounds as u64)?;
        }
        measure(driver, 1_000_000_000, 0, 200_000)?;
        measure_turns(driver, 0)?;
        measure_turns(driver, 10_000)?;
    }
    Ok(())
}
