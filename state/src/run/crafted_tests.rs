//! Runs whose checksums are right and whose bytes are not: damage that no checksum notices, or malice.
//!
//! They may be read as other rows, for who can make checksums can make rows. But nothing panics, nothing
//! goes on without end, and no memory is taken for what is not there.

use proptest::collection::vec;
use proptest::prelude::*;
use thalweg_core::KeyGroup;

use super::format::checksum::checksum;
use super::format::envelope::{TRAILER_BYTES, Trailer};
use super::format::footer::Footer;
use super::format::index::{SectionIndex, put_block};
use super::*;
use crate::snapshot::{Row, RowSink};
use crate::table::Scan;

/// A small run of several sections.
fn run() -> Vec<u8> {
    let options = RunOptions::default()
        .with_section_bytes(1_024)
        .with_block_bytes(128);
    let mut writer = RunWriter::new(options);
    let states = [0, 1].map(|state| {
        let (name, descriptor) = (format!("state-{state}"), vec![1, 2]);
        writer
            .declare(StateHeader {
                name,
                descriptor,
                full: false,
            })
            .unwrap()
    });
    for i in 0..90_u16 {
        let (group, key) = (KeyGroup(i / 7), (i / 2).to_be_bytes());
        let value = (!i.is_multiple_of(5)).then_some(&key[..]);
        let namespace = &[i as u8; 3][..usize::from(i % 4).min(3)];
        let mut rows = writer.rows_of(states[usize::from(i % 2)]).unwrap();
        rows.row(Row {
            group,
            key: &key,
            namespace,
            value,
        });
    }
    writer.finish().unwrap().0
}

/// The parts of a run, to be put together again with right checksums.
struct Parts {
    /// Blocks and index of each section.
    sections: Vec<(Vec<Vec<u8>>, Vec<u8>)>,
    footer: Footer,
}

impl Parts {
    fn of(bytes: &[u8]) -> Parts {
        let reader = RunReader::open("run", bytes).unwrap();
        let mut sections = Vec::new();
        for section in reader.sections() {
            let mut index_bytes = Vec::new();
            let index = reader.read_index(section, &mut index_bytes).unwrap();
            let block = |at| {
                let mut block = Vec::new();
                reader.read_block(section, &index, at, &mut block).unwrap();
                block
            };
            sections.push(((0..index.blocks.len()).map(block).collect(), index_bytes));
        }
        let footer = Footer {
            states: reader.states().to_vec(),
            known_by_key: reader.footer().known_by_key.clone(),
            whole_by_key: reader.footer().whole_by_key.clone(),
            sections: reader.sections().to_vec(),
        };
        Parts { sections, footer }
    }

    /// The file; `footer` is called with the bytes of the footer before their checksum is taken.
    fn file(mut self, damage_footer: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut file = format::envelope::header().to_vec();
        for (entry, (blocks, index)) in self.footer.sections.iter_mut().zip(&self.sections) {
            file.extend(blocks.concat());
            file.extend(index);
            entry.blocks_bytes = blocks.concat().len() as u64;
            entry.index_bytes = index.len() as u32;
            entry.index_checksum = checksum(index);
        }
        let mut footer = Vec::new();
        self.footer.write(&mut footer);
        damage_footer(&mut footer);
        let (footer_bytes, footer_checksum) = (footer.len() as u64, checksum(&footer));
        file.extend(footer);
        file.extend(
            Trailer {
                footer_bytes,
                footer_checksum,
            }
            .to_bytes(),
        );
        file
    }

    /// Writes the sizes and checksums of the blocks into the index of a section.
    fn seal(&mut self, section: usize) {
        let (blocks, bytes) = &mut self.sections[section];
        let index = SectionIndex::read(bytes).unwrap();
        let mut sealed = (blocks.len() as u32).to_le_bytes().to_vec();
        for (block, entry) in blocks.iter().zip(&index.blocks) {
            let size = (block.len() as u32, checksum(block), entry.rows);
            put_block(&mut sealed, size, index.first(entry));
        }
        index.filter.write(&mut sealed);
        *bytes = sealed;
    }
}

/// Overwrites, cuts or lengthens.
fn damage(bytes: &mut Vec<u8>, at: prop::sample::Index, new: &[u8], length: i8) {
    if length < 0 {
        bytes.truncate(
            bytes
                .len()
                .saturating_sub(usize::from(length.unsigned_abs())),
        );
    } else {
        bytes.extend(std::iter::repeat_n(
            0xA5,
            usize::from(length.unsigned_abs()) / 8,
        ));
    }
    if !bytes.is_empty() {
        let at = at.index(bytes.len());
        for (byte, new) in bytes[at..].iter_mut().zip(new) {
            *byte = *new;
        }
    }
}

