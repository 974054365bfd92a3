//! The pairs of a window: which, in which order, how many at a time.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::Mark;
use thalweg_memory::record::Key;
use thalweg_network::Event;

use super::super::testing::context;
use super::*;
use crate::task::{BuildContext, ChainTurn, Stage};
use crate::window::function::{Footing, Pane};
use crate::window::{TimeWindow, WindowOpenContext};

type Both = Either<u64, u64>;
type Pair = (u64, u64);

/// A stage with room for so many records more.
struct Room {
    left: usize,
    taken: Vec<Pair>,
}

impl Push<Pair> for Room {
    fn push(&mut self, item: Pair, at: Timestamp) {
        assert!(self.left > 0, "room is asked for before every pair");
        assert_eq!(at, Timestamp(9));
        self.left -= 1;
        self.taken.push(item);
    }
    fn ready(&self) -> bool {
        self.left > 0
    }
    fn mark(&mut self, _mark: Mark) {}
    fn event(&mut self, _event: Event) {}
    fn end_turn(&mut self, _turn: &mut ChainTurn<'_, '_>) -> Stage {
        Stage::Done
    }
}

fn emit(
    left: &u64,
    right: &u64,
    _: &WindowContext<u64>,
    out: &mut Collector<'_, Pair>,
) -> Result<(), FunctionError> {
    out.emit((*left, *right));
    Ok(())
}

type Call =
    fn(&u64, &u64, &WindowContext<u64>, &mut Collector<'_, Pair>) -> Result<(), FunctionError>;

/// A window from 0 to 10 that speaks.
struct Window {
    footing: Footing<u64>,
    pairs: Pairs<u64, u64, Call>,
    side: std::rc::Rc<SideOutputs>,
    elements: WindowElements<Both>,
    speech: Speech,
}

fn window(context: &mut BuildContext, records: impl IntoIterator<Item = Both>) -> Window {
    let mut elements = WindowElements::new();
    for record in records {
        elements.push(record, Timestamp(5));
    }
    let open = |_: &mut WindowOpenContext<u64>| ();
    let (footing, ()) = Footing::open("join", false, context, open).unwrap();
    Window {
        footing,
        pairs: Pairs::new(emit as Call, context.budget().clone()),
        side: context.side(),
        elements,
        speech: Speech::at_once(),
    }
}

impl Window {
    fn speak(&mut self, allowed: usize, room: &mut Room) -> Result<bool, FunctionError> {
        let pane = Pane {
            hash: u64::hash(&7),
            key: &7,
            window: TimeWindow::new(Timestamp(0), Timestamp(10)),
            watermark: Timestamp(9),
            processing_time: Timestamp(0),
        };
        let context = self.footing.enter(&pane).unwrap();
        self.speech.allowed = allowed;
        (self.pairs).speak(&self.elements, context, &mut self.speech, room, &self.side)
    }
}

fn mixed() -> Vec<Both> {
    use Either::{Left, Right};
    vec![Right(10), Left(1), Left(2), Right(20), Left(3), Right(30)]
}

#[test]
fn each_pair_comes_once_wherever_the_window_stops() {
    let all: Vec<Pair> = [1, 2, 3]
        .iter()
        .flat_map(|left| [10, 20, 30].map(|right| (*left, right)))
        .collect();
    for allowed in 1..11 {
        for space in 1..11 {
            let mut context = context();
            let mut window = window(&mut context, mixed());
            let mut room = Room {
                left: 0,
                taken: Vec::new(),
            };
            let mut before = 0;
            loop {
                room.left = space;
                let said = window.speak(allowed, &mut room).unwrap();
                if said {
                    break;
                }
                assert_eq!(room.taken.len(), before + allowed.min(space));
                before = room.taken.len();
            }
            assert_eq!(room.taken, all, "{allowed} allowed, room for {space}");
        }
    }
}

#[test]
fn one_side_alone_says_nothing() {
    for records in [
        vec![],
        vec![Either::Left(1), Either::Left(2)],
        vec![Either::Right(1), Either::Right(2)],
    ] {
        let mut context = context();
        let mut window = window(&mut context, records);
        let mut room = Room {
            left: 0,
            taken: Vec::new(),
        };
        assert!(window.speak(1, &mut room).unwrap());
    }
}

#[test]
fn a_hundred_thousand_by_a_hundred_thousand_pairs_take_no_memory_but_for_their_places() {
    const EACH: u64 = 100_000;
    let both = (0..EACH).flat_map(|number| [Either::Left(number), Either::Right(number)]);
    let mut context = context();
    let mut window = window(&mut context, both);
    let before = context.budget().used();
    let mut room = Room {
        left: usize::MAX,
        taken: Vec::new(),
    };
    for slice in 1..1000 {
        assert!(!window.speak(128, &mut room).unwrap());
        assert_eq!(room.taken.len(), slice * 128);
    }
    let place = room.taken.len() as u64;
    assert_eq!(room.taken.last(), Some(&(place / EACH, place % EACH - 1)));
    assert_eq!(context.budget().used() - before, EACH * 8);

    room.taken.clear();
    // The left record before the last stands two places before the end.
    window.speech.from = (2 * EACH as usize - 4) * EACH as usize + EACH as usize - 3;
    assert!(!window.speak(3, &mut room).unwrap());
    assert!(window.speak(EACH as usize, &mut room).unwrap());
    let last = (0..EACH).map(|right| (EACH - 1, right));
    let tail = [EACH - 3, EACH - 2, EACH - 1].map(|right| (EACH - 2, right));
    assert!(room.taken.iter().copied().eq(tail.into_iter().chain(last)));
    assert_eq!(context.budget().used(), before, "given back");
}

#[test]
fn places_without_memory_fail_by_name() {
    let mut context = context();
    let free = context.budget().limit() - context.budget().used();
    context.budget().reserve(free - 16).unwrap();
    let mut window = window(&mut context, mixed());
    let mut room = Room {
        left: 9,
        taken: Vec::new(),
    };
    let refused = window.speak(9, &mut room).unwrap_err().to_string();
    assert!(
        refused.contains("taskmanager.memory.managed.size"),
        "{refused}"
    );
}
