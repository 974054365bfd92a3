//! Slices that are kept for late records and lie on disk: what windows give out that fire again, and how long the
//! slices are there.

use super::*;

pub(super) fn drawn(seed: u64, windows: AlignedWindows, (keys, lateness): (u64, i64)) -> Drawn {
    Drawn {
        seed: seed + keys,
        windows,
        keys,
        waves: false,
        close: false,
        records: 24_000,
        crowded: false,
        lateness,
        pace: 5,
    }
}

#[test]
fn windows_fire_again_from_disk_with_what_a_map_gives_out() {
    for (seed, windows) in (40..).zip(shapes()) {
        let left = check(drawn(seed, windows, (20_000, 1_400)));
        assert!(left.again > 100, "{} rows again: {windows:?}", left.again);
        assert!(left.waited > 50, "{} waited: {windows:?}", left.waited);
        let kept = left.most_kept;
        assert!(kept > 5_000, "{kept} rows kept on disk: {windows:?}");
    }
}

#[test]
fn slices_that_were_in_memory_when_their_window_fired_go_to_disk_later() {
    let [tumbling, sliding, _, cumulating] = shapes();
    for (seed, windows) in [(50, tumbling), (51, sliding), (53, cumulating)] {
        let mut later = 0;
        for keys in [900, 2_000] {
            let mut drawn = drawn(seed, windows, (keys, 1_400));
            drawn.crowded = seed % 2 == 0;
            let (mut simulation, manager) = simulation(drawn.seed);
            let left = run(
                &mut simulation,
                Program::<Plain>::new(drawn, (0, 1), &manager, true),
            );
            later += left.kept_later;
            for copy in &left.copies {
                let all = Program::<Plain>::new(drawn, (0, 1), &manager, false);
                let all = all.restore(copy, simulation.disk(), false);
                all.says_what_it_was();
            }
        }
        assert!(later > 0, "none went later: {windows:?}");
    }
}

/// Goes on from the copy that keeps most among those that another left.
fn go_on(
    drawn: Drawn,
    copies: &[Copy],
    (disk, manager): (&SimDisk, &IoManager),
    on_disk: bool,
) -> Left {
    let mut simulation = Simulation::on(disk.clone(), drawn.seed, SimOptions::default());
    let program = Program::<Plain>::new(drawn, (0, 1), manager, on_disk);
    let kept = |copy: &&Copy| {
        let ends = copy.open.keys().map(|(end, _)| end - 1);
        ends.filter(|last| *last <= copy.watermark).count()
    };
    let copy = copies.iter().max_by_key(kept).expect("there are copies");
    let kept = kept(&copy);
    assert!(kept > 1_000, "{kept} rows of the copy are kept");
    run(&mut simulation, program.restore(copy, disk, on_disk))
}

#[test]
fn slices_that_are_kept_go_from_disk_to_memory_and_back_with_copies() {
    let [tumbling, sliding, _, cumulating] = shapes();
    for (seed, windows) in (60..).zip([tumbling, sliding, cumulating]) {
        let drawn = drawn(seed, windows, (12_000, 4_000));
        let (mut simulation, manager) = simulation(seed);
        let first = run(
            &mut simulation,
            Program::<Plain>::new(drawn, (0, 1), &manager, true),
        );
        assert!(first.most_kept > 5_000, "hardly anything was kept on disk");
        let disk = simulation.disk().clone();
        // In memory it has come far before a cut is written.
        let longer = Drawn {
            records: 60_000,
            ..drawn
        };
        let in_memory = go_on(longer, &first.copies, (&disk, &manager), false);
        assert_eq!(in_memory.most_rows_on_disk, 0);
        let back = go_on(drawn, &in_memory.copies, (&disk, &manager), true);
        assert!(back.most_kept > 5_000, "hardly anything was kept on disk");
        assert!(back.waited > 50, "{} waited", back.waited);
    }
}

/// One record of each key, then a watermark, late records of two keys, and a watermark that is the end of all windows.
struct OneLate {
    operator: SliceOperator<u64, Pair, Sum, Plain>,
    taken: Taken,
    disk: SimDisk,
    at: At,
    /// The time of all records, the watermark behind which it is late, and the last one.
    times: (i64, i64, i64),
    told: Rc<RefCell<Told>>,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Records(u64),
    Firing,
    Late,
    Ending,
    /// For so many turns: what is removed is gone a little later.
    Ended(u32),
}

/// What was given out for each of the late records, and the files there were then and at the end.
#[derive(Default)]
struct Told {
    again: Vec<Said>,
    files: usize,
    at_the_end: Option<usize>,
}

const KEYS: u64 = 20_000;
const LATENESS: i64 = 5_000;

