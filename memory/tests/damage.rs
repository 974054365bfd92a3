//! Bytes from another process: whole ones are taken as they are, damaged ones are refused or still read
//! as some valid record, never as undefined behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::ids::ShardId;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::{
    Buffer, BufferWriter, Cursor, Entry, EntryLayout, KeyValue, Mark, Record, Segment, Str, View,
    Wire, record,
};

#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Nothing,
    Click {
        user: u32,
        page: String,
        tags: Vec<Option<String>>,
    },
    Nested(Box<Event>),
    Letter(char, bool, Result<u8, String>),
    Table(BTreeMap<String, Vec<u16>>),
}

const LAYOUT: EntryLayout = EntryLayout {
    hash: true,
    timestamp: true,
};

fn events() -> Vec<Event> {
    let click = Event::Click {
        user: 7,
        page: "/a/page/with/a/long/name".into(),
        tags: vec![
            None,
            Some("short".into()),
            Some("a tag of more than eight".into()),
        ],
    };
    let table = (0..30)
        .map(|key| (format!("key number {key}"), vec![key; 3]))
        .collect();
    vec![
        Event::Nothing,
        click.clone(),
        Event::Nested(Box::new(Event::Nested(Box::new(click)))),
        Event::Letter('ß', true, Err("an error with text".into())),
        Event::Table(table),
    ]
}

fn written<R: Record>(items: &[R]) -> (Segment, usize) {
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 8192));
    for item in items {
        writer
            .put::<R>(LAYOUT, KeyHash(5), Timestamp(6), item)
            .unwrap();
    }
    let used = writer.used_bytes();
    (writer.seal().into_segment().unwrap(), used)
}

/// Reads every record in full, in every form; damage that passed the check must not hurt here.
fn read<R: Record + std::fmt::Debug>(buffer: &Buffer) -> usize {
    let (mut cursor, mut entries, mut seen) = (Cursor::default(), [Entry::default(); 3], 0);
    loop {
        let count = buffer.scan::<R>(LAYOUT, &mut cursor, &mut entries);
        if count == 0 {
            return seen;
        }
        for entry in &entries[..count] {
            let owned = buffer.item::<R>(entry);
            std::hint::black_box(format!("{owned:?}"));
            let _ = buffer.item::<View<R>>(entry);
            seen += 1;
        }
    }
}

#[test]
fn whole_bytes_are_adopted() {
    let (segment, used) = written(&events());
    let marks = [
        (0, Mark::Idle),
        (5, Mark::Watermark(Watermark(Timestamp(9)))),
    ];
    let Ok(buffer) = Buffer::adopt::<Event>(segment, LAYOUT, used, &marks) else {
        panic!("what was written is valid");
    };
    assert_eq!(
        (buffer.records(), read::<Event>(&buffer)),
        (5, 0),
        "a mark stands first"
    );
    let mut cursor = Cursor::default();
    assert_eq!(buffer.take_mark(&mut cursor), Some(Mark::Idle));
    let mut entries = [Entry::default(); 9];
    assert_eq!(buffer.scan::<Event>(LAYOUT, &mut cursor, &mut entries), 5);
    let seen: Vec<_> = entries[..5]
        .iter()
        .map(|entry| buffer.item::<Event>(entry))
        .collect();
    assert_eq!(seen, events());
    assert!(
        entries[..5]
            .iter()
            .all(|entry| (entry.hash, entry.at) == (KeyHash(5), Timestamp(6)))
    );
    assert!(buffer.take_mark(&mut cursor).is_some() && buffer.is_read(&cursor));
}

#[test]
fn fixed_records_and_pairs_are_adopted() {
    let (segment, used) = written(&[(true, 'a', 1u128), (false, 'b', 2)]);
    assert!(Buffer::adopt::<(bool, char, u128)>(segment, LAYOUT, used, &[]).is_ok());
    let (segment, used) = written(&[("word of some length".to_owned(), 3u64)]);
    let Ok(buffer) = Buffer::adopt::<KeyValue<Str, u64>>(segment, LAYOUT, used, &[]) else {
        panic!("a pair is a tuple");
    };
    assert_eq!(read::<(String, u64)>(&buffer), 1);
}

