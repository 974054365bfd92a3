//! A paced generator keeps its times and sleeps in between.

use thalweg_connectors::Generator;
use thalweg_dataflow::source::{Source, SourceReader, SourceStatus};

use crate::drive::{Kept, Surroundings, subtask};

#[test]
fn each_record_comes_when_it_is_due_over_all_subtasks_without_spinning() {
    let source = Generator::new(40, |i| i).rate(500.0);
    for parallelism in [1, 4] {
        for (split, index) in source.splits(parallelism).unwrap().into_iter().zip(0..) {
            let info = subtask(index, parallelism, 100);
            let mut reader = source.open(vec![split], &info).unwrap();
            let mut around = Surroundings::new(1);
            let start = around.reactor.clock.get();
            let mut out = Kept::<u64, _>::new(|i: u64, _| i.to_string());
            let mut polls = 0;
            loop {
                out.want(100);
                polls += 1;
                let before = out.kept.len();
                let status = around.turn(1000, |cx| reader.poll(&mut out, cx)).unwrap();
                let elapsed = around.reactor.clock.get() - start;
                for number in &out.kept[before..] {
                    let number: u64 = number.parse().unwrap();
                    // Each subtask starts its clock with its own first record.
                    assert_eq!(elapsed, (number - u64::from(index)) * 2_000_000);
                }
                assert!(around.timers.len() <= 1, "one timer at a time");
                match status {
                    SourceStatus::Finished => break,
                    SourceStatus::Waiting => around.wait(),
                    SourceStatus::More => panic!("there is nothing more until it is due"),
                }
            }
            assert_eq!(polls, out.kept.len(), "one poll per record");
        }
    }
}

#[test]
fn what_fell_due_meanwhile_comes_at_once() {
    let source = Generator::new(None, |i| i).rate(1000.0);
    let splits = source.splits(1).unwrap();
    let mut reader = source.open(splits, &subtask(0, 1, 100)).unwrap();
    let mut around = Surroundings::new(1);
    let mut out = Kept::<u64, _>::new(|i: u64, _| i.to_string());
    for (pass_ms, due) in [(0, 1), (1, 2), (10, 12), (100, 112)] {
        let clock = &around.reactor.clock;
        clock.set(clock.get() + pass_ms * 1_000_000);
        out.want(1000);
        let status = around.turn(1000, |cx| reader.poll(&mut out, cx)).unwrap();
        assert_eq!((status, out.kept.len()), (SourceStatus::Waiting, due));
    }
}
