//! Functions that are called with the rows of windows put together from slices: what that costs, what they
//! see, what is kept for them and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thalweg_core::Epoch;
use thalweg_core::config::Configuration;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::VertexId;
use thalweg_core::key_group::{KeyGroup, MaxParallelism};
use thalweg_memory::record::Key;
use thalweg_memory::{Budget, Mark};
use thalweg_network::Event;
use thalweg_state::{CutKind, Row as Saved, Scan, Snapshot, StateDescriptor};

use super::operator::OpenSlices;
use super::{AlignedWindows, OpenCalled, SliceOptions};
use crate::checkpoint::Remembers;
use crate::function::{Collector, FunctionError};
use crate::harness::TestHarness;
use crate::operator::{Firing, KeyedOperator, Lifecycle, OpenKeyed};
use crate::partition::Select;
use crate::stream::RuntimeMode;
use crate::task::{BuildContext, ChainTurn, Push, Stage, SubtaskInfo};
use crate::window::assigner::SlidingWindows;
use crate::window::{TimeWindow, WindowAggregate, WindowContext, WindowOpenContext};

/// A record: its key and a number.
type Pair = (u64, u64);
/// What the function says: start and end of the window, the sum, which of its firings it is, the watermark.
type Said = (i64, i64, u64, u64, i64);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Sums, and counts how often numbers were put together.
#[derive(Clone, Default)]
struct Sum {
    calls: Arc<AtomicU64>,
}

impl WindowAggregate<u64, Pair> for Sum {
    type Accumulator = u64;
    type Row = u64;
    fn create(&self) -> u64 {
        0
    }
    fn add(&self, sum: &mut u64, record: Pair) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        *sum += record.1;
    }
    fn merge(&self, into: &mut u64, other: &u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        *into += other;
    }
    fn row(&self, _key: u64, _window: TimeWindow, sum: &u64) -> u64 {
        *sum
    }
}

/// Says what it sees, with a count that it keeps per window.
fn say(
    open: &mut WindowOpenContext<u64>,
) -> impl FnMut(u64, &WindowContext<u64>, &mut Collector<'_, Said>) -> Result<(), FunctionError>
+ 'static
+ use<> {
    let mut firings = open.window_value_state::<u64>("firings");
    move |sum, context, out| {
        firings.update(|firings| *firings += 1)?;
        let (window, firing) = (context.window(), firings.get()?.unwrap_or_default());
        let watermark = context.watermark().0;
        out.emit((window.start.0, window.end.0, sum, firing, watermark));
        Ok(())
    }
}

/// How many windows of `size` ms, one each ms, were fired, and how often numbers were put together for
/// that, with a record each ms.
fn slides(size: u64, reduce: bool) -> (u64, u64) {
    let sum = Sum::default();
    let calls = Arc::clone(&sum.calls);
    let mut harness = TestHarness::<Pair, u64>::new(move |pairs| {
        let keyed = pairs.key_by(|pair: &Pair| pair.0);
        let windows = keyed.window(SlidingWindows::event_time(ms(size), ms(1)));
        if reduce {
            let calls = Arc::clone(&sum.calls);
            let add = move |sum: &mut Pair, next: Pair| {
                calls.fetch_add(1, Ordering::Relaxed);
                sum.1 += next.1;
            };
            let open = |_: &mut WindowOpenContext<u64>| {
                |sum: Pair, _: &WindowContext<u64>, out: &mut Collector<'_, u64>| {
                    out.emit(sum.1);
                    Ok(())
                }
            };
            return windows.reduce_process(add, open).boxed();
        }
        let open = |_: &mut WindowOpenContext<u64>| {
            |sum: u64, _: &WindowContext<u64>, out: &mut Collector<'_, u64>| {
                out.emit(sum);
                Ok(())
            }
        };
        windows.aggregate_process(sum, open).boxed()
    });
    for at in 0..3_000 {
        harness.push_at((1, 1), Timestamp(at));
        harness.advance_watermark(Timestamp(at));
    }
    harness.finish();
    assert_eq!(harness.failure(), None);
    let rows = harness.output();
    assert_eq!(rows.iter().sum::<u64>(), 3_000 * size);
    (rows.len() as u64, calls.load(Ordering::Relaxed))
}

