//! A list and a map of each key, for the programs over states larger than their memory.
//!
//! Some keys have several chunks in them and others a few elements; some user keys have one hash. Invariant: both are
//! what vectors say, in the order in which those have it.

use std::time::Duration;

use thalweg_core::KeyHash;

use crate::keyed::user_key;
use crate::snapshot::reading::Draws;
use crate::{KeyedBackend, ListState, MapState, StateDescriptor, StateError, StateTtl};

/// One key in so many has anything.
const SOME: u64 = 8;
/// One key in so many has much.
const MUCH: u64 = 50 * SOME;
/// User keys of a key that has much, and of one that has not.
const USER_KEYS: (u64, u64) = (150, 8);

user_key! {
    /// A user key that shares its hash with another.
    pub(super) Alike, |number| KeyHash::of_u64(number / 2)
}

/// What a key has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Both {
    list: Vec<u64>,
    /// In the order of walks.
    map: Vec<(Alike, (u64, String))>,
}

pub(super) struct Collections {
    list: ListState<u64, u64>,
    map: MapState<u64, Alike, (u64, String)>,
}

impl Collections {
    pub(super) fn declare(backend: &mut KeyedBackend<u64>) -> Collections {
        let year = StateTtl::new(Duration::from_secs(365 * 86_400));
        let list = StateDescriptor::list::<u64>("list").with_ttl(year);
        Collections {
            list: backend.list_state_of(list).unwrap(),
            map: backend.map_state("map").unwrap(),
        }
    }

    /// What the key in work has.
    pub(super) fn held(&mut self) -> Result<Both, StateError> {
        Ok(Both {
            list: self.list.get()?,
            map: self.map.entries()?,
        })
    }

    /// Changes what the key in work has, and what the vectors say of it.
    pub(super) fn change(
        &mut self,
        key: u64,
        draws: &mut Draws,
        held: &mut Both,
    ) -> Result<(), StateError> {
        if !key.is_multiple_of(SOME) {
            return Ok(());
        }
        let much = key.is_multiple_of(MUCH);
        self.change_list(much, draws, &mut held.list)?;
        for _ in 0..if much { 1 + draws.below(40) } else { 1 } {
            self.change_map(much, draws, &mut held.map)?;
        }
        Ok(())
    }

    fn change_list(
        &mut self,
        much: bool,
        draws: &mut Draws,
        held: &mut Vec<u64>,
    ) -> Result<(), StateError> {
        match draws.below(12) {
            0 => {
                self.list.clear()?;
                held.clear();
            }
            1..4 => {
                let count = draws.below(held.len() as u64 + 2);
                let gone = self.list.remove_first(count)?;
                let removed = held.drain(..held.len().min(count as usize));
                assert_eq!(gone, removed.len() as u64, "elements that were removed");
            }
            _ => {
                let number = draws.below(1 << 40);
                let numbers = number..number + if much { draws.below(300) } else { 1 };
                self.list.add_all(numbers.clone())?;
                held.extend(numbers);
            }
        }
        Ok(())
    }

    fn change_map(
        &mut self,
        much: bool,
        draws: &mut Draws,
        held: &mut Vec<(Alike, (u64, String))>,
    ) -> Result<(), StateError> {
        let most = if much { USER_KEYS.0 } else { USER_KEYS.1 };
        let user_key = Alike(draws.below(most));
        let at = held.iter().position(|(other, _)| *other == user_key);
        match draws.below(40) {
            0 => {
                self.map.clear()?;
                held.clear();
            }
            1..12 => {
                let gone = self.map.remove(&user_key)?;
                let expected = at.map(|at| held.swap_remove(at).1);
                assert_eq!(gone, expected, "{user_key:?} is removed");
            }
            _ => {
                let number = draws.below(1_000);
                let first = || (number, format!("{number:0>120}"));
                self.map
                    .upsert(user_key, first, |(sum, _)| *sum += number)?;
                match at {
                    Some(at) => held[at].1.0 += number,
                    None => held.push((user_key, first())),
                }
            }
        }
        Ok(())
    }
}