/// Does with a file all that can be done.
fn survive(file: &[u8]) {
    let Ok(reader) = RunReader::open("crafted", file) else {
        return;
    };
    assert!(reader.memory_bytes() < 64 * file.len() + 4_096);
    let mut walk = reader.walk(Clip::all());
    let mut rows = 0;
    while let Ok(Some(_)) = walk.next_row() {
        rows += 1;
    }
    assert!(rows <= file.len(), "a row has a byte at least");
    let mut clipped = reader.walk(Clip::all().within(3..5).tombstones());
    while let Ok(Some((_, row))) = clipped.next_row() {
        assert!((3..5).contains(&row.group.0) && row.is_tombstone());
    }
    let states = reader.states().len().min(4) as u16;
    for state in 0..states {
        let mut sorted = reader.sorted(StateNumber(state), 0..100);
        while let Ok(Some(_)) = sorted.next_row() {}
    }
    if let Ok(sum) = reader.verify() {
        assert_eq!(sum, checksum(file));
    }
    let runs = vec![CountingRun {
        run: &reader,
        groups: 0..100,
        only: None,
    }];
    if let Ok(mut merge) = Merge::new(runs, Below::Nothing, RunOptions::default()) {
        while merge.advance(100, &mut |_, _| false) == Ok(Scan::More) {}
    }
    if let Ok(mut search) = RunSearch::open(reader) {
        for i in 0..20_u16 {
            let _ = search.find(StateNumber(i % 3), KeyGroup(i / 7), &i.to_be_bytes(), b"");
        }
        assert!(search.memory_bytes() < 64 * file.len() + 4_096);
    }
}

proptest! {
    #[test]
    fn a_crafted_footer_is_survived(at: prop::sample::Index, new in vec(any::<u8>(), 0..9), length in -40..40_i8) {
        survive(&Parts::of(&run()).file(|footer| damage(footer, at, &new, length)));
    }

    #[test]
    fn a_crafted_index_is_survived(
        section: prop::sample::Index,
        at: prop::sample::Index,
        new in vec(any::<u8>(), 0..9),
        length in -40..40_i8,
    ) {
        let mut parts = Parts::of(&run());
        let section = section.index(parts.sections.len());
        damage(&mut parts.sections[section].1, at, &new, length);
        survive(&parts.file(|_| {}));
    }

    #[test]
    fn a_crafted_block_is_survived(
        section: prop::sample::Index,
        block: prop::sample::Index,
        at: prop::sample::Index,
        new in vec(any::<u8>(), 0..9),
        length in -40..40_i8,
    ) {
        let mut parts = Parts::of(&run());
        let section = section.index(parts.sections.len());
        let blocks = &mut parts.sections[section].0;
        let block = block.index(blocks.len());
        damage(&mut blocks[block], at, &new, length);
        parts.seal(section);
        survive(&parts.file(|_| {}));
    }
}

#[test]
fn parts_put_together_are_the_run() {
    let run = run();
    let mut parts = Parts::of(&run);
    assert!(parts.sections.len() > 2);
    (0..parts.sections.len()).for_each(|section| parts.seal(section));
    assert_eq!(parts.file(|_| {}), run);
    assert!(run.len() > TRAILER_BYTES);
}

/// What is verified is not only what checksums say.
#[test]
fn a_false_count_a_false_order_and_a_false_filter_are_noticed() {
    let what = |parts: Parts| match RunReader::open("run", parts.file(|_| {})).unwrap().verify() {
        Err(RunError::Damaged { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let mut parts = Parts::of(&run());
    parts.footer.sections[1].extents[0].puts += 1;
    assert!(what(parts).contains("does not hold what the footer says"));

    let mut parts = Parts::of(&run());
    let bytes = &mut parts.sections[0].1;
    bytes[12] ^= 1;
    assert!(what(parts).contains("as many rows"));

    let mut parts = Parts::of(&run());
    let bytes = &mut parts.sections[0].1;
    let length = bytes.len();
    bytes[length - 32..].fill(0);
    assert!(what(parts).contains("the filter denies"));

    let mut parts = Parts::of(&run());
    let (blocks, _) = &mut parts.sections[0];
    let first = blocks[0].clone();
    blocks[1] = first;
    parts.seal(0);
    assert!(what(parts).contains("does not begin as the index says"));
}
