//! What was damaged is noticed: no panic, no wrong row.

use proptest::collection::vec;
use proptest::prelude::*;
use thalweg_core::ErrorKind;
use thalweg_state::run::{Clip, ReadAt, RunError, RunOptions, RunReader};

use crate::model::{Entry, entries, options, walk, write};

fn entry(state: u16, i: u16, value: Option<Vec<u8>>) -> Entry {
    let (key, namespace) = (i.to_be_bytes().to_vec(), vec![i as u8; usize::from(i % 3)]);
    Entry {
        state,
        group: i / 8,
        key,
        namespace,
        value,
    }
}

/// A small run of each shape, with its name.
fn shapes() -> Vec<(&'static str, Vec<u8>)> {
    let small = RunOptions::default()
        .with_section_bytes(1_024)
        .with_block_bytes(128);
    let value = |i: u16| (!i.is_multiple_of(4)).then(|| vec![i as u8; usize::from(i % 7)]);
    let many: Vec<Entry> = (0..60).map(|i| entry(i % 3, i, value(i))).collect();
    let gone: Vec<Entry> = (0..10).map(|i| entry(1, i, None)).collect();
    let large = [
        entry(0, 1, Some(vec![5; 1_200])),
        entry(0, 2, Some(vec![6; 3])),
    ];
    let shapes: [(_, &[Entry], _); 6] = [
        ("empty", &[], small),
        ("one row", &many[..1], small),
        ("many sections", &many, small),
        ("one section", &many, RunOptions::default()),
        (
            "tombstones without filter",
            &gone,
            small.with_filter_bits(0),
        ),
        ("large row", &large, small),
    ];
    let written = shapes.map(|(name, rows, options)| (name, write(rows, options, 7).unwrap().0));
    written.to_vec()
}

/// Rows until the end or the first error, and the error.
fn rows_until_trouble<R: ReadAt>(run: &RunReader<R>) -> (Vec<Entry>, Option<RunError>) {
    let mut walk = run.walk(Clip::all());
    let mut rows = Vec::new();
    loop {
        match walk.next_row() {
            Ok(Some((state, row))) => rows.push(Entry::of(state, row)),
            Ok(None) => return (rows, None),
            Err(error) => {
                let again = walk.next_row().map(|row| row.is_some());
                assert_eq!(again, Err(error.clone()), "the walk stays with its error");
                return (rows, Some(error));
            }
        }
    }
}

/// Asserts that a file that differs from a run is refused, after nothing but true rows.
fn assert_noticed(whole: &[Entry], damaged: Vec<u8>, what: &str) {
    let length = damaged.len() as u64;
    let error = match RunReader::open("run-7", damaged) {
        Err(error) => error,
        Ok(run) => {
            let (rows, _) = rows_until_trouble(&run);
            assert_eq!(rows, whole[..rows.len()], "{what}");
            let Err(error) = run.verify() else {
                panic!("{what}: not noticed");
            };
            error
        }
    };
    match &error {
        RunError::Damaged { offset, .. } => assert!(*offset <= length, "{what}: {error}"),
        RunError::NotARun { .. } => {}
        other => panic!("{what}: {other}"),
    }
    let words = error.to_string();
    assert!(words.contains("'run-7'"), "{what}: {words}");
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (name, bytes) in shapes() {
        let whole = walk(&RunReader::open("run", &bytes).unwrap(), Clip::all()).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_noticed(
                &whole,
                damaged,
                &format!("{name}, bit {bit} of {}", 8 * bytes.len()),
            );
        }
    }
}

#[test]
fn every_cut_and_every_byte_too_many_is_noticed_at_once() {
    for (name, bytes) in shapes() {
        for length in 0..bytes.len() {
            let error = RunReader::open("run-7", &bytes[..length])
                .map(|_| ())
                .unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Data,
                "{name}, {length} bytes: {error}"
            );
        }
        for more in 1..40 {
            for byte in [0, bytes[0], 0xFF] {
                let mut longer = bytes.clone();
                longer.extend(vec![byte; more]);
                assert!(
                    RunReader::open("run-7", longer).is_err(),
                    "{name}, {more} more"
                );
            }
        }
    }
}

