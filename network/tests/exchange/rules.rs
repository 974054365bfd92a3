//! The rules of the exchange one by one: when a buffer leaves, who is woken, what an error says.

use std::cell::RefCell;
use std::rc::Rc;

use thalweg_core::shard::executor::Pump;
use thalweg_core::shard::mesh::Mesh;
use thalweg_core::{CheckpointId, Epoch, ErrorKind, KeyHash, ShardId, Timestamp, Watermark};
use thalweg_memory::{BLOCK, Block, Budget, Buffer, Cursor, Entry, EntryLayout, Mark, SegmentPool};
use thalweg_network::{
    Arrival, Barrier, BarrierKind, ChannelId, Event, GateCredits, GateRef, Handover, InputGate,
    NetworkError, Outflow, OutputTarget, Parcel, PartitionConfig, ResultPartition, Sequence,
    WakeSlot,
};

use crate::harness::{Plan, posts};

const LAYOUT: EntryLayout = EntryLayout {
    hash: false,
    timestamp: false,
};

/// Credits of which none float.
fn exclusive(exclusive: u32) -> GateCredits {
    GateCredits {
        exclusive,
        floating: 0,
    }
}

/// One producer on shard 0 with `channels` channels to one gate on the last shard.
pub(crate) struct Pair {
    posts: Vec<Handover>,
    pub(crate) partition: ResultPartition,
    pub(crate) output_wake: WakeSlot,
    pub(crate) gate: GateRef,
    pub(crate) input_wake: WakeSlot,
}

pub(crate) fn pair(plan: &Plan, channels: u32) -> Pair {
    pair_of(plan, &[channels])
}

/// The same with so many channels to each input of the gate.
fn pair_of(plan: &Plan, inputs: &[u32]) -> Pair {
    let posts = posts(plan);
    let target = ShardId(plan.shards - 1);
    let mut next = 0..;
    let inputs: Vec<Vec<ChannelId>> = (inputs.iter())
        .map(|channels| {
            next.by_ref()
                .take(*channels as usize)
                .map(ChannelId)
                .collect()
        })
        .collect();
    let targets: Vec<OutputTarget> = inputs
        .iter()
        .flatten()
        .map(|&channel| OutputTarget {
            channel,
            shard: target,
        })
        .collect();
    let config = PartitionConfig {
        layout: LAYOUT,
        exclusive: plan.exclusive,
        max_record_size: plan.max_record_size,
        flush_interval_ns: plan.flush_interval_ns,
    };
    let (output_wake, input_wake) = (WakeSlot::new(), WakeSlot::new());
    let partition = ResultPartition::new(
        posts[0].clone(),
        &targets,
        config,
        Outflow::new(),
        output_wake.clone(),
    );
    let gate = InputGate::new(inputs, plan.credits(), input_wake.clone());
    let gate = Rc::new(RefCell::new(gate));
    posts[usize::from(target.0)].register_gate(&gate);
    Pair {
        posts,
        partition,
        output_wake,
        gate,
        input_wake,
    }
}

impl Pair {
    pub(crate) fn write(&mut self, place: usize, number: u64) {
        self.partition
            .write::<u64>(place, KeyHash(0), Timestamp::NONE, &number);
    }

    fn write_text(&mut self, bytes: usize) {
        let text = "y".repeat(bytes);
        self.partition
            .write::<String>(0, KeyHash(0), Timestamp::NONE, &text);
    }

    pub(crate) fn pump(&mut self) {
        while self
            .posts
            .iter_mut()
            .fold(false, |moved, post| post.pump() | moved)
        {}
    }

    pub(crate) fn next(&mut self) -> Option<Arrival> {
        self.pump();
        self.gate.borrow_mut().next()
    }

    /// Reads everything there is; answers the numbers and gives everything back.
    pub(crate) fn read(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(arrival) = self.next() {
            numbers.extend(numbers_of(&arrival.buffer));
            self.gate
                .borrow_mut()
                .consumed(arrival.channel, arrival.buffer);
        }
        numbers
    }
}

