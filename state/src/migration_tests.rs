//! States of every kind, written under one type and taken back under another.

use std::time::Duration;

use thalweg_core::{Epoch, MaxParallelism, Timestamp};
use thalweg_memory::{Budget, Key as _};

use super::*;
use crate::backend::KeyedBackend;
use crate::keyed::Aggregation;
use crate::snapshot::{CutKind, Row, Snapshot};
use crate::table::Scan;
use crate::ttl::StateTtl;

/// A row on its own.
type Kept = (u16, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

fn backend() -> KeyedBackend<u64> {
    let mut backend = KeyedBackend::in_memory(
        0..128,
        MaxParallelism::default(),
        Budget::new("slot", 1 << 28),
    );
    backend.set_processing_time(Timestamp(1_000));
    backend
}

fn at(backend: &KeyedBackend<u64>, key: u64) {
    backend.context().set_current(u64::hash(&key), &key);
}

/// Every state with its rows.
fn written(backend: &mut KeyedBackend<u64>) -> Vec<(StateDescriptor, Vec<Kept>)> {
    let mut states = Vec::new();
    let mut write = |state: &StateDescriptor, snapshot: &mut dyn Snapshot| {
        let mut rows = Vec::new();
        snapshot.freeze(Epoch(1), CutKind::Everything);
        let mut keep = |row: Row<'_>| {
            let (key, namespace) = (row.key.to_vec(), row.namespace.to_vec());
            rows.push((row.group.0, key, namespace, row.value.map(<[u8]>::to_vec)));
        };
        while snapshot.emit(64, &mut keep)? == Scan::More {}
        states.push((state.clone(), rows));
        Ok(())
    };
    backend.visit_states(&mut write).unwrap();
    states
}

/// Takes states back as they say they can be.
fn take_back(backend: &mut KeyedBackend<u64>, written: &[(StateDescriptor, Vec<Kept>)]) {
    let mut give = |state: &StateDescriptor, snapshot: &mut dyn Snapshot| {
        let same = |(found, _): &&(StateDescriptor, Vec<Kept>)| found.name() == state.name();
        let (found, rows) = written.iter().find(same).unwrap();
        let migration = state.restores_from(found)?;
        let ages = state.ttl().is_some();
        for (group, key, namespace, value) in rows {
            let value = value.as_deref().unwrap();
            let made = migration.map(|it| it.convert(value, ages)).transpose()?;
            snapshot.restore(Row {
                group: thalweg_core::KeyGroup(*group),
                key,
                namespace,
                value: Some(made.as_deref().unwrap_or(value)),
            })?;
        }
        match migration {
            Some(migration) => snapshot.restored_by(migration, ages),
            None => snapshot.restored(),
        }
    };
    backend.visit_states(&mut give).unwrap();
}

fn ttl() -> StateTtl {
    StateTtl::new(Duration::from_secs(60))
}

/// Keys, some of them with lists of several parts.
const KEYS: u64 = 20;

fn elements(key: u64) -> u64 {
    if key < 3 { 2_500 } else { key }
}

