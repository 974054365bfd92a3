//! What is put into a buffer comes out of it: every type, every segment size, every way to cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::ids::ShardId;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::{
    Buffer, BufferWriter, Cursor, Entry, EntryLayout, Full, Item, KeyValue, Mark, Record, Segment,
    SegmentPool, Str, TooLarge, View, Wire, record,
};

const LAYOUTS: [EntryLayout; 4] = [
    EntryLayout {
        hash: false,
        timestamp: false,
    },
    EntryLayout {
        hash: true,
        timestamp: false,
    },
    EntryLayout {
        hash: false,
        timestamp: true,
    },
    EntryLayout {
        hash: true,
        timestamp: true,
    },
];
const NO_HASH: KeyHash = KeyHash(0);

#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Dot,
    Circle(f64),
    Polygon {
        name: String,
        corners: Vec<(i32, i32)>,
    },
}

#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
struct Bid {
    auction: u64,
    price: u128,
    channel: String,
    tags: Vec<String>,
    shape: Option<Box<Shape>>,
    extra: BTreeMap<String, Vec<u8>>,
}

#[record(crate = thalweg_memory)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plain {
    flag: bool,
    letter: char,
    wide: u128,
    state: Option<i16>,
    grid: [[u16; 3]; 2],
}

/// Puts items into segments of one size as an exchange does; answers the sealed buffers.
fn write_all<R: Record>(size: usize, layout: EntryLayout, items: &[R]) -> Vec<Buffer> {
    let mut buffers = Vec::new();
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), size));
    for (at, item) in items.iter().enumerate() {
        let (hash, time) = (KeyHash(at as u64 ^ 0xABCD), Timestamp(at as i64 - 7));
        let before = (writer.records(), writer.used_bytes());
        if writer.put::<R>(layout, hash, time, item) == Ok(()) {
            continue;
        }
        assert_eq!(
            (writer.records(), writer.used_bytes()),
            before,
            "Full changes nothing"
        );
        let fresh = BufferWriter::new(Segment::overdraft(ShardId(0), size));
        let full = std::mem::replace(&mut writer, fresh);
        buffers.extend((!full.is_empty()).then(|| full.seal()));
        if writer.put::<R>(layout, hash, time, item) == Err(Full) {
            buffers.push(Buffer::oversize::<R>(layout, hash, time, item, 1 << 26).unwrap());
        }
    }
    buffers.push(writer.seal());
    buffers
}

/// Reads buffers back, `step` entries at a time.
fn read_all<W: Wire, T>(
    buffers: &[Buffer],
    layout: EntryLayout,
    step: usize,
    mut take: impl for<'a> FnMut(W::Of<'a>) -> T,
) -> Vec<(KeyHash, Timestamp, T)> {
    let mut seen = Vec::new();
    let mut entries = vec![Entry::default(); step];
    for buffer in buffers {
        assert!(buffer.holds::<W>(layout));
        let mut cursor = Cursor::default();
        loop {
            let count = buffer.scan::<W>(layout, &mut cursor, &mut entries);
            for entry in &entries[..count] {
                seen.push((entry.hash, entry.at, take(buffer.item::<W>(entry))));
            }
            if count == 0 {
                break;
            }
        }
        assert!(buffer.is_read(&cursor));
        assert_eq!(cursor.record() as usize, buffer.records());
        assert_eq!(cursor.offset() as usize, buffer.used_bytes());
    }
    seen
}

fn there_and_back<R: Record + Clone + Debug + PartialEq>(items: &[R]) {
    for layout in LAYOUTS {
        for size in [512, 4096, 32 << 10] {
            let buffers = write_all(size, layout, items);
            let seen = read_all::<R, R>(&buffers, layout, 3, |item| item);
            assert_eq!(seen.len(), items.len());
            for (at, ((hash, time, item), expected)) in seen.iter().zip(items).enumerate() {
                assert_eq!(item, expected);
                let kept = if layout.hash {
                    KeyHash(at as u64 ^ 0xABCD)
                } else {
                    NO_HASH
                };
                assert_eq!(*hash, kept);
                let kept = if layout.timestamp {
                    Timestamp(at as i64 - 7)
                } else {
                    Timestamp::NONE
                };
                assert_eq!(*time, kept);
            }
        }
    }
}

