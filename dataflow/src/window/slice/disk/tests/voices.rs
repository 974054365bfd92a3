//! Functions that are called with the rows of such windows, whose states are far larger than memory too.

use thalweg_state::{ListState, ValueState};

use super::super::super::OpenCalled;
use super::*;
use crate::function::Collector;
use crate::task::BuildError;
use crate::window::{WindowContext, WindowOpenContext, WindowValueState};

/// What is kept per key, per key and window, and when the latter goes.
pub(super) const STATES: [&str; 3] = ["calls", "firings", "ends of windows"];
/// What each firing of a window, and each row of a key, adds to the count of a row.
const FIRING: u64 = 1_000_000;
const CALL: u64 = 1_000 * FIRING;

/// How often a count is kept, for it to be large.
const WIDE: usize = 24;

/// How many rows a key had, many times.
type Calls = [u64; WIDE];
type Function = Box<
    dyn FnMut(Said, &WindowContext<u64>, &mut Collector<'_, Said>) -> Result<(), FunctionError>,
>;
type Counting = OpenCalled<fn(&mut WindowOpenContext<u64>) -> Function, Said>;

/// Counts the rows of each key and the firings of each window.
fn counting(open: &mut WindowOpenContext<u64>) -> Function {
    let mut calls: ValueState<u64, Calls> = open.value_state(STATES[0]);
    let mut firings: WindowValueState<u64, Calls> = open.window_value_state(STATES[1]);
    Box::new(move |(end, key, sum, count), context, out| {
        let its = context.with_key(|its| *its == key) && context.window().end.0 == end;
        firings.update(|firings| firings.iter_mut().for_each(|firing| *firing += 1))?;
        calls.update(|calls| calls.iter_mut().for_each(|call| *call += 1))?;
        let calls = calls.get()?.unwrap_or_default();
        let firings = firings.get()?.unwrap_or_default();
        if !its || calls != [calls[0]; WIDE] || firings != [firings[0]; WIDE] {
            return Err(FunctionError::new("another key or window"));
        }
        out.emit((end, key, sum, count + FIRING * firings[0] + CALL * calls[0]));
        Ok(())
    })
}

impl Told for Counting {
    const BUDGET: u64 = 2 * BUDGET;
    const CUT_EACH: u64 = 1;
    const CUT_ROWS: usize = 2_000;

    fn template() -> Self {
        OpenCalled::new(counting)
    }

    fn said(kept: &mut Kept, (end, key, sum, count): Said) -> Said {
        let calls = kept.calls.entry(key).or_default();
        let firings = kept.firings.entry((end, key)).or_default();
        (*calls, *firings) = (*calls + 1, *firings + 1);
        (end, key, sum, count + FIRING * *firings + CALL * *calls)
    }

    fn keeps(kept: &Kept, is_gone: impl Fn(i64) -> bool) -> usize {
        let ends = kept.firings.keys().map(|(end, _)| *end);
        ends.filter(|end| !is_gone(*end)).count()
    }
}

/// Keeps all rows of each key in a list, and nothing of windows.
#[derive(Clone, Copy)]
struct Listing;

fn listing(open: &mut WindowOpenContext<u64>) -> Function {
    let mut rows: ListState<u64, Said> = open.list_state(STATES[0]);
    Box::new(move |(end, key, sum, count), _, out| {
        rows.add((end, key, sum, count))?;
        let rows = rows.get()?;
        if rows.iter().any(|row| row.1 != key) {
            return Err(FunctionError::new("another key"));
        }
        let calls = rows.len() as u64;
        out.emit((end, key, sum, count + CALL * calls));
        Ok(())
    })
}

impl OpenVoice<u64, Said> for Listing {
    type Voice = <Counting as OpenVoice<u64, Said>>::Voice;

    fn open(
        self,
        name: &str,
        waits: bool,
        context: &mut BuildContext,
    ) -> Result<Self::Voice, BuildError> {
        let open: fn(&mut WindowOpenContext<u64>) -> Function = listing;
        OpenVoice::<u64, Said>::open(OpenCalled::<_, Said>::new(open), name, waits, context)
    }
}

impl Told for Listing {
    const BUDGET: u64 = 2 * BUDGET;
    const CUT_EACH: u64 = 1;
    const CUT_ROWS: usize = 2_000;

    fn template() -> Self {
        Self
    }

    fn said(kept: &mut Kept, (end, key, sum, count): Said) -> Said {
        let calls = kept.calls.entry(key).or_default();
        *calls += 1;
        (end, key, sum, count + CALL * *calls)
    }

    fn keeps(_: &Kept, _: impl Fn(i64) -> bool) -> usize {
        0
    }
}

fn drawn(seed: u64, windows: AlignedWindows, (keys, lateness): (u64, i64)) -> Drawn {
    Drawn {
        records: 12_000,
        pace: 10,
        ..late::drawn(seed, windows, (keys, lateness))
    }
}

#[test]
fn a_function_finds_what_it_keeps_of_keys_on_disk() {
    let [tumbling, _, _, cumulating] = shapes();
    for (seed, windows) in [(70, tumbling), (73, cumulating)] {
        let left = check_with::<Counting>(drawn(seed, windows, (5_000, 0)));
        let [calls, firings, ends] = left.most_of_function;
        assert!(calls > 4_000, "{calls} rows on disk: {windows:?}");
        assert_eq!((firings, ends), (0, 0), "{windows:?}");
        assert!(left.for_voice > 50, "{} waited", left.for_voice);
    }
}

#[test]
fn a_function_finds_what_it_keeps_of_windows_on_disk_and_it_goes_with_them() {
    // The first shape has one slice to a window.
    let [tumbling, sliding, ..] = shapes();
    for (seed, windows, records) in [(80, tumbling, 10_000), (81, sliding, 6_000)] {
        let left = check_with::<Counting>(Drawn {
            records,
            crowded: seed % 2 == 0,
            pace: 4,
            ..drawn(seed, windows, (5_000, 1_400))
        });
        let [calls, firings, ends] = left.most_of_function;
        assert!(calls > 4_000, "{calls} rows on disk: {windows:?}");
        assert!(firings > 1_000, "{firings} rows of windows: {windows:?}");
        assert!(ends > 1_000, "{ends} ends of windows: {windows:?}");
        assert!(left.again > 50, "{} rows again: {windows:?}", left.again);
    }
}

#[test]
fn a_function_finds_what_it_keeps_of_keys_whose_windows_fire_from_memory() {
    // Short windows, and far more keys than there are in one.
    let [tumbling, sliding, cumulating] = [
        AlignedWindows::tumbling(200, 7),
        AlignedWindows::sliding(300, 100, 0),
        AlignedWindows::cumulating(300, 100, 5),
    ];
    for (seed, windows) in (90..).zip([tumbling, sliding, cumulating]) {
        let left = check_with::<Counting>(Drawn {
            records: 8_000,
            pace: 2,
            ..drawn(seed, windows, (10_000, 0))
        });
        let [calls, ..] = left.most_of_function;
        assert!(calls > 2_000, "{calls} rows on disk: {windows:?}");
        let waited = left.in_memory;
        assert!(waited > 50, "{waited} waited in memory: {windows:?}");
    }
}

#[test]
fn a_function_finds_its_lists_on_disk() {
    for (seed, windows) in (100..).zip(shapes()).skip(2) {
        let left = check_with::<Listing>(Drawn {
            records: 16_000,
            ..drawn(seed, windows, (2_500, 1_400))
        });
        let [lists, ..] = left.most_of_function;
        assert!(lists > 1_000, "{lists} rows on disk: {windows:?}");
        assert!(left.again > 100, "{} rows again: {windows:?}", left.again);
    }
}
