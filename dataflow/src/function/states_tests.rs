//! Every kind of keyed state in a process function, in the harness.

use std::time::Duration;

use thalweg_state::StateTtl;

use super::*;
use crate::function::{Collector, FunctionError, ProcessContext};
use crate::harness::TestHarness;

/// Key, name, value.
type Put = (u64, String, u64);
/// Name, what was seen of it.
type Seen = (String, String);

fn put(key: u64, name: &str, value: u64) -> Put {
    (key, name.to_owned(), value)
}

/// Keeps what is put in every kind of state, and tells what is there after each.
fn every_kind() -> TestHarness<Put, Seen> {
    TestHarness::<Put, Seen>::new(|puts| {
        puts.key_by(|put: &Put| put.0)
            .process(|open: &mut OpenContext<u64>| {
                let mut last = open.value_state::<u64>("last");
                let mut sum = open.reducing_state("sum", |sum: &mut u64, value| *sum += value);
                let mut all = open.list_state::<u64>("all");
                let mut names = open.map_state::<String, u64>("names");
                let mut average = open.aggregating_state(
                    "average",
                    Aggregation::<u64, (u64, u64), u64>::new(
                        || (0, 0),
                        |(sum, count), value| (*sum, *count) = (*sum + value, *count + 1),
                        |(sum, count)| sum / count,
                    ),
                );
                let soon = StateTtl::new(Duration::from_millis(100));
                let recent = StateDescriptor::list::<u64>("recent").with_ttl(soon);
                let mut recent = open.list_state_with::<u64>(recent);
                move |(_, name, value): Put,
                      _: &ProcessContext<u64>,
                      out: &mut Collector<'_, Seen>|
                      -> Result<(), FunctionError> {
                    last.set(value)?;
                    sum.add(value)?;
                    all.add(value)?;
                    names.update(name.clone(), |count| *count += 1)?;
                    average.add(value)?;
                    recent.add(value)?;
                    let seen = format!(
                        "{:?} {:?} {:?} {:?} {:?} {:?}",
                        last.get()?,
                        sum.get()?,
                        all.get()?,
                        names.entries()?,
                        average.get()?,
                        recent.get()?,
                    );
                    out.emit((name, seen));
                    Ok(())
                }
            })
    })
}

#[test]
fn every_kind_of_state_keeps_what_its_key_put() {
    let mut harness = every_kind();
    harness.push(put(1, "a", 4));
    harness.push(put(2, "a", 7));
    harness.push(put(1, "b", 6));
    harness.advance_processing_time(Duration::from_millis(100));
    harness.push(put(1, "a", 2));
    let seen: Vec<String> = harness.output().into_iter().map(|(_, seen)| seen).collect();
    assert_eq!(
        seen,
        [
            r#"Some(4) Some(4) [4] [("a", 1)] Some(4) [4]"#,
            r#"Some(7) Some(7) [7] [("a", 1)] Some(7) [7]"#,
            r#"Some(6) Some(10) [4, 6] [("a", 1), ("b", 1)] Some(5) [4, 6]"#,
            r#"Some(2) Some(12) [4, 6, 2] [("a", 2), ("b", 1)] Some(4) [2]"#,
        ]
    );
    assert_eq!(harness.failure(), None);
}

#[test]
#[should_panic(
    expected = "declared twice, as list state 'seen' of u64, version 1 and as map state 'seen'"
)]
fn a_name_for_two_kinds_fails_the_job_and_both_are_named() {
    let _ = TestHarness::<u64, u64>::new(|numbers| {
        numbers
            .key_by(|n: &u64| *n)
            .process(|open: &mut OpenContext<u64>| {
                let _ = open.list_state::<u64>("seen");
                let _ = open.map_state::<u64, u64>("seen");
                |_: u64, _: &ProcessContext<u64>, _: &mut Collector<'_, u64>| {
                    Ok::<(), FunctionError>(())
                }
            })
    });
}

#[test]
#[should_panic(expected = "state 'seen' has a time to live shorter than a millisecond")]
fn a_state_that_could_never_be_read_fails_the_job_by_name() {
    let _ = TestHarness::<u64, u64>::new(|numbers| {
        numbers
            .key_by(|n: &u64| *n)
            .process(|open: &mut OpenContext<u64>| {
                let at_once = StateTtl::new(Duration::from_micros(900));
                let seen = StateDescriptor::list::<u64>("seen").with_ttl(at_once);
                let _ = open.list_state_with::<u64>(seen);
                |_: u64, _: &ProcessContext<u64>, _: &mut Collector<'_, u64>| {
                    Ok::<(), FunctionError>(())
                }
            })
    });
}