fn fixed<W: Wire>() -> Option<usize> {
    W::FIXED
}

#[test]
fn every_provided_type_comes_back() {
    there_and_back(&[0u8, 1, u8::MAX]);
    there_and_back(&[0u16, 1, u16::MAX]);
    there_and_back(&[0u32, 1, u32::MAX]);
    there_and_back(&[0u64, 1, u64::MAX]);
    there_and_back(&[0u128, 1, u128::MAX]);
    there_and_back(&[i8::MIN, -1, i8::MAX]);
    there_and_back(&[i16::MIN, -1, i16::MAX]);
    there_and_back(&[i32::MIN, -1, i32::MAX]);
    there_and_back(&[i64::MIN, -1, i64::MAX]);
    there_and_back(&[i128::MIN, -1, i128::MAX]);
    there_and_back(&[0f32, -1.5, f32::INFINITY]);
    there_and_back(&[0f64, -1.5, f64::MIN_POSITIVE]);
    there_and_back(&[true, false]);
    there_and_back(&['a', '\0', '🦀']);
    there_and_back(&[(); 200]);
    there_and_back(&[Duration::from_nanos(1), Duration::MAX]);
    there_and_back(&[std::num::NonZeroU32::MIN, std::num::NonZeroU32::MAX]);
    there_and_back(&["", "eight by", "nine byte", &"long".repeat(100)].map(String::from));
    there_and_back(&["", "boxed text that is longer"].map(Box::<str>::from));
    there_and_back(&[None, Some(7u64)]);
    there_and_back(&[None, Some("some text that is long".to_owned())]);
    there_and_back(&[Ok::<u8, String>(1), Err("an error that is long".into())]);
    there_and_back(&[vec![], vec![1u64, 2], vec![0; 300]]);
    there_and_back(&[vec![], vec![String::new(), "text of some length".into()]]);
    there_and_back(&[vec![vec![1u8], vec![]], vec![vec![2; 40]; 9]]);
    there_and_back(&[vec![vec![vec!["deep down in here".to_owned()]; 2]; 2]]);
    there_and_back(&[VecDeque::from([1u32, 2, 3])]);
    there_and_back(&[Box::new(5u64)]);
    there_and_back(&[vec![1u16, 2].into_boxed_slice()]);
    there_and_back(&[["a".to_owned(), "another, longer one".to_owned()]]);
    there_and_back(&[BTreeMap::from_iter(
        (0..40u64).map(|key| (key, format!("value {key}"))),
    )]);
    there_and_back(&[BTreeSet::from_iter((0..40i32).map(|key| key * 7 % 41))]);
    there_and_back(&[(1u8,)]);
    there_and_back(&[(
        1u8,
        "two of twelve".to_owned(),
        3u32,
        4u64,
        5u128,
        6i8,
        7i16,
        8i32,
    )]);
    there_and_back(&[(
        1u8, 2u8, 3u8, 4u8, 5u8, 6u8, 7u8, 8u8, 9u8, 10u8, 11u8, 12u64,
    )]);
}

#[test]
fn records_of_users_come_back() {
    there_and_back(&[
        Plain {
            flag: true,
            letter: 'ß',
            wide: 1 << 100,
            state: None,
            grid: [[1, 2, 3], [4, 5, 6]],
        },
        Plain {
            flag: false,
            letter: 'z',
            wide: 0,
            state: Some(-3),
            grid: [[0; 3]; 2],
        },
    ]);
    let polygon = Shape::Polygon {
        name: "a triangle".into(),
        corners: vec![(0, 0), (1, -1), (5, 9)],
    };
    there_and_back(&[Shape::Dot, Shape::Circle(0.5), polygon.clone()]);
    there_and_back(&[Bid {
        auction: 9,
        price: u128::MAX,
        channel: "a channel with a name".into(),
        tags: vec!["one".into(), "a longer tag of two".into()],
        shape: Some(Box::new(polygon)),
        extra: BTreeMap::from([("bytes".into(), vec![1, 2, 3])]),
    }]);
}

