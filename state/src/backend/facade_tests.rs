//! Tests of handles and backend together, as an operator uses them.

use super::*;
use thalweg_memory::Str;

fn backend<K: Key>(limit: u64) -> KeyedBackend<K> {
    KeyedBackend::in_memory(
        0..128,
        MaxParallelism::default(),
        Budget::new("slot-0", limit),
    )
}

fn enter(backend: &KeyedBackend<u64>, key: u64) {
    backend.context().set_current(KeyHash::of_u64(key), &key);
}

#[test]
fn states_belong_to_the_current_key() {
    let mut backend = backend::<u64>(1 << 20);
    let mut last = backend.value_state::<String>("last").unwrap();
    let mut sum = backend
        .reducing_state("sum", |sum: &mut u64, item| *sum += item)
        .unwrap();
    for item in 0..1_000u64 {
        enter(&backend, item % 10);
        last.set(format!("item {item}")).unwrap();
        sum.add(item).unwrap();
    }
    for key in 0..10 {
        enter(&backend, key);
        assert_eq!(last.get().unwrap(), Some(format!("item {}", 990 + key)));
        assert_eq!(
            sum.get().unwrap(),
            Some((0..1_000).filter(|item| item % 10 == key).sum())
        );
    }
    enter(&backend, 10);
    assert_eq!((last.get().unwrap(), sum.get().unwrap()), (None, None));
    enter(&backend, 3);
    last.clear().unwrap();
    sum.clear().unwrap();
    assert_eq!(
        (last.with(|value| value.is_none()), sum.get()),
        (Ok(true), Ok(None))
    );
}

#[test]
fn update_starts_from_the_default_and_upsert_from_what_is_given() {
    let mut backend = backend::<u64>(1 << 20);
    let mut value = backend.value_state::<u64>("value").unwrap();
    enter(&backend, 1);
    value.update(|value| *value += 5).unwrap();
    value.update(|value| *value += 5).unwrap();
    assert_eq!(value.get(), Ok(Some(10)));
    enter(&backend, 2);
    value.upsert(|| 100, |value| *value += 1).unwrap();
    value.upsert(|| 100, |value| *value += 1).unwrap();
    assert_eq!(value.get(), Ok(Some(101)));
}

#[test]
fn a_key_of_text_replaces_the_one_before() {
    let mut backend = backend::<Str>(1 << 20);
    let mut count = backend.value_state::<u64>("count").unwrap();
    let long = "x".repeat(100);
    for word in ["a", long.as_str(), "a", "", long.as_str(), "a"] {
        backend.context().set_current(Str::hash(&word), &word);
        count.update(|count| *count += 1).unwrap();
    }
    for (word, times) in [("a", 3), (long.as_str(), 2), ("", 1)] {
        backend.context().set_current(Str::hash(&word), &word);
        assert_eq!(count.get(), Ok(Some(times)), "{word}");
    }
}

#[test]
fn misuse_is_an_error_that_names_the_state() {
    let mut backend = backend::<u64>(1 << 20);
    let mut value = backend.value_state::<u64>("visits").unwrap();
    assert_eq!(
        value.get(),
        Err(StateError::NoCurrentKey {
            state: "visits".into()
        })
    );
    assert!(value.set(1).is_err());
    enter(&backend, 1);
    value.set(1).unwrap();
    let inner = value.with(|_| value.get()).unwrap();
    assert_eq!(
        inner,
        Err(StateError::Reentered {
            state: "visits".into()
        })
    );
    assert_eq!(value.get(), Ok(Some(1)));
    let Err(twice) = backend.reducing_state("visits", |_: &mut u64, _| ()) else {
        panic!("the name is taken");
    };
    assert!(matches!(&twice, StateError::DeclaredTwice { state, .. } if state == "visits"));
    assert!(
        twice
            .to_string()
            .contains("value state 'visits' of u64, version 1"),
        "{twice}"
    );
    assert_eq!(backend.states().len(), 1);
}

#[test]
fn memory_of_all_states_is_counted_and_refused_together() {
    let budget = Budget::new("slot-0", 100_000);
    let mut backend =
        KeyedBackend::<u64>::in_memory(0..128, MaxParallelism::default(), budget.clone());
    let mut first = backend.value_state::<u64>("first").unwrap();
    let mut second = backend.value_state::<u64>("second").unwrap();
    let mut refused = 0;
    for key in 0..10_000 {
        enter(&backend, key);
        refused += usize::from(first.set(key).is_err()) + usize::from(second.set(key).is_err());
        assert_eq!(backend.memory_bytes(), budget.used());
    }
    assert!(refused > 0);
    drop((first, second, backend));
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_batch_is_always_resident() {
    let mut backend = backend::<u64>(1 << 30);
    let mut value = backend.value_state::<u64>("value").unwrap();
    for key in 0..100_000 {
        enter(&backend, key);
        value.set(key).unwrap();
    }
    let hashes: Vec<KeyHash> = (0..200).map(KeyHash::of_u64).collect();
    assert_eq!(backend.residency(50, &hashes), Ok(Residency::Ready));
    backend.locate(50, 200);
    for key in 0..200 {
        backend.context().turn_to(50 + key as u8);
        enter(&backend, key);
        assert_eq!(value.get(), Ok(Some(key)));
    }
    enter(&backend, 99_999);
    assert_eq!(value.get(), Ok(Some(99_999)));
}
