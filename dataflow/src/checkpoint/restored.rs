//! What a job was restored from, as one subtask sees it, and the way of rows back into states.
//!
//! Entered while a chain is built, before its first turn: reading may wait. Invariants: every state that is
//! declared gets the rows of its name and types or the job is refused by name; every state in the copy that
//! nobody declares is refused too, unless its user allowed that; a run that is not the one its receipt is of is
//! refused before any row of it is taken. Lives on one shard's thread.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use thalweg_core::KeyHash;
use thalweg_core::ids::OperatorId;
use thalweg_state::run::{Clip, CountingRun, Part, ReadAt, RunReader, StateNumber, counting};
use thalweg_state::{
    AdoptedRun, Adopts, Migration, OperatorPart, Row, RunHandle, Snapshot, StateDescriptor,
    StateError, StateVisitor,
};

use super::in_flight::RestoredSection;
use super::row_batch::RowBatch;

/// A key group is looked through if it is less than one part in so many of the state.
const FEW: u64 = 8;

/// Opens the files of a copy.
pub trait RunFiles {
    /// Opens one run for reading. May wait.
    ///
    /// # Errors
    /// A file that is not there or cannot be opened.
    fn open(&self, handle: &RunHandle) -> io::Result<Box<dyn ReadAt>> {
        self.open_file(&handle.file)
    }

    /// Opens a file of the copy for reading. May wait.
    ///
    /// # Errors
    /// A file that is not there or cannot be opened.
    fn open_file(&self, file: &str) -> io::Result<Box<dyn ReadAt>>;

    /// Where a run lies for the shard's own reactor, so that state larger than memory need not be read when
    /// it is restored; none where it has no path.
    fn path(&self, handle: &RunHandle) -> Option<PathBuf> {
        let _ = handle;
        None
    }
}

/// One operator of one subtask, as it was.
#[derive(Clone, Debug, Default)]
pub struct RestoredOperator {
    /// The runs that hold its keyed state, newest first, each clipped to what belongs to this subtask.
    pub runs: Vec<RunHandle>,
    /// Its other states.
    pub parts: Vec<OperatorPart>,
}

impl RestoredOperator {
    /// The items of a part, none where there is no such part.
    #[must_use]
    pub fn items(&self, part: &str) -> Option<Vec<Vec<u8>>> {
        let mut found = self
            .parts
            .iter()
            .filter(|other| other.name == part)
            .peekable();
        found.peek()?;
        Some(found.flat_map(|part| part.items.iter().cloned()).collect())
    }
}

/// What one subtask was restored from.
pub struct RestoredState {
    /// Its operators; those that are not here begin empty.
    pub operators: Vec<(OperatorId, RestoredOperator)>,
    /// What was on its way to it, to be read before anything new.
    pub in_flight: Vec<RestoredSection>,
    /// Where the runs are read from.
    pub files: Arc<dyn RunFiles + Send + Sync>,
    /// Whether the files stay as long as this job needs them. Otherwise its first checkpoint writes
    /// everything anew.
    pub keeps_files: bool,
    /// Whether state of the copy that no operator declares is left behind silently.
    pub allow_unclaimed: bool,
}

impl RestoredState {
    pub(crate) fn operator(&self, id: OperatorId) -> Option<&RestoredOperator> {
        let found = self.operators.iter().find(|(other, _)| *other == id);
        found.map(|(_, operator)| operator)
    }

