//! A list and a map of some keys that expire, for the drawn programs of states that expire on disk.
//!
//! Some keys have several chunks of elements; some user keys have one hash, so that entries stand in each other's
//! places. Invariant: what is alive is there in its order; what was over at some time, whatever the time to live was
//! then, may be gone.

use std::collections::BTreeMap;

use thalweg_core::{KeyHash, Timestamp};

use super::{Last, Model};
use crate::backend::KeyedBackend;
use crate::keyed::user_key;
use crate::snapshot::reading::Draws;
use crate::{ListState, MapState, StateDescriptor, StateError, StateTtl};

/// One key in so many has anything.
const SOME: u64 = 10;
/// The keys that have much are those before.
const MUCH: u64 = 50;
/// The most user keys of a key.
const USER_KEYS: u64 = 64;

user_key! {
    /// A user key that shares its hash with two others, and follows on the hashes of others.
    Alike, |number| KeyHash(number / 3)
}

/// What keys had in both.
#[derive(Clone, Default)]
pub(super) struct Collected {
    lists: BTreeMap<u64, Vec<Last>>,
    /// By key and user key.
    maps: Model,
}

impl Collected {
    /// What is over by now may be gone from now on.
    pub(super) fn age(&mut self, ttl: StateTtl, now: i64) {
        self.maps.age(ttl, now);
        for last in self.lists.values_mut().flatten() {
            last.maybe |= ttl.is_over(Timestamp(last.touched), Timestamp(now));
        }
    }

    /// How many elements and entries may be gone.
    pub(super) fn over(&self) -> [usize; 2] {
        let over = |last: &&Last| last.maybe;
        let lists = self.lists.values().flatten().filter(over).count();
        [lists, self.maps.0.values().filter(over).count()]
    }
}

/// The states.
pub(super) struct Collections {
    list: ListState<u64, (u64, String)>,
    map: MapState<u64, Alike, (u64, String)>,
    ttl: StateTtl,
}

impl Collections {
    pub(super) fn declare(backend: &mut KeyedBackend<u64>, ttl: StateTtl) -> Collections {
        let list = StateDescriptor::list::<(u64, String)>("list").with_ttl(ttl);
        let map = StateDescriptor::map::<Alike, (u64, String)>("map").with_ttl(ttl);
        Collections {
            list: backend.list_state_of(list).unwrap(),
            map: backend.map_state_of(map).unwrap(),
            ttl,
        }
    }

    /// Reads what the key in work has, and holds it against the model.
    pub(super) fn check(&self, key: u64, model: &mut Collected, now: i64, what: &str) {
        if !key.is_multiple_of(SOME) {
            return;
        }
        let read: Vec<u64> = self.list.get().unwrap().iter().map(|it| it.0).collect();
        let is_over = |last: &Last| self.ttl.is_over(Timestamp(last.touched), Timestamp(now));
        let was = model.lists.entry(key).or_default();
        was.retain(|last| !is_over(last));
        let gone = was.len().saturating_sub(read.len());
        let lost = was.drain(..gone).find(|last| !last.maybe);
        assert!(
            lost.is_none(),
            "the list of {key} has lost {lost:?} at {now}: {what}"
        );
        let left: Vec<u64> = was.iter().map(|last| last.value).collect();
        assert_eq!(read, left, "the list of {key} at {now}: {what}");
        let length = self.list.len().unwrap();
        assert_eq!(
            length,
            left.len() as u64,
            "length of {key} at {now}: {what}"
        );
        let entries = self.map.entries().unwrap().into_iter();
        let entries: BTreeMap<u64, u64> = entries.map(|(user, it)| (user.0, it.0)).collect();
        for user in 0..USER_KEYS {
            let read = self.map.get(&Alike(user)).unwrap().map(|it| it.0);
            assert_eq!(entries.get(&user).copied(), read, "{user} of {key}: {what}");
            (model.maps).check(key * USER_KEYS + user, read, (self.ttl, now), what);
        }
    }

    /// Changes what the key in work has.
    pub(super) fn change(
        &mut self,
        key: u64,
        draws: &mut Draws,
        (model, now): (&mut Collected, i64),
    ) -> Result<(), StateError> {
        if !key.is_multiple_of(SOME) {
            return Ok(());
        }
        let much = key < MUCH;
        for _ in 0..1 + draws.below(if much { 12 } else { 3 }) {
            self.change_map(key, draws, (model, now))?;
        }
        if draws.once_in(40) {
            self.list.clear()?;
            model.lists.remove(&key);
            return Ok(());
        }
        let last = |value| Last {
            value,
            touched: now,
            maybe: false,
        };
        let added = draws.below(if much { 12 } else { 4 });
        for value in (0..added).map(|_| draws.below(1_000)) {
            self.list.add((value, format!("{value:0>50}")))?;
            model.lists.entry(key).or_default().push(last(value));
        }
        Ok(())
    }

    fn change_map(
        &mut self,
        key: u64,
        draws: &mut Draws,
        (model, now): (&mut Collected, i64),
    ) -> Result<(), StateError> {
        let (user, value) = (draws.below(USER_KEYS), draws.below(1_000));
        let id = key * USER_KEYS + user;
        match draws.below(40) {
            0 => {
                self.map.clear()?;
                let all = key * USER_KEYS..(key + 1) * USER_KEYS;
                model.maps.0.retain(|id, _| !all.contains(id));
            }
            1..8 => {
                self.map.remove(&Alike(user))?;
                model.maps.0.remove(&id);
            }
            _ => {
                self.map
                    .put(Alike(user), (value, format!("{value:0>50}")))?;
                model.maps.set(id, value, now);
            }
        }
        Ok(())
    }
}