pub(crate) fn numbers_of(buffer: &Buffer) -> Vec<u64> {
    let (mut cursor, mut entries) = (Cursor::default(), [Entry::default(); 16]);
    let mut numbers = Vec::new();
    loop {
        let found = buffer.scan::<u64>(LAYOUT, &mut cursor, &mut entries);
        numbers.extend(
            entries[..found]
                .iter()
                .map(|entry| buffer.item::<u64>(entry)),
        );
        if found == 0 && buffer.take_mark(&mut cursor).is_none() {
            return numbers;
        }
    }
}

pub(crate) fn same_or_other_shard() -> [Plan; 2] {
    [1, 2].map(|shards| Plan {
        shards,
        exclusive: 2,
        ..Plan::tight(0)
    })
}

#[test]
fn a_lone_record_leaves_at_the_end_of_the_turn() {
    for plan in same_or_other_shard() {
        let mut pair = pair(&plan, 1);
        pair.write(0, 7);
        assert!(
            pair.next().is_none(),
            "an open buffer does not leave by itself"
        );
        assert!(pair.partition.flush_idle());
        let arrival = pair.next().expect("flushed");
        assert!(pair.input_wake.take_missed());
        assert_eq!(
            (numbers_of(&arrival.buffer), arrival.event),
            (vec![7], None)
        );
        assert!(!pair.partition.flush_idle(), "nothing is left");
        assert!(pair.partition.finished());
    }
}

#[test]
fn a_half_full_buffer_waits_for_the_one_before_and_the_task_is_woken() {
    for plan in same_or_other_shard() {
        let mut pair = pair(&plan, 1);
        pair.write(0, 1);
        assert!(pair.partition.flush_idle());
        pair.write(0, 2);
        assert!(!pair.partition.flush_idle(), "the first is unconsumed");
        pair.write(0, 3);
        pair.pump();
        assert!(!pair.output_wake.take_missed());
        assert_eq!(pair.read(), [1]);
        assert!(pair.output_wake.take_missed(), "now it may leave");
        assert!(pair.partition.flush_idle());
        assert_eq!(pair.read(), [2, 3]);
        assert!(!pair.output_wake.take_missed(), "nobody asked");
    }
}

#[test]
fn with_an_interval_a_half_full_buffer_leaves_when_it_is_due() {
    for plan in same_or_other_shard() {
        let mut pair = pair(
            &Plan {
                flush_interval_ns: 100,
                ..plan
            },
            1,
        );
        assert_eq!(pair.partition.end_turn(3, true), None, "nothing is open");
        pair.write(0, 1);
        assert_eq!(pair.partition.end_turn(5, true), Some(105));
        pair.write(0, 2);
        assert_eq!(pair.partition.end_turn(104, true), Some(105));
        assert!(pair.read().is_empty());
        assert_eq!(pair.partition.end_turn(105, false), None, "busy or not");
        pair.write(0, 3);
        assert_eq!(pair.partition.end_turn(110, true), Some(210));
        assert_eq!(pair.partition.end_turn(210, true), None);
        pair.pump();
        assert_eq!(pair.read(), [1, 2], "3 waits until these are consumed");
        assert!(pair.output_wake.take_missed());
        assert_eq!(pair.partition.end_turn(215, true), None);
        assert_eq!(pair.read(), [3]);
    }
}

#[test]
fn without_an_interval_an_idle_task_flushes_at_once() {
    for plan in same_or_other_shard() {
        let mut pair = pair(&plan, 1);
        pair.write(0, 1);
        assert_eq!(pair.partition.end_turn(5, false), None);
        assert!(pair.read().is_empty());
        assert_eq!(pair.partition.end_turn(6, true), None);
        assert_eq!(pair.read(), [1]);
    }
}