    /// Gives the rows of `runs` back to the states that `show` shows.
    pub(crate) fn give_back(
        &self,
        runs: &[RunHandle],
        show: impl FnOnce(&mut dyn StateVisitor) -> Result<(), StateError>,
    ) -> Result<(), String> {
        // A file that counts for several states is named once for each.
        let mut sources = BTreeMap::new();
        for handle in runs {
            if let Entry::Vacant(place) = sources.entry(&*handle.file) {
                let opened = self.files.open(handle).map_err(|error| {
                    format!("the state file {} cannot be opened: {error}", handle.file)
                })?;
                place.insert(opened);
            }
        }
        let mut readers = Vec::with_capacity(runs.len());
        for handle in runs {
            let reader = RunReader::open(&*handle.file, &*sources[&*handle.file]);
            let reader = reader.map_err(|error| error.to_string())?;
            check_only(handle, reader.states().len())?;
            // Another run of this name is as whole as this one, and holds other state.
            let meant = reader.check_receipt(handle.bytes, handle.checksum);
            meant.map_err(|error| error.to_string())?;
            readers.push(GivenRun {
                reader,
                groups: handle.groups.clone(),
                only: handle.only,
                path: self.files.path(handle),
                checksum: handle.checksum,
            });
        }
        let mut giver = Giver {
            runs: readers,
            keeps_files: self.keeps_files,
            given: Vec::new(),
            refused: None,
        };
        show(&mut giver).map_err(|error| error.to_string())?;
        match giver.refused.take() {
            Some(refused) => Err(refused),
            None => self.check_unclaimed(&giver),
        }
    }

    fn check_unclaimed(&self, giver: &Giver<'_>) -> Result<(), String> {
        let runs = giver.counting();
        let unclaimed = (runs.iter().flat_map(CountingRun::states))
            .map(|(_, state)| &state.name)
            .find(|name| !giver.given.contains(name));
        match unclaimed {
            Some(name) if !self.allow_unclaimed => Err(format!(
                "the copy holds the state '{name}', which this operator does not declare any more: \
                 declare it, give the operator another uid, or allow it to be left behind \
                 (execution.state-recovery.ignore-unclaimed-state: true)"
            )),
            _ => Ok(()),
        }
    }
}

/// A run of the copy.
struct GivenRun<'r> {
    reader: RunReader<&'r dyn ReadAt>,
    groups: Range<u16>,
    only: Option<StateNumber>,
    path: Option<PathBuf>,
    checksum: u32,
}

struct Giver<'r> {
    runs: Vec<GivenRun<'r>>,
    keeps_files: bool,
    given: Vec<String>,
    refused: Option<String>,
}

impl StateVisitor for Giver<'_> {
    fn visit(
        &mut self,
        descriptor: &StateDescriptor,
        state: &mut dyn Snapshot,
    ) -> Result<(), StateError> {
        if self.refused.is_some() {
            return Ok(());
        }
        match self.give(descriptor, state) {
            Ok(()) => self.given.push(descriptor.name().to_owned()),
            Err(refusal) => self.refused = Some(refusal),
        }
        Ok(())
    }
}

impl<'r> Giver<'r> {
    /// The runs with that for which they count.
    fn counting(&self) -> Vec<CountingRun<'_, &'r dyn ReadAt>> {
        let runs = self.runs.iter();
        runs.map(|given| CountingRun {
            run: &given.reader,
            groups: given.groups.clone(),
            only: given.only,
        })
        .collect()
    }

    /// Oldest first, and in each run what is gone before what is there.
    fn give(&self, descriptor: &StateDescriptor, state: &mut dyn Snapshot) -> Result<(), String> {
        let (parts, _) = counting(&self.counting(), descriptor.name());
        let migration = self.migration_of(&parts, descriptor)?;
        let in_place = parts.iter().all(|part| self.runs[part.run].path.is_some());
        let bytes = self.bytes_of(&parts);
        let adopts = match migration {
            None if in_place => state.adopts(bytes),
            _ => Adopts::Rows,
        };
        match adopts {
            Adopts::Rows => self.give_rows(parts, descriptor, migration, state)?,
            Adopts::Runs => self.adopt(&parts, state)?,
            Adopts::RunsForNow => {
                let (about, at_most) = self.rows_about(&parts)?;
                if state.has_room_for(about, bytes) {
                    state.expect_rows(about, at_most);
                    self.adopt(&parts, state)?;
                } else {
                    self.give_rows(parts, descriptor, None, state)?;
                }
            }
        }
        let ages = descriptor.ttl().is_some();
        let restored = match migration {
            None => state.restored(),
            Some(migration) => state.restored_by(migration, ages),
        };
        restored.map_err(|error| error.to_string())?;
        // What was written before holds values as they were: no later cut builds on it.
        if !self.keeps_files || migration.is_some() {
            state.forget_copies();
        }
        Ok(())
    }

