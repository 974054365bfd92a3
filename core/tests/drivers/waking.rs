//! Lanes, doorbells, timers, mailbox, turns.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::executor::{Pump, Shard};
use thalweg_core::shard::lane::{LaneReceiver, LaneSender, lane};
use thalweg_core::shard::mailbox::MailboxSender;
use thalweg_core::shard::step::TaskWaker;

use crate::rig::{DONE, Exits, Init, MADE, NONE, Rig, assert_all_done, end_after, step};

type Inbox = Rc<RefCell<VecDeque<u64>>>;

/// Drains a lane into an inbox and wakes its reader.
struct LanePump {
    lane: LaneReceiver<u64>,
    inbox: Inbox,
    reader: TaskWaker,
}

impl Pump for LanePump {
    fn pump(&mut self) -> bool {
        let inbox = &self.inbox;
        let moved = self
            .lane
            .drain(64, |item| inbox.borrow_mut().push_back(item))
            > 0;
        if moved {
            self.reader.wake();
        }
        moved
    }

    fn ready_to_park(&mut self) -> bool {
        self.lane.is_empty()
    }
}

/// Sends to another shard and rings it.
struct Post {
    lane: LaneSender<u64>,
    doorbell: Arc<Doorbell>,
}

impl Post {
    fn send(&mut self, item: u64) -> bool {
        let sent = self.lane.send(item).is_ok();
        self.doorbell.ring();
        sent
    }
}

fn add_reader(
    shard: &mut Shard,
    lane: LaneReceiver<u64>,
    mut read: impl FnMut(u64) -> bool + 'static,
) {
    let inbox = Inbox::default();
    let source = Rc::clone(&inbox);
    let reader = shard.add_step(step("reader", move |_| {
        let Some(item) = source.borrow_mut().pop_front() else {
            return Ok(NONE);
        };
        Ok(if read(item) { DONE } else { MADE })
    }));
    shard.add_pump(Box::new(LanePump {
        lane,
        inbox,
        reader,
    }));
}

pub(crate) fn tasks_are_woken_across_shards_through_lanes(rig: &dyn Rig) {
    const ITEMS: u64 = 100_000;
    let exits = Exits::default();
    let (lane_to, lane_from) = lane(64);
    let bells = [Doorbell::new(), Doorbell::new()];
    let sum = Arc::new(AtomicU64::new(0));
    let mut post = Post {
        lane: lane_to,
        doorbell: Arc::clone(&bells[1]),
    };
    let sender_exits = Arc::clone(&exits);
    let sender: Init = Box::new(move |shard| {
        end_after(shard, 1, &sender_exits);
        let mut item = 0;
        shard.add_step(step("sender", move |_| {
            while item < ITEMS && post.send(item) {
                item += 1;
            }
            Ok(if item == ITEMS { DONE } else { MADE })
        }));
    });
    let (receiver_exits, total) = (Arc::clone(&exits), Arc::clone(&sum));
    let receiver: Init = Box::new(move |shard| {
        end_after(shard, 1, &receiver_exits);
        let mut expected = 0;
        add_reader(shard, lane_from, move |item| {
            assert_eq!(item, expected);
            expected += 1;
            total.fetch_add(item, Ordering::Relaxed);
            expected == ITEMS
        });
    });
    let [first, second] = bells;
    rig.run(vec![(first, sender), (second, receiver)]);
    assert_all_done(&exits);
    assert_eq!(sum.load(Ordering::Relaxed), ITEMS * (ITEMS - 1) / 2);
}

/// Two shards that answer each other `rounds` times; each shuts itself down.
pub(crate) fn ping_pong(rounds: u64) -> (Vec<(Arc<Doorbell>, Init)>, Exits) {
    let exits = Exits::default();
    let bells = [Doorbell::new(), Doorbell::new()];
    let (to_second, from_first) = lane(4);
    let (to_first, from_second) = lane(4);
    let ends = [(to_second, from_second), (to_first, from_first)];
    let mut shards: Vec<(Arc<Doorbell>, Init)> = Vec::new();
    for (number, (to, from)) in ends.into_iter().enumerate() {
        let exits = Arc::clone(&exits);
        let mut post = Post {
            lane: to,
            doorbell: Arc::clone(&bells[1 - number]),
        };
        let init: Init = Box::new(move |shard| {
            end_after(shard, 1, &exits);
            if number == 0 {
                assert!(post.send(0));
            }
            add_reader(shard, from, move |item| {
                if item < rounds {
                    assert!(post.send(item + 1));
                }
                // The last item is answered by none, and the last but one is the other's last.
                item + 1 >= rounds
            });
        });
        shards.push((Arc::clone(&bells[number]), init));
    }
    (shards, exits)
}

pub(crate) fn ten_thousand_ping_pongs_lose_no_wake_up(rig: &dyn Rig) {
    let (shards, exits) = ping_pong(20_000);
    rig.run(shards);
    assert_all_done(&exits);
    assert_eq!(exits.lock().unwrap().len(), 2);
}