/// Declares all kinds once with `u32` and fills them, once with `String` or `u64` and reads them.
fn every_kind_is_migrated(ages: bool) {
    let with = |state: StateDescriptor| if ages { state.with_ttl(ttl()) } else { state };
    let mut old = backend();
    let mut value = old
        .value_state_of::<u32>(with(StateDescriptor::value::<u32>("value")))
        .unwrap();
    let mut list = old
        .list_state_of::<u32, ()>(with(StateDescriptor::list::<u32>("list")))
        .unwrap();
    let mut map = old
        .map_state_of::<u64, u32, ()>(with(StateDescriptor::map::<u64, u32>("map")))
        .unwrap();
    let sum = || {
        Aggregation::new(
            || 0,
            |sum: &mut u32, add: u32| *sum += add,
            |sum: &u32| *sum,
        )
    };
    let mut total = old
        .aggregating_state_of::<u32, u32, u32, ()>(
            with(StateDescriptor::aggregating::<u32>("total")),
            sum(),
        )
        .unwrap();
    for key in 0..KEYS {
        at(&old, key);
        value.set(key as u32).unwrap();
        total.add(key as u32 + 1).unwrap();
        for element in 0..elements(key) {
            list.add(element as u32).unwrap();
            map.put(element % 50, element as u32).unwrap();
        }
    }
    let rows = written(&mut old);

    let mut new = backend();
    let text = |old: u32| format!("was {old}");
    let value = StateDescriptor::value::<String>("value").migrated_from(1, text);
    let value = new.value_state_of::<String>(with(value)).unwrap();
    let list = StateDescriptor::list::<(u64, u64)>("list")
        .with_version(2)
        .migrated_from(1, |old: u32| (u64::from(old), 7_u64));
    let mut list = new.list_state_of::<(u64, u64), ()>(with(list)).unwrap();
    let map = StateDescriptor::map::<u64, String>("map")
        .entries_migrated_from::<u64, u32, String>(1, text);
    let map = new.map_state_of::<u64, String, ()>(with(map)).unwrap();
    let wide =
        StateDescriptor::aggregating::<u64>("total").migrated_from(1, |old: u32| u64::from(old));
    let sum = Aggregation::new(
        || 0,
        |sum: &mut u64, add: u64| *sum += add,
        |sum: &u64| *sum,
    );
    let mut total = new
        .aggregating_state_of::<u64, u64, u64, ()>(with(wide), sum)
        .unwrap();
    take_back(&mut new, &rows);
    for key in 0..KEYS {
        at(&new, key);
        assert_eq!(value.get().unwrap(), Some(text(key as u32)));
        total.add(1).unwrap();
        assert_eq!(total.get().unwrap(), Some(key + 2));
        list.add((elements(key), 7)).unwrap();
        let expected: Vec<(u64, u64)> = (0..=elements(key)).map(|element| (element, 7)).collect();
        assert_eq!(list.get().unwrap(), expected, "key {key}");
        for place in 0..elements(key).min(50) {
            let last = (elements(key) - 1 - place) / 50 * 50 + place;
            assert_eq!(map.get(&place).unwrap(), Some(text(last as u32)));
        }
    }
}

#[test]
fn every_kind_is_migrated_without_and_with_a_time_to_live() {
    every_kind_is_migrated(false);
    every_kind_is_migrated(true);
}

#[test]
fn a_function_is_for_one_type_and_version_and_nothing_else_may_have_changed() {
    let found = |version| StateDescriptor::value::<u32>("sum").with_version(version);
    let wide = |old: u32| u64::from(old);
    let now = StateDescriptor::value::<u64>("sum")
        .with_version(3)
        .migrated_from(2, wide);
    assert!(now.restores_from(&found(2)).unwrap().is_some());
    let same = StateDescriptor::value::<u64>("sum").with_version(3);
    assert!(now.restores_from(&same).unwrap().is_none());
    for (other, what) in [
        (found(1), "type of values"),
        (StateDescriptor::list::<u32>("sum").with_version(2), "kind"),
        (found(2).with_ttl(ttl()), "time to live"),
        (found(2).of_keys::<String, ()>(), "type of keys"),
    ] {
        let refused = now.restores_from(&other).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
    }
    // The function must lead to what is declared.
    let astray = StateDescriptor::value::<i64>("sum").migrated_from(2, wide);
    assert!(astray.restores_from(&found(2)).is_err());
}

#[test]
fn damaged_values_are_refused() {
    let now = StateDescriptor::value::<String>("sum").migrated_from(1, |old: String| old + "!");
    let found = StateDescriptor::value::<String>("sum");
    let later = now.with_version(2);
    let migration = later.restores_from(&found).unwrap().unwrap();
    let mut saved = SavedRecord::new();
    let whole = saved.archive(&"a text of some length".to_owned()).to_vec();
    assert!(migration.convert(&whole, false).is_ok());
    // A text of up to 8 bytes lies in its root; what is shorter than a root is none.
    for end in 0..8 {
        assert!(migration.convert(&whole[..end], false).is_err(), "{end}");
    }
    for end in 8..whole.len() {
        let _ = migration.convert(&whole[..end], false);
    }
}

/// The types of one program at several times.
mod first {
    #[thalweg_memory::record(crate = thalweg_memory)]
    #[derive(Clone)]
    pub(super) struct Order {
        pub(super) id: u64,
        pub(super) items: u64,
    }

    #[thalweg_memory::record(key, crate = thalweg_memory)]
    pub(super) struct Shop(pub(super) u32, pub(super) u32);
}

mod then {
    /// The same fields in another order: an archive of one is a good archive of the other.
    #[thalweg_memory::record(crate = thalweg_memory)]
    #[derive(Clone, Debug, PartialEq)]
    pub(super) struct Order {
        pub(super) items: u64,
        pub(super) id: u64,
    }