    /// How the values of a state are to be migrated, which is the same in all its runs.
    fn migration_of<'d>(
        &self,
        parts: &[Part],
        descriptor: &'d StateDescriptor,
    ) -> Result<Option<&'d Migration>, String> {
        let mut found = Vec::with_capacity(parts.len());
        for part in parts.iter().rev() {
            let run = &self.runs[part.run].reader;
            let header = &run.states()[usize::from(part.state.0)];
            let described = described(&header.descriptor, descriptor, run.file())?;
            found.push((described, run.file()));
        }
        // Runs of an older engine do not say what types are made of; the later ones of the same copy do.
        let telling = found.iter().find(|(it, _)| it.tells_fields());
        if let Some(telling) = telling.map(|(it, _)| it.clone()) {
            found
                .iter_mut()
                .for_each(|(it, _)| it.learn_fields(&telling));
        }
        let mut migration = None::<Option<&Migration>>;
        for (found, file) in &found {
            let by = descriptor.restores_from(found);
            let by = by.map_err(|error| format!("{error} (in {file})"))?;
            match migration {
                None => migration = Some(by),
                Some(before) if before == by => {}
                Some(_) => {
                    let name = descriptor.name();
                    return Err(format!(
                        "the copy holds state '{name}' in values of several types"
                    ));
                }
            }
        }
        Ok(migration.flatten())
    }

    /// Gives a state the rows that count for it, those of the oldest run first.
    fn give_rows(
        &self,
        parts: Vec<Part>,
        descriptor: &StateDescriptor,
        migration: Option<&Migration>,
        state: &mut dyn Snapshot,
    ) -> Result<(), String> {
        let ages = descriptor.ttl().is_some();
        let (about, at_most) = self.rows_about(&parts)?;
        state.expect_rows(about, at_most);
        let mut batch = RowBatch::default();
        for part in parts.into_iter().rev() {
            let run = &self.runs[part.run].reader;
            let clip = || {
                let of_state = Clip::all().of_state(part.state);
                of_state.within(part.groups.clone())
            };
            for clip in [clip().tombstones(), clip().puts()] {
                let mut walk = run.walk(clip);
                loop {
                    while !batch.is_full()
                        && let Some((_, row)) = walk.next_row().map_err(|e| e.to_string())?
                    {
                        batch.add(row, state);
                    }
                    if batch.is_empty() {
                        break;
                    }
                    let restored = batch.take_all(|row| match migration {
                        None => state.restore(row),
                        Some(by) => restore_by(by, ages, row, state),
                    });
                    restored.map_err(|error| in_file(descriptor, run.file(), &error))?;
                }
            }
        }
        Ok(())
    }

    /// How many entries there are, roughly, and at most. In each key group as many as in the run that has most of
    /// it, and as many more as runs beside it hold of other keys; which is found out for one key group.
    fn rows_about(&self, parts: &[Part]) -> Result<(u64, u64), String> {
        let end = parts.iter().map(|part| part.groups.end).max();
        let mut most = vec![0; usize::from(end.unwrap_or(0))];
        let mut all = 0;
        for parts in parts.chunk_by(|one, next| one.run == next.run) {
            let mut counts = vec![0; most.len()];
            for part in parts {
                let run = &self.runs[part.run].reader;
                run.count_about(part.state, part.groups.clone(), &mut counts);
            }
            for (most, count) in most.iter_mut().zip(counts) {
                *most = count.max(*most);
                all += count;
            }
        }
        let about = most.iter().sum::<u64>();
        let largest = (0_u16..).zip(&most).max_by_key(|(_, rows)| **rows);
        // A key group that is most of the state takes too long to look through twice.
        let Some((group, _)) = largest.filter(|(_, rows)| all > about && **rows * FEW < about)
        else {
            return Ok((about, all));
        };
        let (keys, in_one_run) = self.keys_of_group(parts, group)?;
        let others = u128::from(about) * u128::from(keys) / u128::from(in_one_run.max(1));
        Ok((
            u64::try_from(others)
                .unwrap_or(all)
                .clamp(about.min(all), all),
            all,
        ))
    }

    /// The entries of one key group in all runs, and the rows of the run that has most of them.
    fn keys_of_group(&self, parts: &[Part], group: u16) -> Result<(u64, u64), String> {
        let (mut keys, mut most) = (BTreeSet::new(), 0);
        for part in parts.iter().filter(|part| part.groups.contains(&group)) {
            let run = &self.runs[part.run].reader;
            let clip = Clip::all().of_state(part.state).within(group..group + 1);
            let (mut walk, mut rows) = (run.walk(clip.puts()), 0);
            while let Some((_, row)) = walk.next_row().map_err(|error| error.to_string())? {
                let namespace = KeyHash::of_bytes(row.namespace);
                keys.insert(KeyHash::of_bytes(row.key).combine(namespace).0);
                rows += 1;
            }
            most = rows.max(most);
        }
        Ok((keys.len() as u64, most))
    }

    /// Bytes of the runs that count for a state.
    fn bytes_of(&self, parts: &[Part]) -> u64 {
        let runs = parts.chunk_by(|one, next| one.run == next.run);
        let with_rows = runs.filter_map(|parts| {
            let run = &self.runs[parts[0].run].reader;
            (run.rows_of(parts[0].state) > 0).then_some(run.length())
        });
        with_rows.sum()
    }

    /// Gives a state the runs that count for it, as they are; files without a row of it it need not hold open.
    fn adopt(&self, parts: &[Part], state: &mut dyn Snapshot) -> Result<(), String> {
        let mut adopted = Vec::new();
        for parts in parts.chunk_by(|one, next| one.run == next.run) {
            let (given, number) = (&self.runs[parts[0].run], parts[0].state);
            let Some(path) = given.path.clone() else {
                continue;
            };
            if given.reader.rows_of(number) == 0 {
                continue;
            }
            let about = (path, given.reader.length(), given.checksum);
            let groups = parts.iter().map(|part| part.groups.clone()).collect();
            let run = AdoptedRun::new(about, &given.reader, number, groups);
            adopted.push(run.map_err(|error| error.to_string())?);
        }
        state.adopt(adopted).map_err(|error| error.to_string())
    }
}