#[test]
fn without_an_interval_a_task_that_is_never_idle_flushes_every_ten_milliseconds() {
    const TEN_MS: u64 = 10_000_000;
    for plan in same_or_other_shard() {
        let mut pair = pair(&plan, 1);
        pair.write(0, 1);
        for now in [5, 200_000, TEN_MS] {
            assert_eq!(pair.partition.end_turn(now, false), None);
            assert!(pair.read().is_empty(), "{now}");
        }
        pair.partition.end_turn(5 + TEN_MS, false);
        pair.write(0, 2);
        pair.partition.end_turn(6 + TEN_MS, false);
        assert_eq!(pair.read(), [1], "2 has waited for a moment only");
        pair.partition.end_turn(6 + 2 * TEN_MS, false);
        assert_eq!(pair.read(), [2]);
        // The time begins anew when the task was idle.
        pair.write(0, 3);
        pair.partition.end_turn(7 + 2 * TEN_MS, false);
        pair.partition.end_turn(8 + 2 * TEN_MS, true);
        assert_eq!(pair.read(), [3]);
        pair.write(0, 4);
        pair.partition.end_turn(9 + 3 * TEN_MS, false);
        assert!(pair.read().is_empty());
    }
}

#[test]
fn a_flush_of_all_does_not_wait() {
    let mut pair = pair(
        &Plan {
            exclusive: 2,
            ..Plan::tight(0)
        },
        1,
    );
    pair.write(0, 1);
    assert!(pair.partition.flush_idle());
    pair.write(0, 2);
    assert!(pair.partition.flush_all());
    assert_eq!(pair.read(), [1, 2]);
}

#[test]
fn without_credit_a_write_waits_and_the_task_is_told() {
    for plan in same_or_other_shard() {
        let mut pair = pair(
            &Plan {
                exclusive: 1,
                ..plan
            },
            1,
        );
        let mut written = 0;
        while pair.partition.ready() {
            pair.write(0, written);
            written += 1;
        }
        pair.write(0, written);
        pair.pump();
        assert!(!pair.output_wake.take_missed());
        let first = pair.next().expect("one credit");
        assert!(pair.next().is_none(), "one credit only");
        let count = numbers_of(&first.buffer).len() as u64;
        pair.gate.borrow_mut().consumed(first.channel, first.buffer);
        pair.pump();
        assert!(pair.output_wake.take_missed() && pair.partition.ready());
        pair.partition.event(Event::EndOfPartition);
        assert_eq!(pair.read(), (count..=written).collect::<Vec<_>>());
        assert!(pair.gate.borrow().ended() && pair.partition.finished());
    }
}

#[test]
fn without_back_pressure_a_write_waits_and_the_task_goes_on() {
    for plan in same_or_other_shard() {
        let plan = Plan {
            exclusive: 1,
            ..plan
        };
        let mut pair = pair(&plan, 1);
        pair.partition = pair.partition.without_back_pressure();
        for number in 0..2_000 {
            assert!(pair.partition.ready());
            pair.write(0, number);
        }
        pair.partition.event(Event::EndOfPartition);
        assert!(!pair.partition.finished(), "most of it waits");
        pair.output_wake.take_missed();
        let mut read = Vec::new();
        while !pair.partition.finished() {
            pair.pump();
            read.extend(pair.read());
        }
        assert!(pair.output_wake.take_missed(), "the last of it has left");
        read.extend(pair.read());
        assert!(read.into_iter().eq(0..2_000));
    }
}

#[test]
fn the_channels_of_one_input_are_read_apart() {
    let plan = Plan {
        exclusive: 4,
        ..Plan::tight(0)
    };
    let mut pair = pair_of(&plan, &[2, 1]);
    for place in [0, 1, 2, 2, 0] {
        pair.write(place, 7);
        pair.partition.flush_all();
    }
    pair.pump();
    let mut gate = pair.gate.borrow_mut();
    assert_eq!(gate.channels_of(1).collect::<Vec<_>>(), [ChannelId(2)]);
    let second = |gate: &mut InputGate| gate.next_of(1).map(|arrival| arrival.channel.0);
    assert_eq!([second(&mut gate), second(&mut gate)], [Some(2), Some(2)]);
    assert_eq!(second(&mut gate), None);
    gate.block(ChannelId(0));
    let first = |gate: &mut InputGate| gate.next_of(0).map(|arrival| arrival.channel.0);
    assert_eq!([first(&mut gate), first(&mut gate)], [Some(1), None]);
    gate.unblock(ChannelId(0));
    assert_eq!([first(&mut gate), first(&mut gate)], [Some(0), Some(0)]);
}