#[test]
fn types_without_parts_are_fixed_and_the_others_are_not() {
    assert_eq!(fixed::<(u64, u64)>(), Some(16));
    assert_eq!(fixed::<Option<u64>>(), Some(16));
    assert_eq!(fixed::<Plain>(), Some(48));
    assert_eq!(fixed::<View<Plain>>(), Some(48));
    assert_eq!(fixed::<KeyValue<u64, u64>>(), Some(16));
    assert_eq!(fixed::<()>(), Some(0));
    assert_eq!(fixed::<String>(), None);
    assert_eq!(fixed::<Str>(), None);
    assert_eq!(fixed::<KeyValue<Str, u64>>(), None);
    assert_eq!(fixed::<Option<String>>(), None);
    assert_eq!(fixed::<Shape>(), None);
    let stride = |layout: EntryLayout| write_all(512, layout, &[(1u64, 2u64)])[0].used_bytes();
    assert_eq!(LAYOUTS.map(stride), [16, 24, 24, 32]);
    let wide = |layout: EntryLayout| write_all(512, layout, &[1u128])[0].used_bytes();
    assert_eq!(LAYOUTS.map(wide), [16, 32, 32, 32]);
}

#[test]
fn text_is_the_same_borrowed_and_owned() {
    let layout = LAYOUTS[1];
    // Every length around the 8, 16 and 32 bytes at which the way of writing changes.
    let long = "a word that is longer than eight bytes, ünïcödé, and then more";
    let lengths = (0..long.len()).filter(|end| long.is_char_boundary(*end));
    let words: Vec<&str> = lengths
        .map(|end| &long[..end])
        .chain(["\0", "ß", "🦀🦀", "\u{10ffff}"])
        .collect();
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 8192));
    for word in &words {
        writer
            .put::<Str>(layout, NO_HASH, Timestamp::NONE, word)
            .unwrap();
    }
    let borrowed = [writer.seal()];
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 8192));
    for word in &words {
        writer
            .put::<String>(layout, NO_HASH, Timestamp::NONE, &(*word).to_owned())
            .unwrap();
    }
    let owned = [writer.seal()];
    assert_eq!(borrowed[0].bytes(), owned[0].bytes());
    for buffers in [&borrowed[..], &owned[..]] {
        let strs = read_all::<Str, String>(buffers, layout, 2, |word| word.to_owned());
        let strings = read_all::<String, String>(buffers, layout, 2, |word| word);
        let views = read_all::<View<String>, String>(buffers, layout, 2, |view| view.to_string());
        for seen in [strs, strings, views] {
            assert!(
                seen.iter()
                    .map(|(_, _, word)| word.as_str())
                    .eq(words.iter().copied())
            );
        }
    }
}

#[test]
fn a_key_and_value_is_the_tuple_of_both() {
    let layout = LAYOUTS[3];
    let pairs = [("word", 1u64), ("a longer word of many letters", u64::MAX)];
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 4096));
    for pair in &pairs {
        writer
            .put::<KeyValue<Str, u64>>(layout, KeyHash(1), Timestamp(2), pair)
            .unwrap();
    }
    let buffers = [writer.seal()];
    let tuples = read_all::<(String, u64), _>(&buffers, layout, 9, |pair| pair);
    let pairs_read = read_all::<KeyValue<Str, u64>, _>(&buffers, layout, 9, |(word, count)| {
        let (word, count) = KeyValue::<Str, u64>::shorten((word, count));
        (word.to_owned(), count)
    });
    assert_eq!(tuples, pairs_read);
    assert!(
        tuples
            .iter()
            .map(|(_, _, pair)| (pair.0.as_str(), pair.1))
            .eq(pairs)
    );
}

