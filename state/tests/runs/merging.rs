//! Order over sections, entries looked for, and runs merged, each against a map.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use thalweg_core::KeyGroup;
use thalweg_state::run::{
    Below, Clip, CountingRun, Found, Merge, ReadAt, RunError, RunOptions, RunReader, RunSearch,
    RunWriter, StateNumber, counting,
};
use thalweg_state::{RowSink, Scan};

use crate::model::{Entry, GROUPS, Place, STATES, entries, header, meaning, options, walk, write};

type Run = RunReader<Vec<u8>>;
type Meaning = BTreeMap<Place, Option<Vec<u8>>>;

/// A run of drawn rows, which of its states are full, and the groups for which it counts.
#[derive(Clone, Debug)]
struct Drawn {
    rows: Vec<Entry>,
    options: RunOptions,
    full: [bool; STATES as usize],
    /// The order in which the states are declared.
    turned: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let full = [(); STATES as usize].map(|()| prop::bool::weighted(0.3));
    let parts = (entries(120), options(), full, any::<bool>());
    parts.prop_map(|(rows, options, full, turned)| Drawn {
        rows,
        options,
        full,
        turned,
    })
}

impl Drawn {
    fn run(&self, name: usize) -> Result<Run, RunError> {
        let mut writer = RunWriter::new(self.options);
        let mut numbers = [StateNumber(0); STATES as usize];
        let mut states: Vec<u16> = (0..STATES).collect();
        if self.turned {
            states.reverse();
        }
        for state in states {
            let place = usize::from(state);
            let mut header = header(state);
            header.full = self.full[place];
            numbers[place] = writer.declare(header)?;
        }
        for entry in &self.rows {
            writer
                .rows_of(numbers[usize::from(entry.state)])?
                .row(entry.row());
        }
        RunReader::open(format!("run-{name}"), writer.finish()?.0)
    }
}

/// What runs, newest first, mean together: the reading rule said another way.
fn together(runs: &[(&Drawn, Range<u16>)]) -> Meaning {
    let mut all = Meaning::new();
    for (drawn, groups) in runs.iter().rev() {
        let full = |state: u16| drawn.full[usize::from(state)];
        all.retain(|(state, group, ..), _| !(full(*state) && groups.contains(group)));
        let rows = meaning(&drawn.rows).into_iter();
        all.extend(rows.filter(|((_, group, ..), _)| groups.contains(group)));
    }
    all
}

/// Only what is there.
fn values(all: Meaning) -> Meaning {
    all.into_iter()
        .filter(|(_, value)| value.is_some())
        .collect()
}

/// What a reader finds who follows the reading rule, states by their names.
fn read(runs: &[(&Run, Range<u16>)]) -> Result<Meaning, RunError> {
    let runs: Vec<_> = runs
        .iter()
        .cloned()
        .map(|(run, groups)| CountingRun {
            run,
            groups,
            only: None,
        })
        .collect();
    let mut all = Meaning::new();
    for state in 0..STATES {
        let (parts, _) = counting(&runs, &header(state).name);
        for part in parts {
            let clip = Clip::all().of_state(part.state).within(part.groups);
            let of_run = meaning(&walk(runs[part.run].run, clip)?);
            for ((_, group, key, namespace), value) in of_run {
                all.entry((state, group, key, namespace)).or_insert(value);
            }
        }
    }
    Ok(all)
}

fn merge<R: ReadAt>(
    runs: Vec<CountingRun<'_, R>>,
    below: Below,
    budget: usize,
    expired: impl Fn(&Entry) -> bool,
) -> Result<Vec<u8>, RunError> {
    let options = RunOptions::default()
        .with_section_bytes(2_048)
        .with_block_bytes(200);
    let mut merge = Merge::new(runs, below, options)?;
    let mut bytes = Vec::new();
    let mut hook = |_: &_, row: &thalweg_state::Row<'_>| expired(&Entry::of(StateNumber(0), *row));
    while merge.advance(budget, &mut hook)? == Scan::More {
        bytes.extend(merge.take_output());
    }
    let (last, summary) = merge.finish()?;
    bytes.extend(last);
    assert_eq!(
        RunReader::open("merged", &bytes)?.verify()?,
        summary.checksum
    );
    Ok(bytes)
}

