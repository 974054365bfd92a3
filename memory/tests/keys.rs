//! Keys: equal in every form, ordered as their bytes, kept without needless memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]

use std::fmt::Debug;

use proptest::prelude::*;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::order::KEY_ENCODING_VERSION;
use thalweg_memory::{Item, Key, RecordKey, Str, record};

#[record(key, crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    country: String,
    floor: i16,
    room: Option<u32>,
    wing: char,
    open: bool,
}

#[record(key, crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Nobody,
    Number(u64),
    Named { first: String, last: String },
}

#[record(key, crate = thalweg_memory)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct UserId(u64);

#[record(key, crate = thalweg_memory)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Only;

fn encoded<K: RecordKey>(key: &K) -> Vec<u8> {
    let mut out = Vec::new();
    <K as Key>::encode(key, &mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything two keys promise each other.
fn agree<K: RecordKey + Ord + Debug>(a: &K, b: &K) {
    assert_eq!(encoded(a).cmp(&encoded(b)), a.cmp(b), "{a:?} {b:?}");
    let mut stored = <K as Key>::store(a);
    assert!(<K as Key>::same(&stored, a));
    assert_eq!(<K as Key>::same(&stored, b), a == b, "{a:?} {b:?}");
    assert_eq!(&<K as Key>::lend(&stored), a);
    if a == b {
        assert_eq!(<K as Key>::hash(a), <K as Key>::hash(b));
    }
    <K as Key>::assign(&mut stored, b);
    assert_eq!(&<K as Key>::lend(&stored), b);
    comes_back(a, b);
}

/// Decoding answers the key, takes no byte too many, and nothing but what encoding gives.
fn comes_back<K: RecordKey + Ord + Debug>(a: &K, b: &K) {
    let mut both = encoded(a);
    let first = both.len();
    both.extend(encoded(b));
    let mut rest = &both[..];
    for key in [a, b] {
        let stored = <K as Key>::decode(&mut rest).unwrap();
        assert_eq!(&<K as Key>::lend(&stored), key);
    }
    assert!(rest.is_empty());
    for end in 0..first {
        let decoded = <K as Key>::decode(&mut &both[..end]);
        assert!(decoded.is_err(), "{a:?} cut at {end}");
    }
    for at in 0..first {
        for flip in [1, 0x80, 0xFF] {
            let mut damaged = both[..first].to_vec();
            damaged[at] ^= flip;
            let mut rest = &damaged[..];
            let Ok(stored) = <K as Key>::decode(&mut rest) else {
                continue;
            };
            let other = <K as Key>::lend(&stored);
            let taken = damaged.len() - rest.len();
            assert_eq!(encoded(&other), damaged[..taken], "{a:?} damaged at {at}");
        }
    }
}

#[test]
fn the_encoding_is_the_stored_one() {
    assert_eq!(
        KEY_ENCODING_VERSION, 1,
        "other golden values need another version"
    );
    let place = Place {
        country: "ch".into(),
        floor: -1,
        room: Some(7),
        wing: 'B',
        open: true,
    };
    let golden = [
        (hex(&encoded(&0x12u8)), "12"),
        (hex(&encoded(&0x1234u16)), "1234"),
        (hex(&encoded(&0x1234_5678u32)), "12345678"),
        (hex(&encoded(&1u64)), "0000000000000001"),
        (
            hex(&encoded(&u128::MAX)),
            "ffffffffffffffffffffffffffffffff",
        ),
        (hex(&encoded(&-1i8)), "7f"),
        (hex(&encoded(&1i16)), "8001"),
        (hex(&encoded(&i32::MIN)), "00000000"),
        (hex(&encoded(&-2i64)), "7ffffffffffffffe"),
        (hex(&encoded(&0i128)), "80000000000000000000000000000000"),
        (hex(&encoded(&true)), "01"),
        (hex(&encoded(&'a')), "00000061"),
        (hex(&encoded(&())), ""),
        (hex(&encoded(&String::from("a\0b"))), "6100ff620001"),
        (hex(&encoded(&String::new())), "0001"),
        (hex(&encoded(&None::<u8>)), "00"),
        (hex(&encoded(&Some(5u8))), "0105"),
        (
            hex(&encoded(&(1u8, String::from("x"), 2u8, false))),
            "017800010200",
        ),
        (hex(&encoded(&place)), "636800017fff01000000070000004201"),
        (hex(&encoded(&Who::Nobody)), "00000000"),
        (hex(&encoded(&Who::Number(3))), "000000010000000000000003"),
        (
            hex(&encoded(&Who::Named {
                first: "a".into(),
                last: "b".into(),
            })),
            "00000002610001620001",
        ),
        (hex(&encoded(&UserId(9))), "0000000000000009"),
        (hex(&encoded(&Only)), ""),
    ];
    for (got, expected) in golden {
        assert_eq!(got, expected);
    }
}

#[test]
fn hashes_are_those_of_the_key_hash() {
    let hash = KeyHash::of_u64;
    assert_eq!(<u64 as Key>::hash(&7), hash(7));
    assert_eq!(<u8 as Key>::hash(&7), hash(7));
    assert_eq!(<i32 as Key>::hash(&-7), <i64 as Key>::hash(&-7));
    assert_eq!(<u128 as Key>::hash(&7), KeyHash::of_u128(7));
    assert_eq!(
        <UserId as Key>::hash(&UserId(7)),
        hash(7),
        "a wrapper hashes as what it wraps"
    );
    assert_eq!(<(u64, u64) as Key>::hash(&(1, 2)), hash(1).combine(hash(2)));
    assert_eq!(<Option<u64> as Key>::hash(&None), hash(0));
    assert_eq!(
        <Option<u64> as Key>::hash(&Some(3)),
        hash(1).combine(hash(3))
    );
    assert_eq!(<Who as Key>::hash(&Who::Nobody), hash(0));
    assert_eq!(
        <Who as Key>::hash(&Who::Number(5)),
        hash(1).combine(hash(5))
    );
    assert_eq!(<Only as Key>::hash(&Only), hash(0));
}

#[test]
fn text_is_one_key_in_every_form() {
    for word in [
        "",
        "a",
        "word",
        "a word that is longer than twenty-four bytes",
        "zero \0 byte",
    ] {
        let borrowed: <Str as Item>::Of<'_> = word;
        let owned = word.to_owned();
        assert_eq!(<Str as Key>::hash(&borrowed), <String as Key>::hash(&owned));
        assert_eq!(
            <Str as Key>::hash(&borrowed),
            KeyHash::of_bytes(word.as_bytes())
        );
        let stored = <Str as Key>::store(&borrowed);
        assert!(<String as Key>::same(&stored, &owned) && <Str as Key>::same(&stored, &borrowed));
        assert_eq!(<Str as Key>::lend(&stored), word);
        let mut bytes = Vec::new();
        <Str as Key>::encode(&borrowed, &mut bytes);
        assert_eq!(bytes, encoded(&owned));
        let mut rest = &bytes[..];
        let decoded = <Str as Key>::decode(&mut rest).unwrap();
        assert_eq!((decoded.as_str(), rest.len()), (word, 0));
    }
}

#[test]
fn assigning_reuses_the_memory_that_is_there() {
    let long = "a word that is longer than twenty-four bytes";
    let mut stored = <Str as Key>::store(&long);
    let (address, heap) = (stored.as_ptr(), <Str as Key>::stored_heap_bytes(&stored));
    assert!(heap >= long.len());
    <Str as Key>::assign(&mut stored, &"another word of more than twenty-four");
    <Str as Key>::assign(&mut stored, &"short");
    <Str as Key>::assign(&mut stored, &long);
    assert_eq!((stored.as_ptr(), stored.as_str()), (address, long));
    assert_eq!(
        <Str as Key>::stored_heap_bytes(&<Str as Key>::store(&"twenty-four bytes inline")),
        0
    );
    let place = Place {
        country: long.into(),
        floor: 0,
        room: None,
        wing: 'a',
        open: false,
    };
    let mut stored = <Place as Key>::store(&place);
    let address = stored.0.as_ptr();
    assert_eq!(<Place as Key>::stored_heap_bytes(&stored), heap);
    <Place as Key>::assign(
        &mut stored,
        &Place {
            country: "x".into(),
            ..place.clone()
        },
    );
    <Place as Key>::assign(&mut stored, &place);
    assert_eq!(stored.0.as_ptr(), address);
}

fn text() -> impl Strategy<Value = String> {
    // Few letters, among them 0, so that prefixes and equal words are frequent.
    prop::collection::vec(
        prop::sample::select(&['\0', '\u{1}', 'a', 'b', 'ÿ', '\u{10ffff}']),
        0..5,
    )
    .prop_map(|letters| letters.into_iter().collect())
}

fn place() -> impl Strategy<Value = Place> {
    (
        text(),
        -2i16..2,
        prop::option::of(0u32..3),
        any::<char>(),
        any::<bool>(),
    )
        .prop_map(|(country, floor, room, wing, open)| Place {
            country,
            floor,
            room,
            wing,
            open,
        })
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![
        Just(Who::Nobody),
        any::<u64>().prop_map(Who::Number),
        (text(), text()).prop_map(|(first, last)| Who::Named { first, last }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes_compare_as_integers_do(a in any::<i128>(), b in any::<i128>(), shift in 0u32..128) {
        let (a, b) = (a >> shift, b >> shift);
        agree(&a, &b);
        agree(&(a as u128), &(b as u128));
        agree(&(a as i64), &(b as i64));
        agree(&(a as u64), &(b as u64));
        agree(&(a as i32), &(b as i32));
        agree(&(a as u32), &(b as u32));
        agree(&(a as i16), &(b as i16));
        agree(&(a as u16), &(b as u16));
        agree(&(a as i8), &(b as i8));
        agree(&(a as u8), &(b as u8));
        agree(&UserId(a as u64), &UserId(b as u64));
    }

    #[test]
    fn bytes_compare_as_texts_and_tuples_do(a in text(), b in text(), n in 0u8..3, m in 0u8..3) {
        agree(&a, &b);
        agree(&(a.clone(), n), &(b.clone(), m));
        agree(&(a.clone(), b.clone(), n), &(b.clone(), a.clone(), m));
        agree(&(n, a.clone(), m, b.clone()), &(m, b.clone(), n, a.clone()));
        agree(&Some(a.clone()), &Some(b));
        agree(&Some(a), &None);
    }

    #[test]
    fn bytes_compare_as_derived_keys_do(a in place(), b in place(), c in who(), d in who()) {
        agree(&a, &b);
        agree(&c, &d);
        agree(&(a.clone(), c.clone()), &(b, d));
        agree(&(a.wing, a.open), &(a.wing, !a.open));
    }
}