#[test]
fn a_view_can_be_written_on() {
    let layout = LAYOUTS[1];
    let shapes = [
        Shape::Dot,
        Shape::Polygon {
            name: "name of it".into(),
            corners: vec![(1, 2); 5],
        },
    ];
    let first = write_all(4096, layout, &shapes);
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 512));
    read_all::<View<Shape>, ()>(&first, layout, 1, |view| {
        writer
            .put::<View<Shape>>(layout, KeyHash(0), Timestamp::NONE, &view)
            .unwrap();
    });
    let second = read_all::<Shape, Shape>(&[writer.seal()], layout, 1, |shape| shape);
    assert!(second.iter().map(|(_, _, shape)| shape).eq(&shapes));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "records travel between threads")]
fn a_record_of_40_mib_travels_alone() {
    let layout = LAYOUTS[3];
    let text = "0123456789abcdef".repeat(40 << 16);
    let item = (
        5u64,
        text.as_str().to_owned(),
        vec!["tail text".to_owned(); 1000],
    );
    let buffer = Buffer::oversize::<(u64, String, Vec<String>)>(
        layout,
        KeyHash(9),
        Timestamp(8),
        &item,
        64 << 20,
    )
    .unwrap();
    assert!(buffer.is_oversize() && buffer.used_bytes() > 40 << 20);
    let buffer = std::thread::scope(|scope| {
        scope.spawn(move || {
            let seen = read_all::<(u64, String, Vec<String>), _>(&[buffer], layout, 4, |item| item);
            assert_eq!(seen, [(KeyHash(9), Timestamp(8), item)]);
        });
        let limit = 1 << 20;
        Buffer::oversize::<Str>(layout, KeyHash(9), Timestamp(8), &text.as_str(), limit)
    });
    let TooLarge { size, limit } = buffer.unwrap_err();
    assert_eq!(limit, 1 << 20);
    assert!(
        (40 << 20..(40 << 20) + 64).contains(&size),
        "the true size is told: {size}"
    );
    let exact = Buffer::oversize::<Str>(layout, KeyHash(9), Timestamp(8), &text.as_str(), size);
    assert_eq!(exact.unwrap().used_bytes(), size);
    assert!(
        Buffer::oversize::<Str>(layout, NO_HASH, Timestamp(8), &text.as_str(), size - 1).is_err()
    );
    assert!(
        Buffer::oversize::<[u64; 100]>(layout, KeyHash(1), Timestamp(1), &[7; 100], 1 << 20)
            .is_ok_and(|buffer| buffer.used_bytes() == 816 && buffer.into_segment().is_none())
    );
}

#[test]
fn padding_is_the_same_whatever_the_segment_held_before() {
    let bytes_after = |fill: u8| {
        let mut segment = Segment::overdraft(ShardId(0), 512);
        segment.bytes_mut().fill(fill);
        let mut writer = BufferWriter::new(segment);
        let item = (
            1u8,
            Some("text beyond the root".to_owned()),
            vec![(1u8, 2u32)],
        );
        while writer.put::<(u8, Option<String>, Vec<(u8, u32)>)>(
            LAYOUTS[1],
            NO_HASH,
            Timestamp(0),
            &item,
        ) == Ok(())
        {}
        let mut segment = Segment::overdraft(ShardId(0), 512);
        segment.bytes_mut().fill(fill);
        let mut fixed = BufferWriter::new(segment);
        for item in [None, Some((3u8, 9u128))] {
            fixed
                .put::<Option<(u8, u128)>>(LAYOUTS[0], NO_HASH, Timestamp(0), &item)
                .unwrap();
        }
        (
            writer.seal().bytes().to_vec(),
            fixed.seal().bytes().to_vec(),
        )
    };
    assert_eq!(bytes_after(0), bytes_after(0xEE));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "records travel between threads")]