/// Some values are taken for expired.
fn odd(entry: &Entry) -> bool {
    entry
        .value
        .as_ref()
        .is_some_and(|value| value.first().is_some_and(|byte| byte % 2 == 1))
}

proptest! {
    #[test]
    fn a_sorted_walk_shows_each_entry_once_in_order(
        rows in entries(300),
        options in options(),
        (from, to) in (0..=GROUPS, 0..=GROUPS),
    ) {
        let run = RunReader::open("run", write(&rows, options, 50)?.0)?;
        for state in 0..STATES {
            let mut walk = run.sorted(StateNumber(state), from..to);
            let mut got = Vec::new();
            while let Some(row) = walk.next_row()? {
                got.push(Entry::of(StateNumber(state), row));
            }
            let asked = |(place, _): &(Place, _)| place.0 == state && (from..to).contains(&place.1);
            let expected = meaning(&rows).into_iter().filter(asked);
            let got = got.into_iter().map(|entry| (entry.place(), entry.value));
            prop_assert!(got.eq(expected));
        }
    }

    #[test]
    fn a_search_finds_what_is_there_and_nothing_else(
        rows in entries(300),
        others in entries(60),
        options in options(),
    ) {
        let run = RunReader::open("run", write(&rows, options, 50)?.0)?;
        let mut search = RunSearch::open(run)?;
        let all = meaning(&rows);
        for entry in rows.iter().chain(&others) {
            let Entry { state, group, key, namespace, .. } = entry;
            let found = search.find(StateNumber(*state), KeyGroup(*group), key, namespace)?;
            let expected = match all.get(&entry.place()) {
                Some(Some(value)) => Found::Put(value),
                Some(None) => Found::Tombstone,
                None => Found::Absent,
            };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_reading_rule_is_that_of_the_model(
        drawn in vec((drawn(), (0..=GROUPS, 0..=GROUPS)), 1..5),
    ) {
        let runs: Result<Vec<Run>, _> = drawn.iter().map(|(one, _)| one.run(0)).collect();
        let runs = runs?;
        let ranges = || drawn.iter().map(|(_, (from, to))| *from..*to);
        let readable: Vec<_> = runs.iter().zip(ranges()).collect();
        let model: Vec<_> = drawn.iter().map(|(one, _)| one).zip(ranges()).collect();
        prop_assert_eq!(values(read(&readable)?), values(together(&model)));
    }

    #[test]
    fn a_merged_run_says_what_its_runs_said(
        drawn in vec(drawn(), 1..5),
        below in proptest::option::of(drawn()),
        (from, to) in (0..GROUPS, 0..=GROUPS),
        budget in 1..200_usize,
        expiring: bool,
    ) {
        let groups = from..to.max(from + 1);
        let runs: Result<Vec<Run>, _> = drawn.iter().enumerate().map(|(at, one)| one.run(at)).collect();
        let runs = runs?;
        let counting: Vec<_> =
            runs.iter().map(|run| CountingRun { run, groups: groups.clone(), only: None }).collect();
        let lies_below = if below.is_some() { Below::OlderRuns } else { Below::Nothing };
        let expired = |entry: &Entry| expiring && odd(entry);
        let merged = merge(counting, lies_below, budget, expired)?;
        let merged = RunReader::open("merged", merged)?;

        let mut model: Vec<_> = drawn.iter().map(|one| (one, groups.clone())).collect();
        let mut expected = together(&model);
        for ((_, group, key, namespace), value) in &mut expected {
            let entry = Entry {
                state: 0,
                group: *group,
                key: key.clone(),
                namespace: namespace.clone(),
                value: value.clone(),
            };
            if expired(&entry) {
                *value = None;
            }
        }
        let Some(below) = &below else {
            let tombstones = walk(&merged, Clip::all().tombstones())?;
            prop_assert!(tombstones.is_empty(), "nothing lies below");
            prop_assert!(merged.states().iter().all(|state| state.full));
            prop_assert_eq!(read(&[(&merged, groups)])?, values(expected));
            return Ok(());
        };
        // What was merged shadows the older run as its parts did.
        model.push((below, groups.clone()));
        let mut all = together(&model);
        for (place, value) in expected {
            all.insert(place, value);
        }
        let older = below.run(9)?;
        let got = read(&[(&merged, groups.clone()), (&older, groups)])?;
        prop_assert_eq!(values(got), values(all));
    }
}

fn one_state(descriptor: u8, full: bool) -> Result<Run, RunError> {
    let mut writer = RunWriter::new(RunOptions::default());
    let descriptor = vec![descriptor];
    writer.declare(thalweg_state::run::StateHeader {
        name: "clicks".into(),
        descriptor,
        full,
    })?;
    RunReader::open(format!("run-{}", u8::from(full)), writer.finish()?.0)
}

#[test]
fn what_cannot_be_merged_is_refused_by_name() -> Result<(), RunError> {
    let (old, new) = (one_state(1, true)?, one_state(2, false)?);
    let all = |run| CountingRun {
        run,
        groups: 0..8,
        only: None,
    };
    let refused = Merge::new(
        vec![all(&new), all(&old)],
        Below::Nothing,
        RunOptions::default(),
    );
    let words = refused.map(|_| ()).map_err(|error| error.to_string());
    assert!(words.is_err_and(|it| it.contains("'clicks'") && it.contains("'run-1'")));

    let same = one_state(1, false)?;
    let runs = || {
        vec![
            CountingRun {
                run: &same,
                groups: 0..8,
                only: None,
            },
            CountingRun {
                run: &old,
                groups: 0..4,
                only: None,
            },
        ]
    };
    let refused = Merge::new(runs(), Below::OlderRuns, RunOptions::default()).map(|_| ());
    assert_eq!(
        refused,
        Err(RunError::PartlyFull {
            state: "clicks".into()
        })
    );
    assert!(Merge::new(runs(), Below::Nothing, RunOptions::default()).is_ok());
    Ok(())
}

#[test]
fn a_merge_that_is_not_done_cannot_be_finished() -> Result<(), RunError> {
    let run = one_state(1, true)?;
    let merge = Merge::new(
        vec![CountingRun {
            run: &run,
            groups: 0..8,
            only: None,
        }],
        Below::Nothing,
        RunOptions::default(),
    )?;
    let refused = merge.finish().map(|_| ());
    assert_eq!(
        refused,
        Err(RunError::MergeNotDone {
            state: "clicks".into()
        })
    );
    Ok(())
}

/// A merged run is in order as a whole, so a search reads one block of it, and for what is not there
/// seldom any.
#[test]
fn a_search_reads_one_block_or_none() -> Result<(), RunError> {
    let rows: Vec<Entry> = (0..30_000_u64)
        .map(|i| Entry {
            state: 0,
            group: (i % 128) as u16,
            key: i.to_be_bytes().to_vec(),
            namespace: Vec::new(),
            value: Some(vec![1; 8]),
        })
        .collect();
    let options = RunOptions::default().with_section_bytes(64 << 10);
    let run = RunReader::open("run", write(&rows, options, 1_000)?.0)?;
    let runs = vec![CountingRun {
        run: &run,
        groups: 0..128,
        only: None,
    }];
    let bytes = merge(runs, Below::Nothing, 1_000, |_| false)?;
    let reads = std::cell::Cell::new(0_usize);
    let source = Reads {
        bytes: &bytes,
        reads: &reads,
    };
    let mut search = RunSearch::open(RunReader::open("merged", source)?)?;
    reads.set(0);
    for i in 0..1_000_u64 {
        let found = search.find(
            StateNumber(0),
            KeyGroup((i % 128) as u16),
            &i.to_be_bytes(),
            b"",
        )?;
        assert_eq!(found, Found::Put(&[1; 8]));
    }
    assert_eq!(reads.replace(0), 1_000);
    for i in 0..10_000_u64 {
        let key = (1_000_000 + i).to_be_bytes();
        let found = search.find(StateNumber(0), KeyGroup((i % 128) as u16), &key, b"")?;
        assert_eq!(found, Found::Absent);
    }
    assert!(
        reads.get() <= 200,
        "{} of 10000 searches read a block in vain",
        reads.get()
    );
    Ok(())
}

struct Reads<'a> {
    bytes: &'a [u8],
    reads: &'a std::cell::Cell<usize>,
}

impl ReadAt for Reads<'_> {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), std::io::Error> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.read_at(offset, into)
    }
}
