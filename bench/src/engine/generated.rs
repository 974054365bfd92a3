//! `gen` and `sum`: records made by arithmetic.

use thalweg::connectors::Generator;
use thalweg::prelude::*;

use super::checksum::{Checksum, Gathered, Total};
use crate::workload::definitions::{h2, step, sum_record};

/// Source to sink, chained.
pub(super) fn generate(environment: &Environment, records: u64) -> Total {
    let total = Total::default();
    environment
        .source(Generator::new(records, sum_record))
        .sink(Checksum::new(
            |record: &(u64, u64)| h2(record.0, record.1),
            &total,
        ));
    total
}

/// Keyed running sum in value state, one row per record.
pub(super) fn sum(environment: &Environment, records: u64) -> Total {
    let total = Total::default();
    environment
        .source(Generator::new(records, sum_record))
        .key_by(|record| record.0)
        .process(|open| {
            let mut sum = open.value_state::<u64>("sum");
            move |(key, value): (u64, u64), _context, out: &mut Collector<(u64, u64, u64)>| {
                let mut old = 0;
                sum.update(|sum| {
                    old = *sum;
                    *sum = sum.wrapping_add(value);
                })?;
                out.emit((key, old, old.wrapping_add(value)));
                Ok(())
            }
        })
        .sink(Gathered::new(
            |row: &(u64, u64, u64)| Ok(*row),
            |(key, old, new)| step(key, old, new),
            &total,
        ));
    total
}