/// A run that counts for one state only holds that state.
fn check_only(handle: &RunHandle, states: usize) -> Result<(), String> {
    match handle.only {
        Some(StateNumber(number)) if usize::from(number) >= states => Err(format!(
            "the state file {} is to count for its state number {number}, and holds {states}: it is not the file \
             the copy was made with; restore from another copy",
            handle.file
        )),
        _ => Ok(()),
    }
}

fn in_file(descriptor: &StateDescriptor, file: &str, error: &StateError) -> String {
    format!("state '{}' from {file}: {error}", descriptor.name())
}

/// Under which declaration the rows of a state were written.
fn described(
    mut found: &[u8],
    declared: &StateDescriptor,
    file: &str,
) -> Result<StateDescriptor, String> {
    let name = declared.name();
    StateDescriptor::decode(&mut found)
        .map_err(|error| format!("the description of state '{name}' in {file}: {error}"))
}

/// Takes a row back whose value was of another type.
fn restore_by(
    migration: &Migration,
    ages: bool,
    row: Row<'_>,
    state: &mut dyn Snapshot,
) -> Result<(), StateError> {
    let value = row.value.map(|value| migration.convert(value, ages));
    let value = value.transpose()?;
    let value = value.as_deref();
    state.restore(Row { value, ..row })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use thalweg_core::{Epoch, KeyGroup, MaxParallelism};
    use thalweg_state::run::{RunOptions, RunWriter, StateHeader};
    use thalweg_state::{CutKind, RowSink, Scan, StateSize};

    use super::*;

    /// A run of counters of these keys.
    fn run_of(keys: Range<u64>) -> Vec<u8> {
        let mut writer = RunWriter::new(RunOptions::default());
        let header = StateHeader {
            name: "counts".to_owned(),
            descriptor: Vec::new(),
            full: false,
        };
        let state = writer.declare(header).unwrap();
        for key in keys {
            let KeyGroup(group) = MaxParallelism::default().key_group(KeyHash::of_u64(key));
            writer.rows_of(state).unwrap().row(Row {
                group: KeyGroup(group),
                key: &key.to_be_bytes(),
                namespace: b"",
                value: Some(b"1"),
            });
        }
        writer.finish().unwrap().0
    }

    /// What gives out all of these runs.
    fn giver_of(files: &[Vec<u8>]) -> Giver<'_> {
        let given = files.iter().map(|file| GivenRun {
            reader: RunReader::open("run", file as &dyn ReadAt).unwrap(),
            groups: 0..128,
            only: None,
            path: None,
            checksum: 0,
        });
        Giver {
            runs: given.collect(),
            keeps_files: true,
            given: Vec::new(),
            refused: None,
        }
    }

    /// How many entries are expected of runs of these keys, newest first, and how many at most.
    fn expected(runs: &[Range<u64>]) -> (u64, u64) {
        let files: Vec<Vec<u8>> = runs.iter().cloned().map(run_of).collect();
        let giver = giver_of(&files);
        let (parts, _) = counting(&giver.counting(), "counts");
        giver.rows_about(&parts).unwrap()
    }

    #[test]
    fn entries_of_several_runs_are_expected_about_as_many_as_there_are() {
        for (runs, entries) in [
            (vec![0..0, 0..40_000], 40_000),
            // The same keys again and again.
            (vec![0..40_000, 0..40_000, 10_000..40_000], 40_000),
            // Other keys in each.
            (vec![60_000..90_000, 40_000..60_000, 0..40_000], 90_000),
            // Some of both.
            (vec![20_000..60_000, 0..40_000], 60_000),
        ] {
            let (about, at_most) = expected(&runs);
            let rows: u64 = runs.iter().map(|keys| keys.end - keys.start).sum();
            assert!(
                at_most >= rows && about <= at_most,
                "{runs:?}: {about} of {at_most}"
            );
            assert!(about.abs_diff(entries) * 10 < entries, "{runs:?}: {about}");
        }
    }

    /// One file, and how often it was opened.
    struct OneFile(Vec<u8>, AtomicUsize);

    impl RunFiles for OneFile {
        fn open_file(&self, _: &str) -> io::Result<Box<dyn ReadAt>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(self.0.clone()))
        }
        fn path(&self, handle: &RunHandle) -> Option<PathBuf> {
            Some(PathBuf::from(&handle.file))
        }
    }

    /// A state that takes runs over, and counts them.
    struct Adopting(usize);

    impl Snapshot for Adopting {
        fn size(&self) -> StateSize {
            StateSize::default()
        }
        fn freeze(&mut self, _: Epoch, kind: CutKind) -> CutKind {
            kind
        }
        fn is_cutting(&self) -> bool {
            false
        }
        fn emit(&mut self, _: usize, _: &mut dyn RowSink) -> Result<Scan, StateError> {
            Ok(Scan::Done)
        }
        fn cut_failed(&mut self) {}
        fn restore(&mut self, _: Row<'_>) -> Result<(), StateError> {
            unreachable!("it takes over runs")
        }
        fn adopts(&self, _: u64) -> Adopts {
            Adopts::Runs
        }
        fn adopt(&mut self, runs: Vec<AdoptedRun>) -> Result<(), StateError> {
            self.0 += runs.len();
            Ok(())
        }
        fn forget_copies(&mut self) {}
    }

    #[test]
    fn a_file_of_several_states_is_opened_once_and_taken_over_where_it_has_rows() {
        let mut writer = RunWriter::new(RunOptions::default());
        let declared: Vec<_> = ["one", "two", "three"]
            .into_iter()
            .map(StateDescriptor::value::<u64>)
            .collect();
        for descriptor in &declared {
            let mut described = Vec::new();
            descriptor.encode(&mut described);
            let header = StateHeader {
                name: descriptor.name().to_owned(),
                descriptor: described,
                full: false,
            };
            writer.declare(header).unwrap();
        }
        for state in [0, 2] {
            let mut rows = writer.rows_of(StateNumber(state)).unwrap();
            rows.row(Row {
                group: KeyGroup(7),
                key: b"key",
                namespace: b"",
                value: None,
            });
        }
        let (bytes, summary) = writer.finish().unwrap();
        let handle = |number| RunHandle {
            file: "the.run".to_owned(),
            bytes: summary.bytes,
            checksum: summary.checksum,
            rows: 1,
            groups: 0..128,
            full: false,
            only: Some(StateNumber(number)),
        };
        let files = Arc::new(OneFile(bytes, AtomicUsize::new(0)));
        let restored = RestoredState {
            operators: Vec::new(),
            in_flight: Vec::new(),
            files: Arc::clone(&files) as _,
            keeps_files: true,
            allow_unclaimed: false,
        };
        let mut states = [const { Adopting(0) }; 3];
        let given = restored.give_back(&[handle(0), handle(1), handle(2)], |visitor| {
            let mut shown = declared.iter().zip(&mut states);
            shown.try_for_each(|(descriptor, state)| visitor.visit(descriptor, state))
        });
        given.unwrap();
        assert_eq!(files.1.load(Ordering::Relaxed), 1, "opened");
        assert_eq!(states.map(|state| state.0), [1, 0, 1]);
    }

    #[thalweg_memory::record(name = "Order", crate = thalweg_memory)]
    struct OrderV1 {
        id: u64,
    }

    #[thalweg_memory::record(crate = thalweg_memory)]
    struct Order {
        id: u64,
        paid: bool,
    }

    /// What a run says of the state: all that it can, or what engines said that kept names only.
    fn said(descriptor: &StateDescriptor, fields: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        descriptor.encode(&mut bytes);
        // The former program called the former type as the present one calls the present type.
        let text = String::from_utf8(bytes).unwrap();
        let mut bytes = text.replace("::OrderV1", "::Order").into_bytes();
        if !fields {
            let none = [&b"()\0\x01()\0\x01"[..], b"$0\nOrder{id: u64}\0\x01"].concat();
            assert!(bytes.ends_with(&none));
            bytes.truncate(bytes.len() - none.len());
            bytes[0] = 1;
        }
        bytes
    }

    #[test]
    fn a_run_that_tells_no_fields_is_of_the_type_that_others_of_the_copy_tell() {
        let found = StateDescriptor::value::<OrderV1>("orders");
        let run = |fields| {
            let mut writer = RunWriter::new(RunOptions::default());
            let header = StateHeader {
                name: "orders".to_owned(),
                descriptor: said(&found, fields),
                full: false,
            };
            writer.declare(header).unwrap();
            writer.finish().unwrap().0
        };
        let way = |files: &[Vec<u8>]| {
            let giver = giver_of(files);
            let now = StateDescriptor::value::<Order>("orders")
                .migrated_from(1, |OrderV1 { id }| Order { id, paid: false });
            let (parts, _) = counting(&giver.counting(), "orders");
            let way = giver.migration_of(&parts, &now);
            way.map(|way| way.is_some())
        };
        assert_eq!(way(&[run(true)]), Ok(true));
        assert_eq!(way(&[run(true), run(false)]), Ok(true));
        let refused = way(&[run(false)]).unwrap_err();
        assert!(refused.contains("migrated_from_named"), "{refused}");
    }
}
