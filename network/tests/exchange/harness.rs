//! Simulated shards in one thread: real lanes, real posts, and tasks that run only when they were woken
//! or made progress, so that a lost wake-up shows as a standstill.
//!
//! Everything is drawn from one seed. Lives on the test's thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::executor::Pump;
use thalweg_core::shard::mesh::Mesh;
use thalweg_core::{KeyHash, ShardId, Timestamp};
use thalweg_memory::{Arena, Budget, Buffer, Cursor, Entry, EntryLayout, SegmentPool};
use thalweg_network::{
    ChannelId, Event, GateCredits, GateRef, Handover, InputGate, NetworkError, Outflow,
    OutputTarget, Parcel, PartitionConfig, ResultPartition, WakeSlot,
};

/// A small generator of repeatable numbers (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    pub(crate) fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// The shape of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    pub(crate) records: u64,
    pub(crate) broadcast: bool,
    pub(crate) exclusive: u32,
    pub(crate) floating: u32,
    pub(crate) lane: usize,
    pub(crate) segment: usize,
    pub(crate) pool: usize,
    pub(crate) reserve: u64,
    /// Records are strings of 0 to this many bytes of padding.
    pub(crate) padding: u64,
    pub(crate) max_record_size: u64,
    pub(crate) flush_interval_ns: u64,
}

impl Plan {
    pub(crate) fn credits(&self) -> GateCredits {
        GateCredits {
            exclusive: self.exclusive,
            floating: self.floating,
        }
    }

    /// One credit, 512-byte segments, two places in a lane: everything that can block does.
    pub(crate) fn tight(seed: u64) -> Plan {
        Plan {
            seed,
            shards: 2,
            producers: 3,
            consumers: 3,
            records: 300,
            broadcast: false,
            exclusive: 1,
            floating: 0,
            lane: 2,
            segment: 512,
            pool: 64,
            reserve: 1 << 20,
            padding: 30,
            max_record_size: 64 << 20,
            flush_interval_ns: 0,
        }
    }

    /// Everything drawn.
    pub(crate) fn drawn(seed: u64) -> Plan {
        let mut random = Random::new(seed);
        Plan {
            shards: 1 + random.below(3) as u16,
            producers: 1 + random.below(4) as usize,
            consumers: 1 + random.below(4) as usize,
            records: random.below(400),
            broadcast: random.one_in(4),
            exclusive: 1 + random.below(3) as u32,
            floating: random.below(4) as u32,
            lane: 2 << random.below(4),
            segment: 512 << random.below(3),
            pool: 1 + random.below(100) as usize,
            padding: 1 + random.below(300),
            ..Plan::tight(seed)
        }
    }
}

pub(crate) struct Producer {
    pub(crate) partition: ResultPartition,
    shard: u16,
    wake: WakeSlot,
    runnable: bool,
    left: u64,
    /// By channel: the next number to write.
    next: Vec<u64>,
    channels: Vec<ChannelId>,
    broadcast: bool,
    padding: u64,
    ended: bool,
    done: bool,
}

impl Producer {
    fn write(&mut self, random: &mut Random) {
        let (hash, at) = (KeyHash(random.below(1 << 40)), Timestamp(self.left as i64));
        let padding = "x".repeat(random.below(self.padding) as usize);
        self.left -= 1;
        if self.broadcast {
            // The same text goes everywhere, so it carries the number only.
            let text = format!("{}:{padding}", self.next[0]);
            self.partition.broadcast::<String>(hash, at, &text);
            self.next.iter_mut().for_each(|next| *next += 1);
            return;
        }
        let place = random.below(self.channels.len() as u64) as usize;
        let text = format!("{}:{padding}", self.next[place]);
        self.next[place] += 1;
        self.partition.write::<String>(place, hash, at, &text);
    }

    /// One turn; true if it made progress.
    fn turn(&mut self, random: &mut Random) -> bool {
        let mut made = false;
        let budget = random.below(20);
        for _ in 0..budget {
            if self.left == 0 || !self.partition.ready() {
                break;
            }
            self.write(random);
            made = true;
        }
        if self.left == 0 && !self.ended && self.partition.ready() {
            self.partition.event(Event::EndOfPartition);
            self.ended = true;
            made = true;
        }
        self.done = self.ended && self.partition.finished();
        let idle = self.left == 0 || !self.partition.ready();
        // Now and then the input pauses in the middle, too.
        if idle && !made || random.one_in(8) {
            self.partition.flush_idle();
        }
        made || !idle
    }
}

