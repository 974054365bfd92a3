//! Slices whose slot is nearly full of what others hold, who do not share: they go on with what is left, with all of them
//! on disk, or fail; they do not wait for what nobody gives.

use super::*;

/// More turns than any of this takes.
const TURNS: u64 = 20_000;
/// What others who do not share leave where nothing is left to share.
const SCANT: u64 = 31 << 10;

/// What comes next.
enum Act {
    /// A record of each of these keys, at this time.
    Records(Range<u64>, i64),
    Watermark(i64),
    /// Others take all but so much of the memory.
    Others(u64),
}

struct Scant {
    operator: SliceOperator<u64, Pair, Sum, Plain>,
    budget: Budget,
    acts: VecDeque<Act>,
    firing: bool,
    taken: Taken,
    turn: u64,
    said: Rc<RefCell<Vec<Said>>>,
}

impl Scant {
    /// Goes on until something has to wait; whether it does.
    fn work(&mut self) -> Result<bool, FunctionError> {
        if self.firing {
            let fired = self.operator.fire(&mut self.taken, 500)?;
            self.firing = fired != Firing::Done;
            return Ok(fired == Firing::Waiting);
        }
        match self.acts.pop_front() {
            Some(Act::Records(keys, at)) if !self.operator.has_room(BATCH) => {
                self.acts.push_front(Act::Records(keys, at));
                return Ok(true);
            }
            Some(Act::Records(keys, at)) => {
                let next = keys.end.min(keys.start + BATCH as u64);
                for key in keys.start..next {
                    let (hash, at) = (u64::hash(&key), Timestamp(at));
                    (self.operator).apply(hash, (key, 1), at, &First, &mut self.taken)?;
                }
                if next < keys.end {
                    self.acts.push_front(Act::Records(next..keys.end, at));
                }
            }
            Some(Act::Watermark(to)) => {
                self.operator.watermark(Timestamp(to));
                self.firing = true;
            }
            Some(Act::Others(left)) => {
                let taken = self.budget.left() - left;
                self.budget.reserve(taken).unwrap();
            }
            None => {}
        }
        Ok(false)
    }
}

impl Step for Scant {
    fn name(&self) -> &str {
        "scant"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.turn += 1;
        if self.turn > TURNS {
            return Err("it hangs".into());
        }
        (self.operator.begin_state_turn(context)).map_err(|error| error.to_string())?;
        let waiting = self.work().map_err(|error| error.to_string())?;
        let pressure = self.operator.end_state_turn(context, waiting);
        let pressure = pressure.map_err(|error| error.to_string())?;
        self.said.borrow_mut().append(&mut self.taken.0);
        let done = self.acts.is_empty() && !self.firing;
        let made = !done && pressure != Pressure::Disk;
        Ok(Progress { made, done })
    }
}

/// What comes of this, as ends and keys.
fn rows(windows: AlignedWindows, acts: Vec<Act>) -> Result<Vec<(i64, u64)>, String> {
    let (mut simulation, manager) = simulation(5);
    let mut context = context(0, 1, BUDGET).with_spill(manager);
    let open = OpenSlices {
        windows,
        options: SliceOptions::default(),
        aggregate: Sum { inverse: false },
        voice: Plain,
    };
    let said = Rc::default();
    let scant = Scant {
        operator: OpenKeyed::<u64, Pair>::open(open, "windows", &mut context).unwrap(),
        budget: context.budget().clone(),
        acts: acts.into(),
        firing: false,
        taken: Taken::default(),
        turn: 0,
        said: Rc::clone(&said),
    };
    let failure = Rc::new(RefCell::new(None));
    let failed = Rc::clone(&failure);
    simulation.add_shard(|shard| {
        shard.on_exit(move |exit| {
            if let TaskExit::Failed { message, .. } = exit {
                *failed.borrow_mut() = Some(message);
            }
        });
        shard.add_step(Box::new(scant));
    });
    assert_eq!(simulation.run(ROUNDS), SimOutcome::Quiescent);
    if let Some(failure) = failure.take() {
        return Err(failure);
    }
    let rows = said.take().into_iter();
    let mut rows: Vec<_> = rows.map(|(end, key, ..)| (end, key)).collect();
    rows.sort_unstable();
    Ok(rows)
}

/// Rows of windows with these ends, one for each of the keys.
fn each(ends: &[i64], keys: Range<u64>) -> Vec<(i64, u64)> {
    let ends = ends.iter();
    ends.flat_map(|end| keys.clone().map(|key| (*end, key)))
        .collect()
}

#[test]
fn slices_without_a_share_go_on_with_what_is_left() {
    let [tumbling, sliding, ..] = shapes();
    for (windows, ends) in [
        (tumbling, vec![2_007]),
        (sliding, vec![600, 1_200, 1_800, 2_400]),
    ] {
        let acts = vec![
            Act::Others(SCANT),
            Act::Records(0..3_000, 500),
            Act::Watermark(10_000),
        ];
        assert_eq!(rows(windows, acts), Ok(each(&ends, 0..3_000)));
    }
}

#[test]
fn slices_that_no_memory_is_left_for_say_so() {
    let acts = vec![
        Act::Others(100),
        Act::Records(0..100, 500),
        Act::Watermark(10_000),
    ];
    let failure = rows(shapes()[0], acts).expect_err("a table is larger than that");
    let setting = "raise taskmanager.memory.managed.size";
    assert!(failure.contains(setting), "{failure}");
}

#[test]
fn what_windows_have_left_empty_is_room_for_the_next() {
    let acts = vec![
        Act::Records(0..1_500, 500),
        Act::Watermark(2_405),
        Act::Others(SCANT),
        Act::Records(0..1_500, 3_300),
        Act::Watermark(10_000),
    ];
    let ends = [805, 1_605, 2_405, 4_005, 4_805];
    assert_eq!(rows(shapes()[3], acts), Ok(each(&ends, 0..1_500)));
}