#[test]
fn events_need_no_credit_and_keep_their_place() {
    for plan in same_or_other_shard() {
        let mut pair = pair(
            &Plan {
                exclusive: 1,
                ..plan
            },
            1,
        );
        let barrier = Event::Barrier(Barrier {
            checkpoint: CheckpointId(1),
            epoch: Epoch(4),
            kind: BarrierKind::Changes,
            overtakes_at: None,
        });
        pair.write(0, 1);
        pair.partition.event(barrier);
        pair.partition.event(barrier);
        let first = pair.next().expect("credit");
        assert_eq!(
            (numbers_of(&first.buffer), first.event),
            (vec![1], Some(barrier))
        );
        let second = pair.next().expect("an event spends no credit");
        assert_eq!((second.buffer.records(), second.event), (0, Some(barrier)));
        pair.write(0, 2);
        pair.partition.event(barrier);
        pair.partition.event(Event::EndOfPartition);
        assert!(pair.next().is_none(), "events do not overtake records");
        assert!(!pair.partition.finished() && !pair.gate.borrow().ended());
        pair.gate
            .borrow_mut()
            .consumed(second.channel, second.buffer);
        pair.gate.borrow_mut().consumed(first.channel, first.buffer);
        let third = pair.next().expect("credit came back");
        assert_eq!(
            (numbers_of(&third.buffer), third.event),
            (vec![2], Some(barrier))
        );
        let end = pair.next().expect("no credit needed");
        assert_eq!(end.event, Some(Event::EndOfPartition));
        assert!(pair.gate.borrow().ended() && pair.partition.finished());
    }
}

#[test]
fn marks_ride_along_and_do_not_seal() {
    let watermark = |at| Mark::Watermark(Watermark(Timestamp(at)));
    for plan in same_or_other_shard() {
        let mut pair = pair(&plan, 2);
        pair.write(0, 1);
        pair.partition.mark(watermark(5));
        pair.write(0, 2);
        assert_eq!(pair.partition.sent().buffers, 0);
        pair.partition.mark(watermark(6));
        pair.partition.mark(watermark(7));
        assert!(pair.partition.flush_idle());
        let mut marks = [Vec::new(), Vec::new()];
        for _ in 0..2 {
            let arrival = pair.next().expect("both channels carry marks");
            marks[arrival.channel.index()] = arrival.buffer.marks().collect();
            pair.gate
                .borrow_mut()
                .consumed(arrival.channel, arrival.buffer);
        }
        assert_eq!(marks[0], [(1, watermark(5)), (2, watermark(7))]);
        assert_eq!(marks[1], [(0, watermark(7))]);
        pair.partition.mark(Mark::Idle);
        pair.write(1, 9);
        pair.partition.event(Event::EndOfPartition);
        let mut last = [None, None];
        while let Some(arrival) = pair.next() {
            let marks: Vec<_> = arrival.buffer.marks().collect();
            if !marks.is_empty() {
                last[arrival.channel.index()] = Some((marks, numbers_of(&arrival.buffer)));
            }
            pair.gate
                .borrow_mut()
                .consumed(arrival.channel, arrival.buffer);
        }
        assert_eq!(last[0], Some((vec![(0, Mark::Idle)], vec![])));
        assert_eq!(last[1], Some((vec![(0, Mark::Idle)], vec![9])));
        assert!(pair.gate.borrow().ended());
    }
}

#[test]
fn channels_take_turns_and_blocked_ones_wait() {
    let mut pair = pair(
        &Plan {
            exclusive: 4,
            ..Plan::tight(0)
        },
        3,
    );
    for round in 0..2 {
        for place in 0..3 {
            pair.write(place, round);
        }
        pair.partition.flush_all();
    }
    pair.pump();
    pair.gate.borrow_mut().block(ChannelId(1));
    let mut order = Vec::new();
    while let Some(arrival) = pair.next() {
        order.push(arrival.channel.0);
    }
    assert_eq!(order, [0, 2, 0, 2]);
    assert_eq!(pair.gate.borrow().queued(), 2);
    pair.input_wake.take_missed();
    pair.gate.borrow_mut().unblock(ChannelId(1));
    assert!(pair.input_wake.take_missed());
    let rest: Vec<u32> = std::iter::from_fn(|| pair.next())
        .map(|next| next.channel.0)
        .collect();
    assert_eq!(rest, [1, 1]);
}

