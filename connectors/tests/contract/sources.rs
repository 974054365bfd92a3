//! Every source: any cut into polls, any snapshot, any parallelism give the same records.

use thalweg_connectors::{Collection, Generator, Sequence};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::source::{Boundedness, Source};

use crate::drive::{Reading, holds, read};

fn number(item: u64, at: Timestamp) -> String {
    assert_eq!(at, Timestamp::NONE);
    item.to_string()
}

fn strings(numbers: impl Iterator<Item = u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn a_collection() {
    let words = ["one", "two", "", "four"].map(str::to_owned);
    holds(&Collection::new(words.clone()), &words, |word, _| word);
    holds(&Collection::new(Vec::<u64>::new()), &[], number);
    assert_eq!(Collection::new([1_u8]).parallelism(), Some(1));
}

#[test]
fn a_sequence() {
    holds(&Sequence::new(5..=104), &strings(5..=104), number);
    holds(&Sequence::new(7..=7), &strings(7..=7), number);
    #[allow(
        clippy::reversed_empty_ranges,
        reason = "an empty range is what is tried"
    )]
    let empty = Sequence::new(2..=1);
    holds(&empty, &[], number);
    let last = u64::MAX - 9..=u64::MAX;
    holds(&Sequence::new(last.clone()), &strings(last), number);
}

#[test]
fn a_generator() {
    let squares = Generator::new(100, |i| i * i);
    assert_eq!(squares.boundedness(), Boundedness::Bounded);
    holds(&squares, &strings((0..100).map(|i| i * i)), number);
    let endless = squares.unbounded();
    assert_eq!(endless.boundedness(), Boundedness::Unbounded);
}

#[test]
fn a_generator_with_event_times() {
    let timed = Generator::timed(50, |i| (i, Timestamp(i as i64 * 10)));
    assert!(timed.timestamps());
    let whole: Vec<String> = (0..50).map(|i| format!("{i} at {}ms", i * 10)).collect();
    holds(&timed, &whole, |i, at| format!("{i} at {at}"));
}

#[test]
fn a_paced_generator() {
    let paced = Generator::new(60, |i| i).rate(1000.0);
    holds(&paced, &strings(0..60), number);
}

#[test]
fn record_i_is_in_subtask_i_mod_p_in_order() {
    let reading = Reading {
        parallelism: 3,
        ..Reading::default()
    };
    for reopen in [0, 3] {
        let reading = Reading { reopen, ..reading };
        let of_subtasks = read(&Generator::new(10, |i| i), reading, number).unwrap();
        assert_eq!(of_subtasks[0], ["0", "3", "6", "9"]);
        assert_eq!(of_subtasks[1], ["1", "4", "7"]);
        assert_eq!(of_subtasks[2], ["2", "5", "8"]);
    }
}

#[test]
fn a_rate_that_is_none_is_refused() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = Generator::new(1, |i| i).rate(rate).splits(1).unwrap_err();
        assert!(refused.message.contains(".rate()"), "{refused}");
    }
}