pub(crate) struct Consumer {
    pub(crate) gate: GateRef,
    shard: u16,
    wake: WakeSlot,
    runnable: bool,
    /// By channel id: the number expected next.
    pub(crate) expected: Vec<u64>,
    pub(crate) records: u64,
    done: bool,
}

impl Consumer {
    fn read(&mut self, layout: EntryLayout, channel: ChannelId, buffer: &Buffer) {
        let mut cursor = Cursor::default();
        let mut entries = [Entry::default(); 7];
        loop {
            let found = buffer.scan::<String>(layout, &mut cursor, &mut entries);
            if found == 0 {
                return;
            }
            for entry in &entries[..found] {
                let text = buffer.item::<String>(entry);
                let number: u64 = text.split(':').next().unwrap().parse().unwrap();
                assert_eq!(
                    number,
                    self.expected[channel.index()],
                    "order of channel {channel}"
                );
                self.expected[channel.index()] += 1;
                self.records += 1;
            }
        }
    }

    /// One turn; true if it wants another.
    fn turn(&mut self, layout: EntryLayout, random: &mut Random) -> bool {
        for _ in 0..random.below(4) {
            let Some(arrival) = self.gate.borrow_mut().next() else {
                break;
            };
            self.read(layout, arrival.channel, &arrival.buffer);
            self.gate
                .borrow_mut()
                .consumed(arrival.channel, arrival.buffer);
        }
        self.done = self.gate.borrow().ended();
        self.gate.borrow().queued() > 0
    }
}

/// All shards, with producers and consumers spread over them.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) posts: Vec<Handover>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) layout: EntryLayout,
    /// The most parcels any post had to hold up because a lane was full.
    pub(crate) held_up: usize,
}

/// Posts with real lanes between them.
pub(crate) fn posts(plan: &Plan) -> Vec<Handover> {
    let shards = usize::from(plan.shards);
    let bells: Vec<Arc<Doorbell>> = (0..shards).map(|_| Doorbell::new()).collect();
    let ends = Mesh::<Parcel>::build(shards, plan.lane);
    (0u16..)
        .zip(ends)
        .map(|(shard, mut end)| {
            end.set_doorbells(bells.clone());
            let arena = Arena::reserve(plan.pool * plan.segment, plan.segment).unwrap();
            let pool = SegmentPool::new(ShardId(shard), arena, plan.segment, plan.pool);
            Handover::new(end, pool, Budget::new("slot-0", plan.reserve))
        })
        .collect()
}

impl World {
    pub(crate) fn new(plan: Plan) -> World {
        let mut random = Random::new(plan.seed ^ 0xabcd);
        let layout = EntryLayout {
            hash: true,
            timestamp: random.one_in(2),
        };
        let posts = posts(&plan);
        let (rows, columns) = (plan.producers, plan.consumers);
        let id = |row: usize, column: usize| ChannelId((row * columns + column) as u32);
        let place = |random: &mut Random| random.below(u64::from(plan.shards)) as u16;
        let homes: Vec<u16> = (0..columns).map(|_| place(&mut random)).collect();
        let producers = (0..rows)
            .map(|row| {
                let shard = place(&mut random);
                let targets: Vec<OutputTarget> = (0..columns)
                    .map(|column| OutputTarget {
                        channel: id(row, column),
                        shard: ShardId(homes[column]),
                    })
                    .collect();
                let config = PartitionConfig {
                    layout,
                    exclusive: plan.exclusive,
                    max_record_size: plan.max_record_size,
                    flush_interval_ns: plan.flush_interval_ns,
                };
                let wake = WakeSlot::new();
                let post = posts[usize::from(shard)].clone();
                let partition =
                    ResultPartition::new(post, &targets, config, Outflow::new(), wake.clone());
                Producer {
                    partition,
                    shard,
                    wake,
                    runnable: true,
                    left: plan.records,
                    next: vec![0; columns],
                    channels: targets.iter().map(|target| target.channel).collect(),
                    broadcast: plan.broadcast,
                    padding: plan.padding,
                    ended: false,
                    done: false,
                }
            })
            .collect();
        let consumers = (0..columns)
            .map(|column| {
                let wake = WakeSlot::new();
                let inputs = vec![(0..rows).map(|row| id(row, column)).collect()];
                let gate = InputGate::new(inputs, plan.credits(), wake.clone());
                Consumer {
                    gate: Rc::new(RefCell::new(gate)),
                    shard: homes[column],
                    wake,
                    runnable: true,
                    expected: vec![0; rows * columns],
                    records: 0,
                    done: false,
                }
            })
            .collect();
        World {
            plan,
            random,
            posts,
            producers,
            consumers,
            layout,
            held_up: 0,
        }
    }

