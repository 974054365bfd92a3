//! Barriers that overtake: what they went ahead of is copied, and arrives all the same.

use thalweg_core::{CheckpointId, Epoch};
use thalweg_memory::{Buffer, EntryLayout, Remainder};
use thalweg_network::{Barrier, BarrierKind, ChannelId, Event, InWork, Overtaken};

use crate::harness::Plan;
use crate::rules::{Pair, numbers_of, pair, same_or_other_shard};

const FIRST: CheckpointId = CheckpointId(1);

fn barrier(overtakes_at: u64) -> Barrier {
    Barrier {
        checkpoint: FIRST,
        epoch: Epoch(4),
        kind: BarrierKind::Changes,
        overtakes_at: Some(overtakes_at),
    }
}

/// A producer with one credit for each of its channels, all of which may be overtaken.
fn overtakable(plan: Plan, channels: u32) -> Pair {
    let plan = Plan {
        exclusive: 1,
        floating: 0,
        ..plan
    };
    let mut pair = pair(&plan, channels);
    pair.partition = pair.partition.overtakable();
    let all = (0..channels).map(ChannelId);
    pair.gate.borrow_mut().let_overtake(all);
    pair
}

/// Writes each number into a buffer of its own.
fn write_apart(pair: &mut Pair, place: usize, numbers: &[u64]) {
    for number in numbers {
        pair.write(place, *number);
        pair.partition.flush_all();
    }
}

/// The numbers that were copied of each channel.
fn copied(overtaken: &[Overtaken]) -> Vec<(u32, Vec<u64>)> {
    let numbers = |rest: &Remainder| {
        let revived = Buffer::revive::<u64>(rest, EntryLayout::default(), |_| true);
        numbers_of(&revived.expect("whole"))
    };
    let all = overtaken.iter();
    all.map(|it| (it.channel.0, it.buffers.iter().flat_map(numbers).collect()))
        .collect()
}

#[test]
fn a_barrier_goes_ahead_of_what_waits_for_credit_and_of_what_is_queued() {
    for plan in same_or_other_shard() {
        let mut pair = overtakable(plan, 1);
        write_apart(&mut pair, 0, &[1, 2, 3]);
        pair.write(0, 4);
        pair.pump();
        pair.input_wake.take_missed();
        pair.partition.event(Event::Barrier(barrier(0)));
        let told = pair.partition.overtake(0);
        assert_eq!(told[0].0, FIRST);
        assert_eq!(copied(&told[0].1), [(0, vec![2, 3, 4])]);
        assert_eq!(pair.partition.barriers_in_line(), 0);
        pair.pump();
        assert!(pair.input_wake.take_missed());
        let mut gate = pair.gate.borrow_mut();
        assert_eq!(gate.announced(), Some(barrier(0)));
        assert_eq!(gate.capture(FIRST, &[], None), None);
        let (checkpoint, overtaken) = gate.overtaken().expect("the barrier has come");
        assert_eq!(
            (checkpoint, copied(&overtaken)),
            (FIRST, vec![(0, vec![1])])
        );
        drop(gate);
        // All of it arrives, the barrier in the middle.
        let mut seen = Vec::new();
        while let Some(arrival) = pair.next() {
            seen.push((numbers_of(&arrival.buffer), arrival.event.is_some()));
            let mut gate = pair.gate.borrow_mut();
            gate.consumed(arrival.channel, arrival.buffer);
        }
        let expected = [
            (vec![1], false),
            (vec![], true),
            (vec![2], false),
            (vec![3], false),
            (vec![4], false),
        ];
        assert_eq!(seen, expected);
        assert!(pair.partition.finished());
    }
}

