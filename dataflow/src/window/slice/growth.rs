//! How much memory tables reserve at most for records to come, whichever of them those belong to.
//!
//! Entered before batches where slices may go to disk. Of a few large tables each may grow; of thousands of small ones
//! no more can than there are records. Plain data, lives on any thread.

/// A table that may grow: bytes that it reserves for all records, and how many it takes to make it grow at all.
struct Grows {
    bytes: u64,
    records: u64,
    bytes_a_record: f64,
}

/// The most bytes that so many records make tables reserve. Each table says how many entries it takes before it grows,
/// and what it reserves if all records come to it; `new` is what the first record of one reserves that is not there yet,
/// which is more for one record than any further ones make it reserve.
pub(super) fn most_bytes(
    records: usize,
    new: u64,
    tables: impl Iterator<Item = (usize, u64)>,
) -> u64 {
    let of_table = |(room, bytes): (usize, u64)| Grows {
        bytes,
        records: room as u64 + 1,
        bytes_a_record: bytes as f64 / (room as f64 + 1.0),
    };
    let grow = tables
        .map(of_table)
        .filter(|it| it.bytes > new * it.records);
    let mut grow: Vec<Grows> = grow.collect();
    let dearest_first =
        |one: &Grows, other: &Grows| other.bytes_a_record.total_cmp(&one.bytes_a_record);
    if grow.len() > records {
        // Each takes a record at least.
        grow.select_nth_unstable_by(records, dearest_first);
        grow.truncate(records);
    }
    grow.sort_unstable_by(dearest_first);
    let (mut left, mut most) = (records as u64, 0_u64);
    for table in grow {
        if table.records >= left {
            // The last one counts as if a part of it could grow.
            let part = u128::from(table.bytes) * u128::from(left) / u128::from(table.records);
            return most.saturating_add(u64::try_from(part).unwrap_or(u64::MAX));
        }
        most = most.saturating_add(table.bytes);
        left -= table.records;
    }
    most.saturating_add(left.saturating_mul(new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::key_group::{KeyHash, MaxParallelism};
    use thalweg_memory::Budget;
    use thalweg_state::KeyedTable;

    use super::*;

    fn table(budget: &Budget, entries: u64) -> KeyedTable<u64, u64> {
        let max = MaxParallelism::default();
        let mut table = KeyedTable::new(0..128, max, budget.clone()).unwrap();
        for key in 0..entries {
            table
                .upsert(KeyHash::of_u64(key), &key, || key, |_| {})
                .unwrap();
        }
        table
    }

    fn most(tables: &[KeyedTable<u64, u64>], records: usize, new: u64) -> u64 {
        let tables = tables.iter();
        let tables = tables.map(|table| (table.fits(), table.bytes_for(records)));
        most_bytes(records, new, tables)
    }

    proptest! {
        #[test]
        fn no_way_to_deal_records_out_makes_tables_reserve_more(
            sizes in proptest::collection::vec(0_u64..600, 1..12),
            dealt in proptest::collection::vec((0_usize..24, 0_usize..200), 1..24),
        ) {
            let budget = Budget::new("slot-0", 1 << 30);
            let tables: Vec<_> = sizes.iter().map(|size| table(&budget, *size)).collect();
            let mut records = vec![0; 24];
            for (to, count) in dealt {
                records[to] += count;
            }
            // Those of which there is no table make one.
            let (none, new) = (table(&budget, 0), KeyedTable::<u64, u64>::first_bytes());
            let each = tables.iter().chain(std::iter::repeat(&none)).zip(&records);
            let all: u64 = each.map(|(table, count)| table.bytes_for(*count)).sum();
            let most = most(&tables, records.iter().sum(), new);
            prop_assert!(all <= most, "{all} of {most}");
        }
    }

    #[test]
    fn of_very_many_tables_no_more_grow_than_there_are_records() {
        let budget = Budget::new("slot-0", 1 << 30);
        let tables: Vec<_> = (0..3_000).map(|_| table(&budget, 8)).collect();
        let new = KeyedTable::<u64, u64>::first_bytes();
        let one = tables[0].bytes_for(64);
        let all = most(&tables, 64, new);
        assert!(one > 0 && all <= 65 * one, "{all} bytes, {one} for one");
    }
}