    pub(crate) fn register(&self, consumer: usize) {
        let consumer = &self.consumers[consumer];
        self.posts[usize::from(consumer.shard)].register_gate(&consumer.gate);
    }

    pub(crate) fn register_all(&self) {
        (0..self.consumers.len()).for_each(|consumer| self.register(consumer));
    }

    /// One round of a shard, as its executor does it: pump, turns of what is ready, pump. True if there
    /// is a reason for another.
    pub(crate) fn round(&mut self, shard: u16) -> bool {
        let World {
            random,
            posts,
            producers,
            consumers,
            layout,
            held_up,
            ..
        } = self;
        let post = &mut posts[usize::from(shard)];
        let mut again = post.pump();
        for producer in producers
            .iter_mut()
            .filter(|task| task.shard == shard && !task.done)
        {
            producer.runnable |= producer.wake.take_missed();
            if producer.runnable {
                producer.runnable = producer.turn(random);
                again = true;
            }
        }
        for consumer in consumers
            .iter_mut()
            .filter(|task| task.shard == shard && !task.done)
        {
            consumer.runnable |= consumer.wake.take_missed();
            if consumer.runnable {
                consumer.runnable = consumer.turn(*layout, random);
                again = true;
            }
        }
        *held_up = post.held_up().max(*held_up);
        again | post.pump() | !post.ready_to_park()
    }

    /// Whether everything has arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.producers.iter().all(|task| task.done) && self.consumers.iter().all(|task| task.done)
    }

    /// Runs rounds of drawn shards until nothing moves on any of them.
    pub(crate) fn run(&mut self) {
        let mut quiet = 0;
        while quiet < self.plan.shards {
            let drawn = self.random.below(u64::from(self.plan.shards)) as u16;
            if self.round(drawn) {
                quiet = 0;
                continue;
            }
            quiet = (0..self.plan.shards)
                .map(|shard| u16::from(!self.round(shard)))
                .sum();
        }
    }

    /// The first error of any task.
    pub(crate) fn error(&mut self) -> Option<NetworkError> {
        let mut errors = self
            .producers
            .iter_mut()
            .filter_map(|task| task.partition.take_error());
        let error = errors.next();
        error.or_else(|| {
            self.consumers
                .iter()
                .find_map(|task| task.gate.borrow_mut().take_error())
        })
    }

    /// Drops all tasks and lets what is on its way come home.
    pub(crate) fn tear_down(&mut self) {
        while !self.producers.is_empty() || !self.consumers.is_empty() {
            if !self.producers.is_empty() && (self.consumers.is_empty() || self.random.one_in(2)) {
                let victim = self.random.below(self.producers.len() as u64) as usize;
                drop(self.producers.swap_remove(victim));
            } else {
                let victim = self.random.below(self.consumers.len() as u64) as usize;
                drop(self.consumers.swap_remove(victim));
            }
            let shard = self.random.below(u64::from(self.plan.shards)) as usize;
            self.posts[shard].pump();
        }
        while self
            .posts
            .iter_mut()
            .fold(false, |moved, post| post.pump() | moved)
        {}
    }

    /// Every segment is home and every reservation returned.
    pub(crate) fn check_home(&self) {
        for post in &self.posts {
            assert_eq!(
                post.pool().leased(),
                0,
                "segments of {} lost: {:?}",
                post.shard(),
                self.plan
            );
            assert_eq!(
                post.reserve().used(),
                0,
                "reserve of {} lost: {:?}",
                post.shard(),
                self.plan
            );
            assert!(post.pool().high_water() <= post.pool().limit());
            assert_eq!(post.held_up(), 0);
        }
    }

    /// Everything written has arrived, in order.
    pub(crate) fn check_all_arrived(&mut self) {
        assert!(self.error().is_none(), "{:?}", self.plan);
        assert!(self.is_done(), "standstill: {:?}", self.plan);
        let arrived: u64 = self.consumers.iter().map(|task| task.records).sum();
        let copies = if self.plan.broadcast {
            self.plan.consumers as u64
        } else {
            1
        };
        assert_eq!(
            arrived,
            self.plan.records * self.plan.producers as u64 * copies
        );
        for (row, producer) in self.producers.iter().enumerate() {
            assert_eq!(
                producer.partition.sent().records,
                self.plan.records * if self.plan.broadcast { copies } else { 1 }
            );
            for (column, consumer) in self.consumers.iter().enumerate() {
                let channel = row * self.plan.consumers + column;
                assert_eq!(consumer.expected[channel], producer.next[column]);
            }
        }
    }
}