#[test]
fn a_barrier_stands_in_line_until_its_time_comes() {
    for plan in same_or_other_shard() {
        let mut pair = overtakable(plan, 1);
        write_apart(&mut pair, 0, &[1, 2]);
        pair.partition.event(Event::Barrier(barrier(100)));
        assert_eq!(pair.partition.overtake(99), []);
        assert_eq!(pair.partition.overtakes_at(), Some(100));
        pair.pump();
        assert_eq!(pair.gate.borrow().announced(), None);
        let told = pair.partition.overtake(100);
        assert_eq!(copied(&told[0].1), [(0, vec![2])]);
        pair.pump();
        // Those behind it need not wait either.
        assert_eq!(pair.gate.borrow().announced(), Some(barrier(0)));
    }
}

#[test]
fn a_barrier_that_leaves_in_line_has_overtaken_nothing_and_the_task_hears_of_it() {
    for plan in same_or_other_shard() {
        let mut pair = overtakable(plan, 1);
        write_apart(&mut pair, 0, &[1, 2]);
        pair.partition.event(Event::Barrier(barrier(100)));
        pair.output_wake.take_missed();
        assert_eq!(pair.read(), [1, 2]);
        assert!(pair.output_wake.take_missed());
        assert_eq!(pair.partition.overtake(5), [(FIRST, vec![])]);
        assert_eq!(pair.partition.overtake(500), []);
    }
}

#[test]
fn what_comes_after_the_cut_is_copied_until_the_barrier_or_the_end() {
    for plan in same_or_other_shard() {
        let mut pair = overtakable(plan, 3);
        write_apart(&mut pair, 0, &[1]);
        write_apart(&mut pair, 1, &[10]);
        let first = pair.next().expect("credit");
        assert_eq!(first.channel, ChannelId(0));
        let work = InWork {
            channel: first.channel,
            rest: first.buffer.remainder(&Default::default()),
            event: first.event,
        };
        assert_eq!(
            pair.gate
                .borrow_mut()
                .capture(FIRST, &[ChannelId(2)], Some(work)),
            None
        );
        pair.gate.borrow_mut().consumed(first.channel, first.buffer);
        pair.pump();
        write_apart(&mut pair, 0, &[2]);
        write_apart(&mut pair, 2, &[20]);
        pair.pump();
        assert_eq!(pair.gate.borrow_mut().overtaken(), None);
        pair.input_wake.take_missed();
        pair.partition.event(Event::EndOfPartition);
        pair.read();
        assert!(pair.input_wake.take_missed());
        let (_, overtaken) = pair.gate.borrow_mut().overtaken().expect("all ended");
        // The barrier of the third channel had been read before.
        assert_eq!(copied(&overtaken), [(0, vec![1, 2]), (1, vec![10])]);
    }
}

#[test]
fn channels_in_line_only_are_never_overtaken() {
    for plan in same_or_other_shard() {
        let mut pair = pair(
            &Plan {
                exclusive: 1,
                ..plan
            },
            1,
        );
        write_apart(&mut pair, 0, &[1, 2]);
        pair.partition.event(Event::Barrier(barrier(0)));
        assert_eq!(pair.partition.overtake(0), []);
        assert_eq!(pair.gate.borrow().announced(), None);
        assert_eq!(pair.gate.borrow().in_line_only().count(), 1);
        pair.gate.borrow_mut().capture(FIRST, &[], None);
        let told = pair.gate.borrow_mut().overtaken();
        assert_eq!(told, Some((FIRST, vec![])));
    }
}

#[test]
fn a_capture_that_is_not_whole_can_be_given_up() {
    let [plan, _] = same_or_other_shard();
    let pair = overtakable(plan, 1);
    let mut gate = pair.gate.borrow_mut();
    gate.capture(FIRST, &[], None);
    assert_eq!(gate.give_up_capture(CheckpointId(0)), None);
    assert_eq!(gate.capture(CheckpointId(2), &[], None), Some(FIRST));
    assert_eq!(gate.give_up_capture(CheckpointId(2)), Some(CheckpointId(2)));
    assert_eq!(gate.overtaken(), None);
}