fn refused<W: Wire>(segment: Segment, used: usize, marks: &[(u32, Mark)]) -> String {
    match Buffer::adopt::<W>(segment, LAYOUT, used, marks) {
        Ok(buffer) => panic!("{buffer:?} is not valid"),
        Err((segment, damage)) => {
            assert_eq!(segment.len(), 8192, "the segment comes back");
            damage.to_string()
        }
    }
}

#[test]
fn wrong_bytes_are_refused_with_what_is_wrong() {
    let letter = || written(&[(true, 'a', 1u128)]);
    let (mut segment, used) = letter();
    segment.bytes_mut()[16] = 2;
    assert!(
        refused::<(bool, char, u128)>(segment, used, &[]).contains("restart from a checkpoint")
    );
    let (segment, used) = letter();
    assert!(refused::<(bool, char, u128)>(segment, used - 16, &[]).contains("cut off"));
    let (segment, _) = letter();
    assert!(refused::<(bool, char, u128)>(segment, 9000, &[]).contains("9000 bytes"));
    let (segment, used) = letter();
    assert!(refused::<(bool, char, u128)>(segment, used, &[(2, Mark::Idle)]).contains("mark"));
    let (segment, used) = written(&events());
    assert!(refused::<Event>(segment, used - 8, &[]).contains("says it has"));
    let (mut segment, used) = written(&["text".to_owned()]);
    segment.bytes_mut()[4] = 255;
    assert!(refused::<Str>(segment, used, &[]).contains("root"));
    let (mut segment, used) = written(&["a text that is out of line".to_owned()]);
    segment.bytes_mut()[24] = 0xFF;
    let text = refused::<Str>(segment, used, &[]);
    assert!(text.contains("UTF-8"), "{text}");
}

#[test]
fn endless_nesting_is_refused_before_the_stack_ends() {
    let nested = |depth| (0..depth).fold(Event::Nothing, |event, _| Event::Nested(Box::new(event)));
    let (segment, used) = written(&[nested(250)]);
    assert!(Buffer::adopt::<Event>(segment, LAYOUT, used, &[]).is_ok());
    let event = nested(300);
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 1 << 17));
    writer
        .put::<Event>(LAYOUT, KeyHash(5), Timestamp(6), &event)
        .unwrap();
    let used = writer.used_bytes();
    let segment = writer.seal().into_segment().unwrap();
    match Buffer::adopt::<Event>(segment, LAYOUT, used, &[]) {
        Ok(_) => panic!("nested deeper than the limit"),
        Err((_, damage)) => assert!(damage.to_string().contains("nest deeper"), "{damage}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn flipped_bits_are_refused_or_read_as_a_valid_record(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..6),
    ) {
        let (mut segment, used) = written(&events());
        for (at, bit) in &flips {
            segment.bytes_mut()[at.index(used)] ^= 1 << bit;
        }
        if let Ok(buffer) = Buffer::adopt::<Event>(segment, LAYOUT, used, &[]) {
            prop_assert!(read::<Event>(&buffer) >= 1);
        }
    }

    #[test]
    fn overwritten_words_are_refused_or_read_as_a_valid_record(
        words in prop::collection::vec((any::<prop::sample::Index>(), any::<i32>()), 1..4),
        small in any::<bool>(),
    ) {
        let (mut segment, used) = written(&events());
        for (at, word) in &words {
            let at = at.index(used / 4) * 4;
            // Small numbers are likelier to pass as lengths and offsets.
            let word = if small { word % 64 } else { *word };
            segment.bytes_mut()[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if let Ok(buffer) = Buffer::adopt::<Event>(segment, LAYOUT, used, &[]) {
            prop_assert!(read::<Event>(&buffer) >= 1);
        }
    }

    #[test]
    fn noise_is_refused_or_read_as_a_valid_record(
        noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut segment = Segment::overdraft(ShardId(0), 512);
        segment.bytes_mut()[..noise.len()].copy_from_slice(&noise);
        if let Ok(buffer) = Buffer::adopt::<Event>(segment, LAYOUT, noise.len(), &[]) {
            read::<Event>(&buffer);
        }
        let mut segment = Segment::overdraft(ShardId(0), 512);
        segment.bytes_mut()[..noise.len()].copy_from_slice(&noise);
        let used = noise.len() / 32 * 32;
        if let Ok(buffer) = Buffer::adopt::<(bool, char)>(segment, LAYOUT, used, &[]) {
            prop_assert_eq!(read::<(bool, char)>(&buffer), used / 24);
        }
    }
}