impl OneLate {
    fn work(&mut self) -> Result<bool, FunctionError> {
        match self.at {
            At::Records(from) if from == KEYS => {
                self.operator.watermark(Timestamp(self.times.1));
                self.at = At::Firing;
            }
            At::Records(from) => {
                if !self.operator.has_room(BATCH) {
                    return Ok(true);
                }
                let next = KEYS.min(from + BATCH as u64);
                for key in from..next {
                    self.apply(key, 1)?;
                }
                self.at = At::Records(next);
            }
            At::Late if self.operator.has_room(2) => {
                assert_eq!(
                    self.apply(7, 40)?,
                    0,
                    "what is on disk is not known at once"
                );
                assert_eq!(self.apply(KEYS, 5)?, 0, "what comes later comes behind");
                assert!(self.operator.owes() && !self.operator.may_be_cut());
                self.at = At::Firing;
            }
            At::Late => return Ok(true),
            At::Firing | At::Ending => {
                let owes = self.operator.owes();
                let fired = self.operator.fire(&mut self.taken, 500)?;
                if fired != Firing::Done {
                    return Ok(fired == Firing::Waiting);
                }
                let said = std::mem::take(&mut self.taken.0);
                let mut told = self.told.borrow_mut();
                if self.at == At::Ending {
                    assert!(self.operator.slices.iter().next().is_none());
                    self.at = At::Ended(0);
                } else if owes {
                    told.again = said;
                    told.files = self.disk.names_in(&PathBuf::from("/spill")).len();
                    self.operator.watermark(Timestamp(self.times.2));
                    self.at = At::Ending;
                } else {
                    assert_eq!(said.len() as u64 % KEYS, 0);
                    self.at = At::Late;
                }
            }
            At::Ended(turns) => {
                let files = self.disk.names_in(&PathBuf::from("/spill")).len();
                self.told.borrow_mut().at_the_end = Some(files);
                self.at = At::Ended(turns + 1);
            }
        }
        Ok(false)
    }

    /// Applies a record; answers how many rows that gave out at once.
    fn apply(&mut self, key: u64, number: u64) -> Result<usize, FunctionError> {
        let (hash, at) = (u64::hash(&key), Timestamp(self.times.0));
        (self.operator).apply(hash, (key, number), at, &First, &mut self.taken)?;
        Ok(self.taken.0.len())
    }
}

impl Step for OneLate {
    fn name(&self) -> &str {
        "one-late"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        (self.operator.begin_state_turn(context)).map_err(|error| error.to_string())?;
        let waiting = self.work().map_err(|error| error.to_string())?;
        let pressure = self.operator.end_state_turn(context, waiting);
        let pressure = pressure.map_err(|error| error.to_string())?;
        let done = matches!(self.at, At::Ended(turns) if turns > 100);
        let made = !done && pressure != Pressure::Disk;
        Ok(Progress { made, done })
    }
}

/// What windows with these ends give out again for the late records, and that nothing is left on disk.
fn says_again(windows: AlignedWindows, times: (i64, i64), ends: &[i64]) {
    let (mut simulation, manager) = simulation(7);
    let mut context = context(0, 1, BUDGET).with_spill(manager);
    let open = OpenSlices {
        windows,
        options: SliceOptions {
            lateness_ms: LATENESS,
            ..SliceOptions::default()
        },
        aggregate: Sum { inverse: false },
        voice: Plain,
    };
    let told = Rc::default();
    let program = OneLate {
        operator: OpenKeyed::<u64, Pair>::open(open, "windows", &mut context).unwrap(),
        taken: Taken::default(),
        disk: simulation.disk().clone(),
        at: At::Records(0),
        times: (times.0, times.1, 20_000),
        told: Rc::clone(&told),
    };
    let failure = Rc::new(RefCell::new(None));
    let failed = Rc::clone(&failure);
    simulation.add_shard(|shard| {
        shard.on_exit(move |exit| {
            if let TaskExit::Failed { message, .. } = exit {
                *failed.borrow_mut() = Some(message);
            }
        });
        shard.add_step(Box::new(program));
    });
    assert_eq!(simulation.run(ROUNDS), SimOutcome::Quiescent);
    assert_eq!(failure.take(), None);
    let told = told.take();
    let known = ends.iter().map(|end| (*end, 7, 41, 2));
    let new = ends.iter().map(|end| (*end, KEYS, 5, 1));
    assert_eq!(told.again, known.chain(new).collect::<Vec<_>>());
    assert!(told.files > 0, "nothing was on disk");
    assert_eq!(told.at_the_end, Some(0), "files are left");
}

#[test]
fn a_late_record_fires_its_windows_again_from_disk_and_files_go_with_the_last_of_them() {
    says_again(AlignedWindows::tumbling(2_000, 0), (500, 2_500), &[2_000]);
    let sliding = AlignedWindows::sliding(2_400, 600, 0);
    says_again(sliding, (700, 1_900), &[1_200, 1_800]);
    says_again(sliding, (700, 3_900), &[1_200, 1_800, 2_400, 3_000]);
    let cumulating = AlignedWindows::cumulating(2_400, 800, 0);
    says_again(cumulating, (900, 2_500), &[1_600, 2_400]);
}
