//! The attribute on all kinds of types, in a crate without unsafe code and with strict lints.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::collections::BTreeMap;

use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::ShardId;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::rkyv;
use thalweg_memory::{
    Buffer, BufferWriter, Cursor, Entry, EntryLayout, Key, Record, Segment, View, Wire, record,
};

/// A generic record.
#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<A, B> {
    /// The first.
    pub first: A,
    /// The second.
    pub second: Vec<B>,
}

/// A generic key.
#[record(key, crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged<K>(pub u32, pub K);

/// A record that contains itself.
#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// An end.
    Leaf(u64),
    /// Two more.
    Fork(Box<Tree>, Vec<Option<Tree>>),
}

/// A record with a field that rkyv archives as something else.
#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
pub struct Adapted {
    /// Archived out of line although a number needs no such thing.
    #[rkyv(with = rkyv::with::AsBox)]
    pub boxed: u64,
}

/// Nothing in it.
#[record(key, crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
pub struct Unit;

const LAYOUT: EntryLayout = EntryLayout {
    hash: true,
    timestamp: false,
};

fn round<R: Record + PartialEq + std::fmt::Debug>(item: &R) {
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 4096));
    writer
        .put::<R>(LAYOUT, KeyHash(3), Timestamp::NONE, item)
        .unwrap();
    let used = writer.used_bytes();
    let segment = writer.seal().into_segment().unwrap();
    let Ok(buffer) = Buffer::adopt::<R>(segment, LAYOUT, used, &[]) else {
        panic!("valid")
    };
    let mut entries = [Entry::default()];
    assert_eq!(
        buffer.scan::<R>(LAYOUT, &mut Cursor::default(), &mut entries),
        1
    );
    assert_eq!(&buffer.item::<R>(&entries[0]), item);
}

#[test]
fn all_kinds_of_types_come_back() {
    round(&Pair {
        first: 1u8,
        second: vec!["text".to_owned()],
    });
    round(&Pair {
        first: Pair {
            first: (),
            second: vec![1.5f64],
        },
        second: vec![Unit],
    });
    round(&Tagged(1, "k".to_owned()));
    let leaf = |n| Box::new(Tree::Leaf(n));
    round(&Tree::Fork(
        leaf(1),
        vec![None, Some(Tree::Fork(leaf(2), vec![]))],
    ));
    round(&Adapted { boxed: 77 });
    round(&Unit);
}

#[test]
fn a_view_gives_the_archived_twin() {
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 4096));
    let item = Pair {
        first: 9u64,
        second: vec!["text".to_owned()],
    };
    writer
        .put::<Pair<u64, String>>(LAYOUT, KeyHash(3), Timestamp::NONE, &item)
        .unwrap();
    let buffer = writer.seal();
    let mut entries = [Entry::default()];
    buffer.scan::<Pair<u64, String>>(LAYOUT, &mut Cursor::default(), &mut entries);
    let view: &ArchivedPair<u64, String> = buffer.item::<View<Pair<u64, String>>>(&entries[0]);
    assert_eq!(
        (view.first.to_native(), view.second[0].as_str()),
        (9, "text")
    );
}

#[test]
fn adapted_fields_are_never_taken_for_fixed() {
    assert_eq!(<Adapted as Wire>::FIXED, None);
    assert_eq!(<Unit as Wire>::FIXED, Some(0));
    assert_eq!(<Tagged<u64> as Wire>::FIXED, Some(16));
}

#[test]
fn heap_bytes_are_summed_over_the_fields() {
    let pair = Pair {
        first: String::with_capacity(100),
        second: vec![String::with_capacity(50); 1],
    };
    let expected = 100 + pair.second.capacity() * size_of::<String>() + pair.second[0].capacity();
    assert_eq!(pair.heap_bytes(), expected);
    let fork = Tree::Fork(Box::new(Tree::Leaf(1)), Vec::new());
    assert_eq!(fork.heap_bytes(), size_of::<Tree>());
    assert_eq!(
        (
            Unit.heap_bytes(),
            5u64.heap_bytes(),
            (1u8, 2u8).heap_bytes()
        ),
        (0, 0, 0)
    );
    assert!(BTreeMap::from([(1u64, "x".repeat(500))]).heap_bytes() > 500);
    assert_eq!((Some("x".repeat(9)), [1u8; 3]).heap_bytes(), 9);
}

#[test]
fn a_generic_key_is_stored_by_its_parts() {
    let key = Tagged(4, "a key of more than twenty-four bytes".to_owned());
    let stored = <Tagged<String> as Key>::store(&key);
    assert_eq!(stored.0, 4);
    assert_eq!(<Tagged<String> as Key>::lend(&stored), key);
    assert!(!<Tagged<String> as Key>::same(
        &stored,
        &Tagged(5, key.1.clone())
    ));
}
