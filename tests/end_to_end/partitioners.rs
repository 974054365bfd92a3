//! Where records go: every partitioner, with records that know the subtasks they left and reached.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_connectors::{Collects, Generator};
use thalweg_core::key_group::MaxParallelism;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment};
use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
use thalweg_memory::Key;

use crate::stage;

/// The subtask that sent a record, and how many it had sent before.
type Sent = (u32, u64);
type Stream = DataStream<Sent, BoxedPipe<Sent>>;
type Exchange = fn(Stream) -> Stream;

/// A record behind the exchange: who sent it as its how manieth, who received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    from: u32,
    nth: u64,
    to: u32,
}

/// Numbers of producers and consumers: more of these, more of those, as many.
const SIZES: [(u32, u32); 4] = [(3, 4), (2, 4), (4, 2), (3, 3)];

/// The ways of `each` records per producer, in their order at each consumer.
fn ways_in(
    environment: &Environment,
    (producers, consumers): (u32, u32),
    each: u64,
    exchange: Exchange,
) -> Vec<Way> {
    let send = |open: &mut OpenContext| {
        let index = open.subtask().index;
        let mut sent = 0;
        move |_: u64, _: &ProcessContext, out: &mut Collector<'_, Sent>| {
            out.emit((index, sent));
            sent += 1;
            Ok(())
        }
    };
    let receive = |open: &mut OpenContext| {
        let index = open.subtask().index;
        move |(from, nth): Sent, _: &ProcessContext, out: &mut Collector<'_, (u32, u64, u32)>| {
            out.emit((from, nth, index));
            Ok(())
        }
    };
    let numbers = Generator::new(u64::from(producers) * each, |n| n);
    let numbers = environment.source(numbers).parallelism(producers);
    let rows = exchange(numbers.process(send).boxed())
        .parallelism(consumers)
        .process(receive)
        .collect();
    environment.execute("ways").unwrap();
    let way = |(from, nth, to)| Way { from, nth, to };
    rows.take().into_iter().map(way).collect()
}

