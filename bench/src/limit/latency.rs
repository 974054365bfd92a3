//! The floor of `lat_rec` and `lat_win`: paced records, parted by key, handed over, counted, timed.
//!
//! Two pinned threads that never sleep: each makes the records that have fallen due, hands those of the
//! other's keys over in a batch at once, counts its own and those that came in. The clock of a row stops
//! where the engine's sink would stop it. Invariant: what is due is never skipped, and a window is told
//! once, when both producers have gone past its end.

use std::sync::Arc;

use thalweg_core::seam::clock::monotonic_ns;

use super::on_threads;
use super::ring::{End, Exchange, Pause};
use super::table::{SumTable, owner};
use crate::spread::{Latency, LatencyWork, Spread};
use crate::workload::pace::{
    LATENCY_KEYS, LATENCY_WINDOW_MS, MS, Pace, Start, Watermarks, latency_key,
};

/// Records a batch holds.
const ROOM: usize = 512;

/// Records on their way to the owner of their keys, in the order in which they fell due.
struct Batch {
    len: usize,
    last: bool,
    /// Which thread made them.
    from: usize,
    /// What is before this millisecond has all been sent.
    reached: u64,
    keys: [u64; ROOM],
    /// When they were due, monotonic ns.
    dues: [u64; ROOM],
}

impl Batch {
    fn fresh() -> Box<Self> {
        Box::new(Self {
            len: 0,
            last: false,
            from: 0,
            reached: 0,
            keys: [0; ROOM],
            dues: [0; ROOM],
        })
    }

    fn push(&mut self, key: u64, due: u64) {
        self.keys[self.len] = key;
        self.dues[self.len] = due;
        self.len += 1;
    }
}

/// A window that is being counted.
struct Open {
    number: u64,
    counts: SumTable,
}

/// What one thread keeps.
struct Owner {
    work: LatencyWork,
    pace: Pace,
    start: Arc<Start>,
    threads: u32,
    counts: SumTable,
    open: Vec<Open>,
    spare: Vec<SumTable>,
    /// The millisecond each producer has reached.
    reached: [u64; 2],
    taken: Spread,
    /// All that was counted, measured or not.
    counted: u64,
    ended: bool,
}

/// Runs a latency workload by hand on one or two threads.
///
/// # Panics
/// If `threads` is neither 1 nor 2.
#[must_use]
pub fn latency(work: LatencyWork, pace: &Pace, threads: u32) -> Latency {
    assert!(
        threads == 1 || threads == 2,
        "the work by hand is written for one or two threads"
    );
    let (spread, _counted) = measure(work, pace, threads);
    Latency::new("limit", work, threads, pace, &spread)
}

/// The latencies, and how many records were counted in all.
fn measure(work: LatencyWork, pace: &Pace, threads: u32) -> (Spread, u64) {
    let exchange = Exchange::new();
    let start = Arc::new(Start::default());
    let results = on_threads(threads as usize, |thread| {
        let mut owner = Owner::new(work, *pace, &start, threads);
        owner.produce(thread, exchange.end(thread, Batch::fresh));
        (owner.taken, owner.counted)
    });
    let mut all = (Spread::default(), 0);
    for (spread, counted) in results {
        all.0.add(&spread);
        all.1 += counted;
    }
    all
}

impl Owner {
    fn new(work: LatencyWork, pace: Pace, start: &Arc<Start>, threads: u32) -> Self {
        Self {
            work,
            pace,
            start: Arc::clone(start),
            threads,
            counts: SumTable::for_share(LATENCY_KEYS, threads),
            open: Vec::new(),
            spare: Vec::new(),
            reached: [if threads == 1 { u64::MAX } else { 0 }; 2],
            taken: Spread::default(),
            counted: 0,
            ended: false,
        }
    }

    /// How many ms the times must have gone on for a watermark to be sent; none are where there are no
    /// windows.
    fn step(&self) -> u64 {
        match self.work {
            LatencyWork::Record => u64::MAX,
            LatencyWork::Window(Watermarks::Millisecond) => 1,
            LatencyWork::Window(Watermarks::Periodic) => 200,
        }
    }

