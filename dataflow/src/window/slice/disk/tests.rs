//! Drawn programs over slices far larger than their memory, against a map: records out of order and too late, cuts
//! that become durable or fail, copies that go on at the same and at other parallelisms, on disk and in memory.
//!
//! Invariant: what windows give out is what the map says, whatever was on disk meanwhile.

mod late;
mod scant;
mod sharing;
mod voices;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_core::Epoch;
use thalweg_core::config::Configuration;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::{ShardId, VertexId};
use thalweg_core::key_group::MaxParallelism;
use thalweg_core::seam::simulated::{DiskFaults, SimDisk, SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::executor::TaskExit;
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_memory::record::Key;
use thalweg_memory::spill::{IoQueue, Quota};
use thalweg_memory::{Budget, IoManager, Mark, Share, SpillFile, SpillSpace};
use thalweg_network::Event;
use thalweg_state::run::{ReadAt, RunOptions, RunWriter, StateHeader, StateNumber};
use thalweg_state::{
    CarriedRun, CutKind, Pile, Pressure, Row, RunHandle, Scan, Snapshot, StateDescriptor,
    StateError,
};

use super::super::operator::{OpenSlices, SliceOperator};
use super::super::store::Part;
use super::super::{AlignedWindows, OpenVoice, Plain, SliceOptions, Voice};
use super::Goal;
use crate::checkpoint::{Remembers, RestoredState, RunFiles};
use crate::function::FunctionError;
use crate::operator::{Firing, KeyedOperator, Lifecycle, OpenKeyed};
use crate::partition::Select;
use crate::stream::RuntimeMode;
use crate::task::{BuildContext, ChainTurn, Push, Stage, SubtaskInfo};
use crate::window::{TimeWindow, WindowAggregate};

const BUDGET: u64 = 1 << 19;
const BATCH: usize = 48;
/// Where keys lie close together, all of them are of so many key groups.
const CLOSE: u16 = 6;
const ROUNDS: u64 = 50_000_000;

/// A record: its key and a number.
type Pair = (u64, u64);
/// A row: the end of the window, the key, the sum of the numbers and how many they are.
type Said = (i64, u64, u64, u64);
/// What windows hold that may still fire, by end and key.
type Open = BTreeMap<(i64, u64), (u64, u64)>;

/// Sums and counts; can be taken back where that is said.
#[derive(Clone)]
struct Sum {
    inverse: bool,
}

impl WindowAggregate<u64, Pair> for Sum {
    type Accumulator = (u64, u64);
    type Row = Said;
    fn create(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, (sum, count): &mut (u64, u64), record: Pair) {
        (*sum, *count) = (*sum + record.1, *count + 1);
    }
    fn merge(&self, (sum, count): &mut (u64, u64), other: &(u64, u64)) {
        (*sum, *count) = (*sum + other.0, *count + other.1);
    }
    fn subtract(&self, (sum, count): &mut (u64, u64), other: &(u64, u64)) -> bool {
        if self.inverse {
            (*sum, *count) = (*sum - other.0, *count - other.1);
        }
        self.inverse
    }
    fn row(&self, key: u64, window: TimeWindow, (sum, count): &(u64, u64)) -> Said {
        (window.end.0, key, *sum, *count)
    }
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
    fn push(&mut self, said: Said, at: Timestamp) {
        assert_eq!(at.0, said.0 - 1, "rows have the last time of their window");
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

/// What is made of rows, and what the map says of that.
trait Told: OpenVoice<u64, Said, Voice: Voice<u64, Said, Out = Said>> {
    /// Memory for it and the slices.
    const BUDGET: u64 = BUDGET;
    /// A cut is begun in one turn of so many.
    const CUT_EACH: u64 = 4;
    /// Rows of a cut that are written in a turn.
    const CUT_ROWS: usize = 400;

    fn template() -> Self;

    /// What is said of this row.
    fn said(kept: &mut Kept, row: Said) -> Said;

    /// How many windows it keeps something of, where these are gone.
    fn keeps(kept: &Kept, is_gone: impl Fn(i64) -> bool) -> usize;
}

impl Told for Plain {
    fn template() -> Self {
        Plain
    }

    fn said(_: &mut Kept, row: Said) -> Said {
        row
    }

    fn keeps(_: &Kept, _: impl Fn(i64) -> bool) -> usize {
        0
    }
}

/// What a function keeps, as a map says.
#[derive(Clone, Default)]
struct Kept {
    /// How many rows there were of a key.
    calls: BTreeMap<u64, u64>,
    /// How often a window of a key spoke.
    firings: BTreeMap<(i64, u64), u64>,
}

/// Dice.
#[derive(Clone, Copy)]
struct Draws(u64);

impl Draws {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = (self.0)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// The files of copies, and whether the shard may read them itself.
#[derive(Clone, Default)]
struct Files {
    bytes: BTreeMap<String, Vec<u8>>,
    in_place: bool,
}

impl RunFiles for Files {
    fn open_file(&self, file: &str) -> io::Result<Box<dyn ReadAt>> {
        let bytes = self.bytes.get(file);
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(bytes.clone()))
    }
    fn path(&self, handle: &RunHandle) -> Option<PathBuf> {
        self.in_place.then(|| PathBuf::from(&handle.file))
    }
}

/// A file of a chain.
#[derive(Clone)]
struct Link {
    handle: RunHandle,
    /// Keep the file.
    _file: SpillFile,
    _carried: Option<Rc<CarriedRun>>,
}

/// A cut that became durable, newest link first, and what the map was at its barrier.
#[derive(Clone)]
struct Copy {
    chain: Vec<Link>,
    open: Open,
    kept: Kept,
    watermark: i64,
    time: i64,
}

struct Cutting {
    full: bool,
    writer: RunWriter,
    carried: Vec<CarriedRun>,
    copy: Copy,
    /// States whose rows are out.
    states: u16,
    all: u16,
}

/// What a program leaves behind.
#[derive(Default)]
struct Left {
    copies: Vec<Copy>,
    said: Vec<Said>,
    ended: bool,
    most_rows_on_disk: u64,
    from_disk: u64,
    late: u64,
    /// Turns in which a cut needed what windows in the making had let go.
    needed: u64,
    /// Cuts that came while what windows in the making hold was on its way to the disk.
    on_its_way: u64,
    /// The newest stretch of key groups of a window that fires from disk.
    stretch: Option<(Timestamp, Range<u16>)>,
    /// Stretches that were more than memory holds, and were begun again smaller.
    too_large: u64,
    /// Rows of windows that fired again, and batches after which some of those waited for the disk.
    again: u64,
    waited: u64,
    /// The most rows of slices that are kept for late records which were on disk.
    most_kept: u64,
    /// Turns in which a slice was on its way to the disk that had been in memory when its window fired.
    kept_later: u64,
    /// The most rows of what a function keeps that were on disk: per key, per window, and the ends of windows.
    most_of_function: [u64; 3],
    /// Firings that waited for that, and those of them whose windows were in memory.
    for_voice: u64,
    in_memory: u64,
}

/// What is drawn.
#[derive(Clone, Copy)]
struct Drawn {
    seed: u64,
    windows: AlignedWindows,
    keys: u64,
    waves: bool,
    /// Whether keys lie in few key groups.
    close: bool,
    records: u64,
    /// Whether another state of the slot claims its share now and then.
    crowded: bool,
    /// How long windows wait for late records, ms.
    lateness: i64,
    /// Records of a ms, about.
    pace: u64,
}

/// One subtask: the operator, a map that is right, and dice.
struct Program<V: Told> {
    operator: SliceOperator<u64, Pair, Sum, V::Voice>,
    windows: AlignedWindows,
    lateness: i64,
    pace: u64,
    groups: Range<u16>,
    keys: u64,
    waves: bool,
    close: bool,
    /// Records still to come.
    records: u64,
    /// Event time of the newest record, ms.
    time: i64,
    watermark: i64,
    open: Open,
    kept: Kept,
    expected: VecDeque<Said>,
    /// Rows of windows that fire again, which come before those, and in this order.
    again: Vec<Said>,
    taken: Taken,
    batch: Vec<(Pair, i64)>,
    firing: bool,
    draws: Draws,
    /// For the rows of cuts.
    queue: IoQueue,
    epoch: u64,
    cutting: Option<Cutting>,
    chain: Vec<Link>,
    left: Rc<RefCell<Left>>,
    /// Another state of the slot, with dice of its own.
    other: Option<(Share, Draws)>,
}

fn context(index: u32, parallelism: u32, budget: u64) -> BuildContext {
    let info = SubtaskInfo {
        vertex: VertexId(1),
        vertex_name: "windows".into(),
        index,
        parallelism,
        max_parallelism: MaxParallelism::default(),
        operators: Arc::new([]),
        mode: RuntimeMode::Streaming,
        configuration: Arc::new(Configuration::new()),
    };
    BuildContext::new(info, None, Vec::new(), None, Budget::new("slot", budget))
}

impl<V: Told> Program<V> {
    fn new(drawn: Drawn, (index, of): (u32, u32), manager: &IoManager, on_disk: bool) -> Self {
        let open = OpenSlices {
            windows: drawn.windows,
            options: SliceOptions {
                lateness_ms: drawn.lateness,
                ..SliceOptions::default()
            },
            aggregate: Sum {
                inverse: drawn.seed.is_multiple_of(2),
            },
            voice: V::template(),
        };
        let budget = if on_disk { V::BUDGET } else { 256 * BUDGET };
        let mut context = context(index, of, budget);
        if on_disk {
            context = context.with_spill(manager.clone());
        }
        let operator = OpenKeyed::<u64, Pair>::open(open, "windows", &mut context).unwrap();
        let other = (drawn.crowded).then(|| (context.budget().share(), Draws(drawn.seed)));
        Program {
            other,
            operator,
            windows: drawn.windows,
            lateness: drawn.lateness,
            pace: drawn.pace,
            groups: MaxParallelism::default().range(index, of),
            keys: drawn.keys,
            waves: drawn.waves,
            close: drawn.close,
            records: drawn.records,
            time: 0,
            watermark: i64::MIN,
            open: Open::new(),
            kept: Kept::default(),
            expected: VecDeque::new(),
            again: Vec::new(),
            taken: Taken::default(),
            batch: Vec::new(),
            firing: false,
            draws: Draws(drawn.seed),
            queue: manager.queue(4),
            epoch: 0,
            cutting: None,
            chain: Vec::new(),
            left: Rc::default(),
        }
    }

    fn is_mine(&self, key: u64) -> bool {
        let group = MaxParallelism::default().key_group(u64::hash(&key));
        self.groups.contains(&group.0)
    }

    /// The key of this number.
    fn key_of(&self, number: u64) -> u64 {
        if !self.close {
            return number;
        }
        let is_close = |key: &u64| MaxParallelism::default().key_group(u64::hash(key)).0 < CLOSE;
        let close = (number * 10_000..).find(is_close);
        close.expect("some number is of any key group")
    }

    /// Where keys come in waves, there are few at most times.
    fn keys_now(&self) -> u64 {
        let ebb = self.waves && self.time / 700 % 3 > 0;
        self.keys / if ebb { 12 } else { 1 }
    }

    fn draw_batch(&mut self) {
        while self.batch.len() < BATCH && self.records > 0 {
            self.records -= 1;
            self.time += i64::from(self.draws.once_in(self.pace));
            let key = match self.draws.once_in(4) {
                true => self.draws.below(50),
                false => self.draws.below(self.keys_now()),
            };
            let key = self.key_of(key);
            let back = match self.draws.once_in(50) {
                true => self.draws.below(4_000),
                false => self.draws.below(60),
            };
            let number = self.draws.below(1_000);
            if self.is_mine(key) {
                self.batch.push(((key, number), self.time - back as i64));
            }
        }
    }

    /// Whether a window can fire no more.
    fn is_gone(&self, end: i64) -> bool {
        (end - 1).saturating_add(self.lateness) <= self.watermark
    }

    /// What the map says of a record.
    fn note(&mut self, (key, number): Pair, at: i64) {
        let slice = self.windows.slice_of(Timestamp(at));
        let ends = (self.windows.first_end(slice), self.windows.last_end(slice));
        let (Some(mut end), Some(last)) = ends else {
            return;
        };
        let mut late = true;
        while end <= last {
            if !self.is_gone(end.0) {
                let (sum, count) = self.open.entry((end.0, key)).or_default();
                (*sum, *count) = (*sum + number, *count + 1);
                if end.0 - 1 <= self.watermark {
                    let row = (end.0, key, *sum, *count);
                    self.again.push(V::said(&mut self.kept, row));
                }
                late = false;
            }
            end = self.windows.next_end(end);
        }
        self.left.borrow_mut().late += u64::from(late);
    }

    /// Applies batches until one has to wait or a watermark comes; whether one waits.
    fn work(&mut self) -> Result<bool, FunctionError> {
        for _ in 0..8 {
            if self.firing {
                if self.fire()? {
                    return Ok(true);
                }
                continue;
            }
            self.draw_batch();
            if self.batch.is_empty() {
                self.tell(i64::MAX);
                if !self.firing {
                    return Ok(false);
                }
                continue;
            }
            if !self.operator.has_room(self.batch.len()) {
                return Ok(true);
            }
            for (pair, at) in std::mem::take(&mut self.batch) {
                self.note(pair, at);
                let (hash, at) = (u64::hash(&pair.0), Timestamp(at));
                if pair.1.is_multiple_of(2) {
                    (self.operator).apply(hash, pair, at, &First, &mut self.taken)?;
                } else {
                    let held = (pair.1, 1);
                    (self.operator).apply_partial(hash, &pair.0, (1, held), at, &mut self.taken)?;
                }
            }
            self.firing = self.operator.owes();
            if self.firing {
                self.left.borrow_mut().waited += 1;
                continue;
            }
            self.takes_again();
            if self.draws.once_in(12) {
                let behind = self.draws.below(80) as i64;
                self.tell(self.time - behind);
            }
        }
        Ok(false)
    }

    fn tell(&mut self, watermark: i64) {
        if watermark <= self.watermark {
            return;
        }
        let due = (self.watermark.saturating_add(2), 0)..=(watermark.saturating_add(1), u64::MAX);
        let due = self.open.range(due);
        let due = due.map(|((end, key), (sum, count))| (*end, *key, *sum, *count));
        let said = due.map(|row| V::said(&mut self.kept, row));
        self.expected.extend(said);
        self.watermark = watermark;
        while let Some(((end, _), _)) = self.open.first_key_value()
            && self.is_gone(*end)
        {
            self.open.pop_first();
        }
        self.operator.watermark(Timestamp(watermark));
        self.firing = true;
    }

    /// Fires what is due; whether it waits for the disk.
    fn fire(&mut self) -> Result<bool, FunctionError> {
        let fired = self.operator.fire(&mut self.taken, 500)?;
        if let super::super::fire::Step::OnDisk(firing) = &self.operator.step {
            let mut left = self.left.borrow_mut();
            left.from_disk += 1;
            let now = firing.stretch();
            if let Some((end, before)) = left.stretch.replace(now.clone()) {
                let again = end == now.0 && before.start == now.1.start && before.end > now.1.end;
                left.too_large += u64::from(again);
            }
        }
        if fired != Firing::Done {
            let mut left = self.left.borrow_mut();
            let emits = matches!(self.operator.step, super::super::fire::Step::Emit { .. });
            left.for_voice += u64::from(self.operator.for_voice);
            left.in_memory += u64::from(self.operator.for_voice && emits);
            return Ok(fired == Firing::Waiting);
        }
        self.firing = false;
        self.takes_again();
        let mut said = std::mem::take(&mut self.taken.0);
        let ends: Vec<i64> = said.iter().map(|row| row.0).collect();
        assert!(ends.is_sorted(), "windows fire in time order");
        said.sort_unstable();
        let expected: Vec<Said> = self.expected.drain(..).collect();
        assert!(
            said == expected,
            "at {} (epoch {}): {} rows, not {}; first other: {:?}",
            self.watermark,
            self.epoch,
            said.len(),
            expected.len(),
            said.iter().zip(&expected).find(|(one, other)| one != other)
        );
        self.left.borrow_mut().said.extend(said);
        Ok(false)
    }

    /// What windows gave out that fired again comes first, each record's rows in their turn.
    fn takes_again(&mut self) {
        let again = std::mem::take(&mut self.again);
        let said: Vec<Said> = self
            .taken
            .0
            .drain(..again.len().min(self.taken.0.len()))
            .collect();
        assert!(
            said == again,
            "at {} (epoch {}): {} rows again, not {}; first other: {:?}",
            self.watermark,
            self.epoch,
            said.len(),
            again.len(),
            said.iter().zip(&again).find(|(one, other)| one != other)
        );
        let mut left = self.left.borrow_mut();
        left.again += again.len() as u64;
        left.said.extend(said);
    }

    fn visit(
        &mut self,
        mut to: impl FnMut(&StateDescriptor, &mut dyn Snapshot) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        self.operator.visit_states(&mut to)
    }

    /// Begins, writes or ends a cut.
    fn cut(&mut self) -> Result<(), StateError> {
        let Some(mut cutting) = self.cutting.take() else {
            let may = self.operator.may_be_cut() && !self.firing && self.records > 0;
            if may && self.draws.once_in(V::CUT_EACH) {
                self.freeze()?;
            }
            return Ok(());
        };
        if cutting.states < cutting.all {
            let (mut at, mut done) = (0, false);
            self.visit(|_, state| {
                if at == cutting.states {
                    let mut rows = cutting.writer.rows_of(StateNumber(at))?;
                    done = state.emit(V::CUT_ROWS, &mut rows)? == Scan::Done;
                }
                at += 1;
                Ok(())
            })?;
            cutting.states += u16::from(done);
            self.cutting = Some(cutting);
            return Ok(());
        }
        if self.draws.once_in(4) {
            return self.visit(|_, state| {
                state.cut_failed();
                Ok(())
            });
        }
        if !cutting.carried.is_empty() {
            self.visit(|_, state| {
                state.cut_durable();
                Ok(())
            })?;
        }
        self.end_cut(cutting);
        Ok(())
    }

    fn freeze(&mut self) -> Result<(), StateError> {
        self.epoch += 1;
        let spilling = self
            .operator
            .on_disk
            .as_ref()
            .and_then(|it| it.spilling.as_ref());
        let on_its_way = spilling.is_some_and(|spilling| spilling.goal == Goal::Gathered);
        self.left.borrow_mut().on_its_way += u64::from(on_its_way);
        let mut anew = self.draws.once_in(4);
        self.visit(|_, state| {
            anew |= state.begins_anew();
            Ok(())
        })?;
        let kind = match anew {
            true => CutKind::Everything,
            false => CutKind::Changes,
        };
        let mut cutting = Cutting {
            full: true,
            writer: RunWriter::new(RunOptions::default().with_section_bytes(4_096)),
            carried: Vec::new(),
            copy: Copy {
                chain: Vec::new(),
                open: self.open.clone(),
                kept: self.kept.clone(),
                watermark: self.watermark,
                time: self.time,
            },
            states: 0,
            all: 0,
        };
        let epoch = Epoch(self.epoch);
        self.visit(|told, state| {
            let full = state.freeze(epoch, kind).is_full();
            let carried = state.carried();
            let mut descriptor = Vec::new();
            told.encode(&mut descriptor);
            let header = StateHeader {
                name: told.name().to_owned(),
                descriptor,
                full: full && carried.is_empty(),
            };
            match told.is_sought_by_key() {
                true => cutting.writer.declare_known_by_key(header)?,
                false => cutting.writer.declare(header)?,
            };
            cutting.full &= full;
            cutting.carried.extend(carried);
            cutting.all += 1;
            Ok(())
        })?;
        self.cutting = Some(cutting);
        Ok(())
    }

    fn end_cut(&mut self, cutting: Cutting) {
        let (bytes, summary) = cutting.writer.finish().unwrap();
        let file = self.queue.files().file();
        self.queue.write(&file, 0, bytes).unwrap();
        let name = |file: &SpillFile| file.path().to_str().unwrap().to_owned();
        let mut chain = vec![Link {
            handle: RunHandle {
                file: name(&file),
                bytes: summary.bytes,
                checksum: summary.checksum,
                rows: summary.rows(),
                groups: self.groups.clone(),
                full: cutting.full && cutting.carried.is_empty(),
                only: None,
            },
            _file: file,
            _carried: None,
        }];
        chain.extend(cutting.carried.into_iter().map(|run| Link {
            handle: RunHandle {
                file: name(run.file()),
                bytes: run.bytes(),
                checksum: run.checksum(),
                rows: run.rows(),
                groups: run.groups(),
                full: false,
                only: run.only(),
            },
            _file: run.file().clone(),
            _carried: Some(Rc::new(run)),
        }));
        if !cutting.full {
            chain.extend(self.chain.iter().cloned());
        }
        self.chain.clone_from(&chain);
        let copy = Copy {
            chain,
            ..cutting.copy
        };
        self.left.borrow_mut().copies.push(copy);
    }

    /// Goes on from a copy.
    fn restore(mut self, copy: &Copy, disk: &SimDisk, in_place: bool) -> Self {
        let mut files = Files {
            in_place,
            ..Files::default()
        };
        let mut runs = Vec::new();
        for link in &copy.chain {
            let groups = &link.handle.groups;
            let start = groups.start.max(self.groups.start);
            let groups = start..groups.end.min(self.groups.end);
            if groups.is_empty() {
                continue;
            }
            let path = PathBuf::from(&link.handle.file);
            let bytes = disk.content(&path).unwrap();
            files.bytes.insert(link.handle.file.clone(), bytes);
            let handle = link.handle.clone();
            let handle = RunHandle { groups, ..handle };
            runs.push(handle.clone());
            // What is cut next may say only what has changed since.
            let link = link.clone();
            self.chain.push(Link { handle, ..link });
        }
        let restored = RestoredState {
            operators: Vec::new(),
            in_flight: Vec::new(),
            files: Arc::new(files),
            keeps_files: true,
            allow_unclaimed: false,
        };
        let operator = &mut self.operator;
        let given = restored.give_back(&runs, |visitor| operator.visit_states(visitor));
        given.unwrap();
        let mine = copy.open.iter().filter(|((_, key), _)| self.is_mine(*key));
        self.open = mine.map(|(at, held)| (*at, *held)).collect();
        // What others keep is in copies of theirs.
        let mut kept = copy.kept.clone();
        kept.calls.retain(|key, _| self.is_mine(*key));
        kept.firings.retain(|(_, key), _| self.is_mine(*key));
        self.kept = kept;
        (self.watermark, self.time) = (copy.watermark, copy.time);
        if self.watermark > i64::MIN {
            self.operator.restored_at(Timestamp(self.watermark));
        }
        self.epoch = 1_000;
        self
    }
}

impl<V: Told> Program<V> {
    /// Rows of a state that is in memory.
    fn rows_of(&mut self, name: &str) -> usize {
        let mut rows = 0;
        let counted = self.visit(|told, state| {
            if told.name() == name {
                state.freeze(Epoch(2_000), CutKind::Copy);
                while state.emit(100, &mut |_: Row<'_>| rows += 1)? == Scan::More {}
            }
            Ok(())
        });
        counted.unwrap();
        rows
    }

    /// Fires all windows of a copy, which is in memory: they give out what the map was. Before that come late records
    /// for windows that fired before the copy.
    fn says_what_it_was(mut self) {
        let windows = V::keeps(&self.kept, |end| self.is_gone(end));
        assert_eq!(self.rows_of(voices::STATES[1]), windows);
        let fired = self
            .open
            .keys()
            .filter(|(end, _)| *end - 1 <= self.watermark);
        for (end, key) in fired.copied().step_by(7).collect::<Vec<_>>() {
            self.note((key, 5), end - 1);
            let (hash, at) = (u64::hash(&key), Timestamp(end - 1));
            let applied = (self.operator).apply(hash, (key, 5), at, &First, &mut self.taken);
            assert_eq!(applied.map_err(|error| error.to_string()), Ok(()));
        }
        self.takes_again();
        assert!(self.taken.0.is_empty());
        self.tell(i64::MAX);
        while self.firing {
            assert_eq!(self.fire().map_err(|error| error.to_string()), Ok(false));
        }
        assert!(self.open.is_empty());
    }
}

impl<V: Told> Step for Program<V> {
    fn name(&self) -> &str {
        "program"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        (self.operator.begin_state_turn(context)).map_err(|error| error.to_string())?;
        while let Some((_, answer)) = self.queue.next_done() {
            answer?;
        }
        let waiting = self.work().map_err(|error| error.to_string())?;
        if let Some((other, dice)) = &mut self.other {
            other.claims(dice.below(60) < 20);
        }
        self.cut()?;
        self.queue.poll(context);
        let pressure = self.operator.end_state_turn(context, waiting);
        let pressure = pressure.map_err(|error| error.to_string())?;
        let (mut rows, mut of_function) = (0, [0; 3]);
        self.visit(|told, state| {
            rows += state.size().disk_rows;
            if let Some(at) = voices::STATES.iter().position(|name| *name == told.name()) {
                of_function[at] = state.size().disk_rows;
            }
            Ok(())
        })?;
        let kept = self.operator.slices.iter().flat_map(|slice| &slice.kept);
        let kept = kept.map(Pile::rows).sum();
        let on_disk = self.operator.on_disk.as_ref();
        let goal = on_disk.and_then(|on_disk| Some(on_disk.spilling.as_ref()?.goal));
        let kept_later = self.operator.slices.iter().any(|slice| {
            let whole = goal == Some(Goal::Slice(slice.span, Part::Whole));
            whole && slice.taken && slice.kept.is_empty()
        });
        let needed = on_disk.is_some_and(|on_disk| !on_disk.leaving.is_empty());
        let mut left = self.left.borrow_mut();
        left.needed += u64::from(needed);
        left.most_rows_on_disk = left.most_rows_on_disk.max(rows);
        left.most_kept = left.most_kept.max(kept);
        for (most, rows) in left.most_of_function.iter_mut().zip(of_function) {
            *most = rows.max(*most);
        }
        left.kept_later += u64::from(kept_later);
        let fired = self.records == 0 && !self.firing && self.watermark == i64::MAX;
        let done = fired && self.cutting.is_none() && self.queue.pending() == 0;
        left.ended |= done;
        let made = !done && pressure != Pressure::Disk || self.cutting.is_some();
        Ok(Progress { made, done })
    }
}

/// Runs a program to its end on a disk; answers what it left.
fn run<V: Told>(simulation: &mut Simulation, program: Program<V>) -> Left {
    let left = Rc::clone(&program.left);
    let failure = Rc::new(RefCell::new(None));
    let told = Rc::clone(&failure);
    simulation.add_shard(|shard| {
        shard.on_exit(move |exit| {
            if let TaskExit::Failed { message, .. } = exit {
                *told.borrow_mut() = Some(message);
            }
        });
        shard.add_step(Box::new(program));
    });
    assert_eq!(simulation.run(ROUNDS), SimOutcome::Quiescent);
    assert_eq!(failure.take(), None);
    let left = left.take();
    assert!(left.ended, "it hangs");
    left
}

fn simulation(seed: u64) -> (Simulation, IoManager) {
    let place = PathBuf::from("/spill");
    let host = SimDisk::with_faults(seed, DiskFaults::NONE);
    host.make_directories(&place).unwrap();
    let space = SpillSpace::lent(vec![place], Quota::unlimited());
    let manager = IoManager::new(space, ShardId(0));
    let simulation = Simulation::on(host, seed, SimOptions::default());
    (simulation, manager)
}

fn shapes() -> [AlignedWindows; 4] {
    [
        AlignedWindows::tumbling(2_000, 7),
        AlignedWindows::sliding(2_400, 600, 0),
        AlignedWindows::sliding(1_500, 1_000, 3),
        AlignedWindows::cumulating(2_400, 800, 5),
    ]
}

/// Runs a program and goes on from some of its copies. Answers what it left.
fn check(drawn: Drawn) -> Left {
    check_with::<Plain>(drawn)
}

/// The same of rows of which this voice speaks.
fn check_with<V: Told>(drawn: Drawn) -> Left {
    let seed = drawn.seed;
    let (mut simulation, manager) = simulation(seed);
    let left = run(
        &mut simulation,
        Program::<V>::new(drawn, (0, 1), &manager, true),
    );
    assert!(left.late > 0, "nothing was too late");
    assert!(left.copies.len() > 2, "{} copies", left.copies.len());
    let disk = simulation.disk().clone();
    for copy in left.copies.iter().step_by(6) {
        let all = Program::<V>::new(drawn, (0, 1), &manager, false);
        all.restore(copy, &disk, false).says_what_it_was();
    }
    let third = left.copies.len() / 3;
    for (number, copy) in [(0, &left.copies[third]), (1, &left.copies[2 * third])] {
        let more = Drawn {
            seed: seed + 100 + number,
            records: drawn.records.min(20_000) / 2,
            crowded: false,
            ..drawn
        };
        // Three go on from one, and one from what one of those three has left: on disk or in memory.
        let mut copies = Vec::new();
        for index in 0..3 {
            let program = Program::<V>::new(more, (index, 3), &manager, true);
            let mut simulation = Simulation::on(disk.clone(), seed, SimOptions::default());
            let program = program.restore(copy, &disk, true);
            copies.extend(run(&mut simulation, program).copies);
        }
        if let Some(copy) = copies.last() {
            let on_disk = number == 0;
            let program = Program::<V>::new(more, (0, 1), &manager, on_disk);
            let mut simulation = Simulation::on(disk.clone(), seed, SimOptions::default());
            run(&mut simulation, program.restore(copy, &disk, on_disk));
        }
    }
    left
}

#[test]
fn slices_far_larger_than_memory_give_out_what_a_map_gives_out() {
    for (seed, windows) in (0..).zip(shapes()) {
        let left = check(Drawn {
            seed,
            windows,
            keys: 30_000,
            waves: false,
            close: false,
            records: 40_000,
            crowded: false,
            lateness: 0,
            pace: 20,
        });
        assert!(left.most_rows_on_disk > 8_000, "hardly anything on disk");
        assert!(left.from_disk > 0, "no window was fired from disk");
    }
}

#[test]
fn slices_as_large_as_memory_come_and_go() {
    let drawn = |seed, windows, (keys, waves)| Drawn {
        seed: seed + keys,
        windows,
        keys,
        waves,
        close: false,
        records: 30_000,
        crowded: false,
        lateness: 0,
        pace: 20,
    };
    for (seed, windows) in (10..).zip(shapes()) {
        for keys in [(12_000, true), (5_000, false)] {
            check(drawn(seed, windows, keys));
        }
    }
    // These put windows together from many slices, so what those in the making hold goes to disk as well.
    let (mut needed, mut on_its_way) = (0, 0);
    for seed in (11..).step_by(1_000).take(2) {
        for keys in [(12_000, true), (8_000, true), (5_000, false)] {
            let left = check(drawn(seed, shapes()[1], keys));
            needed += left.needed;
            on_its_way += left.on_its_way;
        }
    }
    assert!(
        needed > 0,
        "no cut needed what windows in the making had let go"
    );
    assert!(on_its_way > 0, "no cut came while it went to disk");
}

#[test]
fn key_groups_that_are_larger_than_the_others_fire_by_smaller_stretches() {
    for (seed, (windows, keys)) in (20..).zip([
        (AlignedWindows::tumbling(2_000, 7), 20_000),
        (AlignedWindows::sliding(2_400, 600, 0), 4_000),
    ]) {
        let left = check(Drawn {
            seed,
            windows,
            keys,
            waves: false,
            close: true,
            records: 20_000,
            crowded: false,
            lateness: 0,
            pace: 20,
        });
        assert!(
            left.too_large > 0,
            "every stretch fitted memory: {windows:?}"
        );
    }
}

#[test]
fn slices_give_way_to_another_state_whatever_they_are_at() {
    for (seed, windows) in (30..).zip(shapes()) {
        for keys in [8_000, 12_000] {
            check(Drawn {
                seed: seed + keys,
                windows,
                keys,
                waves: false,
                close: false,
                records: 30_000,
                crowded: true,
                lateness: 0,
                pace: 20,
            });
        }
    }
}