#[test]
fn what_a_full_lane_held_up_is_not_overtaken() {
    let mut pair = pair(
        &Plan {
            exclusive: 8,
            lane: 2,
            ..Plan::tight(0)
        },
        1,
    );
    for number in 0..5 {
        pair.write(0, number);
        pair.partition.flush_all();
    }
    assert_eq!(pair.posts[0].held_up(), 3);
    // The receiver makes room before the sender's post has looked again.
    pair.posts[1].pump();
    pair.write(0, 5);
    pair.partition.flush_all();
    assert_eq!(pair.read(), (0..6).collect::<Vec<_>>());
    assert!(pair.gate.borrow_mut().take_error().is_none());
}

#[test]
fn floating_credits_let_a_busy_channel_go_further() {
    let mut pair = pair(
        &Plan {
            exclusive: 1,
            floating: 3,
            ..Plan::tight(0)
        },
        2,
    );
    let mut buffers = 0;
    for number in 0.. {
        if !pair.partition.ready() {
            pair.pump();
            if !pair.partition.ready() {
                break;
            }
        }
        pair.write(0, number);
        buffers = pair.partition.sent().buffers;
    }
    assert_eq!(
        buffers,
        1 + 3 + 1,
        "exclusive, floating, and the one that waits"
    );
}

#[test]
fn a_record_over_the_limit_is_an_error_that_names_the_key() {
    let mut pair = pair(
        &Plan {
            max_record_size: 2000,
            ..Plan::tight(0)
        },
        1,
    );
    pair.write_text(1000);
    assert!(pair.partition.take_error().is_none());
    pair.write_text(3000);
    assert!(!pair.partition.ready(), "the task has to look");
    let error = pair.partition.take_error().expect("too large");
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error
            .to_string()
            .contains("taskmanager.memory.max-record-size"),
        "{error}"
    );
    assert!(error.to_string().contains("2000"), "{error}");
}

#[test]
fn each_task_overdraws_its_own_reserve() {
    for plan in same_or_other_shard() {
        let plan = Plan {
            pool: 1,
            reserve: 512,
            ..plan
        };
        let mut pair = pair(&plan, 2);
        let slot = Budget::new("another slot", 600);
        let target = OutputTarget {
            channel: ChannelId(2),
            shard: ShardId(plan.shards - 1),
        };
        let config = PartitionConfig {
            layout: LAYOUT,
            exclusive: plan.exclusive,
            max_record_size: plan.max_record_size,
            flush_interval_ns: 0,
        };
        let post = pair.posts[0].charging(slot.clone());
        let (outflow, wake) = (Outflow::new(), WakeSlot::new());
        let mut other = ResultPartition::new(post, &[target], config, outflow, wake);
        let gate = InputGate::new(vec![vec![target.channel]], exclusive(2), WakeSlot::new());
        let mut gate = Rc::new(RefCell::new(gate));
        pair.posts[usize::from(target.shard.0)].register_gate(&gate);

        pair.write(0, 1);
        pair.write(1, 2);
        other.write::<u64>(0, KeyHash(0), Timestamp::NONE, &3);
        let used = |pair: &Pair| (pair.posts[0].reserve().used(), slot.used());
        assert_eq!(used(&pair), (512, 512), "the pool has one segment");
        assert!(pair.partition.flush_all() && other.flush_all());
        std::mem::swap(&mut pair.gate, &mut gate);
        assert_eq!(pair.read(), [3]);
        assert_eq!(used(&pair), (512, 0));
        std::mem::swap(&mut pair.gate, &mut gate);
        assert_eq!(pair.read().len(), 2);
        assert_eq!(used(&pair), (0, 0));

        let large = "y".repeat(580);
        other.write::<String>(0, KeyHash(0), Timestamp::NONE, &large);
        assert!(slot.used() >= 580 && pair.posts[0].reserve().used() == 0);
        drop((other, gate));
        pair.pump();
        assert_eq!(
            slot.used(),
            0,
            "the sender has gone, what it sent comes home"
        );
    }
}

