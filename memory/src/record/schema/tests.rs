//! Texts of built-in types, texts from outside, and what is told of two that differ.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::record::Str;

fn text<R: Record>() -> String {
    Schema::of::<R>().as_str().to_owned()
}

/// Golden: these texts lie in copies of state.
#[test]
fn what_the_engine_brings_along_is_called_so_for_ever() {
    assert_eq!(text::<()>(), "()");
    assert_eq!(
        text::<(u8, i128, f32, bool, char)>(),
        "(u8, i128, f32, bool, char)"
    );
    assert_eq!(text::<(u64,)>(), "(u64,)");
    assert_eq!(text::<(NonZeroU16, Duration)>(), "(NonZeroU16, Duration)");
    assert_eq!(text::<(String, Box<str>)>(), "(String, Box<str>)");
    assert_eq!(
        text::<Option<Result<u64, String>>>(),
        "Option<Result<u64, String>>"
    );
    assert_eq!(
        text::<(Vec<u8>, VecDeque<u8>, Box<u8>, Box<[u8]>)>(),
        "(Vec<u8>, VecDeque<u8>, Box<u8>, Box<[u8]>)"
    );
    assert_eq!(text::<[(u8, u8); 12]>(), "[(u8, u8); 12]");
    assert_eq!(
        text::<BTreeMap<String, BTreeSet<i64>>>(),
        "BTreeMap<String, BTreeSet<i64>>"
    );
    assert_eq!(Schema::of_key::<Str>(), Schema::of::<String>());
    assert_eq!(Schema::of_key::<(u64, bool)>().as_str(), "(u64, bool)");
}

fn stored(text: &str) -> Schema {
    Schema::stored(text).unwrap()
}

fn told(old: &str, now: &str) -> Vec<String> {
    stored(old).changes(&stored(now))
}

#[test]
fn what_is_different_is_told_in_words() {
    for (old, now, expected) in [
        (
            "$0\nA{x: u8, y: u8}",
            "$0\nA{y: u8, x: u8}",
            "the fields of A have changed places: x, y before, y, x now",
        ),
        (
            "$0\nA{x: u8}",
            "$0\nA{x: Vec<u8>}",
            "field `x` of A was u8 and is Vec<u8>",
        ),
        (
            "$0\nA{x: u8, y: u8}",
            "$0\nA{x: u8}",
            "field `y` of A is gone",
        ),
        (
            "$0\nA(u8)",
            "$0\nA(u8, (u8, Vec<(u8, u8)>))",
            "field `1` of A is new",
        ),
        (
            "$0\nA[One | Two(u8) | Three]",
            "$0\nA[One | Two(u16) | Three]",
            "variant `Two` of A was Two(u8) and is Two(u16)",
        ),
        (
            "$0\nA[One | Two]",
            "$0\nA[Two | One]",
            "the variants of A have changed places: One, Two before, Two, One now",
        ),
        (
            "$0\nA[One=1]",
            "$0\nA[One=2]",
            "variant `One` of A was One=1 and is One=2",
        ),
        ("$0\nA{x: u8}", "$0\nA[x]", "A had fields and has variants"),
        ("$0\nA{x: u8}", "$0\nB{x: u8}", "A has become B"),
        ("Vec<u8>", "u8", "Vec<u8> has become u8"),
        // A type that comes first moves the numbers of the others, and nothing else.
        (
            "$0\nA{b: $1}\nB{x: u8}",
            "$0\nA{c: $1, b: $2}\nC{}\nB{x: u8}",
            "field `c` of A is new",
        ),
        (
            "$0\nA{b: $1}\nB{x: u8}",
            "$0\nA{b: $1}\nB{x: u16}",
            "field `x` of B was u8 and is u16",
        ),
        (
            "$0\n#0123",
            "$0\n#0124",
            "what has changed lies too deep in it to be told",
        ),
    ] {
        assert_eq!(told(old, now), [expected], "{old} to {now}");
    }
    assert!(told("$0\nA{x: u8}", "$0\nA{x: u8}").is_empty());
    let many = (0..40).map(|at| format!("x{at}: u8"));
    let many = many.collect::<Vec<_>>().join(", ");
    let told = told(&format!("$0\nA{{{many}}}"), "$0\nA{}");
    assert_eq!(told.len(), MOST_TOLD + 1);
    assert_eq!(told[MOST_TOLD], "and 32 more");
}

