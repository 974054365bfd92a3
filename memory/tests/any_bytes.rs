//! `Wire::check` and what is read behind it, on any bytes: noise, cut and damaged archives of every kind
//! of record, any place as the root. Nothing may panic, and nothing beside the bytes given may matter:
//! each verdict is asked for again with other surroundings. (CI runs this under AddressSanitizer too.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::{NonZeroI64, NonZeroU8};
use std::time::Duration;

use proptest::prelude::*;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::ShardId;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::{
    Buffer, BufferWriter, Cursor, Entry, EntryLayout, KeyValue, Record, Segment, Str, View, Wire,
    record,
};

const LAYOUT: EntryLayout = EntryLayout {
    hash: false,
    timestamp: true,
};

#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Leaf,
    Named(String, Option<NonZeroU8>),
    Both { left: Box<Tree>, right: Box<Tree> },
}

type Wide = (u128, Option<char>, [bool; 3], Duration);
type Texts = (Vec<String>, Box<str>, Option<String>);
type Tables = (BTreeMap<String, Vec<u16>>, BTreeSet<i64>);
type Rows = VecDeque<(u8, Result<String, NonZeroI64>)>;

fn tree() -> Tree {
    let named = |name: &str| Box::new(Tree::Named(name.into(), NonZeroU8::new(3)));
    Tree::Both {
        left: named("a name out of line"),
        right: Box::new(Tree::Both {
            left: Box::new(Tree::Leaf),
            right: named("short"),
        }),
    }
}

fn wide() -> Wide {
    (1 << 100, Some('ß'), [true, false, true], Duration::MAX)
}

fn texts() -> Texts {
    let list = vec!["eight by".to_owned(), "nine byte".to_owned(), String::new()];
    (list, "boxed text of some length".into(), None)
}

fn tables() -> Tables {
    let key = |number: u16| format!("key number {number}");
    let map = (0..9).map(|number| (key(number), vec![number; 2]));
    (map.collect(), (-3..20).collect())
}

fn rows() -> Rows {
    [
        (1, Ok("a text out of line".to_owned())),
        (2, Err(NonZeroI64::MIN)),
    ]
    .into()
}

fn written<R: Record>(item: &R) -> Vec<u8> {
    let mut writer = BufferWriter::new(Segment::overdraft(ShardId(0), 4096));
    for _ in 0..2 {
        writer
            .put::<R>(LAYOUT, KeyHash(0), Timestamp(6), item)
            .unwrap();
    }
    let used = writer.used_bytes();
    writer.seal().into_segment().unwrap().bytes()[..used].to_vec()
}

/// Archives of every kind of record, as they stand in a segment.
fn archives() -> [Vec<u8>; 6] {
    [
        written(&tree()),
        written(&wide()),
        written(&texts()),
        written(&tables()),
        written(&rows()),
        written(&("a word out of line".to_owned(), 5u64)),
    ]
}

/// Where the bytes stand in their segment; as aligned as its start.
const BEFORE: usize = 64;

/// Whether the bytes hold an archive with this root. The same must come out whatever lies around them.
fn verdict<W: Wire>(bytes: &[u8], root: usize) -> bool {
    let mut segment = Segment::overdraft(ShardId(0), 8192);
    let place = BEFORE..BEFORE + bytes.len();
    let verdicts = [0x00, 0xFF, 0x81].map(|around| {
        segment.bytes_mut().fill(around);
        segment.bytes_mut()[place.clone()].copy_from_slice(bytes);
        W::check(&segment.bytes()[place.clone()], root).is_ok()
    });
    assert!(
        verdicts.iter().all(|verdict| *verdict == verdicts[0]),
        "the verdict depends on bytes beside those given"
    );
    verdicts[0]
}

/// Adopts the bytes as a buffer of this record and reads all of it if that is allowed.
fn adopt<R: Record + std::fmt::Debug>(bytes: &[u8]) {
    let mut segment = Segment::overdraft(ShardId(0), 4096);
    segment.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
    let Ok(buffer) = Buffer::adopt::<R>(segment, LAYOUT, bytes.len(), &[]) else {
        return;
    };
    let (mut cursor, mut entries) = (Cursor::default(), [Entry::default(); 8]);
    loop {
        let count = buffer.scan::<R>(LAYOUT, &mut cursor, &mut entries);
        if count == 0 {
            return;
        }
        for entry in &entries[..count] {
            std::hint::black_box(format!("{:?}", buffer.item::<R>(entry)));
            let _ = buffer.item::<View<R>>(entry);
        }
    }
}

/// How many kinds of record the bytes would be an archive of.
fn kinds(bytes: &[u8], root: usize) -> usize {
    [
        verdict::<Tree>(bytes, root),
        verdict::<View<Tree>>(bytes, root),
        verdict::<Wide>(bytes, root),
        verdict::<Texts>(bytes, root),
        verdict::<Tables>(bytes, root),
        verdict::<Rows>(bytes, root),
        verdict::<Str>(bytes, root),
        verdict::<KeyValue<Str, u64>>(bytes, root),
    ]
    .into_iter()
    .filter(|passed| *passed)
    .count()
}

fn adopt_as_each(bytes: &[u8]) {
    adopt::<Tree>(bytes);
    adopt::<Wide>(bytes);
    adopt::<Texts>(bytes);
    adopt::<Tables>(bytes);
    adopt::<Rows>(bytes);
    adopt::<(String, u64)>(bytes);
}

#[test]
fn every_archive_has_a_root_and_none_beyond_its_end() {
    for bytes in archives() {
        let roots = (0..bytes.len()).filter(|root| kinds(&bytes, *root) > 0);
        assert!(roots.count() >= 2, "two records were written");
        for root in [bytes.len(), bytes.len() + 1, usize::MAX / 2, usize::MAX] {
            assert_eq!(kinds(&bytes, root), 0, "{root} of {}", bytes.len());
        }
    }
}

#[test]
fn every_cut_of_every_archive_is_judged() {
    for bytes in archives() {
        for cut in 0..bytes.len() {
            adopt_as_each(&bytes[..cut]);
        }
        for cut in (0..bytes.len()).step_by(8) {
            for root in (0..=cut).step_by(4) {
                kinds(&bytes[..cut], root);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn damaged_archives_are_judged(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..5),
        cut in any::<prop::sample::Index>(),
        root in any::<prop::sample::Index>(),
    ) {
        let mut bytes = which.get(&archives()).clone();
        for (at, flip) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        adopt_as_each(&bytes);
        bytes.truncate(1 + cut.index(bytes.len()));
        adopt_as_each(&bytes);
        kinds(&bytes, root.index(bytes.len()));
    }

    #[test]
    fn noise_is_judged(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        root in 0usize..400,
    ) {
        kinds(&noise, root);
        adopt_as_each(&noise);
    }

    #[test]
    fn small_numbers_are_judged(
        // They pass as lengths, offsets and tags more often than noise does.
        numbers in prop::collection::vec(-40i32..40, 0..60),
        root in 0usize..60,
    ) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        kinds(&bytes, root * 4);
        adopt_as_each(&bytes);
    }
}
