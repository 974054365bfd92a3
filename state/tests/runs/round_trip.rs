//! What is written comes back: all of it, or the part that is asked for.

use crc32c::crc32c;
use proptest::prelude::*;
use thalweg_core::{ErrorKind, KeyGroup};
use thalweg_state::run::{Clip, RunError, RunOptions, RunReader, RunWriter, StateNumber};
use thalweg_state::{Row, RowSink};

use crate::model::{Entry, GROUPS, STATES, entries, header, meaning, options, walk, write};

proptest! {
    #[test]
    fn a_run_means_what_was_written(rows in entries(300), options in options(), pieces in 1..400_usize) {
        let (bytes, summary) = write(&rows, options, pieces)?;
        prop_assert_eq!((summary.bytes, summary.checksum), (bytes.len() as u64, crc32c(&bytes)));
        prop_assert_eq!(&write(&rows, options, usize::MAX)?.0, &bytes, "however it is taken out");

        let run = RunReader::open("run", bytes)?;
        prop_assert_eq!(run.states(), &(0..STATES).map(header).collect::<Vec<_>>()[..]);
        prop_assert_eq!(run.verify()?, summary.checksum);
        let read = walk(&run, Clip::all())?;
        prop_assert_eq!(meaning(&read), meaning(&rows));
        prop_assert!(read.len() <= rows.len());
        prop_assert_eq!((summary.rows(), run.rows()), (read.len() as u64, read.len() as u64));
        for (state, of_state) in (0..STATES).zip(&summary.states) {
            let count = |put| {
                read.iter().filter(|it| it.state == state && it.value.is_some() == put).count() as u64
            };
            prop_assert_eq!((of_state.puts, of_state.tombstones), (count(true), count(false)));
        }
        let first = read.iter().map(|entry| entry.group).min();
        let last = read.iter().map(|entry| entry.group).max();
        let groups = first.zip(last).map_or(0..0, |(first, last)| first..last + 1);
        prop_assert_eq!(summary.groups, groups);
    }

    #[test]
    fn a_clipped_walk_is_the_whole_walk_clipped(
        rows in entries(300),
        options in options(),
        state in proptest::option::of(0..STATES),
        (from, to) in (0..=GROUPS, 0..=GROUPS),
        puts: bool,
        tombstones: bool,
    ) {
        let run = RunReader::open("run", write(&rows, options, 50)?.0)?;
        let mut clip = Clip::all().within(from..to);
        if let Some(state) = state {
            clip = clip.of_state(StateNumber(state));
        }
        if !puts {
            clip = clip.tombstones();
        }
        if !tombstones {
            clip = clip.puts();
        }
        let asked = |entry: &Entry| {
            (from..to).contains(&entry.group)
                && state.is_none_or(|state| state == entry.state)
                && if entry.value.is_some() { puts } else { tombstones }
        };
        let expected: Vec<Entry> = walk(&run, Clip::all())?.into_iter().filter(asked).collect();
        prop_assert_eq!(walk(&run, clip)?, expected);
    }

    #[test]
    fn one_section_is_in_order_and_has_no_address_twice(rows in entries(200)) {
        let run = RunReader::open("run", write(&rows, RunOptions::default().with_section_bytes(1 << 20), 50)?.0)?;
        let read = walk(&run, Clip::all())?;
        prop_assert!(read.is_sorted_by(|one, next| one.place() < next.place()));
        prop_assert_eq!(read.len(), meaning(&rows).len());
    }
}

/// Also where a row has no bytes by which its place could be told.
#[test]
fn of_two_puts_the_later_counts() -> Result<(), RunError> {
    let put = |value: &[u8]| Entry {
        state: 0,
        group: 0,
        key: Vec::new(),
        namespace: Vec::new(),
        value: Some(value.to_owned()),
    };
    for rows in [[put(b""), put(b"0")], [put(b"0"), put(b"")]] {
        let run = RunReader::open("run", write(&rows, RunOptions::default(), 1)?.0)?;
        assert_eq!(walk(&run, Clip::all())?, rows[1..]);
    }
    Ok(())
}