const MOST_TOLD: usize = 8;

#[test]
fn names_of_types_are_told_apart_from_fields() {
    let old = stored("Vec<$0>\nA{x: $1, y: $0}\nB[One | Two(u8)]");
    let named = stored("Vec<$0>\nC{x: $1, y: $0}\nD[One | Two(u8)]");
    assert!(old.has_same_fields(&named) && old != named);
    for other in [
        "Vec<$0>\nA{x: $1, y: $1}\nB[One | Two(u8)]",
        "Vec<$0>\nA{x: $1, z: $0}\nB[One | Two(u8)]",
        "Vec<$0>\nA{x: $1, y: $0}\nB[Two(u8) | One]",
        "$0\nA{x: $1, y: $0}\nB[One | Two(u8)]",
        "Vec<$0>\nA{x: $1, y: $0}",
    ] {
        assert!(!old.has_same_fields(&stored(other)), "{other}");
    }
    assert_eq!(old.to_string(), "Vec<A>; A{x: B, y: A}; B[One | Two(u8)]");
    assert_eq!(old.expression(), "Vec<A>");
    assert!(old.has_fields() && !Schema::of::<Vec<u8>>().has_fields());
}

/// A type with a long line, and another with a line of one field.
struct Wide<const SMALL: bool>;
struct Small<const SIGNED: bool>;

fn small<const SIGNED: bool>(to: &mut SchemaWriter) {
    to.named::<Small<SIGNED>>(|to| {
        to.text(if SIGNED {
            "Small{x: i8}"
        } else {
            "Small{x: u8}"
        });
    });
}

fn wide<const SIGNED: bool>(name: &str) -> Schema {
    Schema::written(|to| {
        to.text("(");
        to.named::<Wide<SIGNED>>(|to| {
            to.text("Wide{");
            (0..1_200).for_each(|at| to.text(&format!("field_{at}: u8, ")));
            small::<SIGNED>(to);
            to.text("}");
        });
        to.text(&format!(", {name})"));
    })
}

#[test]
fn a_long_text_is_cut_and_what_is_left_out_still_counts() {
    let unsigned = wide::<false>("A");
    assert!(unsigned.as_str().len() <= LONGEST);
    assert_eq!(unsigned, wide::<false>("A"));
    let signed = wide::<true>("A");
    assert_ne!(unsigned, signed);
    assert!(!unsigned.has_same_fields(&signed));
    assert!(unsigned.has_same_fields(&unsigned.clone()));
    let told = unsigned.changes(&signed);
    assert!(told[0].contains("too deep"), "{told:?}");
    assert!(unsigned.to_string().ends_with('…'), "{unsigned}");
    assert_eq!(Schema::stored("x".repeat(LONGEST + 1)), None);
}

proptest! {
    #[test]
    fn whatever_a_copy_says_there_is_a_short_answer(
        old in "[$0-3\nA{}()\\[\\]<>|,:# x=é]{0,60}",
        now in any::<String>(),
    ) {
        let (old, now) = (Schema::stored(old).unwrap(), Schema::stored(now).unwrap());
        for (one, other) in [(&old, &now), (&now, &old)] {
            prop_assert!(one.changes(other).len() <= MOST_TOLD + 1);
            prop_assert_eq!(one.changes(other).is_empty(), one == other);
            prop_assert!(one.has_same_fields(one));
            let _ = (one.has_same_fields(other), one.to_string(), one.expression());
        }
    }
}