#[test]
fn memory_that_cannot_be_had_is_an_error_that_names_the_keys() {
    let mut pair = pair(
        &Plan {
            pool: 2,
            reserve: 600,
            ..Plan::tight(0)
        },
        4,
    );
    for place in 0..3 {
        pair.write(place, 1);
    }
    assert!(pair.partition.ready() && pair.partition.take_error().is_none());
    assert_eq!(pair.posts[0].reserve().used(), 512);
    pair.write(3, 1);
    assert!(!pair.partition.ready());
    let error = pair.partition.take_error().expect("no memory");
    assert_eq!(error.kind(), ErrorKind::Resource);
    for key in [
        "taskmanager.memory.network.size",
        "taskmanager.memory.managed.size",
    ] {
        assert!(error.to_string().contains(key), "{error}");
    }
    pair.write(3, 2);
    assert!(
        pair.partition.take_error().is_none(),
        "the first error is the one that counts"
    );
}

#[test]
fn a_gap_in_the_sequence_fails_the_gate_and_nothing_else() {
    let mut ends = Mesh::<Parcel>::build(2, 8).into_iter();
    let (mut raw, end) = (ends.next().unwrap(), ends.next().unwrap());
    let pool = SegmentPool::with_own_arena(ShardId(1), 512, 1).unwrap();
    let mut post = Handover::new(end, pool, Budget::new("slot-0", 0));
    let wake = WakeSlot::new();
    let gate = InputGate::new(vec![vec![ChannelId(0)]], exclusive(1), wake.clone());
    let gate = Rc::new(RefCell::new(gate));
    post.register_gate(&gate);
    for number in [0, 2] {
        let parcel = Parcel::Data {
            channel: ChannelId(0),
            sequence: Sequence(number),
            buffer: Buffer::empty(),
            backlog: 0,
            event: None,
        };
        assert!(raw.sender(ShardId(1)).push(parcel).is_ok());
    }
    raw.publish_all();
    post.pump();
    assert!(wake.take_missed());
    let error = gate.borrow_mut().take_error().expect("a gap");
    assert!(matches!(
        error,
        NetworkError::SequenceGap {
            expected: Sequence(1),
            got: Sequence(2),
            ..
        }
    ));
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(
        gate.borrow_mut().next().is_some(),
        "what came before the gap is there"
    );
    assert!(gate.borrow_mut().next().is_none());
}

#[test]
fn records_written_together_are_those_written_one_by_one() {
    const RECORDS: usize = 8 * BLOCK;
    let plan = Plan {
        shards: 2,
        exclusive: 64,
        ..Plan::tight(0)
    };
    let read_of = |channels: u64, together: bool| {
        let mut pair = pair(&plan, channels as u32);
        let numbers: [u64; RECORDS] = std::array::from_fn(|number| number as u64);
        for items in numbers.as_chunks::<BLOCK>().0 {
            let places = items.map(|n| n * n % channels);
            let hashes = [KeyHash(0); BLOCK];
            let ats = [Timestamp::NONE; BLOCK];
            if together {
                let block = Block {
                    hashes: &hashes,
                    ats: &ats,
                    items,
                };
                pair.partition.write_block::<u64>(&places, &block);
                continue;
            }
            for (place, item) in places.iter().zip(items) {
                pair.partition
                    .write::<u64>(*place as usize, hashes[0], ats[0], item);
            }
        }
        pair.partition.flush_all();
        let mut read = pair.read();
        assert!(pair.partition.take_error().is_none());
        assert_eq!(pair.partition.sent().records, RECORDS as u64);
        assert!(pair.partition.sent().buffers > channels, "segments fill");
        // Which channel is read first is the gate's choice; within each the order is the writer's.
        read.sort_by_key(|n| n * n % channels);
        read
    };
    for channels in 1..7 {
        let one_by_one = read_of(channels, false);
        assert_eq!(one_by_one.len(), RECORDS);
        assert_eq!(read_of(channels, true), one_by_one, "{channels} channels");
    }
}