fn segments_go_round_and_limits_hold() {
    let mut pool = SegmentPool::with_own_arena(ShardId(2), 512, 4).unwrap();
    for round in 0..50u64 {
        let mut buffers = Vec::new();
        while let Some(segment) = pool.lease() {
            let mut writer = BufferWriter::new(segment);
            while writer
                .put::<u64>(LAYOUTS[0], NO_HASH, Timestamp::NONE, &round)
                .is_ok()
            {}
            assert_eq!(writer.records(), 64);
            buffers.push(writer.seal());
        }
        assert_eq!((buffers.len(), pool.leased()), (4, 4));
        let buffers = std::thread::scope(|scope| {
            let read = scope.spawn(move || {
                let seen = read_all::<u64, u64>(&buffers, LAYOUTS[0], 16, |item| item);
                assert!(seen.iter().all(|(_, _, item)| *item == round) && seen.len() == 256);
                buffers
            });
            read.join().unwrap()
        });
        for buffer in buffers {
            pool.give_back(buffer.into_segment().unwrap());
        }
    }
    let unused = BufferWriter::new(pool.lease().unwrap());
    pool.give_back(unused.into_segment());
    assert_eq!((pool.leased(), pool.high_water()), (0, 4));
}

#[test]
fn an_empty_buffer_carries_only_marks() {
    let buffer = Buffer::empty();
    let mut cursor = Cursor::default();
    assert!(buffer.is_read(&cursor));
    assert_eq!(
        buffer.scan::<String>(LAYOUTS[3], &mut cursor, &mut [Entry::default(); 4]),
        0
    );
    assert!(buffer.bytes().is_empty() && buffer.into_segment().is_none());
    let buffer = Buffer::of_mark(Mark::Idle);
    let mut cursor = Cursor::default();
    assert!(!buffer.is_read(&cursor));
    assert_eq!(buffer.take_mark(&mut cursor), Some(Mark::Idle));
    assert_eq!(buffer.take_mark(&mut cursor), None);
    assert!(buffer.is_read(&cursor));
}

fn one<R: Record>(item: &R) -> (Buffer, Entry) {
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 512));
    writer
        .put::<R>(LAYOUTS[0], NO_HASH, Timestamp::NONE, item)
        .unwrap();
    let buffer = writer.seal();
    let mut entries = [Entry::default()];
    assert_eq!(
        buffer.scan::<R>(LAYOUTS[0], &mut Cursor::default(), &mut entries),
        1
    );
    (buffer, entries[0])
}

#[test]
#[should_panic(expected = "another buffer")]
fn an_entry_of_another_buffer_is_refused() {
    let ((_first, entry), (second, _)) = (one(&1u64), one(&2u64));
    let _ = second.item::<u64>(&entry);
}

#[test]
#[should_panic(expected = "another type")]
fn an_entry_read_as_another_type_is_refused() {
    let (buffer, entry) = one(&1u64);
    let _ = buffer.item::<(u32, bool)>(&entry);
}

#[test]
#[should_panic(expected = "other records than expected")]
fn a_scan_with_another_layout_is_refused() {
    let (buffer, _) = one(&"text".to_owned());
    buffer.scan::<String>(LAYOUTS[1], &mut Cursor::default(), &mut [Entry::default()]);
}

#[test]
#[should_panic(expected = "cursor of another buffer")]
fn a_cursor_of_another_buffer_is_refused() {
    let ((first, _), (second, _)) = (one(&1u64), one(&2u64));
    let mut cursor = Cursor::default();
    first.scan::<u64>(LAYOUTS[0], &mut cursor, &mut [Entry::default()]);
    second.scan::<u64>(LAYOUTS[0], &mut cursor, &mut [Entry::default()]);
}

#[test]
#[should_panic(expected = "another type or layout")]
fn records_of_two_types_do_not_mix() {
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 512));
    writer
        .put::<u64>(LAYOUTS[0], NO_HASH, Timestamp::NONE, &1)
        .unwrap();
    let _ = writer.put::<i64>(LAYOUTS[0], NO_HASH, Timestamp::NONE, &1);
}

type Any = (
    u8,
    String,
    Option<Vec<(i16, String)>>,
    BTreeMap<u32, String>,
);

fn any_record() -> impl Strategy<Value = Any> {
    let text = || prop_oneof![3 => "\\PC{0,12}", 1 => "[a-z]{0,90}", 1 => "[a-z]{300,900}"];
    let list = prop::option::of(prop::collection::vec((any::<i16>(), text()), 0..6));
    (
        any::<u8>(),
        text(),
        list,
        prop::collection::btree_map(any::<u32>(), text(), 0..9),
    )
}