/// A clip reads what it needs and little more.
#[test]
fn what_is_not_asked_for_is_not_read() -> Result<(), RunError> {
    let rows: Vec<Entry> = (0..20_000_u32)
        .map(|i| Entry {
            state: u16::from(i >= 10_000),
            group: (i % 10_000 / 100) as u16,
            key: i.to_be_bytes().to_vec(),
            namespace: Vec::new(),
            value: (i % 10_000 < 9_900).then(|| vec![7; 20]),
        })
        .collect();
    let options = RunOptions::default().with_section_bytes(32 << 10);
    let (bytes, _) = write(&rows, options, 100)?;
    let source = Counting {
        bytes: &bytes,
        read: 0.into(),
    };
    let run = RunReader::open("run", &source)?;
    let part = |clip: Clip| {
        source.read.set(0);
        let rows = walk(&run, clip)?.len();
        Ok::<_, RunError>((rows, source.read.get()))
    };
    let (all, whole) = part(Clip::all())?;
    assert_eq!(all, 20_000);
    let (hundredth, read) = part(Clip::all().of_state(StateNumber(1)).within(50..51))?;
    assert_eq!(hundredth, 100);
    assert!(read < whole / 40, "{read} of {whole} bytes");
    let (gone, read) = part(Clip::all().tombstones())?;
    assert_eq!(gone, 200);
    assert!(read < whole / 8, "{read} of {whole} bytes");
    assert_eq!(part(Clip::all().of_state(StateNumber(2)))?, (0, 0));
    Ok(())
}

/// Bytes in memory that count how many of them are read.
struct Counting<'a> {
    bytes: &'a [u8],
    read: std::cell::Cell<usize>,
}

impl thalweg_state::run::ReadAt for Counting<'_> {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), std::io::Error> {
        self.read.set(self.read.get() + into.len());
        self.bytes.read_at(offset, into)
    }
}

#[test]
fn a_row_larger_than_blocks_and_sections_comes_back() -> Result<(), RunError> {
    let large = Entry {
        state: 2,
        group: 5,
        key: vec![1; 70_000],
        namespace: vec![2; 3_000],
        value: Some(vec![3; 3_000_000]),
    };
    let small = Entry {
        key: vec![9],
        value: None,
        ..large.clone()
    };
    let rows = [small.clone(), large.clone(), small.clone()];
    let (bytes, summary) = write(&rows, RunOptions::default(), 1)?;
    let run = RunReader::open("run", bytes)?;
    assert_eq!(walk(&run, Clip::all())?, [large, small.clone(), small]);
    assert_eq!(run.verify()?, summary.checksum);
    Ok(())
}

#[test]
fn a_writer_holds_about_one_section() -> Result<(), RunError> {
    let options = RunOptions::default().with_section_bytes(64 << 10);
    let mut writer = RunWriter::new(options);
    let state = writer.declare(header(0))?;
    let mut most = 0;
    for i in 0..200_000_u64 {
        let key = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        let group = KeyGroup((i % 128) as u16);
        let row = Row {
            group,
            key: &key,
            namespace: b"",
            value: Some(&key),
        };
        writer.rows_of(state)?.row(row);
        most = most.max(writer.memory_bytes());
        if writer.ready() > 0 {
            drop(writer.take_output());
        }
    }
    let (_, summary) = writer.finish()?;
    assert_eq!(summary.rows(), 200_000);
    assert!(
        most < 6 * (64 << 10),
        "{most} bytes for a run of {}",
        summary.bytes
    );
    Ok(())
}

#[test]
fn what_no_run_can_hold_is_refused_by_name() -> Result<(), RunError> {
    let mut writer = RunWriter::new(RunOptions::default());
    let state = writer.declare(header(0))?;
    let twice = writer.declare(header(0)).map_err(|error| error.to_string());
    assert!(twice.is_err_and(|error| error.contains("'state-0' is declared twice")));
    let unknown = writer.rows_of(StateNumber(1)).map(|_| ());
    assert_eq!(
        unknown,
        Err(RunError::NoSuchState {
            number: 1,
            states: 1
        })
    );
    let row = Row {
        group: KeyGroup(32_768),
        key: b"",
        namespace: b"",
        value: None,
    };
    writer.rows_of(state)?.row(row);
    let refused = writer
        .finish()
        .map(|_| ())
        .map_err(|error| (error.kind(), error.to_string()));
    let (kind, words) = refused.err().unwrap_or((ErrorKind::Retry, String::new()));
    assert_eq!(kind, ErrorKind::Internal);
    assert!(
        words.contains("'state-0'") && words.contains("32768"),
        "{words}"
    );
    Ok(())
}