    /// Makes this thread's records as they fall due, and counts what is this thread's to count.
    fn produce(&mut self, thread: usize, mut end: End<'_, Batch>) {
        let (threads, records) = (u64::from(self.threads), self.pace.records());
        let (mut own, mut other) = (Batch::fresh(), Batch::fresh());
        (own.from, other.from) = (thread, thread);
        self.reached[thread] = 0;
        let start = self.start.get();
        let mut next = thread as u64;
        let mut due = start + self.pace.due(next);
        let mut announced = 0;
        while next < records {
            let now = monotonic_ns();
            let mut reached = announced;
            while due <= now && next < records && own.len < ROOM && other.len < ROOM {
                let key = latency_key(next);
                let stays = threads == 1 || owner(key) == thread as u64;
                let batch = if stays { &mut own } else { &mut other };
                batch.push(key, due);
                reached = due / MS;
                next += threads;
                due = start + self.pace.due(next);
            }
            if reached - announced >= self.step() {
                announced = reached;
            }
            let untold = other.len > 0 || other.reached < announced;
            if untold && threads > 1 {
                (other.from, other.reached) = (thread, announced);
                end.send(&mut other, |batch| self.consume(batch));
                other.reached = announced;
            }
            own.reached = announced;
            self.consume(&mut own);
            end.receive(|batch| self.consume(batch));
        }
        self.finish(thread, own, other, end);
    }

    /// Tells the other thread that this one has sent all, and counts what still comes.
    fn finish(
        &mut self,
        thread: usize,
        mut own: Box<Batch>,
        mut other: Box<Batch>,
        mut end: End<'_, Batch>,
    ) {
        own.reached = u64::MAX;
        self.consume(&mut own);
        if self.threads == 1 {
            return;
        }
        (other.from, other.reached, other.last) = (thread, u64::MAX, true);
        end.send(&mut other, |batch| self.consume(batch));
        let mut pause = Pause::default();
        while !self.ended {
            if !end.receive(|batch| self.consume(batch)) {
                pause.once_more();
            }
        }
    }

    /// Counts a batch's records and empties the batch.
    fn consume(&mut self, batch: &mut Batch) {
        let len = batch.len.min(ROOM);
        for (&key, &due) in batch.keys[..len].iter().zip(&batch.dues[..len]) {
            self.count(key, due);
        }
        if batch.reached > self.reached[batch.from] {
            self.reached[batch.from] = batch.reached;
            self.tell_before(self.reached[0].min(self.reached[1]));
        }
        self.ended |= batch.last;
        (batch.len, batch.last) = (0, false);
    }

    #[inline(always)]
    fn count(&mut self, key: u64, due: u64) {
        if self.work == LatencyWork::Record {
            add(&mut self.counts, key);
            self.time(due);
            self.counted += 1;
        } else {
            let place = self.window(due / MS / LATENCY_WINDOW_MS);
            add(&mut self.open[place].counts, key);
        }
    }

    /// A row has come to its end: the time from `due` until now.
    #[inline(always)]
    fn time(&mut self, due: u64) {
        if self.pace.measures(due.saturating_sub(self.start.get())) {
            self.taken.record(monotonic_ns().saturating_sub(due));
        }
    }

    /// The place of a window that is open or is to be.
    fn window(&mut self, number: u64) -> usize {
        if let Some(place) = self.open.iter().rposition(|open| open.number == number) {
            return place;
        }
        let fresh = || SumTable::for_share(LATENCY_KEYS, self.threads);
        let counts = self.spare.pop().unwrap_or_else(fresh);
        self.open.push(Open { number, counts });
        self.open.len() - 1
    }

    /// Tells the rows of the windows that end at or before this millisecond.
    fn tell_before(&mut self, reached: u64) {
        let over = |open: &Open| (open.number + 1) * LATENCY_WINDOW_MS <= reached;
        while let Some(place) = self.open.iter().position(over) {
            let Open { number, mut counts } = self.open.remove(place);
            let end = (number + 1) * LATENCY_WINDOW_MS * MS;
            counts.drain(|_key, count| {
                self.time(end);
                self.counted += count;
            });
            self.spare.push(counts);
        }
    }
}

/// Counts one more of a key.
#[inline(always)]
fn add(counts: &mut SumTable, key: u64) {
    let mut home = [0];
    counts.homes(&[key], &mut home);
    // SAFETY: the home was made by the same table.
    unsafe { counts.add::<0>(home[0], key, 1) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PACE: Pace = Pace {
        rate: 200_000,
        warmup: Duration::from_millis(100),
        duration: Duration::from_millis(450),
    };

    #[test]
    fn every_record_that_is_due_in_the_measured_time_is_timed() {
        for threads in [1, 2] {
            let (spread, counted) = measure(LatencyWork::Record, &PACE, threads);
            assert_eq!((spread.count(), counted), (90_000, 110_000));
        }
    }

    #[test]
    fn every_record_is_counted_in_a_window_and_every_key_told() {
        for watermarks in [Watermarks::Millisecond, Watermarks::Periodic] {
            for threads in [1, 2] {
                let work = LatencyWork::Window(watermarks);
                let (spread, counted) = measure(work, &PACE, threads);
                assert_eq!(counted, 110_000, "{watermarks:?} on {threads}");
                // Four or five windows end in the measured time, each with most of the keys.
                let rows = spread.count();
                assert!((30_000..=50_000).contains(&rows), "{rows}");
            }
        }
    }
}