fn any_mark() -> impl Strategy<Value = Mark> {
    prop_oneof![
        any::<i64>().prop_map(|at| Mark::Watermark(Watermark(Timestamp(at)))),
        Just(Mark::Idle),
        Just(Mark::Active),
    ]
}

/// What a stream consists of, on both sides of a buffer.
#[derive(Clone, Debug, PartialEq)]
enum Step<R> {
    Record(R),
    Mark(Mark),
    Cut,
}

fn any_steps<R: Clone + Debug + 'static>(
    record: impl Strategy<Value = R> + 'static,
) -> impl Strategy<Value = Vec<Step<R>>> {
    let step = prop_oneof![
        8 => record.prop_map(Step::Record),
        2 => any_mark().prop_map(Step::Mark),
        1 => Just(Step::Cut),
    ];
    prop::collection::vec(step, 0..60)
}

/// Runs the steps through segments of one size and gives back what a reader sees.
fn through<R: Record + Clone>(
    steps: &[Step<R>],
    size: usize,
    layout: EntryLayout,
    width: usize,
) -> Vec<Step<R>> {
    let open = || BufferWriter::new(Segment::overdraft(ShardId(0), size));
    let (mut writer, mut buffers) = (open(), Vec::new());
    for step in steps {
        match step {
            Step::Mark(mark) => writer.mark(*mark),
            Step::Cut => buffers.push(std::mem::replace(&mut writer, open()).seal()),
            Step::Record(item) => {
                if writer.put::<R>(layout, NO_HASH, Timestamp(1), item) == Ok(()) {
                    continue;
                }
                buffers.push(std::mem::replace(&mut writer, open()).seal());
                if writer.put::<R>(layout, NO_HASH, Timestamp(1), item) == Err(Full) {
                    let alone = Buffer::oversize::<R>(layout, NO_HASH, Timestamp(1), item, 1 << 20);
                    buffers.push(alone.unwrap());
                }
            }
        }
    }
    buffers.push(writer.seal());
    let mut seen = Vec::new();
    let mut entries = vec![Entry::default(); width];
    for buffer in buffers {
        let mut cursor = Cursor::default();
        while !buffer.is_read(&cursor) {
            let count = buffer.scan::<R>(layout, &mut cursor, &mut entries);
            seen.extend(
                entries[..count]
                    .iter()
                    .map(|entry| Step::Record(buffer.item::<R>(entry))),
            );
            match buffer.take_mark(&mut cursor) {
                Some(mark) => seen.push(Step::Mark(mark)),
                None => assert!(count != 0 || buffer.is_read(&cursor), "a reader gets on"),
            }
        }
    }
    seen
}

/// The steps as a reader must see them: neighbouring watermarks of one buffer may melt together.
fn melted<R: Clone>(steps: impl IntoIterator<Item = Step<R>>) -> Vec<Step<R>> {
    let mut out: Vec<Step<R>> = Vec::new();
    for step in steps {
        if let (Some(Step::Mark(Mark::Watermark(old))), Step::Mark(Mark::Watermark(new))) =
            (out.last_mut(), &step)
        {
            *old = (*old).max(*new);
        } else if !matches!(step, Step::Cut) {
            out.push(step);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_stream_of_records_and_marks_passes_any_segments(
        steps in any_steps(any_record()),
        size in prop_oneof![Just(512usize), (1usize..8).prop_map(|n| n * 512), Just(8192), Just(32 << 10)],
        layout in prop::sample::select(&LAYOUTS),
        width in 1usize..9,
    ) {
        let size = if size > 4096 { size.next_multiple_of(4096) } else { size };
        let seen = through(&steps, size, layout, width);
        prop_assert_eq!(melted(seen), melted(steps));
    }

    #[test]
    fn any_stream_of_fixed_records_passes_any_segments(
        steps in any_steps((any::<u8>(), any::<u128>(), any::<Option<u32>>())),
        layout in prop::sample::select(&LAYOUTS),
        size in (1usize..8).prop_map(|n| n * 512),
        width in 1usize..70,
    ) {
        let seen = through(&steps, size, layout, width);
        prop_assert_eq!(melted(seen), melted(steps));
    }
}