#[test]
fn a_slide_takes_a_few_combines_whatever_the_size() {
    for reduce in [false, true] {
        for size in [10, 1_000] {
            let (fired, calls) = slides(size, reduce);
            assert_eq!(fired, 3_000 + size - 1);
            let each = calls as f64 / fired as f64;
            assert!(each < 8.0, "{each} combines a slide of {size} slices");
        }
    }
}

#[test]
fn a_function_sees_its_window_and_what_it_keeps_of_it() {
    let mut harness = TestHarness::<Pair, Said>::new(|pairs| {
        let keyed = pairs.key_by(|pair: &Pair| pair.0);
        let windows = keyed.window(SlidingWindows::event_time(ms(20), ms(10)));
        let windows = windows.allowed_lateness(ms(15));
        windows.aggregate_process(Sum::default(), say)
    });
    harness.push_at((1, 5), Timestamp(3));
    harness.advance_watermark(Timestamp(9));
    harness.push_at((1, 2), Timestamp(4)); // late for the first window only
    harness.advance_watermark(Timestamp(21));
    harness.push_at((1, 1), Timestamp(5)); // late for both
    harness.advance_watermark(Timestamp(24));
    harness.push_at((1, 1), Timestamp(6)); // too late for the first
    harness.advance_watermark(Timestamp(40));
    harness.push_at((1, 9), Timestamp(7)); // too late for both
    assert_eq!(harness.failure(), None);
    let at = harness.output_at();
    let expected = [
        ((-10, 10, 5, 1, 9), 9),
        ((-10, 10, 7, 2, 9), 9),
        ((0, 20, 7, 1, 21), 19),
        ((-10, 10, 8, 3, 21), 9),
        ((0, 20, 8, 2, 21), 19),
        ((0, 20, 9, 3, 24), 19),
    ];
    assert_eq!(at, expected.map(|(said, at)| (said, Timestamp(at))));
}

#[test]
fn what_a_function_refuses_fails_the_job() {
    let mut harness = TestHarness::<Pair, u64>::new(|pairs| {
        let keyed = pairs.key_by(|pair: &Pair| pair.0);
        let windows = keyed.window(SlidingWindows::event_time(ms(20), ms(10)));
        windows.aggregate_process(Sum::default(), |_: &mut WindowOpenContext<u64>| {
            |sum: u64, _: &WindowContext<u64>, out: &mut Collector<'_, u64>| {
                if sum > 5 {
                    return Err(FunctionError::new("more than five"));
                }
                out.emit(sum);
                Ok(())
            }
        })
    });
    harness.push_at((1, 5), Timestamp(3));
    harness.push_at((1, 1), Timestamp(13));
    harness.advance_watermark(Timestamp(9));
    assert_eq!((harness.failure(), harness.output()), (None, vec![5]));
    harness.advance_watermark(Timestamp(19));
    let failure = harness.failure().unwrap_or_default();
    assert!(failure.contains("more than five"), "{failure}");
}

/// One subtask with a megabyte.
fn context() -> BuildContext {
    let info = SubtaskInfo {
        vertex: VertexId(0),
        vertex_name: "windows".into(),
        index: 0,
        parallelism: 1,
        max_parallelism: MaxParallelism::default(),
        operators: Arc::new([]),
        mode: RuntimeMode::Streaming,
        configuration: Arc::new(Configuration::new()),
    };
    BuildContext::new(info, None, Vec::new(), None, Budget::new("slot", 1 << 20))
}

/// Sliding windows of 30 ms by 10 ms that wait 25 ms for late records.
fn open() -> impl KeyedOperator<u64, Pair, Said> {
    open_waiting(25)
}

/// The same that wait so many ms.
fn open_waiting(lateness_ms: i64) -> impl KeyedOperator<u64, Pair, Said> {
    let open = OpenSlices {
        windows: AlignedWindows::sliding(30, 10, 0),
        options: SliceOptions {
            lateness_ms,
            ..SliceOptions::default()
        },
        aggregate: Sum::default(),
        voice: OpenCalled::new(say),
    };
    OpenKeyed::<u64, Pair>::open(open, "windows", &mut context()).unwrap()
}

/// Reads the key.
#[derive(Clone)]
struct First;

impl Select<Pair, u64> for First {
    fn select(&self, pair: &Pair) -> u64 {
        pair.0
    }
}

/// The end of the chain.
#[derive(Default)]
struct Taken(Vec<Said>);