pub(crate) fn timers_fire_in_order_and_never_early(rig: &dyn Rig) {
    let exits = Exits::default();
    let fired = Arc::new(Mutex::new(Vec::new()));
    let (told, log) = (Arc::clone(&exits), Arc::clone(&fired));
    rig.run_shard(move |shard| {
        end_after(shard, 5, &told);
        for wait_ms in [9_u64, 3, 6, 1, 3] {
            let log = Arc::clone(&log);
            let mut deadline = None;
            shard.add_step(step("sleeper", move |cx| match deadline {
                None => {
                    let cancelled = cx.wake_at(cx.now() + 1_000);
                    assert!(cx.timers().cancel(cancelled));
                    deadline = Some(cx.now() + wait_ms * 1_000_000);
                    cx.wake_at(cx.now() + wait_ms * 1_000_000);
                    Ok(NONE)
                }
                Some(deadline) => {
                    assert!(cx.now() >= deadline);
                    log.lock().unwrap().push(wait_ms);
                    Ok(DONE)
                }
            }));
        }
    });
    assert_all_done(&exits);
    assert_eq!(*fired.lock().unwrap(), [1, 3, 3, 6, 9]);
}

pub(crate) fn commands_run_once_and_in_order(rig: &dyn Rig) {
    const COMMANDS: usize = 1_000;
    let ran = Arc::new(Mutex::new(Vec::new()));
    let address: Arc<Mutex<Option<MailboxSender>>> = Arc::default();
    let publish = Arc::clone(&address);
    let receiver: Init = Box::new(move |shard| {
        *publish.lock().unwrap() = Some(shard.mailbox());
    });
    let log = Arc::clone(&ran);
    let sender: Init = Box::new(move |shard| {
        let exits = Exits::default();
        end_after(shard, 1, &exits);
        let mut sent = 0;
        shard.add_step(step("commander", move |_| {
            let mailbox = address.lock().unwrap().clone().unwrap();
            let (log, number) = (Arc::clone(&log), sent);
            mailbox
                .send(Box::new(move |shard| {
                    log.lock().unwrap().push(number);
                    if number + 1 == COMMANDS {
                        shard.shutdown();
                    }
                }))
                .unwrap();
            sent += 1;
            Ok(if sent == COMMANDS { DONE } else { MADE })
        }));
    });
    rig.run(vec![(Doorbell::new(), receiver), (Doorbell::new(), sender)]);
    assert_eq!(*ran.lock().unwrap(), (0..COMMANDS).collect::<Vec<_>>());
}

pub(crate) fn idle_tasks_get_no_turns(rig: &dyn Rig) {
    let turns = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&turns);
    rig.run_shard(move |shard| {
        let exits = Exits::default();
        end_after(shard, 1, &exits);
        for _ in 0..10_000 {
            let count = Arc::clone(&count);
            shard.add_step(step("idle", move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(NONE)
            }));
        }
        let mut left = 10_000;
        shard.add_step(step("busy", move |_| {
            left -= 1;
            Ok(if left == 0 { DONE } else { MADE })
        }));
    });
    assert_eq!(turns.load(Ordering::Relaxed), 10_000);
}

pub(crate) fn a_parked_shard_is_shut_down(rig: &dyn Rig) {
    struct Counted(Arc<AtomicU64>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = Arc::new(AtomicU64::new(0));
    let address: Arc<Mutex<Option<MailboxSender>>> = Arc::default();
    let (publish, counted) = (Arc::clone(&address), Counted(Arc::clone(&drops)));
    let sleeper: Init = Box::new(move |shard| {
        *publish.lock().unwrap() = Some(shard.mailbox());
        shard.add_step(step("sleeper", move |_| {
            let _held = &counted;
            Ok(NONE)
        }));
    });
    let bell = Doorbell::new();
    let seen = Arc::clone(&bell);
    let stopper: Init = Box::new(move |shard| {
        let exits = Exits::default();
        end_after(shard, 1, &exits);
        shard.add_step(step("stopper", move |cx| {
            if !seen.is_parked() {
                cx.wake_at(cx.now() + 100_000);
                return Ok(NONE);
            }
            let mailbox = address.lock().unwrap().clone().unwrap();
            mailbox.send(Box::new(Shard::shutdown)).unwrap();
            Ok(DONE)
        }));
    });
    rig.run(vec![(bell, sleeper), (Doorbell::new(), stopper)]);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

pub(crate) fn budgets_expire(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        let mut turns = 0;
        shard.add_step(step("long", move |cx| {
            let started = cx.now();
            while !cx.expired() {
                std::hint::spin_loop();
            }
            assert!(cx.reactor().now() - started >= cx.budget());
            turns += 1;
            Ok(if turns == 5 { DONE } else { MADE })
        }));
    });
    assert_all_done(&exits);
}