/// The ways on shards, which are to be as many as are expected of every record.
fn ways(sizes: (u32, u32), each: u64, copies: u32, exchange: Exchange) -> Vec<Way> {
    let (environment, token) = stage::shards(&[]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let ways = ways_in(&environment, sizes, each, exchange);
    let mut copies_of: BTreeMap<(u32, u64), u32> = BTreeMap::new();
    for way in &ways {
        *copies_of.entry((way.from, way.nth)).or_default() += 1;
    }
    let sent = (0..sizes.0).flat_map(|from| (0..each).map(move |nth| ((from, nth), copies)));
    assert!(copies_of.into_iter().eq(sent), "{sizes:?}: lost or twice");
    in_order(&ways);
    ways
}

/// What one producer sends to one consumer stays in its order, whatever the partitioner.
fn in_order(ways: &[Way]) {
    let mut last: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for way in ways {
        let before = last.insert((way.from, way.to), way.nth);
        assert!(before.is_none_or(|nth| nth < way.nth), "{way:?} overtook");
    }
}

/// How many records a producer sent to each of the consumers.
fn counts(ways: &[Way], from: u32, consumers: u32) -> Vec<u64> {
    let mut counts = vec![0; consumers as usize];
    for way in ways.iter().filter(|way| way.from == from) {
        counts[way.to as usize] += 1;
    }
    counts
}

/// The consumers that have records of a producer.
fn reached(ways: &[Way], from: u32) -> Vec<u32> {
    let reached = ways.iter().filter(|way| way.from == from).map(|way| way.to);
    let reached: BTreeSet<u32> = reached.collect();
    reached.into_iter().collect()
}

fn differ_by_one_at_most(counts: &[u64]) -> bool {
    let (least, most) = (counts.iter().min(), counts.iter().max());
    least
        .zip(most)
        .is_some_and(|(least, most)| most - least <= 1)
}

#[test]
fn rebalance_deals_every_producers_records_out_evenly() {
    for sizes @ (producers, consumers) in SIZES {
        let ways = ways(sizes, 1001, 1, |stream| stream.rebalance().boxed());
        for from in 0..producers {
            let counts = counts(&ways, from, consumers);
            assert!(
                differ_by_one_at_most(&counts),
                "{sizes:?}, {from}: {counts:?}"
            );
        }
    }
    // Producers of one record each do not all send it to the same consumer.
    let ways = ways((3, 4), 1, 1, |stream| stream.rebalance().boxed());
    let to: BTreeSet<u32> = ways.iter().map(|way| way.to).collect();
    assert_eq!(to.len(), 3, "{ways:?}");
}

#[test]
fn rescale_stays_among_near_subtasks_and_deals_out_evenly() {
    let near: [&[&[u32]]; 4] = [
        &[&[0], &[1], &[2, 3]],
        &[&[0, 1], &[2, 3]],
        &[&[0], &[0], &[1], &[1]],
        &[&[0], &[1], &[2]],
    ];
    for (sizes, near) in SIZES.into_iter().zip(near) {
        let ways = ways(sizes, 1001, 1, |stream| stream.rescale().boxed());
        for (from, near) in (0..sizes.0).zip(near) {
            assert_eq!(reached(&ways, from), *near, "{sizes:?}, {from}");
            let counts = counts(&ways, from, sizes.1);
            let counts: Vec<u64> = counts.into_iter().filter(|count| *count > 0).collect();
            assert!(
                differ_by_one_at_most(&counts),
                "{sizes:?}, {from}: {counts:?}"
            );
        }
    }
}

#[test]
fn forward_goes_from_each_subtask_to_its_like() {
    // That order is kept is asserted of all ways.
    let forwards: [Exchange; 2] = [
        |stream| stream.forward().boxed(),
        |stream| stream.start_new_chain().boxed(),
    ];
    for forward in forwards {
        let ways = ways((3, 3), 1000, 1, forward);
        assert!(ways.iter().all(|way| way.from == way.to), "{ways:?}");
    }
}

#[test]
fn a_new_chain_of_another_size_is_dealt_out_evenly() {
    let ways = ways((3, 4), 1001, 1, |stream| stream.start_new_chain().boxed());
    for from in 0..3 {
        let counts = counts(&ways, from, 4);
        assert!(differ_by_one_at_most(&counts), "{from}: {counts:?}");
    }
}

#[test]
fn global_goes_to_the_first_subtask() {
    for sizes in SIZES {
        let ways = ways(sizes, 500, 1, |stream| stream.global().boxed());
        assert!(ways.iter().all(|way| way.to == 0), "{sizes:?}: {ways:?}");
    }
}

#[test]
fn broadcast_goes_to_every_subtask() {
    for sizes @ (producers, consumers) in SIZES {
        let ways = ways(sizes, 500, consumers, |stream| stream.broadcast().boxed());
        for from in 0..producers {
            assert_eq!(
                counts(&ways, from, consumers),
                vec![500; consumers as usize]
            );
        }
    }
}

#[test]
fn custom_goes_where_it_is_told() {
    for sizes in SIZES {
        let ways = ways(sizes, 500, 1, |stream| {
            let choose = |(from, nth): &Sent, subtasks: usize| {
                // Beyond the last subtask it starts again at the first.
                (*from as usize + *nth as usize) % subtasks + subtasks * (*nth as usize % 2)
            };
            stream.partition_custom(choose).boxed()
        });
        for way in ways {
            let told = (u64::from(way.from) + way.nth) % u64::from(sizes.1);
            assert_eq!(u64::from(way.to), told, "{sizes:?}: {way:?}");
        }
    }
}

#[test]
fn shuffle_is_near_even_and_the_same_every_time() {
    const EACH: u64 = 4000;
    let shuffled = |sizes| {
        let mut ways = ways(sizes, EACH, 1, |stream| stream.shuffle().boxed());
        ways.sort_unstable();
        ways
    };
    for sizes @ (producers, consumers) in SIZES {
        let ways = shuffled(sizes);
        let share = EACH / u64::from(consumers);
        for from in 0..producers {
            for count in counts(&ways, from, consumers) {
                // Five standard deviations of a fair draw, and the draw is the same in every run.
                assert!(count.abs_diff(share) < 160, "{sizes:?}, {from}: {count}");
            }
        }
        // No two producers draw the same, and none goes round and round.
        let to = |from: u32| {
            ways.iter()
                .filter(move |way| way.from == from)
                .map(|way| way.to)
        };
        let same = to(0).zip(to(1)).filter(|(one, other)| one == other).count() as u64;
        assert!(same < EACH * 3 / 4, "{sizes:?}: {same} of {EACH} alike");
        let again = to(0)
            .zip(to(0).skip(consumers as usize))
            .filter(|(one, other)| one == other);
        let again = again.count() as u64;
        assert!(
            again < EACH * 3 / 4,
            "{sizes:?}: {again} of {EACH} in a row"
        );
    }
    assert_eq!(shuffled((3, 4)), shuffled((3, 4)));
}

#[test]
fn records_take_the_same_ways_in_simulation() {
    let exchanges: [Exchange; 4] = [
        |stream| stream.rebalance().boxed(),
        |stream| stream.rescale().boxed(),
        |stream| stream.shuffle().boxed(),
        |stream| stream.broadcast().boxed(),
    ];
    for exchange in exchanges {
        let (simulated, _) = stage::simulation(1, SimOptions::default(), &[]);
        let (on_shards, token) = stage::shards(&[]);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let [simulated, on_shards] = [simulated, on_shards].map(|environment| {
            let mut ways = ways_in(&environment, (3, 4), 300, exchange);
            ways.sort_unstable();
            ways
        });
        assert_eq!(simulated, on_shards);
    }
}

#[test]
fn a_key_goes_to_the_subtask_that_owns_its_group() {
    const KEYS: u64 = 1000;
    let (environment, token) = stage::shards(&[("pipeline.max-parallelism", "128")]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let numbers = environment
        .source(Generator::new(5 * KEYS, |n| n))
        .parallelism(3);
    let receive = |open: &mut OpenContext<u64>| {
        let index = open.subtask().index;
        move |n: u64, _: &ProcessContext<u64>, out: &mut Collector<'_, (u64, u32)>| {
            out.emit((n % KEYS, index));
            Ok(())
        }
    };
    let groups = numbers.key_by(|n| n % KEYS).parallelism(4);
    let rows = groups.process(receive).collect();
    environment.execute("keys").unwrap();
    let groups = MaxParallelism::new(128).unwrap();
    let mut of_subtask = [0; 4];
    for (key, subtask) in rows.take() {
        let group = groups.key_group(<u64 as Key>::hash(&key));
        assert_eq!(subtask, groups.subtask(group, 4), "key {key}");
        of_subtask[subtask as usize] += 1;
    }
    assert_eq!(of_subtask.iter().sum::<u64>(), 5 * KEYS);
    // A quarter of the keys each, five times; near even, since hashes are.
    let even = of_subtask
        .iter()
        .all(|records| records.abs_diff(1250) < 300);
    assert!(even, "{of_subtask:?}");
}
