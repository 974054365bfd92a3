//! What types with the attribute say they are made of: the same for the same fields, another for every change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step fails the test"
)]
#![allow(
    dead_code,
    reason = "the types are there for what they say of themselves"
)]
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use thalweg_memory::record::rkyv;
use thalweg_memory::{Record, Schema, record};

/// The types of one program; the macro gives each a module, as they are called alike.
macro_rules! shop {
    ($($version:ident { $($item:item)+ })+) => {$(
        mod $version {
            use super::*;
            $(#[record(crate = thalweg_memory)] $item)+
        }
    )+};
}

shop! {
    first {
        pub struct Order { pub id: u64, pub items: Vec<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    again {
        pub struct Order { pub id: u64, pub items: Vec<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    swapped {
        pub struct Order { pub items: Vec<Item>, pub id: u64, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    added {
        pub struct Order { pub id: u64, pub items: Vec<Item>, pub status: Status, pub by: u64 }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    removed {
        pub struct Order { pub id: u64, pub status: Status }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    retyped {
        pub struct Order { pub id: i64, pub items: Vec<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    renamed {
        pub struct Order { pub number: u64, pub items: Vec<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    nested {
        pub struct Order { pub id: u64, pub items: Vec<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u16) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    nested_name {
        pub struct Order { pub id: u64, pub items: Vec<Article>, pub status: Status }
        pub struct Article { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
    variants_swapped {
        pub struct Order { pub id: u64, pub items: Vec<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Paid(u64), Open, Sent { at: i64 } }
    }
    variant_added {
        pub struct Order { pub id: u64, pub items: Vec<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 }, Lost }
    }
    variant_retyped {
        pub struct Order { pub id: u64, pub items: Vec<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u32), Sent { at: i64 } }
    }
    other_container {
        pub struct Order { pub id: u64, pub items: std::collections::VecDeque<Item>, pub status: Status }
        pub struct Item { pub name: String, pub price: (u64, u8) }
        pub enum Status { Open, Paid(u64), Sent { at: i64 } }
    }
}

fn of<R: Record>() -> Schema {
    Schema::of::<R>()
}

/// Golden: texts that lie in copies of state.
const ORDER: &str = "$0\n\
    Order{id: u64, items: Vec<$1>, status: $2}\n\
    Item{name: String, price: (u64, u8)}\n\
    Status[Open | Paid(u64) | Sent{at: i64}]";

#[test]
fn the_same_fields_say_the_same_wherever_the_type_is() {
    assert_eq!(of::<first::Order>().as_str(), ORDER);
    assert_eq!(of::<first::Order>(), of::<again::Order>());
    let both = of::<(first::Order, Vec<first::Item>)>();
    let lines = ORDER.split_once('\n').unwrap().1;
    assert_eq!(both.as_str(), format!("($0, Vec<$1>)\n{lines}"));
    // Two types that are called alike are two.
    let two = of::<(first::Item, again::Item)>();
    let item = "Item{name: String, price: (u64, u8)}";
    assert_eq!(two.as_str(), format!("($0, $1)\n{item}\n{item}"));
}

#[test]
fn every_change_says_something_else_and_what() {
    let first = of::<first::Order>();
    for (changed, told) in [
        (
            of::<swapped::Order>(),
            "the fields of Order have changed places: id, items, status before, items, id, status now",
        ),
        (of::<added::Order>(), "field `by` of Order is new"),
        (of::<removed::Order>(), "field `items` of Order is gone"),
        (
            of::<retyped::Order>(),
            "field `id` of Order was u64 and is i64",
        ),
        (of::<renamed::Order>(), "field `number` of Order is new"),
        (
            of::<nested::Order>(),
            "field `price` of Item was (u64, u8) and is (u64, u16)",
        ),
        (
            of::<nested_name::Order>(),
            "field `items` of Order was Vec<Item> and is Vec<Article>",
        ),
        (
            of::<variants_swapped::Order>(),
            "the variants of Status have changed places: Open, Paid, Sent before, Paid, Open, Sent now",
        ),
        (
            of::<variant_added::Order>(),
            "variant `Lost` of Status is new",
        ),
        (
            of::<variant_retyped::Order>(),
            "variant `Paid` of Status was Paid(u64) and is Paid(u32)",
        ),
        (
            of::<other_container::Order>(),
            "field `items` of Order was Vec<Item> and is VecDeque<Item>",
        ),
    ] {
        assert_ne!(first, changed, "{told}");
        let changes = first.changes(&changed);
        assert!(changes.iter().any(|it| it == told), "{told}: {changes:?}");
    }
    assert!(first.has_same_fields(&of::<nested_name::Order>()));
    assert!(!first.has_same_fields(&of::<renamed::Order>()));
}

/// The first order under a name of its own, with fields that are called otherwise.
#[record(name = "Order", crate = thalweg_memory)]
struct OrderV1 {
    #[record(name = "id")]
    number: u64,
    items: Vec<Thing>,
    status: State,
}

#[record(name = "Item", crate = thalweg_memory)]
struct Thing {
    name: String,
    price: (u64, u8),
}

#[record(crate = thalweg_memory, name = "Status")]
enum State {
    #[record(name = "Open")]
    Begun,
    Paid(u64),
    Sent {
        #[record(name = "at")]
        when: i64,
    },
}

#[test]
fn what_has_a_name_says_that_it_is_called_so() {
    assert_eq!(of::<OrderV1>(), of::<first::Order>());
}

#[record(crate = thalweg_memory)]
struct Pair<A, B> {
    first: A,
    second: Vec<B>,
}

#[record(key, crate = thalweg_memory)]
#[derive(Clone, PartialEq)]
struct Tagged<K>(u32, K);

#[record(key, crate = thalweg_memory)]
#[derive(Clone, PartialEq)]
struct Unit;

#[record(crate = thalweg_memory)]
enum Tree {
    Leaf(u64),
    Fork(Box<Tree>, Vec<Option<Tree>>),
}

/// Two types that contain each other.
#[record(crate = thalweg_memory)]
struct Even(Vec<Odd>);

#[record(crate = thalweg_memory)]
#[rkyv(
    serialize_bounds(
        __S: rkyv::ser::Writer + rkyv::ser::Allocator,
        __S::Error: rkyv::rancor::Source,
    ),
    deserialize_bounds(__D::Error: rkyv::rancor::Source),
    bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)),
)]
struct Odd {
    #[rkyv(omit_bounds)]
    next: Option<Box<Even>>,
}

#[record(crate = thalweg_memory)]
struct Adapted {
    #[rkyv(with = rkyv::with::AsBox)]
    boxed: u64,
    r#type: u8,
}

#[record(crate = thalweg_memory)]
struct NotAdapted {
    boxed: u64,
    r#type: u8,
}

#[record(crate = thalweg_memory)]
#[repr(u8)]
enum Numbered {
    One = 1,
    Five = 2 + 3,
}

#[test]
fn generics_recursion_adapters_and_numbers_are_part_of_it() {
    let pairs = of::<Pair<u8, Pair<Unit, String>>>();
    assert_eq!(
        pairs.as_str(),
        "$0\nPair{first: u8, second: Vec<$1>}\nPair{first: $2, second: Vec<String>}\nUnit{}"
    );
    assert_eq!(of::<Tagged<String>>().as_str(), "$0\nTagged(u32, String)");
    assert_eq!(
        of::<BTreeMap<u64, Tree>>().as_str(),
        "BTreeMap<u64, $0>\nTree[Leaf(u64) | Fork(Box<$0>, Vec<Option<$0>>)]"
    );
    assert_eq!(
        of::<Even>().as_str(),
        "$0\nEven(Vec<$1>)\nOdd{next: Option<Box<$0>>}"
    );
    assert_eq!(
        of::<Adapted>().as_str(),
        "$0\nAdapted{boxed: u64 as with=rkyv::with::AsBox, type: u8}"
    );
    assert!(!of::<Adapted>().has_same_fields(&of::<NotAdapted>()));
    assert_eq!(of::<Numbered>().as_str(), "$0\nNumbered[One=1 | Five=2+3]");
}