impl Push<Said> for Taken {
    fn push(&mut self, said: Said, _at: Timestamp) {
        self.0.push(said);
    }
    fn ready(&self) -> bool {
        true
    }
    fn mark(&mut self, _mark: Mark) {}
    fn event(&mut self, _event: Event) {}
    fn end_turn(&mut self, _turn: &mut ChainTurn<'_, '_>) -> Stage {
        Stage::Done
    }
}

/// Gives the operator these records and then a watermark; answers what is said, sorted.
fn feed(
    operator: &mut impl KeyedOperator<u64, Pair, Said>,
    records: &[(Pair, i64)],
    watermark: i64,
) -> Vec<Said> {
    let mut taken = Taken::default();
    for (pair, at) in records {
        let (hash, at) = (u64::hash(&pair.0), Timestamp(*at));
        (operator.apply(hash, *pair, at, &First, &mut taken)).unwrap();
    }
    operator.watermark(Timestamp(watermark));
    while operator.fire(&mut taken, 2).unwrap() == Firing::More {}
    taken.0.sort_unstable();
    taken.0
}

/// A row: the name of its state, key group, key, namespace and value.
type Kept = (String, KeyGroup, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// All rows of all states.
fn copy(operator: &mut impl Remembers, epoch: u64) -> Vec<Kept> {
    let mut rows = Vec::new();
    let mut copy = |told: &StateDescriptor, state: &mut dyn Snapshot| {
        state.freeze(Epoch(epoch), CutKind::Copy);
        let mut take = |row: Saved<'_>| {
            let (key, namespace) = (row.key.to_vec(), row.namespace.to_vec());
            let value = row.value.map(<[u8]>::to_vec);
            rows.push((told.name().to_owned(), row.group, key, namespace, value));
        };
        while state.emit(7, &mut take)? == Scan::More {}
        Ok(())
    };
    operator.visit_states(&mut copy).unwrap();
    rows
}

fn restore(operator: &mut impl Remembers, rows: &[Kept]) {
    let mut restore = |told: &StateDescriptor, state: &mut dyn Snapshot| {
        for (name, group, key, namespace, value) in rows {
            if name == told.name() {
                state.restore(Saved {
                    group: *group,
                    key,
                    namespace,
                    value: value.as_deref(),
                })?;
            }
        }
        state.restored()
    };
    operator.visit_states(&mut restore).unwrap();
}

#[test]
fn what_a_function_keeps_of_windows_is_restored_and_goes_with_them() {
    let first: Vec<(Pair, i64)> = (0..40).map(|n| ((n % 5, n), n as i64)).collect();
    let then = [((1, 100), 12), ((2, 200), 21), ((7, 300), 41)];
    for cut_at in [4, 9, 19, 35, 39, 50, 64] {
        let mut one = open();
        feed(&mut one, &first, cut_at);
        let rows = copy(&mut one, 1);
        let mut other = open();
        restore(&mut other, &rows);
        other.restored_at(Timestamp(cut_at));
        let expected = feed(&mut one, &then, cut_at + 16);
        assert!(!expected.is_empty(), "nothing is said behind {cut_at}");
        assert_eq!(feed(&mut other, &then, cut_at + 16), expected, "{cut_at}");
        let rest = feed(&mut one, &[], 60);
        assert_eq!(feed(&mut other, &[], 60), rest, "{cut_at}");
        let kept = |operator: &mut _| {
            feed(operator, &[], 200);
            copy(operator, 2)
        };
        assert_eq!((kept(&mut one), kept(&mut other)), (Vec::new(), Vec::new()));
    }
}

#[test]
fn a_late_record_that_is_the_first_of_its_slice_is_in_the_windows_to_come_of_a_restored_job_too() {
    for lateness in [0, 25] {
        let mut one = open_waiting(lateness);
        feed(&mut one, &[((1, 1), 15)], 9);
        // The first window of its slice has fired, without it and without the slice.
        feed(&mut one, &[((2, 5), 5)], 9);
        let rows = copy(&mut one, 1);
        let mut other = open_waiting(lateness);
        restore(&mut other, &rows);
        other.restored_at(Timestamp(9));
        let expected = feed(&mut one, &[], 100);
        let with_it = expected.iter().filter(|said| said.2 == 5).count();
        assert_eq!(with_it, 2, "{expected:?}");
        assert_eq!(feed(&mut other, &[], 100), expected, "{lateness}");
    }
}
