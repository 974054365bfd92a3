//! Records in state whose fields changed while their name did not: refused by name, or migrated.

use thalweg_dataflow::OpenContext;
use thalweg_state::StateDescriptor;

use super::{Count, Counting, Place, Version, expected};
use crate::recovery::counting::lines;

/// The record as it was and as it is: two programs call it the same. An archive of one is a good archive of the other.
mod before {
    #[thalweg_memory::record(crate = thalweg_memory)]
    #[derive(Clone, Default)]
    pub(crate) struct Tally {
        pub(super) count: u32,
        pub(super) sevens: u32,
    }
}

mod now {
    #[thalweg_memory::record(crate = thalweg_memory)]
    #[derive(Clone, Default)]
    pub(crate) struct Tally {
        pub(super) sevens: u32,
        pub(super) count: u32,
    }

    #[thalweg_memory::record(name = "Tally", crate = thalweg_memory)]
    pub(crate) struct TallyV1 {
        pub(super) count: u32,
        pub(super) sevens: u32,
    }
}

macro_rules! count {
    ($tally:ty) => {
        impl Count for $tally {
            fn one_more(&mut self) {
                self.count += 1;
                self.sevens += 7;
            }
            fn number(&self) -> u64 {
                assert_eq!(
                    self.sevens,
                    self.count * 7,
                    "fields are not taken for others"
                );
                u64::from(self.count)
            }
        }
    };
}

count!(before::Tally);
count!(now::Tally);

pub(super) fn first(open: &mut OpenContext<u64>) -> Counting<before::Tally> {
    Counting {
        count: open.value_state("count"),
        list: open.list_state("list"),
        digits: open.map_state("digits"),
    }
}

pub(super) fn then(open: &mut OpenContext<u64>, version: Version) -> Counting<now::Tally> {
    let mut count = StateDescriptor::value::<now::Tally>("count");
    let mut list = StateDescriptor::list::<now::Tally>("list");
    let mut digits = StateDescriptor::map::<u64, now::Tally>("digits");
    if version == Version::OtherTalliesOfTallies {
        let tally = |now::TallyV1 { count, sevens }| now::Tally { sevens, count };
        count = count.migrated_from(1, tally);
        list = list.migrated_from(1, tally);
        digits = digits.entries_migrated_from::<u64, now::TallyV1, now::Tally>(1, tally);
    }
    Counting {
        count: open.value_state_with(count),
        list: open.list_state_with(list),
        digits: open.map_state_with(digits),
    }
}

#[test]
fn records_of_other_fields_are_refused_by_name_or_migrated() {
    for (was_on, is_on) in [("hashmap", "lsm"), ("lsm", "hashmap"), ("lsm", "lsm")] {
        let (place, savepoint) = Place::stopped_on(was_on, Version::Tallies);
        let says = [
            "'count'",
            "the counter",
            "the fields of Tally have changed places: count, sevens before, sevens, count now",
            "Tally{count: u32, sevens: u32}",
            "migrated_from",
        ];
        place.refuses(Version::OtherTallies, &savepoint, &says);
        let migrated = Version::OtherTalliesOfTallies;
        let gone_on = place.goes_on_on(is_on, migrated, &savepoint, false);
        gone_on.unwrap();
        assert_eq!(lines(&place.out()), expected());
    }
}

#[test]
fn records_of_the_same_fields_are_what_they_were() {
    let (place, savepoint) = Place::stopped(Version::Tallies);
    place.goes_on(Version::Tallies, &savepoint, false).unwrap();
    assert_eq!(lines(&place.out()), expected());
}
