//! Keys found in memory; `on_disk` finds them wherever they are.

mod on_disk;

use thalweg_core::MaxParallelism;

use super::*;
use crate::KeyedBackend;

fn visited(budget: &Budget, state: &impl KeyedState<u64>) -> Vec<u64> {
    let mut keys = KeysOfState::<u64>::new(state, budget.clone());
    while keys.gather(7).unwrap() != Gathered::Next {}
    let mut all = Vec::new();
    while let Some((hash, key)) = keys.next_key() {
        assert_eq!(hash, u64::hash(&key));
        assert!(keys.has(&(hash, key)));
        all.push(key);
    }
    all.sort_unstable();
    all
}

#[test]
fn each_key_of_every_kind_of_state_is_found_once() {
    let budget = Budget::new("slot", 1 << 28);
    let max = MaxParallelism::default();
    let mut backend = KeyedBackend::<u64>::in_memory(0..128, max, budget.clone());
    let mut value = backend.value_state::<String>("value").unwrap();
    let mut list = backend.list_state::<String>("list").unwrap();
    let mut map = backend.map_state::<u64, u64>("map").unwrap();
    for key in 0..500_u64 {
        backend.context().set_current(u64::hash(&key), &key);
        value.set(key.to_string()).unwrap();
        for element in 0..key % 400 {
            list.add(element.to_string()).unwrap();
            map.put(element, key).unwrap();
        }
    }
    let some: Vec<u64> = (0..500).filter(|key| key % 400 > 0).collect();
    assert_eq!(visited(&budget, &value), (0..500).collect::<Vec<_>>());
    assert_eq!(visited(&budget, &list), some);
    assert_eq!(visited(&budget, &map), some);
    // The first walk ended the tables' growth.
    let held = budget.used();
    assert_eq!(visited(&budget, &map), some);
    assert_eq!(budget.used(), held, "the copies are given back");
}