#[test]
fn zeroed_and_swapped_pages_are_noticed() {
    for (name, bytes) in shapes() {
        let whole = walk(&RunReader::open("run", &bytes).unwrap(), Clip::all()).unwrap();
        for page in [32, 128, 512] {
            let pages = bytes.len() / page;
            for at in 0..pages {
                let mut zeroed = bytes.clone();
                zeroed[at * page..][..page].fill(0);
                if zeroed != bytes {
                    assert_noticed(
                        &whole,
                        zeroed,
                        &format!("{name}, page {at} of {page} zeroed"),
                    );
                }
                let mut swapped = bytes.clone();
                let (one, other) = swapped.split_at_mut((at + 1) * page);
                if let Some(other) = other.get_mut(..page) {
                    one[at * page..].swap_with_slice(other);
                }
                if swapped != bytes {
                    assert_noticed(
                        &whole,
                        swapped,
                        &format!("{name}, page {at} of {page} swapped"),
                    );
                }
            }
        }
    }
}

#[test]
fn a_part_of_another_run_is_noticed() {
    let value = |i: u16, of: u8| Some(vec![of; 4 + usize::from(i % 2)]);
    let run = |of: u8| {
        let rows: Vec<Entry> = (0..200).map(|i| entry(0, i, value(i, of))).collect();
        write(&rows, RunOptions::default().with_section_bytes(1_024), 9)
            .unwrap()
            .0
    };
    let (one, other) = (run(1), run(2));
    assert_eq!(one.len(), other.len(), "of one shape");
    let whole = walk(&RunReader::open("run", &one).unwrap(), Clip::all()).unwrap();
    for page in [64, 512] {
        for at in 0..one.len() / page {
            let mut mixed = one.clone();
            mixed[at * page..][..page].copy_from_slice(&other[at * page..][..page]);
            if mixed != one && mixed != other {
                assert_noticed(
                    &whole,
                    mixed,
                    &format!("page {at} of {page} from another run"),
                );
            }
        }
    }
}

#[test]
fn a_foreign_file_and_a_later_format_are_told_from_damage() {
    let foreign = RunReader::open("notes.txt", b"Nothing in here is a run.".as_slice());
    let words = foreign.map(|_| ()).unwrap_err();
    assert_eq!(
        (words.kind(), words),
        (
            ErrorKind::Invalid,
            RunError::NotARun {
                file: "notes.txt".into()
            }
        )
    );

    let mut later = shapes()[1].1.clone();
    later[8..12].copy_from_slice(&3_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&later[..12]);
    later[12..16].copy_from_slice(&checksum.to_le_bytes());
    let newer = RunReader::open("run-7", later).map(|_| ()).unwrap_err();
    assert_eq!(
        newer,
        RunError::Newer {
            file: "run-7".into(),
            found: 3,
            known: 2
        }
    );
    assert!(
        newer.to_string().contains("use the release that wrote it"),
        "{newer}"
    );
}

/// A source that fails is no damage.
#[test]
fn trouble_of_the_disk_is_told_from_damage() {
    struct Broken(Vec<u8>);
    impl ReadAt for Broken {
        fn length(&self) -> u64 {
            self.0.length()
        }
        fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), std::io::Error> {
            if offset == 16 {
                return Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
            }
            self.0.read_at(offset, into)
        }
    }
    let run = RunReader::open("run-7", Broken(shapes()[2].1.clone())).unwrap();
    let (rows, error) = rows_until_trouble(&run);
    let error = error.unwrap();
    assert_eq!((rows.len(), error.kind()), (0, ErrorKind::Retry));
    assert!(
        error
            .to_string()
            .contains("'run-7' cannot be read at byte 16"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..400), begun: bool, ended: bool) {
        let (_, run) = &shapes()[1];
        let mut file = if begun { run[..16].to_vec() } else { Vec::new() };
        file.extend(bytes);
        if ended {
            file.extend(&run[run.len() - 28..]);
        }
        prop_assume!(&file != run);
        prop_assert!(RunReader::open("run", file).is_err());
    }

    #[test]
    fn damage_anywhere_in_any_run_is_noticed(
        rows in entries(120),
        options in options(),
        at: prop::sample::Index,
        bytes in vec(any::<u8>(), 1..20),
    ) {
        let run = write(&rows, options, 50)?.0;
        let whole = walk(&RunReader::open("run", &run)?, Clip::all())?;
        let mut damaged = run.clone();
        let at = at.index(run.len());
        for (byte, new) in damaged[at..].iter_mut().zip(bytes) {
            *byte = new;
        }
        prop_assume!(damaged != run);
        assert_noticed(&whole, damaged, "drawn damage");
    }
}
