//! Whole exchanges under drawn schedules.

use crate::harness::{Plan, World};

fn complete(plan: Plan) -> World {
    let mut world = World::new(plan);
    world.register_all();
    world.run();
    world.check_all_arrived();
    world
}

#[test]
fn one_credit_small_segments_and_full_lanes_never_stand_still() {
    let mut held_up = 0;
    for seed in 0..60 {
        let mut world = complete(Plan {
            broadcast: seed % 3 == 0,
            ..Plan::tight(seed)
        });
        held_up = held_up.max(world.held_up);
        world.tear_down();
        world.check_home();
    }
    assert!(
        held_up > 1,
        "the lanes were never full: the test is too easy"
    );
}

#[test]
fn drawn_exchanges_arrive_in_order_and_whole() {
    for seed in 0..300 {
        let mut world = complete(Plan::drawn(seed));
        world.tear_down();
        world.check_home();
    }
}

#[test]
fn records_larger_than_a_segment_keep_their_place() {
    for seed in 0..30 {
        let plan = Plan {
            padding: 3000,
            records: 100,
            ..Plan::tight(seed)
        };
        let mut world = complete(plan);
        assert!(
            world
                .posts
                .iter()
                .any(|post| post.reserve().high_water() > 0)
        );
        world.tear_down();
        world.check_home();
    }
}

#[test]
fn an_exhausted_pool_is_overdrawn_and_paid_back() {
    for seed in 0..30 {
        let plan = Plan {
            pool: 1,
            producers: 4,
            consumers: 4,
            ..Plan::tight(seed)
        };
        let mut world = complete(plan);
        assert!(
            world
                .posts
                .iter()
                .any(|post| post.reserve().high_water() > 0)
        );
        world.tear_down();
        world.check_home();
    }
}

#[test]
fn a_late_gate_gets_what_came_before_it() {
    for seed in 0..20 {
        let mut world = World::new(Plan::tight(seed));
        world.run();
        assert!(!world.is_done());
        for consumer in 0..world.consumers.len() {
            world.register(consumer);
            world.run();
        }
        world.check_all_arrived();
    }
}

#[test]
fn a_stop_in_the_middle_leaks_nothing() {
    for seed in 0..200 {
        let mut world = World::new(Plan::drawn(seed));
        // Some gates are never registered: their parcels have to go home too.
        for consumer in 0..world.consumers.len() {
            if !world.random.one_in(8) {
                world.register(consumer);
            }
        }
        for _ in 0..world.random.below(60) {
            let shard = world.random.below(u64::from(world.plan.shards)) as u16;
            world.round(shard);
        }
        // A task that goes away while it reads.
        let reading: Vec<_> = world
            .consumers
            .iter()
            .filter_map(|task| task.gate.borrow_mut().next())
            .collect();
        let lost = !reading.is_empty();
        drop(reading);
        world.tear_down();
        world.register_all();
        let posts = std::mem::take(&mut world.posts);
        let arrived_early = posts.iter().any(|post| post.early() > 0);
        if !lost && !arrived_early {
            world.posts = posts;
            world.check_home();
        }
    }
}

#[test]
fn ten_thousand_channels() {
    let plan = Plan {
        producers: 100,
        consumers: 100,
        records: 1000,
        pool: 20_000,
        padding: 4,
        ..Plan::tight(5)
    };
    let mut world = complete(plan);
    world.tear_down();
    world.check_home();
}

#[test]
fn a_channel_without_records_costs_no_segment() {
    let plan = Plan {
        records: 1,
        producers: 1,
        consumers: 1000,
        ..Plan::tight(1)
    };
    let world = complete(plan);
    assert!(world.posts.iter().all(|post| post.pool().high_water() <= 1));
}
