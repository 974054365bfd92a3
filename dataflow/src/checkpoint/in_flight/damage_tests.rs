//! A file of records in flight damaged at every bit and cut at every byte.

use std::io;

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::ids::OperatorId;
use thalweg_memory::{EntryLayout, Mark, Remainder};
use thalweg_state::run::ReadAt;
use thalweg_state::snapshot::{ChannelPath, InFlightSection};

use super::format::{SectionContent, check_file, header, read_section, write_section};
use super::replay::read;
use crate::checkpoint::restored::RunFiles;

struct OneFile(Vec<u8>);

impl RunFiles for OneFile {
    fn open_file(&self, _file: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(self.0.clone()))
    }
}

/// Two channels, one with marks of every kind, and an empty buffer between.
fn contents() -> [SectionContent; 2] {
    let rest = |bytes: &[u8], marks: Vec<(u32, Mark)>| Remainder {
        bytes: bytes.to_vec(),
        marks,
    };
    let marks = vec![
        (0, Mark::Idle),
        (1, Mark::Watermark(Watermark(Timestamp(-7)))),
        (1, Mark::Active),
    ];
    let of = |hash, timestamp, buffers| SectionContent {
        layout: EntryLayout { hash, timestamp },
        buffers,
    };
    [
        of(
            true,
            false,
            vec![rest(&[1, 2, 3], marks), rest(&[], Vec::new())],
        ),
        of(false, true, vec![rest(&[0; 24], Vec::new())]),
    ]
}

/// A whole file and its sections.
fn file() -> (Vec<u8>, Vec<InFlightSection>) {
    let mut bytes = header();
    let section = |content: &SectionContent| {
        let offset = bytes.len();
        let checksum = write_section(content, &mut bytes);
        InFlightSection {
            path: ChannelPath {
                receiver: OperatorId(2),
                input: 0,
                to: 0,
                sender: OperatorId(1),
                port: 0,
                from: 0,
                keyed: true,
            },
            at_sender: false,
            offset: offset as u64,
            bytes: (bytes.len() - offset) as u64,
            checksum,
        }
    };
    let sections = contents().iter().map(section).collect();
    (bytes, sections)
}

/// What of the sections can be read of these bytes, each as the engine reads it.
fn read_all(bytes: &[u8], sections: &[InFlightSection]) -> Vec<Option<SectionContent>> {
    let files = OneFile(bytes.to_vec());
    let content = |section| {
        let bytes = read(&files, "file", section).ok()?;
        Some(read_section(&bytes).expect("what has its checksum makes sense"))
    };
    sections.iter().map(content).collect()
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (whole, sections) = file();
    let receipt = check_file(&whole).unwrap();
    let right: Vec<_> = contents().into_iter().map(Some).collect();
    assert_eq!(read_all(&whole, &sections), right);
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(check_file(&damaged).ok() != Some(receipt), "bit {bit}");
        let at = bit as u64 / 8;
        for (section, (found, right)) in
            (sections.iter()).zip(read_all(&damaged, &sections).iter().zip(&right))
        {
            let hit = at < header().len() as u64
                || (section.offset..section.offset + section.bytes).contains(&at);
            let expected = if hit { &None } else { right };
            assert_eq!(found, expected, "bit {bit}, section at {}", section.offset);
        }
        // Without a checksum too: it is refused, or read as what it says.
        for section in &sections {
            let (from, to) = (section.offset, section.offset + section.bytes);
            let bytes = &damaged[from as usize..to as usize];
            if let Ok(content) = read_section(bytes) {
                let mut again = Vec::new();
                write_section(&content, &mut again);
                assert_eq!(again, bytes, "bit {bit}");
            }
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    let (whole, sections) = file();
    let receipt = check_file(&whole).unwrap();
    for cut in 0..whole.len() {
        let short = &whole[..cut];
        assert!(check_file(&short).ok() != Some(receipt), "{cut}");
        for (section, found) in sections.iter().zip(read_all(short, &sections)) {
            let there = section.offset + section.bytes <= cut as u64;
            assert_eq!(found.is_some(), there, "cut at {cut}");
            let (from, to) = (section.offset as usize, cut);
            if !there && from <= to {
                assert!(read_section(&whole[from..to]).is_err(), "cut at {cut}");
            }
        }
    }
}