    #[thalweg_memory::record(name = "Order", crate = thalweg_memory)]
    #[derive(Clone)]
    pub(super) struct OrderV1 {
        pub(super) id: u64,
        pub(super) items: u64,
    }

    /// What it is called by others.
    #[thalweg_memory::record(crate = thalweg_memory)]
    pub(super) struct Purchase {
        id: u64,
        items: u64,
    }

    /// What somebody takes the first order for.
    #[thalweg_memory::record(name = "Order", crate = thalweg_memory)]
    pub(super) struct Mistaken {
        pub(super) id: u64,
        pub(super) items: u32,
    }

    #[thalweg_memory::record(key, crate = thalweg_memory)]
    pub(super) struct Shop(pub(super) u32, pub(super) u64);

    pub(super) fn order(OrderV1 { id, items }: OrderV1) -> Order {
        Order { items, id }
    }
}

#[test]
fn other_fields_under_the_same_name_are_refused_and_told() {
    let found = StateDescriptor::list::<first::Order>("orders").of_keys::<u64, ()>();
    let same = StateDescriptor::list::<first::Order>("orders").of_keys::<u64, ()>();
    assert!(same.restores_from(&found).unwrap().is_none());
    let now = StateDescriptor::list::<then::Order>("orders").of_keys::<u64, ()>();
    let refused = now.restores_from(&found).unwrap_err();
    assert_eq!(refused.kind(), thalweg_core::ErrorKind::Invalid);
    let refused = refused.to_string();
    for part in [
        "'orders'",
        "type of values",
        "the fields of Order have changed places: id, items before, items, id now",
        "it was Order{id: u64, items: u64}",
        "it is Order{items: u64, id: u64}",
        "migrated_from",
        "name = ",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Where it is part of another type, too; and of keys, which cannot be migrated.
    let found = StateDescriptor::map::<u64, Vec<first::Order>>("orders");
    let now = StateDescriptor::map::<u64, Vec<then::Order>>("orders");
    assert!(now.restores_from(&found).is_err());
    let found = StateDescriptor::timers("timers").of_keys::<first::Shop, ()>();
    let now = StateDescriptor::timers("timers").of_keys::<then::Shop, ()>();
    let refused = now.restores_from(&found).unwrap_err().to_string();
    let told = "field `1` of Shop was u32 and is u64";
    assert!(
        refused.contains("type of keys") && refused.contains(told),
        "{refused}"
    );
    assert!(!refused.contains("migrated_from"), "{refused}");
    let found = StateDescriptor::broadcast::<first::Shop, u64>("rules");
    let now = StateDescriptor::broadcast::<then::Shop, u64>("rules");
    assert!(now.restores_from(&found).is_err());
}

#[test]
fn the_same_fields_under_another_name_are_another_type_unless_it_says_it_was_called_so() {
    let found = StateDescriptor::value::<first::Order>("order");
    let now = StateDescriptor::value::<then::Purchase>("order");
    let refused = now.restores_from(&found).unwrap_err().to_string();
    assert!(refused.contains("type of values"), "{refused}");
    let now = StateDescriptor::value::<then::OrderV1>("order");
    assert!(now.restores_from(&found).unwrap().is_none());
}

#[test]
fn a_former_shape_of_the_same_name_is_migrated() {
    let found = StateDescriptor::value::<first::Order>("order");
    let now = || StateDescriptor::value::<then::Order>("order");
    let migrated = now().migrated_from(1, then::order);
    let way = migrated.restores_from(&found).unwrap().unwrap();
    let mut saved = SavedRecord::new();
    let old = saved.archive(&first::Order { id: 3, items: 8 }).to_vec();
    let new = way.convert(&old, false).unwrap();
    let new: then::Order = saved.revive(&new).unwrap();
    assert_eq!(new, then::Order { items: 8, id: 3 });
    // What is as it is now stays.
    assert!(migrated.restores_from(&now()).unwrap().is_none());
    // Of another version it is not the one that was meant.
    let other = found.clone().with_version(2);
    assert!(migrated.restores_from(&other).is_err());
    // The former type was declared with other fields than the copy holds.
    let mistaken = now().migrated_from(1, |old: then::Mistaken| then::Order {
        items: old.items.into(),
        id: old.id,
    });
    let refused = mistaken.restores_from(&found).unwrap_err().to_string();
    for part in [
        "to be migrated from",
        "field `items` of Order was u64 and is u32",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Of several the right one is taken.
    let both = now().migrated_from(1, |old: then::Mistaken| then::Order {
        items: old.items.into(),
        id: old.id,
    });
    let both = both.migrated_from(1, then::order);
    assert_eq!(both.restores_from(&found).unwrap(), Some(way));
}

#[test]
fn a_type_that_was_called_otherwise_is_migrated_by_that_name() {
    let found = StateDescriptor::list::<first::Order>("orders");
    let now = || StateDescriptor::list::<u64>("orders");
    let id = |old: then::OrderV1| old.id;
    for name in [found.value_type(), "Order"] {
        let named = now().migrated_from_named(name, 1, id);
        assert!(named.restores_from(&found).unwrap().is_some(), "{name}");
        // The name is that of another type in this copy.
        let other = StateDescriptor::list::<(u64, u64)>("orders");
        assert!(named.restores_from(&other).is_err());
        // A type of that name with other fields.
        let other = StateDescriptor::list::<then::Order>("orders");
        let refused = named.restores_from(&other).unwrap_err().to_string();
        assert!(
            name != "Order" || refused.contains("changed places"),
            "{refused}"
        );
    }
    let wrong = now().migrated_from_named("Purchase", 1, id);
    assert!(wrong.restores_from(&found).is_err());
    let found = StateDescriptor::map::<String, first::Order>("orders");
    let now = || StateDescriptor::map::<String, u64>("orders");
    for name in [std::any::type_name::<first::Order>(), "Order"] {
        let named = now().entries_migrated_from_named::<String, then::OrderV1, u64>(name, 1, id);
        assert!(named.restores_from(&found).unwrap().is_some(), "{name}");
    }
}

/// The description as an engine wrote it that kept names only.
fn of_before(state: &StateDescriptor) -> StateDescriptor {
    let mut old = state.clone();
    for known in [&mut old.keys, &mut old.namespaces, &mut old.values] {
        known.schema = None;
    }
    let mut bytes = Vec::new();
    old.encode(&mut bytes);
    assert_eq!(bytes[0], 1, "what knows no fields is of version 1");
    let read = StateDescriptor::decode(&mut &bytes[..]).unwrap();
    assert!(read == old && !read.tells_fields());
    read
}

#[test]
fn copies_of_before_are_compared_by_name() {
    let now = || StateDescriptor::value::<then::Order>("order").of_keys::<u64, ()>();
    let found = of_before(&now());
    assert!(now().restores_from(&found).unwrap().is_none());
    let narrow = of_before(&StateDescriptor::value::<u32>("order").of_keys::<u64, ()>());
    let refused = now().restores_from(&narrow).unwrap_err().to_string();
    assert!(
        refused.contains("type of values") && refused.contains("u32"),
        "{refused}"
    );
    let wide = StateDescriptor::value::<u64>("order").of_keys::<u64, ()>();
    let wide = wide.migrated_from(1, |old: u32| u64::from(old));
    assert!(wide.restores_from(&narrow).unwrap().is_some());
    // A function for a former type of that name: whether the copy is of that, its user must say.
    let migrated = now().migrated_from(1, then::order);
    let refused = migrated.restores_from(&found).unwrap_err().to_string();
    for part in ["migrated_from_named", found.value_type(), "version 1"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let named = now().migrated_from_named(found.value_type(), 1, then::order);
    assert!(named.restores_from(&found).unwrap().is_some());
    assert!(named.restores_from(&now()).unwrap().is_none());
    // Another run of the same copy says more of the same type.
    let mut learned = found.clone();
    learned.learn_fields(&now());
    assert_eq!(learned, now());
    let mut other = narrow.clone();
    other.learn_fields(&now());
    assert_eq!(other, narrow);
}

#[test]
fn what_is_held_decides_what_is_said_of_values() {
    let mut backend = backend();
    let astray = StateDescriptor::value::<u32>("order");
    let order = backend.value_state_of::<first::Order>(astray);
    drop(order.unwrap());
    let said = backend.states();
    assert_eq!(said[0].to_string(), {
        let name = std::any::type_name::<first::Order>();
        format!("value state 'order' of {name} (Order{{id: u64, items: u64}}), version 1")
    });
}
